//! A [`Port`](dataplane::port::Port) over any Linux network interface: the NIC of a machine that
//! has no NIC to spare.
//!
//! Packets pass through an `AF_PACKET` socket, each led by a virtio-net header (`PACKET_VNET_HDR`,
//! packet(7) and `linux/virtio_net.h`), so checksums may stay partial and TCP segments of up to
//! 64 KiB cross whole in both directions. `recvmmsg` scatters packets straight into pool frames
//! and `sendmmsg` gathers them from frames; beyond the kernel's own copy there is none.
//!
//! Reading order: [`socket`] opens and binds ([`link`] looks the interface up), [`vnet`] is the
//! 10-byte header, `rx` and `tx` are the two directions, [`port`] puts them together.
//!
//! # What the interface must look like
//!
//! The kernel keeps seeing every packet that the port sees. The addresses that the engine serves
//! must therefore *not* be configured on the interface, else the kernel answers too (with resets);
//! and IP forwarding should be off, else it routes what is not its own. VLAN tags are stripped by
//! the kernel before the port sees a packet, and are not looked at: 802.1Q is out of scope.

mod error;
pub mod link;
pub mod port;
mod rx;
pub mod socket;
mod tx;
pub mod vnet;

pub use error::Error;
pub use port::PacketPort;
pub use socket::{Options, PacketSocket};

#[cfg(test)]
#[path = "../tests/common/pool.rs"]
#[allow(dead_code)] // The unit tests use a part of it.
mod pool;
