//! A port of either kind, chosen at start-up.
//!
//! An enum and not a trait object: [`Port`] is generic over its payload iterator, and the branch is
//! the same every time.

use dataplane::port::{Piece, Port, PortCaps, PortStats, RxBurst, TxError, TxHeader};
use dpdk::{DpdkPort, Mbuf, MbufPool};
use packet::{PacketPort, PacketSocket};

/// A port of a worker. It logs when its link goes down and comes back.
#[derive(Debug)]
pub struct AnyPort {
    device: Device,
    /// Whether the link was up when it was last looked at.
    up: bool,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a worker has one or two, and a box would cost a cache miss each turn"
)]
enum Device {
    Packet(PacketPort<MbufPool>),
    Dpdk(DpdkPort),
}

/// Evaluates the same expression for either kind.
macro_rules! either {
    ($device:expr, $port:ident => $call:expr) => {
        match $device {
            Device::Packet($port) => $call,
            Device::Dpdk($port) => $call,
        }
    };
}

impl AnyPort {
    /// A port over an interface of the kernel.
    pub fn packet(port: PacketPort<MbufPool>) -> Self {
        Self::new(Device::Packet(port))
    }

    /// A queue pair of a DPDK device.
    pub fn dpdk(port: DpdkPort) -> Self {
        Self::new(Device::Dpdk(port))
    }

    /// The socket behind it, if it is one: something to wait on.
    pub fn socket(&self) -> Option<&PacketSocket> {
        match &self.device {
            Device::Packet(port) => Some(port.socket()),
            Device::Dpdk(_) => None,
        }
    }

    fn new(device: Device) -> Self {
        let mut port = Self { device, up: true };
        port.look_at_link();
        port
    }

    fn look_at_link(&mut self) {
        let up = self.link_up();
        if up != std::mem::replace(&mut self.up, up) {
            let name = &self.caps().name;
            if up {
                log::info!("{name}: link is up");
            } else {
                log::warn!("{name}: link is down");
            }
        }
    }
}

impl Port for AnyPort {
    type Frame = Mbuf;

    fn caps(&self) -> &PortCaps {
        either!(&self.device, port => port.caps())
    }

    fn link_up(&self) -> bool {
        either!(&self.device, port => port.link_up())
    }

    #[inline]
    fn rx_burst(&mut self, burst: &mut RxBurst<Mbuf>) -> usize {
        either!(&mut self.device, port => port.rx_burst(burst))
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        either!(&mut self.device, port => port.tx_room())
    }

    #[inline]
    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, Mbuf>>,
    ) -> Result<(), TxError> {
        either!(&mut self.device, port => port.tx_push(header, payload))
    }

    #[inline]
    fn tx_flush(&mut self) {
        either!(&mut self.device, port => port.tx_flush());
    }

    /// Looks at the link too: that costs a system call with some devices, as this does anyway.
    fn stats(&mut self) -> PortStats {
        let stats = either!(&mut self.device, port => port.stats());
        self.look_at_link();
        stats
    }

    fn tx_waits(&self) -> bool {
        either!(&self.device, port => port.tx_waits())
    }

    fn frames_held(&self) -> usize {
        either!(&self.device, port => port.frames_held())
    }
}
