//! A host: stock smoltcp with real rings and its own ARP, on one port.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address};

use crate::device::WireDevice;

/// Bytes of a receive ring: the most that needs no window scale. With one, smoltcp drops the end of
/// what it has once offered a window for when the end was not a multiple of the scale, and the sender
/// has to send it again after a second; that would be the peer's fault and hide the proxy's.
const RX_RING: usize = 65_535;

/// An interface with its device and its sockets.
pub struct Host {
    /// The device, for its counters and its link.
    pub device: WireDevice,
    /// The interface, which sockets need to connect.
    pub iface: Interface,
    /// All sockets.
    pub sockets: SocketSet<'static>,
}

impl Host {
    /// A host with one IPv4 address, in a /24.
    pub fn new(mut device: WireDevice, address: Ipv4Address, seed: u64) -> Self {
        let mac = HardwareAddress::Ethernet(EthernetAddress(device.mac()));
        let mut config = Config::new(mac);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        iface.update_ip_addrs(|list| {
            list.push(IpCidr::new(address.into(), 24))
                .expect("an interface has room for one address");
        });
        Self {
            device,
            iface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    /// A new socket with a transmit ring of `tx_ring` bytes.
    pub fn socket(&mut self, tx_ring: usize) -> SocketHandle {
        let ring = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(ring(RX_RING), ring(tx_ring));
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    /// Receives, answers and sends whatever there is.
    pub fn poll(&mut self, now: Instant) {
        let _ = self.iface.poll(now, &mut self.device, &mut self.sockets);
        self.device.flush();
    }
}
