//! Packets out: every connection that may have something to send is asked until it has not.

use smoltcp::socket::tcp;

use crate::conn::Ending;
use crate::counters::{Counter, Drop, Stage};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::proxy::Role;
use crate::settings::PortId;
use crate::timer_wheel::TimerId;
use crate::worker::{TIMERS_PER_TURN, Worker, tcp_timer};

/// Packets one connection may send in a turn, so that one with a large window does not keep the
/// others waiting.
const PACKETS_PER_CONN: usize = 64;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Asks the connections on the lists for packets, and hands these to the devices. Those that a full
    /// device leaves waiting are not even looked at.
    pub(super) fn send(&mut self) {
        // What came since the sessions: windows and timers.
        self.close(Stage::Rest);
        for lane in 0..self.lanes.len() {
            // What is listed meanwhile is for the next turn.
            let listed = self.lanes[lane].egress.len();
            if listed > 0 {
                self.found();
            }
            for _ in 0..listed {
                let Some(id) = self.lanes[lane].egress.pop_front() else {
                    break;
                };
                self.conns[id].egress_listed = false;
                if usize::from(self.conns[id].port.0) != lane {
                    // The slot was used again.
                    self.list_egress(id);
                } else if self.conns[id].key.is_some() && !self.send_from(id) {
                    self.lanes[lane].egress.push_front(id);
                    break;
                }
            }
        }
        self.close(Stage::Egress);
        for lane in &mut self.lanes {
            lane.port.tx_flush();
        }
        self.close(Stage::Tx);
    }

    /// Whether a port has room for any segment, flushed if need be.
    fn make_room(&mut self, port: PortId) -> bool {
        let lane = usize::from(port.0);
        if self.lanes[lane].has_room() {
            return true;
        }
        self.close(Stage::Egress);
        self.lanes[lane].port.tx_flush();
        self.close(Stage::Tx);
        self.lanes[lane].has_room()
    }

    /// Sends what a connection has to send. False when the device has no room for all of it.
    fn send_from(&mut self, id: ConnId) -> bool {
        if let Some(by) = self.conns[id].holds_ack(self.now) {
            self.timers.arm(tcp_timer(id), by);
            return true;
        }
        self.conns[id].tell(self.now);
        let port = self.conns[id].port;
        let Some(mac) = self.next_hop_mac(id) else {
            return true;
        };
        let mut room_for_all = true;
        self.lanes[usize::from(port.0)]
            .stack
            .probe(&mut self.conns[id], self.now);
        let mut due = self.tcp_deadline(id);
        for round in 0.. {
            // TCP knows that it has nothing to send: asking it for a segment would cost as much again.
            if due.is_none_or(|at| at > self.now) {
                break;
            }
            if round == PACKETS_PER_CONN {
                self.list_egress(id);
                break;
            }
            if !self.make_room(port) {
                // It stays at the head of the list.
                self.conns[id].egress_listed = true;
                room_for_all = false;
                break;
            }
            let lane = &mut self.lanes[usize::from(port.0)];
            lane.stack.egress(self.now, &mut self.conns[id].set);
            let emitted = lane.stack.device.has_emitted();
            if emitted {
                self.emit(port, Some(id), mac);
            }
            due = self.tcp_deadline(id);
            if !emitted {
                break;
            }
        }
        // One that ends here is not asked again.
        self.settle(id, due);
        room_for_all || self.conns[id].key.is_none()
    }

    /// When TCP wants to be asked for a segment of a connection, in ms.
    fn tcp_deadline(&mut self, id: ConnId) -> Option<u64> {
        let conn = &self.conns[id];
        let lane = &mut self.lanes[usize::from(conn.port.0)];
        lane.stack.deadline(self.now, &conn.set)
    }

    /// After a connection was asked: end it, or note when it wants to be asked again; for TCP's own
    /// reasons that is `due`.
    fn settle(&mut self, id: ConnId, due: Option<u64>) {
        let conn = &mut self.conns[id];
        match conn.socket().state() {
            tcp::State::Closed if conn.egress_listed => {}
            tcp::State::Closed => {
                // Neither side has closed, nor have we reset it.
                self.counters[Counter::ResetsReceived] += u64::from(conn.ending == Ending::Open);
                return self.end_connection(id);
            }
            // A SYN that was reset leaves the socket listening again: nobody will come.
            tcp::State::Listen => return self.end_connection(id),
            tcp::State::Established => {
                if let Role::Upstream(upstream) = &mut conn.role
                    && !upstream.established
                {
                    upstream.established = true;
                    self.counters[Counter::Connected] += 1;
                }
            }
            tcp::State::TimeWait => self.enter_time_wait(id, due),
            _ => {}
        }
        let conn = &mut self.conns[id];
        let lane = &mut self.lanes[usize::from(conn.port.0)];
        match lane.stack.wake_at(conn, due, self.now) {
            Some(at) if at <= self.now => self.timers.arm(tcp_timer(id), self.now + 1),
            Some(at) => self.timers.arm(tcp_timer(id), at),
            None => self.timers.disarm(tcp_timer(id)),
        }
    }

    /// The Ethernet address that frames of a connection go to; without one it waits on a list.
    fn next_hop_mac(&mut self, id: ConnId) -> Option<[u8; 6]> {
        let conn = &mut self.conns[id];
        if conn.peer_mac.is_some() {
            return conn.peer_mac;
        }
        if conn.socket().state() == tcp::State::Closed {
            // Given up before its next hop was known: there is nobody to tell.
            self.counters[Drop::MacUnresolved] += 1;
            self.end_connection(id);
            return None;
        }
        let remote = conn.key?.remote().ip();
        let lane = &mut self.lanes[usize::from(conn.port.0)];
        let next_hop = lane.neighbors.next_hop(remote)?;
        conn.peer_mac = lane.neighbors.lookup(next_hop);
        if conn.peer_mac.is_none() {
            lane.neighbors.want(next_hop, self.now);
            if !lane.waiting.contains(&id) {
                lane.waiting.push(id);
            }
        }
        conn.peer_mac
    }

    /// Fires the timers that are due.
    pub(super) fn expire(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        let _ = self
            .timers
            .expire(self.now, TIMERS_PER_TURN, |timer| fired.push(timer));
        if !fired.is_empty() {
            self.found();
        }
        for &TimerId(timer) in &fired {
            let id = ConnId(timer / 2);
            if self.conns[id].key.is_none() {
                continue;
            }
            if timer % 2 == 0 {
                self.list_egress(id);
            } else {
                self.session_expired(id);
            }
        }
        fired.clear();
        self.fired = fired;
    }

    /// Whether a connection has given everything it has to the peer, whose FIN alone is missing, or
    /// not even that.
    pub(super) fn is_over(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        conn.ending == Ending::Closed
            && matches!(
                conn.socket().state(),
                tcp::State::FinWait2 | tcp::State::TimeWait
            )
    }
}
