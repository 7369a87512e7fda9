//! An ethdev: found by name, configured and started once, closed when the last handle is gone.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dataplane::port::{FrameClass, PortCaps};
use dataplane::steering::Steering;
use dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{DpdkError, Errno};
use crate::mempool::{MbufPool, Mempool};
use crate::port::{BURST, DpdkPort};
use crate::rss::{self, Rss};
use crate::tx::{self, TxTraits};

/// Bytes of an Ethernet header, and of a frame check sequence that may lie in the buffer as well.
const ETHERNET: u32 = 14;
const FCS: u32 = 4;

/// What is asked of the device whatever it is, as far as it can.
const RX_OFFLOADS: u64 =
    sys::RTE_ETH_RX_OFFLOAD_TCP_CKSUM as u64 | sys::RTE_ETH_RX_OFFLOAD_SCATTER as u64;
/// Not `MBUF_FAST_FREE`: it promises that no mbuf has a second owner, and here most do.
const TX_OFFLOADS: u64 = sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM as u64
    | sys::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM as u64
    | sys::RTE_ETH_TX_OFFLOAD_TCP_TSO as u64
    | sys::RTE_ETH_TX_OFFLOAD_MULTI_SEGS as u64;

/// How a device is to be configured. It gets a queue pair for each pool.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Receive descriptors of each queue; the device may round.
    pub rx_desc: u16,
    /// Transmit descriptors of each queue; the device may round.
    pub tx_desc: u16,
    /// Largest IP packet, or `None` for the driver's default.
    pub mtu: Option<u16>,
    /// The class of frames packets are received into. A super-segment of 64 KiB takes 5 large
    /// frames or 33 small ones; an acknowledgement takes one of either.
    pub rx_class: FrameClass,
    /// Packets of a receive burst, at most [`BURST`]. What a turn receives should stay in the core's cache
    /// until it is looked at.
    pub burst: usize,
    /// Let the device merge segments of a connection (`TCP_LRO`). For virtio: let the other side
    /// send super-segments, and partial checksums.
    pub lro: bool,
    /// Packets a queue may hold back for the device, at most 1024.
    pub tx_pending: usize,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            rx_desc: 1024,
            tx_desc: 1024,
            mtu: None,
            rx_class: FrameClass::Small,
            burst: 32,
            lro: true,
            tx_pending: 256,
        }
    }
}

/// A started device. Clones are handles of the same one; with the last handle and the last
/// [`DpdkPort`] it is stopped and closed, which returns every frame it holds to its pool.
#[derive(Clone, Debug)]
pub struct DpdkDevice {
    started: Arc<Started>,
}

#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) port_id: u16,
    pub(crate) caps: PortCaps,
    pub(crate) tx_traits: TxTraits,
    pub(crate) tx_pending: usize,
    rss: Option<Rss>,
    pub(crate) queues: Vec<Queue>,
    _eal: Eal,
}

/// The memory of a queue pair.
#[derive(Debug)]
pub(crate) struct Queue {
    /// First segments of packets: the headers.
    pub(crate) headers: Mempool,
    /// Indirect mbufs: the pieces of frames that are being sent.
    pub(crate) pieces: Mempool,
    /// Receive buffers that the device holds.
    pub(crate) rx_posted: u32,
    taken: AtomicBool,
    /// Keeps the memory that is received into.
    pool: MbufPool,
}

impl DpdkDevice {
    /// Opens the device called `name`, e.g. `0000:03:00.0`, `03:00.0` or `net_virtio_user0`, with a
    /// queue pair for each of `pools`, which queue `i` receives into.
    ///
    /// # Errors
    /// What is wrong with the name or the configuration, or which step the device refused.
    pub fn open(
        eal: &Eal,
        name: &str,
        config: &DeviceConfig,
        pools: &[MbufPool],
    ) -> Result<Self, DpdkError> {
        let port_id = find(name)?;
        // From here on the device is closed when a step fails. It is a dead name then.
        let mut started = Started {
            port_id,
            caps: PortCaps {
                name: format!("dpdk:{name}"),
                mac: [0; 6],
                mtu: 0,
                tx_tcp_checksum: false,
                tso_v4: None,
                max_pieces: 0,
                max_burst: config.burst.clamp(1, BURST),
            },
            tx_traits: TxTraits::default(),
            tx_pending: config.tx_pending.clamp(1, 1024),
            rss: None,
            queues: Vec::new(),
            _eal: eal.clone(),
        };
        started.start(eal, name, config, pools)?;
        Ok(Self {
            started: Arc::new(started),
        })
    }

    /// The port of one queue pair, for the worker that owns it. Each can be had once.
    ///
    /// # Errors
    /// [`DpdkError::QueueTaken`].
    pub fn queue(&self, queue: u16) -> Result<DpdkPort, DpdkError> {
        let free = self.started.queues.get(usize::from(queue));
        if free.is_none_or(|queue| queue.taken.swap(true, Ordering::Relaxed)) {
            let name = self.started.caps.name.clone();
            return Err(DpdkError::QueueTaken { name, queue });
        }
        Ok(DpdkPort::new(Arc::clone(&self.started), queue))
    }

    /// What the device can do, as its ports say too.
    pub fn caps(&self) -> &PortCaps {
        &self.started.caps
    }

    /// How the device spreads packets over its queues; `None` when it has one queue, or cannot.
    pub fn rss(&self) -> Option<&Rss> {
        self.started.rss.as_ref()
    }

    /// How packets find the worker they belong to, when each queue has one: by the device where that
    /// can be computed beforehand, else by the workers.
    pub fn steering(&self) -> Steering {
        let workers = self.started.queues.len() as u16;
        if workers == 1 {
            return Steering::Single;
        }
        let by_device = self.rss().and_then(|rss| rss.steering(workers));
        by_device.unwrap_or(Steering::Software { workers })
    }
}

impl Started {
    /// Configures, sets up the queues and starts, in the order ethdev wants (rte_ethdev.h).
    fn start(
        &mut self,
        eal: &Eal,
        name: &str,
        config: &DeviceConfig,
        pools: &[MbufPool],
    ) -> Result<(), DpdkError> {
        let id = self.port_id;
        let step = |step, returned| device_step(name, step, returned);
        let info = info(name, id)?;
        let most = info.max_rx_queues.min(info.max_tx_queues);
        let queues = u16::try_from(pools.len())
            .ok()
            .filter(|&n| n > 0 && n <= most);
        let queues = queues.ok_or_else(|| DpdkError::Queues {
            name: name.to_owned(),
            wanted: pools.len(),
            most,
        })?;

        // SAFETY: the configuration is numbers and nullable pointers; all zeros is the default.
        let mut conf: sys::rte_eth_conf = unsafe { std::mem::zeroed() };
        let mut rx_wanted = RX_OFFLOADS;
        if config.lro {
            rx_wanted |= u64::from(sys::RTE_ETH_RX_OFFLOAD_TCP_LRO);
        }
        conf.rxmode.offloads = rx_wanted & info.rx_offload_capa;
        if conf.rxmode.offloads & u64::from(sys::RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0 {
            conf.rxmode.max_lro_pkt_size = info.max_lro_pkt_size;
        }
        conf.txmode.offloads = TX_OFFLOADS & info.tx_offload_capa;
        if let Some(mtu) = config.mtu {
            if mtu > info.max_mtu {
                let name = name.to_owned();
                return Err(DpdkError::Mtu {
                    name,
                    wanted: mtu,
                    most: info.max_mtu,
                });
            }
            conf.rxmode.mtu = u32::from(mtu);
        }
        let spread = queues > 1 && rss::request(&mut conf, &info);

        // SAFETY: the device exists and is stopped; the configuration is copied.
        step("rte_eth_dev_configure", unsafe {
            sys::rte_eth_dev_configure(id, queues, queues, &conf)
        })?;
        if let Some(mtu) = config.mtu {
            // Some drivers take it from the configuration, some only from this call, and some have
            // nothing to set.
            // SAFETY: the device is configured.
            let set = unsafe { sys::rte_eth_dev_set_mtu(id, mtu) };
            if set != -libc::ENOTSUP {
                step("rte_eth_dev_set_mtu", set)?;
            }
        }
        let mut mtu = 0;
        // SAFETY: writes one u16.
        step("rte_eth_dev_get_mtu", unsafe {
            sys::rte_eth_dev_get_mtu(id, &mut mtu)
        })?;
        let packet = u32::from(mtu) + ETHERNET + FCS;

        let (mut rx_desc, mut tx_desc) = (config.rx_desc, config.tx_desc);
        // SAFETY: reads and writes the two numbers.
        step("rte_eth_dev_adjust_nb_rx_tx_desc", unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_desc, &mut tx_desc)
        })?;

        // SAFETY: as far as it is checked at all, any port number is.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id) };
        let socket_id = u32::try_from(socket).unwrap_or(u32::MAX);
        let in_use_before: Vec<u32> = pools
            .iter()
            .map(|pool| pool.mempool(config.rx_class).in_use())
            .collect();
        let mut rxconf = info.default_rxconf;
        rxconf.offloads = conf.rxmode.offloads;
        for (q, pool) in (0u16..).zip(pools) {
            let mempool = pool.mempool(config.rx_class);
            self.check_rx_room(name, config, &conf, pool, packet)?;
            // SAFETY: the device is configured with this many queues. The pool outlives the device,
            // because `queues` below keeps a handle on it.
            step("rte_eth_rx_queue_setup", unsafe {
                sys::rte_eth_rx_queue_setup(id, q, rx_desc, socket as u32, &rxconf, mempool.raw())
            })?;
            self.tx_queue_setup(name, q, tx_desc, socket, &info, conf.txmode.offloads)?;
            let (headers, pieces) =
                tx::pools(eal, id, q, socket_id, tx_desc, self.tx_pending, packet)?;
            self.queues.push(Queue {
                headers,
                pieces,
                rx_posted: 0,
                taken: AtomicBool::new(false),
                pool: pool.clone(),
            });
        }
        // SAFETY: configured, and all queues are set up.
        step("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(id) })?;
        // Neighbour discovery of IPv6 is multicast. Devices that have no filter have no such call.
        // SAFETY: the device is started.
        let _ = unsafe { sys::rte_eth_allmulticast_enable(id) };

        for (queue, before) in self.queues.iter_mut().zip(in_use_before) {
            let after = queue.pool.mempool(config.rx_class).in_use();
            queue.rx_posted = after.saturating_sub(before);
        }
        let mut mac = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: writes one address.
        step("rte_eth_macaddr_get", unsafe {
            sys::rte_eth_macaddr_get(id, &mut mac)
        })?;

        self.tx_traits = TxTraits::new(&info, conf.txmode.offloads);
        self.caps.mac = mac.addr_bytes;
        self.caps.mtu = mtu;
        self.caps.tx_tcp_checksum =
            conf.txmode.offloads & u64::from(sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
        self.caps.tso_v4 = self.tx_traits.tso.then_some(u32::from(u16::MAX));
        self.caps.max_pieces = self.tx_traits.max_pieces;
        if spread {
            self.rss = rss::read(name, id, queues, &info)?;
        }
        Ok(())
    }

    /// Sets up a transmit queue. virtio frees what was sent only when fewer than `tx_free_thresh`
    /// descriptors are left, and by default that is at the very end of the ring: a ring full of
    /// frames would stay out for ever, and come back cold. So it gets the highest threshold that it
    /// takes, 4 less than the queue has entries, which nothing tells but trying.
    fn tx_queue_setup(
        &self,
        name: &str,
        queue: u16,
        descriptors: u16,
        socket: i32,
        info: &sys::rte_eth_dev_info,
        offloads: u64,
    ) -> Result<(), DpdkError> {
        let mut conf = info.default_txconf;
        conf.offloads = offloads;
        let setup = |conf: &sys::rte_eth_txconf| {
            // SAFETY: the device is configured with this queue and not started; the configuration
            // is copied.
            unsafe {
                sys::rte_eth_tx_queue_setup(self.port_id, queue, descriptors, socket as u32, conf)
            }
        };
        if tx::driver(info).is_some_and(|name| name.to_bytes().starts_with(b"net_virtio")) {
            let entries = (6..16).rev().map(|bits| 1u16 << bits);
            for entries in entries.filter(|&entries| entries <= descriptors.max(64)) {
                conf.tx_free_thresh = entries - 4;
                if setup(&conf) == 0 {
                    return Ok(());
                }
            }
            conf.tx_free_thresh = info.default_txconf.tx_free_thresh;
        }
        device_step(name, "rte_eth_tx_queue_setup", setup(&conf))
    }

    /// A packet must fit one buffer unless the device scatters.
    fn check_rx_room(
        &self,
        name: &str,
        config: &DeviceConfig,
        conf: &sys::rte_eth_conf,
        pool: &MbufPool,
        packet: u32,
    ) -> Result<(), DpdkError> {
        let room = u32::from(pool.mempool(config.rx_class).room());
        let scatters = conf.rxmode.offloads & u64::from(sys::RTE_ETH_RX_OFFLOAD_SCATTER) != 0;
        if scatters || packet - FCS <= room {
            return Ok(());
        }
        Err(DpdkError::RxRoom {
            name: name.to_owned(),
            room,
            packet,
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: no queue is in use any more: each port holds this device. Stopping and closing
        // return what the queues hold to the pools, which are dropped after this.
        unsafe {
            let _ = sys::rte_eth_dev_stop(self.port_id);
            let _ = sys::rte_eth_dev_close(self.port_id);
        }
    }
}

fn device_step(name: &str, step: &'static str, returned: i32) -> Result<(), DpdkError> {
    match Errno::check(returned) {
        Ok(_) => Ok(()),
        Err(errno) => Err(DpdkError::Device {
            name: name.to_owned(),
            step,
            errno,
        }),
    }
}

fn info(name: &str, id: u16) -> Result<sys::rte_eth_dev_info, DpdkError> {
    let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
    // SAFETY: writes one such structure.
    let got = unsafe { sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) };
    device_step(name, "rte_eth_dev_info_get", got)?;
    // SAFETY: filled, and of zeros before that.
    Ok(unsafe { info.assume_init() })
}

/// The port number of a device. A PCI address may lack its domain.
fn find(name: &str) -> Result<u16, DpdkError> {
    for candidate in [name.to_owned(), format!("0000:{name}")] {
        let Ok(candidate) = CString::new(candidate) else {
            continue;
        };
        let mut id = 0;
        // SAFETY: a terminated string, and one number that is written.
        if unsafe { sys::rte_eth_dev_get_port_by_name(candidate.as_ptr(), &mut id) } == 0 {
            return Ok(id);
        }
    }
    Err(DpdkError::UnknownDevice {
        name: name.to_owned(),
        known: known(),
    })
}

/// The names of all devices.
fn known() -> Vec<String> {
    let mut names = Vec::new();
    let mut next = 0;
    loop {
        // SAFETY: any number may be asked from.
        let id = unsafe { sys::rte_eth_find_next(next) };
        if u32::from(id) >= sys::RTE_MAX_ETHPORTS {
            return names;
        }
        let mut name = [0 as c_char; sys::RTE_ETH_NAME_MAX_LEN as usize];
        // SAFETY: the buffer has the length the header asks for.
        if unsafe { sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) } == 0 {
            // SAFETY: filled with a terminated string.
            let name = unsafe { CStr::from_ptr(name.as_ptr()) };
            names.push(name.to_string_lossy().into_owned());
        }
        next = id + 1;
    }
}
