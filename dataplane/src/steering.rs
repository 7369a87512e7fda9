//! Which worker a TCP packet belongs to.
//!
//! A connection lives in one worker for good, and every packet of it should arrive in a queue of that
//! worker. What decides on the queue is the port's: a NIC's hash, a program in the kernel, or nothing
//! that can be relied on. [`Steering`] computes what the port does, as a pure function of the
//! packet's addresses and ports, for two uses: a worker that connects to an endpoint chooses a
//! source port whose replies come back to itself ([`Steering::replies`]), and a packet that came to
//! the wrong worker is handed to the right one ([`Steering::owner`], `team`).

use std::net::{IpAddr, SocketAddr};

use crate::flow_table::FlowKey;
use crate::rss::{Rss, Towards};

/// Index of a worker: it has the queue of the same number of every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// The odd number next to 2³² divided by the golden ratio: multiples of it spread evenly (Knuth, The
/// Art of Computer Programming, volume 3, section 6.4). Part of what the fanout program of packet
/// ports computes.
pub const PORT_MIX: u32 = 0x9e37_79b1;

/// How a port spreads TCP packets over the workers.
#[derive(Clone, Debug)]
pub enum Steering {
    /// There is one worker.
    Single,
    /// By the packet's two TCP ports ([`by_ports`]), done by a program in the kernel.
    Fanout {
        /// How many workers there are.
        workers: u16,
    },
    /// By the NIC's receive side scaling. A family that it does not hash with its TCP ports is
    /// spread in software.
    Toeplitz {
        /// The NIC's key and table; queues are workers.
        rss: Rss,
        /// IPv4 is hashed with TCP ports.
        v4: bool,
        /// IPv6 is hashed with TCP ports.
        v6: bool,
        /// How many workers there are.
        workers: u16,
    },
    /// By the packet's two TCP ports, done by the workers: the port puts packets where it likes.
    Software {
        /// How many workers there are.
        workers: u16,
    },
}

/// The worker of a packet by its two TCP ports, whichever way it goes: their sum, mixed, scaled to
/// the number of workers.
///
/// Not simply the client's port modulo the number of workers: Linux gives connecting sockets ports of
/// one parity as long as there are any (`__inet_hash_connect`), so that all clients of a host would
/// meet the same one of two workers. Addresses do not matter: a client behind them is told from
/// others by its port well enough, and for an endpoint the proxy chooses the port.
#[inline]
pub fn by_ports(one: u16, other: u16, workers: u16) -> WorkerId {
    let mixed = (u32::from(one) + u32::from(other)).wrapping_mul(PORT_MIX) >> 16;
    WorkerId(((mixed * u32::from(workers)) >> 16) as u16)
}

impl Steering {
    /// Steering by a NIC that has this RSS and hashes these families with their TCP ports, or
    /// `None` when it cannot serve `workers` workers: its table names other queues, or leaves one
    /// out, so that no connection to an endpoint could ever return to it.
    pub fn toeplitz(rss: Rss, v4: bool, v6: bool, workers: u16) -> Option<Self> {
        let table = rss.table();
        let covered = (0..workers).all(|queue| table.contains(&queue));
        let within = table.iter().all(|&queue| queue < workers);
        ((v4 || v6) && covered && within).then_some(Self::Toeplitz {
            rss,
            v4,
            v6,
            workers,
        })
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        match *self {
            Self::Single => 1,
            Self::Fanout { workers }
            | Self::Toeplitz { workers, .. }
            | Self::Software { workers } => workers,
        }
    }

    /// Whether the port itself brings packets of this family to their owner. Where it does, a packet
    /// elsewhere says that this function and the port disagree.
    pub fn is_done_by_port(&self, ipv6: bool) -> bool {
        match *self {
            Self::Single | Self::Fanout { .. } => true,
            Self::Toeplitz { v4, v6, .. } => {
                if ipv6 {
                    v6
                } else {
                    v4
                }
            }
            Self::Software { .. } => false,
        }
    }

    /// The worker that the packets of a flow, as received, belong to.
    pub fn owner(&self, flow: &FlowKey) -> WorkerId {
        match self {
            Self::Single => WorkerId(0),
            Self::Toeplitz { rss, .. } if self.is_done_by_port(flow.is_ipv6()) => {
                WorkerId(rss.queue(flow.remote(), flow.local()))
            }
            Self::Fanout { workers }
            | Self::Toeplitz { workers, .. }
            | Self::Software { workers } => {
                by_ports(flow.remote_port(), flow.local_port(), *workers)
            }
        }
    }

    /// Whose the replies of `remote` are, for each own port at the own address `local`.
    pub fn replies(&self, local: IpAddr, remote: SocketAddr) -> Replies<'_> {
        match self {
            Self::Single => Replies::Single,
            Self::Toeplitz { rss, .. } if self.is_done_by_port(remote.is_ipv6()) => {
                Replies::Toeplitz(rss.towards(remote, local))
            }
            Self::Fanout { workers }
            | Self::Toeplitz { workers, .. }
            | Self::Software { workers } => Replies::ByPorts {
                remote: remote.port(),
                workers: *workers,
            },
        }
    }
}

/// Whose the replies of an endpoint are. See [`Steering::replies`].
#[derive(Clone, Copy, Debug)]
pub enum Replies<'a> {
    /// The only worker's.
    Single,
    /// By both ports.
    ByPorts {
        /// The endpoint's port.
        remote: u16,
        /// How many workers there are.
        workers: u16,
    },
    /// As the NIC does it.
    Toeplitz(Towards<'a>),
}

impl Replies<'_> {
    /// The worker whose the replies to this own port are. A few ns.
    #[inline]
    pub fn owner(&self, local_port: u16) -> WorkerId {
        match self {
            Self::Single => WorkerId(0),
            Self::ByPorts { remote, workers } => by_ports(*remote, local_port, *workers),
            Self::Toeplitz(towards) => WorkerId(towards.port(local_port)),
        }
    }
}

#[cfg(test)]
#[path = "steering_tests.rs"]
mod tests;
