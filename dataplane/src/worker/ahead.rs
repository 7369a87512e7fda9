//! What a burst will touch, before its first packet is served.
//!
//! With many connections hardly anything of a connection is in the cache when a packet for it comes: its
//! place in the flow table, itself, its socket. Served one after the other, packets wait for memory
//! one after the other. So each step is done for the whole burst, and begins to load what the next needs.
//! These are hints: nothing is decided here.

use cache::prefetch;

use crate::classify::{Packet, classify};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{Frame, FramePool, Port, RxBurst};
use crate::proxy::Role;
use crate::settings::PortId;
use crate::worker::{Worker, session_timer, tcp_timer};

/// With so many connections open, they are likely to be in the cache.
const CACHED: usize = 512;

/// A burst's packets, and memory for a list of connections.
#[derive(Debug)]
pub(crate) struct Ahead {
    kinds: Vec<Packet>,
    conns: Vec<ConnId>,
}

impl Ahead {
    /// For bursts of `most` packets.
    pub(crate) fn with_capacity(most: usize) -> Self {
        Self {
            kinds: Vec::with_capacity(most),
            conns: Vec::with_capacity(most),
        }
    }

    /// What the packet of this index is.
    pub(crate) fn kind(&self, index: usize) -> Packet {
        self.kinds[index]
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Classifies a burst's packets, and begins to load their connections.
    pub(super) fn look_ahead(&mut self, port: PortId, burst: &RxBurst<P::Frame>) {
        self.ahead.kinds.clear();
        let mut first = 0;
        for packet in &burst.packets {
            let head = burst.frames.get(first).map_or(&[][..], Frame::data);
            first += usize::from(packet.frames);
            self.ahead.kinds.push(classify(port, head, packet.len));
        }
        if self.conns.open() <= CACHED {
            return;
        }
        let keys = || {
            self.ahead.kinds.iter().filter_map(|kind| match kind {
                Packet::Tcp(segment) => Some(&segment.key),
                _ => None,
            })
        };
        for key in keys() {
            self.flows.prefetch(key);
        }
        let mut conns = std::mem::take(&mut self.ahead.conns);
        conns.extend(keys().filter_map(|key| self.flows.get(key)));
        self.load_soon(&conns);
        conns.clear();
        self.ahead.conns = conns;
    }

    /// Begins to load the clients of connections to endpoints whose sessions are to run.
    pub(crate) fn look_ahead_of_sessions(&mut self, listed: &[ConnId]) {
        if self.conns.open() <= CACHED {
            return;
        }
        let mut conns = std::mem::take(&mut self.ahead.conns);
        conns.extend(listed.iter().filter_map(|&id| match &self.conns[id].role {
            Role::Upstream(upstream) => upstream.client.map(|client| client.id),
            _ => None,
        }));
        self.load_soon(&conns);
        conns.clear();
        self.ahead.conns = conns;
    }

    /// Begins to load connections and their timers, and then their sockets.
    fn load_soon(&self, conns: &[ConnId]) {
        for &id in conns {
            prefetch(&self.conns[id]);
            self.timers.prefetch(tcp_timer(id));
            self.timers.prefetch(session_timer(id));
        }
        for &id in conns {
            prefetch(self.conns[id].socket());
        }
    }
}
