//! Requests that wait for a connection to an endpoint, when their cluster has as many as it may, none can
//! be opened, there are few frames for what would come over it, or the port to their client has more to send
//! than it takes: first come, first served among the clients of a port, and ports in turn.
//!
//! Whoever waits may leave at any time, so a place in the line is a ticket that its exchange holds; what
//! stays behind in the line is passed over, and cleared away when it is more than half of it.

use std::collections::VecDeque;

use super::connect::Found;
use super::{Body, Exchange, Phase};
use crate::conn::ConnRef;
use crate::counters::{Counter, LocalReply};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::settings::{ClusterId, PortId};
use crate::worker::Worker;

/// Places that may be empty before anybody looks.
const SLACK: usize = 64;

/// A place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// Those that wait for a cluster's connections.
#[derive(Debug)]
pub struct Line {
    /// For each port, those whose client is there.
    places: Vec<VecDeque<(ConnRef, Ticket)>>,
    /// The port that is looked at first.
    turn: usize,
    /// How many of the places are somebody's.
    waiting: u32,
    next: u32,
    /// When a connection may be tried to open again, in ms, after there was no slot or port for one.
    pub(super) retry_at: u64,
}

impl Line {
    /// A line for clients at so many ports, with room for `most` at each before it grows.
    pub(super) fn new(ports: usize, most: u32) -> Self {
        let room = most.min(4096) as usize;
        Self {
            places: (0..ports).map(|_| VecDeque::with_capacity(room)).collect(),
            turn: 0,
            waiting: 0,
            next: 0,
            retry_at: 0,
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    fn join(&mut self, client: ConnRef, port: PortId) -> Ticket {
        let ticket = Ticket(self.next);
        self.next = self.next.wrapping_add(1);
        self.places[usize::from(port.0)].push_back((client, ticket));
        self.waiting += 1;
        ticket
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// The request whose head is `head` waits, if the line is not too long; otherwise it is answered.
    pub(super) fn wait_in_line(&mut self, id: ConnId, cluster: ClusterId, head: &[u8]) {
        let most = self.settings.clusters[usize::from(cluster.0)].max_pending;
        let line = &mut self.proxy.clusters[usize::from(cluster.0)].line;
        if line.waiting >= most {
            self.fail(
                id,
                503,
                "the cluster is at its limit of connections",
                LocalReply::Overloaded,
            );
            return;
        }
        let ticket = line.join(self.conns.reference(id), self.conns[id].port);
        self.pending += 1;
        self.counters[Counter::Pended] += 1;
        let saved = match self.exchange_mut(id).map(|exchange| exchange.saved) {
            Some(Some(saved)) => saved,
            _ => self.proxy.saved.keep(head),
        };
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.pending = Some(ticket);
            exchange.saved = Some(saved);
        }
        self.set_phase(id, Phase::Pending, true);
    }

    /// Sends requests that waited, as far as there are connections now.
    pub(crate) fn admit(&mut self) {
        if self.pending == 0 || self.crowded {
            return;
        }
        for cluster in 0..self.proxy.clusters.len() {
            while let Some(id) = self.first_in_line(cluster) {
                let cluster = ClusterId(cluster as u16);
                let line = &self.proxy.clusters[usize::from(cluster.0)].line;
                let may_open = self.now >= line.retry_at;
                match self.find_upstream(id, cluster, may_open) {
                    Found::Full => break,
                    // It has been answered, and has left.
                    Found::Failed => {}
                    Found::Upstream(upstream) => {
                        self.found();
                        self.send_waiting(id, upstream);
                    }
                }
            }
        }
    }

    /// When a connection may be tried to open again for those that wait, in ms; `None` if they wait for
    /// others' connections only.
    pub(crate) fn next_admission(&self) -> Option<u64> {
        if self.pending == 0 {
            return None;
        }
        if self.crowded {
            return Some(self.now + 1);
        }
        let lines = self.proxy.clusters.iter().map(|cluster| &cluster.line);
        let stuck = lines.filter(|line| line.waiting > 0 && line.retry_at > self.now);
        stuck.map(|line| line.retry_at).min()
    }

    /// The client that waits longest for `cluster` at the next port that can send more.
    fn first_in_line(&mut self, cluster: usize) -> Option<ConnId> {
        let ports = self.lanes.len();
        for _ in 0..ports {
            let turn = self.proxy.clusters[cluster].line.turn;
            if !self.lanes[turn].is_backlogged()
                && let Some(id) = self.first_at(cluster, turn)
            {
                return Some(id);
            }
            self.proxy.clusters[cluster].line.turn = (turn + 1) % ports;
        }
        None
    }

    /// The client of a port that waits longest for `cluster`.
    fn first_at(&mut self, cluster: usize, port: usize) -> Option<ConnId> {
        loop {
            let places = &self.proxy.clusters[cluster].line.places[port];
            let &(client, ticket) = places.front()?;
            if self.holds_place(client, ticket) {
                return Some(client.id);
            }
            let _ = self.proxy.clusters[cluster].line.places[port].pop_front();
        }
    }

    /// Whether the client still waits in the place of this ticket.
    fn holds_place(&mut self, client: ConnRef, ticket: Ticket) -> bool {
        self.conns.resolve(client).is_some()
            && self
                .exchange_mut(client.id)
                .is_some_and(|exchange| exchange.pending == Some(ticket))
    }

    fn send_waiting(&mut self, id: ConnId, upstream: ConnId) {
        let Some(exchange) = self.exchange_mut(id) else {
            return;
        };
        let (cluster, ticket) = (exchange.cluster, exchange.pending.take());
        let Some(saved) = exchange.saved else {
            return;
        };
        // With a body, which goes over only once, it was kept for this.
        let once = !matches!(exchange.request, Body::Done);
        if once {
            exchange.saved = None;
        }
        self.leave_line(cluster, ticket);
        let line = &mut self.proxy.clusters[usize::from(cluster.0)].line;
        line.turn = (line.turn + 1) % self.lanes.len();
        let mut out = std::mem::take(&mut self.proxy.out);
        out.clear();
        out.extend_from_slice(self.proxy.saved.bytes(saved));
        if once {
            self.proxy.saved.forget(saved);
        }
        self.start_upstream(id, upstream, &out);
        self.proxy.out = out;
        self.list_session(id);
    }

    /// An exchange is over that may have waited.
    pub(super) fn leave_if_waiting(&mut self, exchange: &Exchange) {
        self.leave_line(exchange.cluster, exchange.pending);
    }

    fn leave_line(&mut self, cluster: ClusterId, ticket: Option<Ticket>) {
        if ticket.is_none() {
            return;
        }
        self.pending -= 1;
        let line = &mut self.proxy.clusters[usize::from(cluster.0)].line;
        line.waiting -= 1;
        let taken: usize = line.places.iter().map(VecDeque::len).sum();
        if taken <= 2 * line.waiting as usize + SLACK {
            return;
        }
        let mut places = std::mem::take(&mut line.places);
        for places in &mut places {
            places.retain(|&(client, ticket)| self.holds_place(client, ticket));
        }
        self.proxy.clusters[usize::from(cluster.0)].line.places = places;
    }
}
