//! One port's TCP/IP: smoltcp's interface and the phantom device it drives.

use std::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::phantom::PhantomDevice;
use crate::conn::Conn;
use crate::port::PortCaps;
use crate::settings::PortSettings;

/// How long the acknowledgement of a small segment may wait for data to travel with.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(40);

/// Where the ring buffers of a new connection's socket come from: two slices of zeros that nobody
/// else reads or writes. Called when a worker's number of connections reaches a new high.
pub trait RingSource {
    /// A receive and a send ring, or `None` when there is no memory.
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])>;
}

/// smoltcp for one port of one worker.
pub struct Stack {
    iface: Interface,
    /// smoltcp's view of the port.
    pub device: PhantomDevice,
    /// For packets that belong to no connection.
    nobody: SocketSet<'static>,
    /// Bytes of the largest IP packet.
    mtu: u32,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

impl Stack {
    /// A stack with the addresses of `settings`. `seed` decides initial sequence numbers and must
    /// be random outside of tests.
    pub fn new(settings: &PortSettings, caps: &PortCaps, seed: u64, now: u64) -> Self {
        let mut device = PhantomDevice::new(caps.mtu, caps.tso_v4);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut device, instant(now));
        iface.update_ip_addrs(|addresses| {
            for (address, prefix) in &settings.addresses {
                addresses
                    .push(IpCidr::new((*address).into(), *prefix))
                    .expect("the configuration bounds the number of addresses");
            }
        });
        // Further addresses are more than its table holds: what is for others is kept from it.
        iface.set_any_ip(!settings.ranges.is_empty());
        // Next hops are `neighbor`'s business: to smoltcp everything is reachable over the medium.
        Self {
            iface,
            device,
            nobody: SocketSet::new(Vec::new()),
            mtu: u32::from(caps.mtu),
        }
    }

    /// Payload bytes of a full segment from a peer on a link like ours: what smoltcp announces as the
    /// MSS (RFC 6691 section 2), the MTU less the headers without options.
    pub fn mss(&self, ipv6: bool) -> u32 {
        self.mtu - if ipv6 { 60 } else { 40 }
    }

    /// Lets the socket of `set` see the packet in the receive slot, or, without one, lets smoltcp
    /// answer it as it sees fit: ping with pong, a stray segment with RST.
    pub fn ingress(&mut self, now: u64, set: Option<&mut SocketSet<'static>>) {
        let set = set.unwrap_or(&mut self.nobody);
        let _ = self
            .iface
            .poll_ingress_single(instant(now), &mut self.device, set);
    }

    /// Lets the socket of `set` send one packet, if it has one to send.
    pub fn egress(&mut self, now: u64, set: &mut SocketSet<'static>) {
        let _ = self.iface.poll_egress(instant(now), &mut self.device, set);
    }

    /// When the socket of `set` wants to be asked for a packet again, in ms; `Some(0)` is at once.
    pub fn deadline(&mut self, now: u64, set: &SocketSet<'static>) -> Option<u64> {
        self.iface
            .poll_at(instant(now), set)
            .map(|at| (at.total_micros().max(0) as u64).div_ceil(1000))
    }

    /// The own address that reaches `remote`.
    pub fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        let source: IpAddr = self.iface.get_source_address(&remote.into())?.into();
        (!source.is_unspecified() && self.iface.has_ip_addr(source)).then_some(source)
    }

    /// Starts a connection.
    ///
    /// # Errors
    /// When the addresses do not fit one another.
    pub fn connect(
        &mut self,
        socket: &mut tcp::Socket<'static>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), tcp::ConnectError> {
        socket.set_ack_delay(Some(ACK_DELAY));
        socket.connect(self.iface.context(), remote, local)
    }

    /// Starts a connection anew whose SYN was taken from TCP but not sent: with another initial sequence
    /// number.
    pub fn start_over(&mut self, conn: &mut Conn) {
        let Some(key) = conn.key else {
            return;
        };
        conn.socket_mut().abort();
        let socket = conn.set.get_mut(conn.handle);
        let started = self.connect(socket, key.local(), key.remote());
        debug_assert!(started.is_ok(), "as before: {started:?}");
    }
}

/// smoltcp's time from the engine's milliseconds.
fn instant(now: u64) -> Instant {
    Instant::from_millis(now as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PortSettings;

    /// What the SYN says is what the engine takes for a full segment, whichever family.
    #[test]
    fn the_announced_mss_is_the_one_that_is_counted_with() {
        for (ipv6, local, remote) in [
            (false, "10.0.0.1:1000", "10.0.0.2:80"),
            (true, "[fd00::1]:1000", "[fd00::2]:80"),
        ] {
            let local: SocketAddr = local.parse().unwrap();
            let settings = PortSettings {
                addresses: vec![(local.ip(), 24)],
                ..PortSettings::default()
            };
            let caps = PortCaps {
                name: "test".into(),
                mac: [2, 0, 0, 0, 0, 1],
                mtu: 1500,
                tx_tcp_checksum: false,
                tso_v4: None,
                max_pieces: 16,
                max_burst: 64,
            };
            let mut stack = Stack::new(&settings, &caps, 1, 0);
            let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            stack
                .connect(&mut socket, local, remote.parse().unwrap())
                .unwrap();
            let mut set = SocketSet::new(Vec::new());
            let _ = set.add(socket);
            stack.egress(0, &mut set);
            let emitted = stack.device.take_emitted().expect("a SYN");
            let packet = stack.device.emitted_bytes(emitted.len);
            let options = &packet[if ipv6 { 60 } else { 40 }..];
            assert_eq!(options[..2], [2, 4], "MSS comes first");
            let announced = u16::from_be_bytes([options[2], options[3]]);
            assert_eq!(u32::from(announced), stack.mss(ipv6), "ipv6 {ipv6}");
        }
    }
}
