//! A body on its way out: references to the pattern, as many as the buffer limit allows.

use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::worker::Worker;

/// The part of a body that is not queued yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// The next byte.
    pub offset: u64,
    /// Behind the last one.
    pub end: u64,
}

impl Outgoing {
    pub fn is_done(self) -> bool {
        self.offset >= self.end
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Queues more of a body. The session runs again with every acknowledgement.
    pub(super) fn push_body(&mut self, id: ConnId, out: &mut Outgoing) {
        let limit = u64::from(self.settings.limits.session_buffer);
        let mut room = limit.saturating_sub(self.conns[id].send.outstanding());
        // In strokes: a run for each acknowledgement would be a packet for each.
        if room < limit / 4 && room < out.end - out.offset {
            return;
        }
        while room > 0 && !out.is_done() {
            let Some((frame, from, len)) = self.load.pattern.piece(&mut self.pool, out.offset)
            else {
                self.list_starved(id);
                break;
            };
            let len = u64::from(len).min(room).min(out.end - out.offset);
            let send = &mut self.conns[id].send;
            send.push(&mut self.arena, frame, from, len as u32);
            out.offset += len;
            room -= len;
        }
        self.list_egress(id);
    }
}
