//! A peer: stock smoltcp with real ring buffers, an Ethernet address, ARP and neighbour discovery
//! of its own, and a program that runs on it.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint};

use super::client::Client;
use super::origin::Origin;

/// The packets between smoltcp and the wire.
#[derive(Debug)]
struct HostDevice {
    mtu: usize,
    rx: VecDeque<Vec<u8>>,
    tx: Vec<Vec<u8>>,
}

/// A received packet.
#[derive(Debug)]
struct RxToken(Vec<u8>);

/// Leave to send one.
#[derive(Debug)]
struct TxToken<'a>(&'a mut Vec<Vec<u8>>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        // Shorter Ethernet frames are padded (IEEE 802.3).
        if bytes.len() < 60 {
            bytes.resize(60, 0);
        }
        self.0.push(bytes);
        result
    }
}

impl Device for HostDevice {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let bytes = self.rx.pop_front()?;
        Some((RxToken(bytes), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = self.mtu + 14;
        caps
    }
}

/// What runs on a host.
#[derive(Debug)]
pub enum Program {
    /// A client.
    Client(Client),
    /// An HTTP origin.
    Origin(Origin),
}

/// What a program is given to work with.
pub struct Net<'a> {
    /// The host's interface.
    pub iface: &'a mut Interface,
    /// The host's sockets.
    pub sockets: &'a mut SocketSet<'static>,
    /// Time in µs.
    pub now: u64,
    /// See [`Host::congestion_control`].
    pub congestion_control: bool,
}

impl std::fmt::Debug for Net<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Net<'_> {
    /// A new socket with rings of `buffer` bytes. It sends small pieces at once and acknowledges
    /// with little delay.
    pub fn socket(&mut self, buffer: usize) -> SocketHandle {
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; buffer]),
            tcp::SocketBuffer::new(vec![0; buffer]),
        );
        socket.set_nagle_enabled(false);
        if !self.congestion_control {
            socket.set_congestion_control(tcp::CongestionControl::None);
        }
        // Hosts probe a closed window for ever; smoltcp 0.14 stops when its retransmission timer finds it
        // closed. A keep-alive is answered with the window just the same.
        socket.set_keep_alive(Some(Duration::from_secs(5)));
        socket.set_ack_delay(Some(Duration::from_millis(10)));
        self.sockets.add(socket)
    }

    /// A socket by its handle.
    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

/// A host on a wire.
pub struct Host {
    /// Index of the wire it is on.
    pub wire: usize,
    /// What runs on it.
    pub program: Program,
    /// A dead host hears and says nothing.
    pub dead: bool,
    /// Whether new sockets have a congestion window. smoltcp's is counted in bytes, so that segments end
    /// where it ends; without one they are full as long as ring and window last.
    pub congestion_control: bool,
    mac: [u8; 6],
    iface: Interface,
    device: HostDevice,
    sockets: SocketSet<'static>,
    next_at: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A host with `addresses`, one of each family at most, that runs `program`.
    pub fn new(
        wire: usize,
        mac: [u8; 6],
        addresses: &[(IpAddr, u8)],
        mtu: usize,
        seed: u64,
        program: Program,
    ) -> Self {
        let mut device = HostDevice {
            mtu,
            rx: VecDeque::new(),
            tx: Vec::new(),
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        iface.update_ip_addrs(|list| {
            for (address, prefix) in addresses {
                list.push(IpCidr::new((*address).into(), *prefix))
                    .expect("a host has one address of each family");
            }
        });
        Self {
            wire,
            program,
            dead: false,
            congestion_control: true,
            mac,
            iface,
            device,
            sockets: SocketSet::new(Vec::new()),
            next_at: 0,
        }
    }

    /// Hands the host a packet if it is for it.
    pub fn receive(&mut self, bytes: &[u8]) {
        let multicast = bytes[0] & 1 != 0;
        if !self.dead && (multicast || bytes[..6] == self.mac) && !self.repeats_syn(bytes) {
            self.device.rx.push_back(bytes.to_vec());
            self.next_at = 0;
        }
    }

    /// Lets the host run at once: its program was changed.
    pub fn wake(&mut self) {
        self.next_at = 0;
    }

    /// Whether a packet is a SYN for a connection that there is already. smoltcp shows a segment to
    /// its sockets in order, and one that still listens may come before the one that has taken the
    /// first SYN: it would take the second, and the peer would get two different answers.
    fn repeats_syn(&self, bytes: &[u8]) -> bool {
        let (source, l4) = match (bytes[12], bytes[13]) {
            (0x08, 0x00) if bytes[23] == 6 => {
                let source: [u8; 4] = bytes[26..30].try_into().expect("four bytes");
                (IpAddr::from(source), 14 + usize::from(bytes[14] & 0xf) * 4)
            }
            (0x86, 0xdd) if bytes[20] == 6 => {
                let source: [u8; 16] = bytes[22..38].try_into().expect("sixteen bytes");
                (IpAddr::from(source), 54)
            }
            _ => return false,
        };
        // SYN without ACK.
        if bytes.get(l4 + 13).is_none_or(|flags| flags & 0x12 != 0x02) {
            return false;
        }
        let port = u16::from_be_bytes([bytes[l4], bytes[l4 + 1]]);
        let peer = IpEndpoint::new(source.into(), port);
        self.sockets.iter().any(|(_, socket)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.remote_endpoint() == Some(peer) && socket.state() == tcp::State::SynReceived
        })
    }

    /// When the host wants to run next; `u64::MAX`: only when a packet comes.
    pub fn next_at(&self) -> u64 {
        if self.dead { u64::MAX } else { self.next_at }
    }

    /// Runs the host. The packets it sends are appended to `out`.
    pub fn run(&mut self, now: u64, out: &mut Vec<Vec<u8>>) {
        let instant = Instant::from_micros(now as i64);
        let mut wake;
        loop {
            let _ = self
                .iface
                .poll(instant, &mut self.device, &mut self.sockets);
            let mut net = Net {
                iface: &mut self.iface,
                sockets: &mut self.sockets,
                now,
                congestion_control: self.congestion_control,
            };
            let (moved, at) = match &mut self.program {
                Program::Client(client) => client.run(&mut net),
                Program::Origin(origin) => origin.run(&mut net),
            };
            wake = at;
            if !moved {
                break;
            }
        }
        let poll_at = self
            .iface
            .poll_at(instant, &self.sockets)
            .map_or(u64::MAX, |at| at.total_micros() as u64);
        // What smoltcp would like at once and did not do just now (a neighbour that does not
        // answer) it does not do in the next microsecond either.
        self.next_at = wake.min(poll_at.max(now + 100)).max(now + 1);
        out.append(&mut self.device.tx);
    }

    /// What is under way here, for whoever finds out why; not more than a few lines of it.
    pub fn standing(&self) -> Vec<String> {
        let mut lines = match &self.program {
            Program::Client(client) => client.standing(&self.sockets),
            Program::Origin(origin) => origin.standing(&self.sockets),
        };
        lines.truncate(4);
        lines
    }

    /// The client that runs here.
    pub fn client(&self) -> Option<&Client> {
        match &self.program {
            Program::Client(client) => Some(client),
            Program::Origin(_) => None,
        }
    }

    /// The origin that runs here.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.program {
            Program::Origin(origin) => Some(origin),
            Program::Client(_) => None,
        }
    }

    /// The origin that runs here, to change.
    pub fn origin_mut(&mut self) -> Option<&mut Origin> {
        match &mut self.program {
            Program::Origin(origin) => Some(origin),
            Program::Client(_) => None,
        }
    }
}
