//! Receive side scaling: the device hashes the 4-tuple of a packet and looks its queue up in a
//! table. Read back from the device after it started, because drivers choose key and table.

use dataplane::steering::Steering;
use dpdk_sys as sys;

use crate::error::{DpdkError, Errno};

/// TCP over IPv4 and IPv6: addresses and ports.
const TCP: u64 =
    sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP as u64 | sys::RTE_ETH_RSS_NONFRAG_IPV6_TCP as u64;

/// Entries of a group in which the table is read and written.
const GROUP: usize = 64;

/// Bytes of the key where the device does not say (rte_ethdev.h: 0 stands for 40).
const USUAL_KEY: usize = 40;
/// Room for the key, whatever the device says: drivers have been seen to write more.
const KEY_ROOM: usize = 256;

/// How a device spreads packets over its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The key of the Toeplitz hash. Empty if the device does not tell.
    pub key: Vec<u8>,
    /// The redirection table: the queue of a packet is entry `hash % table.len()`. Empty if the
    /// device does not tell.
    pub table: Vec<u16>,
    /// TCP over IPv4 is hashed.
    pub tcp_v4: bool,
    /// TCP over IPv6 is hashed.
    pub tcp_v6: bool,
}

impl Rss {
    /// The same for the engine, with a worker for each of `queues` queues. `None` when it cannot be
    /// computed beforehand: the device does not tell its key or table, or leaves a queue out.
    pub fn steering(&self, queues: u16) -> Option<Steering> {
        let rss = dataplane::rss::Rss::new(&self.key, &self.table)?;
        Steering::toeplitz(rss, self.tcp_v4, self.tcp_v6, queues)
    }
}

/// Asks for RSS in the configuration, if the device can do it for TCP.
pub(crate) fn request(conf: &mut sys::rte_eth_conf, info: &sys::rte_eth_dev_info) -> bool {
    let hash = TCP & info.flow_type_rss_offloads;
    if hash == 0 {
        return false;
    }
    conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = hash;
    true
}

/// Reads what a started device with `queues` queues does. A table that leaves queues out, or names
/// others, is written anew first, if the device lets us.
pub(crate) fn read(
    name: &str,
    id: u16,
    queues: u16,
    info: &sys::rte_eth_dev_info,
) -> Result<Option<Rss>, DpdkError> {
    let error = |step, returned: i32| DpdkError::Device {
        name: name.to_owned(),
        step,
        errno: Errno(-returned),
    };

    let key_len = match usize::from(info.hash_key_size) {
        0 => USUAL_KEY,
        len => len,
    };
    let mut key = vec![0u8; key_len.max(KEY_ROOM)];
    let mut conf = sys::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: key_len as u8,
        rss_hf: 0,
    };
    // SAFETY: the key's buffer is at least as long as the device's key.
    let got = unsafe { sys::rte_eth_dev_rss_hash_conf_get(id, &mut conf) };
    if got == -libc::ENOTSUP {
        return Ok(None);
    }
    if got != 0 {
        return Err(error("rte_eth_dev_rss_hash_conf_get", got));
    }
    key.truncate(key_len);
    if key.iter().all(|&byte| byte == 0) {
        key.clear();
    }

    let query = || match query(id, info.reta_size) {
        Ok(table) => Ok(table),
        Err(got) if got == -libc::ENOTSUP => Ok(Vec::new()),
        Err(got) => Err(error("rte_eth_dev_rss_reta_query", got)),
    };
    let mut table = query()?;
    let serves = (0..queues).all(|queue| table.contains(&queue))
        && table.iter().all(|&queue| queue < queues);
    if !table.is_empty() && !serves && update(id, info.reta_size, queues) == 0 {
        table = query()?;
    }
    Ok(Some(Rss {
        key,
        table,
        tcp_v4: conf.rss_hf & u64::from(sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP) != 0,
        tcp_v6: conf.rss_hf & u64::from(sys::RTE_ETH_RSS_NONFRAG_IPV6_TCP) != 0,
    }))
}

/// Groups of which every entry is meant.
fn groups(size: u16) -> Vec<sys::rte_eth_rss_reta_entry64> {
    let all = sys::rte_eth_rss_reta_entry64 {
        mask: u64::MAX,
        reta: [0; GROUP],
    };
    vec![all; usize::from(size).div_ceil(GROUP)]
}

/// The table of a device, or what the device returned instead.
fn query(id: u16, size: u16) -> Result<Vec<u16>, i32> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut groups = groups(size);
    // SAFETY: there is a group for each 64 entries.
    match unsafe { sys::rte_eth_dev_rss_reta_query(id, groups.as_mut_ptr(), size) } {
        0 => {
            let entries = groups.iter().flat_map(|group| group.reta);
            Ok(entries.take(usize::from(size)).collect())
        }
        got => Err(got),
    }
}

/// Spreads the queues evenly over the table. Returns what the device does.
fn update(id: u16, size: u16, queues: u16) -> i32 {
    let mut groups = groups(size);
    let entries = groups.iter_mut().flat_map(|group| &mut group.reta);
    for (entry, queue) in entries.zip((0..queues).cycle()) {
        *entry = queue;
    }
    // SAFETY: there is a group for each 64 entries.
    unsafe { sys::rte_eth_dev_rss_reta_update(id, groups.as_mut_ptr(), size) }
}
