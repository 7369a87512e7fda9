//! Connections that this worker opens.

use std::net::{IpAddr, SocketAddr};

use crate::flow_table::{ConnId, FlowKey};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::proxy::Role;
use crate::settings::PortId;
use crate::worker::Worker;

/// Ephemeral ports: well above what services listen on.
const FIRST_PORT: u16 = 10_000;
/// Ports of this worker's tried for one connection, on average, in a row, and as many anywhere.
const PORT_TRIES: u32 = 64;

/// The TCP ports that a worker's own connections begin at.
#[derive(Debug)]
pub(crate) struct OwnPorts {
    last: u16,
    random: u64,
}

impl OwnPorts {
    /// Begins anywhere.
    pub fn new(seed: u64) -> Self {
        Self {
            last: seed as u16,
            random: seed,
        }
    }

    /// The next one: the one that was not used for longest.
    fn step(&mut self) -> u16 {
        self.last = if self.last < FIRST_PORT || self.last == u16::MAX {
            FIRST_PORT
        } else {
            self.last + 1
        };
        self.last
    }

    /// Any other one.
    fn leap(&mut self) -> u16 {
        // A linear congruential generator (Knuth's MMIX): its high bits are good enough for this.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let ports = u64::from(u16::MAX - FIRST_PORT) + 1;
        self.last = FIRST_PORT + (((self.random >> 32) * ports) >> 32) as u16;
        self.last
    }
}

/// Where a connection can be opened.
struct Way {
    local: SocketAddr,
    key: FlowKey,
    /// See [`crate::conn::Conn::least_isn`].
    least_isn: Option<u32>,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Opens a connection from `source` over a free own port. `mac` is the next hop's Ethernet address,
    /// if it is known. `None` when there is no slot or no port.
    pub(crate) fn open_connection(
        &mut self,
        port: PortId,
        source: IpAddr,
        remote: SocketAddr,
        mac: Option<[u8; 6]>,
        role: Role,
    ) -> Option<ConnId> {
        let Way {
            local,
            key,
            least_isn,
        } = self.free_flow(port, source, remote)?;
        let id = self.take_slot()?;
        let conn = &mut self.conns[id];
        conn.reset(&mut self.arena);
        conn.key = Some(key);
        conn.move_to(port);
        conn.peer_mac = mac;
        conn.role = role;
        conn.least_isn = least_isn;
        let started = self.lanes[usize::from(port.0)].stack.connect(
            conn.set.get_mut(conn.handle),
            local,
            remote,
        );
        debug_assert!(started.is_ok(), "addresses of one family: {started:?}");
        let inserted = self.flows.insert(key, id);
        debug_assert!(inserted.is_ok(), "the flow table has room for every slot");
        Some(id)
    }

    /// A local address whose flow to `remote` is free and whose replies come to this worker. Two workers
    /// never choose the same: each port is one worker's.
    ///
    /// A run of ports that are taken is leapt out of: with one port in ten free, one search in a
    /// thousand fails. Where only connections in TIME-WAIT stand in the way, one of them gives way.
    fn free_flow(&mut self, port: PortId, source: IpAddr, remote: SocketAddr) -> Option<Way> {
        let steering = &self.lanes[usize::from(port.0)].seat.steering;
        let replies = steering.replies(source, remote);
        let in_a_row = PORT_TRIES * u32::from(steering.workers());
        let mut waiting = None;
        for tried in 0..2 * in_a_row {
            let own = if tried < in_a_row {
                self.own_ports.step()
            } else if waiting.is_none() {
                self.own_ports.leap()
            } else {
                break;
            };
            if replies.owner(own) != self.me {
                continue;
            }
            let local = SocketAddr::new(source, own);
            let key = FlowKey::new(port, local, remote)?;
            match self.flows.get(&key) {
                None => {
                    return Some(Way {
                        local,
                        key,
                        least_isn: None,
                    });
                }
                Some(id) if waiting.is_none() && self.time_waits.contains(id) => {
                    waiting = Some((local, key, id));
                }
                Some(_) => {}
            }
        }
        let (local, key, id) = waiting?;
        // Numbers beyond all that the old connection has sent, its SYN and its FIN included, so that
        // nothing of it that is still under way is taken for the new one's (RFC 9293 section 3.4.1).
        let old = &self.conns[id];
        let end = old.local_isn?.wrapping_add(2);
        let least_isn = Some(end.wrapping_add(old.send.acked() as u32));
        self.evict(id);
        Some(Way {
            local,
            key,
            least_isn,
        })
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
