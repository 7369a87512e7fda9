//! What a peer has not acknowledged yet: the frames it can be sent from, by stream offset.
//!
//! ```text
//!   acked          told            ready            end
//!     |--in flight---|---to tell-----|--being copied--|
//! ```
//! TCP is *told* of a byte when it lies in its place (`ready`) and TCP has room for it; from then on
//! TCP decides when it is sent, and sent again.

use super::span::{Pieces, SpanArena, SpanId, SpanList};
use crate::port::Frame;

/// The bytes of one direction of a connection that are on their way to the peer.
#[derive(Debug, Default)]
pub struct SendQueue {
    spans: SpanList,
    acked: u64,
    told: u64,
    /// Behind the last byte that was ever in a segment.
    sent: u64,
    ready: u64,
    end: u64,
    /// Spans whose bytes are still being copied.
    pending: u32,
    /// Where the last segment ended: the next one is looked for from here.
    cursor: Option<(u64, SpanId)>,
}

impl SendQueue {
    /// Stream offset of the first byte the peer has not acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Stream offset behind the last byte TCP was told of.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Stream offset behind the last byte that was ever in a segment: what lies before it and is
    /// sent is sent again.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that TCP can be told of.
    pub fn untold(&self) -> u64 {
        self.ready - self.told
    }

    /// Bytes in the queue, copied or not, acknowledged not.
    pub fn outstanding(&self) -> u64 {
        self.end - self.acked
    }

    /// Stream offset behind the last byte queued.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// True when TCP has been told of every byte ever queued.
    pub fn all_told(&self) -> bool {
        self.told == self.end
    }

    /// Spans that a mover is still copying into.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Queues `len` bytes at `offset` of `frame`.
    pub fn push<F: Frame>(&mut self, arena: &mut SpanArena<F>, frame: F, offset: u32, len: u32) {
        let _ = self.spans.push(arena, Some(frame), self.end, offset, len);
        self.end += u64::from(len);
        if self.pending == 0 {
            self.ready = self.end;
        }
    }

    /// Copies `bytes` behind the last ones queued, into the same frame, if nobody else has it.
    pub fn extend<F: Frame>(&mut self, arena: &mut SpanArena<F>, bytes: &[u8]) -> bool {
        if self.pending != 0 || !self.spans.extend_last(arena, bytes) {
            return false;
        }
        self.end += bytes.len() as u64;
        self.ready = self.end;
        true
    }

    /// Reserves the next `len` bytes for a frame that is still being copied into.
    pub fn push_pending<F: Frame>(&mut self, arena: &mut SpanArena<F>, len: u32) -> SpanId {
        let id = self.spans.push(arena, None, self.end, 0, len);
        self.end += u64::from(len);
        self.pending += 1;
        id
    }

    /// Puts a copied frame in the place that [`SendQueue::push_pending`] reserved.
    pub fn complete<F: Frame>(&mut self, arena: &mut SpanArena<F>, id: SpanId, frame: F) {
        self.spans.complete(arena, id, frame);
        self.pending -= 1;
        if self.pending == 0 {
            self.ready = self.end;
            return;
        }
        // Ready is everything before the first span that is still without its frame.
        let mut at = self.spans.first(arena);
        while let Some(span) = at {
            if self.spans.frame(arena, span.id).is_none() {
                self.ready = span.start;
                return;
            }
            at = self.spans.next(arena, span.id);
        }
    }

    /// Takes note that TCP was told of `n` more bytes.
    pub fn tell(&mut self, n: u64) {
        self.told += n;
        debug_assert!(self.told <= self.ready);
    }

    /// Takes note of the peer's acknowledgement up to stream offset `acked`; frames that are no
    /// longer needed go back to their pool.
    pub fn ack<F: Frame>(&mut self, arena: &mut SpanArena<F>, acked: u64) {
        debug_assert!(acked <= self.told);
        if acked > self.acked {
            self.acked = acked;
            self.cursor = match self.cursor {
                // Its last byte is not acknowledged, so the span is still there.
                Some((offset, id)) if offset > acked => Some((offset, id)),
                _ => None,
            };
            self.spans.drop_front(arena, acked);
        }
    }

    /// The pieces of the segment from stream offset `start` to `end`.
    pub fn pieces<'a, F: Frame>(
        &mut self,
        arena: &'a SpanArena<F>,
        start: u64,
        end: u64,
    ) -> Pieces<'a, F> {
        self.sent = self.sent.max(end);
        let from = match self.cursor {
            Some((offset, id)) if offset <= start => Some(id),
            _ => None,
        };
        let pieces = self.spans.pieces(arena, from, start, end);
        // Behind its last piece the walk still stands on the span of the segment's last byte. An
        // empty segment has none: from where its walk stands, that span may be gone earlier.
        if start < end {
            let mut walk = pieces.clone();
            while walk.next().is_some() {}
            self.cursor = walk.cursor().map(|id| (end, id));
        }
        pieces
    }

    /// Forgets everything and starts again at stream offset 0.
    pub fn reset<F: Frame>(&mut self, arena: &mut SpanArena<F>) {
        self.spans.clear(arena);
        *self = Self::default();
    }
}
