//! What a peer has sent: the frames its bytes lie in, by stream offset.

use super::span::{Pieces, SpanArena, SpanInfo, SpanList};
use crate::port::{Frame, Piece};

/// Spans a queue may hold. Above it, segments are refused before TCP sees them, except for those
/// that fill the first hole: TCP waits for them, so to refuse them would be to refuse for ever.
/// There are fewer holes than spans, so a queue never has more than twice as many. Together with
/// the compaction of small segments it bounds how many frames a peer can pin with odd segment sizes.
const MAX_SPANS: u32 = 1024;

/// Segments up to this many bytes are copied behind the previous one if that has room.
const COMPACT_BELOW: u32 = 512;

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The queue holds the bytes (or held them already).
    Held,
    /// None of the bytes lies in the window.
    OutsideWindow,
    /// The queue has too many spans.
    TooMany,
}

/// The received and not yet consumed bytes of one direction of a connection.
#[derive(Debug, Default)]
pub struct RecvQueue {
    spans: SpanList,
    /// Stream offset of the first byte not consumed.
    consumed: u64,
    /// Stream offset behind the last byte that TCP has delivered in order.
    readable: u64,
}

impl RecvQueue {
    /// Stream offset of the first byte that has not been consumed.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Stream offset behind the last byte in order.
    pub fn readable(&self) -> u64 {
        self.readable
    }

    /// Bytes that can be consumed.
    pub fn available(&self) -> u64 {
        self.readable - self.consumed
    }

    /// Takes note of how far TCP has come: `queued` bytes in order are not yet consumed.
    pub fn set_available(&mut self, queued: u64) {
        debug_assert!(self.consumed + queued >= self.readable);
        self.readable = self.consumed + queued;
    }

    /// Keeps the part of a segment's payload that lies between what is readable and
    /// `window_end`. Byte `offset` of `frame` is stream byte `start`.
    pub fn insert<F: Frame>(
        &mut self,
        arena: &mut SpanArena<F>,
        frame: &F,
        offset: u32,
        len: u32,
        start: u64,
        window_end: u64,
    ) -> Insert {
        let from = start.max(self.readable);
        let end = (start + u64::from(len)).min(window_end);
        if from >= end {
            return Insert::OutsideWindow;
        }
        let offset = offset + (from - start) as u32;
        let len = (end - from) as u32;
        let last_end = self.spans.last(arena).map_or(self.consumed, |l| l.end());
        if from == last_end && len <= COMPACT_BELOW {
            let bytes = &frame.data()[offset as usize..(offset + len) as usize];
            if self.spans.extend_last(arena, bytes) {
                return Insert::Held;
            }
        }
        if self.spans.count() >= MAX_SPANS && (from >= last_end || from > self.first_hole(arena)) {
            return Insert::TooMany;
        }
        if from >= last_end {
            let _ = self
                .spans
                .push(arena, Some(frame.clone()), from, offset, len);
        } else {
            let _ = self.spans.fill(arena, frame.clone(), from, end, offset);
        }
        Insert::Held
    }

    /// Stream offset of the first byte that is not held.
    fn first_hole<F: Frame>(&self, arena: &SpanArena<F>) -> u64 {
        let mut at = self.consumed;
        let mut span = self.spans.first(arena);
        while let Some(here) = span
            && here.start == at
        {
            at = here.end();
            span = self.spans.next(arena, here.id);
        }
        at
    }

    /// The readable bytes from `skip` bytes behind the first on, as pieces of frames.
    pub fn readable_pieces<'a, F: Frame>(
        &self,
        arena: &'a SpanArena<F>,
        skip: u64,
    ) -> Pieces<'a, F> {
        self.spans
            .pieces(arena, None, self.consumed + skip, self.readable)
    }

    /// Looks for something at the front of the readable bytes with `look`, which is given more and more
    /// of them until it finds it: first those of the first piece, where they lie, and then, gathered in
    /// `scratch`, one piece more each time, up to `limit` bytes. Returns the bytes it was given last, and
    /// what it found in them. Pieces behind the find are not touched: they are payload.
    pub fn search<'a, F: Frame, T>(
        &self,
        arena: &'a SpanArena<F>,
        scratch: &'a mut Vec<u8>,
        limit: usize,
        mut look: impl FnMut(&[u8]) -> Option<T>,
    ) -> (&'a [u8], Option<T>) {
        let mut pieces = self.readable_pieces(arena, 0);
        let first = match pieces.next() {
            Some(first) => piece_bytes(&first),
            None => &[],
        };
        let found = look(first);
        if found.is_some() || first.len() as u64 >= self.available().min(limit as u64) {
            return (first, found);
        }
        scratch.clear();
        scratch.extend_from_slice(first);
        for piece in pieces {
            let take = (piece.len as usize).min(limit - scratch.len());
            scratch.extend_from_slice(&piece_bytes(&piece)[..take]);
            let found = look(scratch);
            if found.is_some() || scratch.len() == limit {
                return (scratch, found);
            }
        }
        (scratch, None)
    }

    /// Consumes `n` readable bytes and drops their frames.
    pub fn skip<F: Frame>(&mut self, arena: &mut SpanArena<F>, n: u64) {
        debug_assert!(n <= self.available());
        self.consumed += n;
        self.spans.drop_front(arena, self.consumed);
    }

    /// Consumes up to `most` readable bytes that lie in one frame, and hands that frame out.
    pub fn take<F: Frame>(&mut self, arena: &mut SpanArena<F>, most: u64) -> Option<(F, u32, u32)> {
        let most = most.min(self.available());
        if most == 0 {
            return None;
        }
        let first: SpanInfo = self.spans.first(arena)?;
        debug_assert_eq!(first.start, self.consumed);
        let len = u64::from(first.len).min(most) as u32;
        let frame = if len == first.len {
            self.spans.pop(arena)?.1?
        } else {
            let frame = self.spans.frame(arena, first.id)?.clone();
            self.spans.drop_front(arena, first.start + u64::from(len));
            frame
        };
        self.consumed += u64::from(len);
        Some((frame, first.offset, len))
    }

    /// Forgets everything and starts again at stream offset 0.
    pub fn reset<F: Frame>(&mut self, arena: &mut SpanArena<F>) {
        self.spans.clear(arena);
        self.consumed = 0;
        self.readable = 0;
    }
}

/// The bytes of a piece.
pub(super) fn piece_bytes<'a, F: Frame>(piece: &Piece<'a, F>) -> &'a [u8] {
    &piece.frame.data()[piece.offset as usize..(piece.offset + piece.len) as usize]
}
