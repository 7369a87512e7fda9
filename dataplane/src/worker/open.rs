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
/// Ports of this worker's tried for one connection, on average, before the endpoint counts as used
/// up.
const PORT_TRIES: u32 = 64;

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
        let (local, key) = self.free_flow(port, source, remote)?;
        let id = self.take_slot()?;
        let conn = &mut self.conns[id];
        conn.reset(&mut self.arena);
        conn.key = Some(key);
        conn.move_to(port);
        conn.peer_mac = mac;
        conn.role = role;
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

    /// A local address whose flow to `remote` is free and whose replies come to this worker.
    /// Connections in TIME-WAIT still have theirs. Two workers never choose the same: each port is
    /// one worker's.
    fn free_flow(
        &mut self,
        port: PortId,
        source: IpAddr,
        remote: SocketAddr,
    ) -> Option<(SocketAddr, FlowKey)> {
        let steering = &self.lanes[usize::from(port.0)].seat.steering;
        let replies = steering.replies(source, remote);
        for _ in 0..PORT_TRIES * u32::from(steering.workers()) {
            let next = self.proxy.next_port;
            self.proxy.next_port = if next < FIRST_PORT || next == u16::MAX {
                FIRST_PORT
            } else {
                next + 1
            };
            if replies.owner(self.proxy.next_port) != self.me {
                continue;
            }
            let local = SocketAddr::new(source, self.proxy.next_port);
            let key = FlowKey::new(port, local, remote)?;
            if self.flows.get(&key).is_none() {
                return Some((local, key));
            }
        }
        None
    }
}
