//! The client's connections: opened at a bounded pace, from many addresses, and replaced when they end.

use super::client::{Clients, LoadClient};
use crate::counters::Drop;
use crate::mover::Mover;
use crate::port::{Frame, FramePool, Port};
use crate::proxy::Role;
use crate::settings::PortSettings;
use crate::worker::Worker;
use std::net::IpAddr;

/// Connections opened in a turn at most.
const PER_TURN: u32 = 64;
/// After how long a connection that failed is replaced, in ms.
const RETRY: u64 = 10;

impl<F: Frame> Clients<F> {
    /// A connection is wanted in the place of one that came to its proper end.
    pub(super) fn replace(&mut self) {
        self.unopened += 1;
    }

    /// The same in the place of one that failed: not at once, or whoever refuses connections would be
    /// asked without end.
    pub(super) fn replace_later(&mut self, now: u64) {
        self.retries.push_back(now + RETRY);
    }

    /// The address to connect from next.
    fn source(&mut self, port: &PortSettings) -> Option<IpAddr> {
        let v4 = self.plan.target.is_ipv4();
        let turn = self.next_source;
        self.next_source = self.next_source.wrapping_add(1);
        let ranges = || port.ranges.iter().filter(|r| r.first.is_ipv4() == v4);
        let all: u64 = ranges().map(|range| u64::from(range.count)).sum();
        if all == 0 {
            let mut own = port.addresses.iter().map(|(address, _)| *address);
            return own.find(|address| address.is_ipv4() == v4);
        }
        let mut nth = u64::from(turn) % all;
        for range in ranges() {
            if nth < u64::from(range.count) {
                return Some(range.nth(nth as u32));
            }
            nth -= u64::from(range.count);
        }
        None
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Opens connections that are wanted, a few in each turn. Returns whether there was one to open.
    pub(super) fn open_load_connections(&mut self) -> bool {
        let now = self.now;
        let Some(clients) = &mut self.load.clients else {
            return false;
        };
        while clients.retries.front().is_some_and(|&at| at <= now) {
            let _ = clients.retries.pop_front();
            clients.unopened += 1;
        }
        let wanted = clients
            .unopened
            .min(
                clients
                    .plan
                    .most_connecting
                    .saturating_sub(clients.connecting),
            )
            .min(PER_TURN);
        for _ in 0..wanted {
            if !self.open_load_connection() {
                break;
            }
        }
        wanted > 0
    }

    /// Opens one. False when that cannot be now: it is tried again in the next turn.
    fn open_load_connection(&mut self) -> bool {
        let Some(clients) = &mut self.load.clients else {
            return false;
        };
        let (port, target) = (clients.plan.port, clients.plan.target);
        let timeout = clients.plan.timeout;
        let lane = &mut self.lanes[usize::from(port.0)];
        let source = clients.source(&self.settings.ports[usize::from(port.0)]);
        let (Some(source), Some(next_hop)) = (source, lane.neighbors.next_hop(target.ip())) else {
            self.counters[Drop::NoRoute] += 1;
            return false;
        };
        let Some(mac) = lane.neighbors.lookup(next_hop) else {
            lane.neighbors.want(next_hop, self.now);
            return false;
        };
        let role = Role::LoadClient(LoadClient::new(self.now_us));
        let Some(id) = self.open_connection(port, source, target, Some(mac), role) else {
            self.counters[Drop::TcpNoConnectionSlot] += 1;
            if let Some(clients) = &mut self.load.clients {
                clients.begin_short();
            }
            return false;
        };
        if let Some(clients) = &mut self.load.clients {
            clients.unopened -= 1;
            clients.connecting += 1;
            clients.sockets += 1;
        }
        self.arm_session(id, timeout);
        self.list_egress(id);
        true
    }
}
