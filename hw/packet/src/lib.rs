//! A [`Port`](dataplane::port::Port) over any Linux network interface: the NIC of a machine that
//! has no NIC to spare.
//!
//! Packets pass through an `AF_PACKET` socket, each led by a virtio-net header (`PACKET_VNET_HDR`,
//! packet(7) and `linux/virtio_net.h`), so checksums may stay partial and TCP segments of up to
//! 64 KiB cross whole in both directions. `recvmmsg` scatters packets straight into pool frames
//! and `sendmmsg` gathers them from frames; beyond the kernel's own copy there is none.
//!
//! Reading order: [`socket`] opens and binds ([`link`] looks the interface up), `fanout` shares an
//! interface among several sockets, [`vnet`] is the 10-byte header, `rx` and `tx` are the two
//! directions, [`port`] puts them together, `wait` is for workers that sleep.
//!
//! # What the interface must look like
//!
//! The kernel keeps seeing every packet that the port sees. The addresses that the engine serves
//! must therefore *not* be configured on the interface, else the kernel answers too (with resets);
//! and IP forwarding should be off, else it routes what is not its own. The kernel strips VLAN tags
//! before the port sees a packet, so tagged packets look like untagged ones: 802.1Q is out of
//! scope, and the interface must not be the end of a trunk.
//!
//! # What is lost, what waits
//!
//! A packet that the kernel does not take now waits, in order. Lost, and counted as `tx_errors`,
//! are packets that the kernel calls invalid and all that wait when the interface is down or
//! without carrier, as a NIC would lose them. Received packets wait in the kernel while there is no
//! frame for them; if its buffer overflows meanwhile, they count as `rx_no_frame`, otherwise as
//! `rx_missed`.
//!
//! # Ways not taken
//!
//! The memory-mapped rings (`PACKET_RX_RING`, `PACKET_TX_RING`) copy once more on veth and take a
//! slot of 64 KiB for every ACK. `MSG_ZEROCOPY` does not exist for packet sockets (`SO_ZEROCOPY` is
//! refused). An io_uring would save entering the kernel once a batch, which batching has already
//! divided by the number of packets; the work for each packet is the same.

mod error;
mod fanout;
pub mod link;
pub mod port;
mod rx;
pub mod socket;
mod tx;
pub mod vnet;
mod wait;

pub use error::Error;
pub use port::PacketPort;
pub use socket::{Options, PacketSocket};
pub use wait::Waiter;

#[cfg(test)]
#[path = "../tests/common/pool.rs"]
#[allow(dead_code)] // The unit tests use a part of it.
mod pool;
