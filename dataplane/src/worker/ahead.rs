//! What a burst will touch, before its first packet is served.
//!
//! With many connections hardly anything of a connection is in the cache when a packet for it comes: its
//! place in the flow table, itself, its socket. Served one after the other, packets wait for memory
//! one after the other. So each step is done for the whole burst, and begins to load what the next needs.
//! These are hints: nothing is decided here.

use cache::prefetch;

use crate::classify::{Packet, classify};
use crate::conn::ConnRef;
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{Frame, FramePool, Port, RxBurst};
use crate::proxy::Role;
use crate::settings::PortId;
use crate::worker::{Worker, session_timer, tcp_timer};

/// With so many connections open, they are likely to be in the cache.
const CACHED: usize = 512;

/// A burst's packets, and connections that are being loaded.
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
        let Ahead { kinds, conns } = &mut self.ahead;
        let keys = || {
            kinds.iter().filter_map(|kind| match kind {
                Packet::Tcp(segment) => Some(&segment.key),
                _ => None,
            })
        };
        for key in keys() {
            self.flows.prefetch(key);
        }
        conns.clear();
        for id in keys().filter_map(|key| self.flows.get(key)) {
            prefetch(&self.conns[id]);
            self.timers.prefetch(tcp_timer(id));
            self.timers.prefetch(session_timer(id));
            conns.push(id);
        }
        for &id in conns.iter() {
            prefetch(self.conns[id].socket());
        }
    }

    /// Begins to load the clients of connections to endpoints whose sessions are to run.
    pub(crate) fn look_ahead_of_sessions(&mut self, listed: &[ConnId]) {
        if self.conns.open() <= CACHED {
            return;
        }
        let conns = &mut self.ahead.conns;
        conns.clear();
        for &id in listed {
            if let Role::Upstream(upstream) = &self.conns[id].role
                && let Some(ConnRef { id, .. }) = upstream.client
            {
                prefetch(&self.conns[id]);
                self.timers.prefetch(tcp_timer(id));
                self.timers.prefetch(session_timer(id));
                conns.push(id);
            }
        }
        for &id in conns.iter() {
            prefetch(self.conns[id].socket());
        }
    }
}
