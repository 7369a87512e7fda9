//! Spans: runs of stream bytes that lie together in one frame, linked into lists.
//!
//! All lists of a worker share one arena, so that an idle connection owns no memory here and
//! appending or removing never allocates once the arena has grown to its high-water mark.

use crate::port::{Frame, Piece};

/// Index of a span in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u32);

const NIL: u32 = u32::MAX;

/// `len` stream bytes from stream offset `start`, at `offset` of `frame`'s data.
#[derive(Debug)]
struct Span<F> {
    /// `None` while a mover is still copying the bytes into place.
    frame: Option<F>,
    start: u64,
    offset: u32,
    len: u32,
    next: u32,
}

/// The span nodes of one worker.
#[derive(Debug)]
pub struct SpanArena<F> {
    spans: Vec<Span<F>>,
    free: u32,
    used: usize,
}

impl<F: Frame> SpanArena<F> {
    /// An arena with room for `capacity` spans; it grows when more are needed.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            spans: Vec::with_capacity(capacity),
            free: NIL,
            used: 0,
        }
    }

    /// Spans in use, over all lists.
    pub fn used(&self) -> usize {
        self.used
    }

    fn take(&mut self, span: Span<F>) -> u32 {
        self.used += 1;
        if self.free == NIL {
            self.spans.push(span);
            (self.spans.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.spans[index as usize].next;
            self.spans[index as usize] = span;
            index
        }
    }

    fn give_back(&mut self, index: u32) -> Option<F> {
        self.used -= 1;
        let span = &mut self.spans[index as usize];
        span.next = self.free;
        self.free = index;
        span.frame.take()
    }
}

/// A list of spans in stream order, not overlapping. Owns its nodes: [`SpanList::clear`] must be
/// called before it is forgotten, since dropping it cannot reach the arena.
#[derive(Debug)]
pub struct SpanList {
    head: u32,
    tail: u32,
    count: u32,
}

impl Default for SpanList {
    fn default() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            count: 0,
        }
    }
}

/// What a list says about one of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanInfo {
    /// The span.
    pub id: SpanId,
    /// Stream offset of its first byte.
    pub start: u64,
    /// Where that byte lies in the frame's data.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

impl SpanInfo {
    /// Stream offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}

impl SpanList {
    /// How many spans the list has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// True when the list has no span.
    pub fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The first span.
    pub fn first<F: Frame>(&self, arena: &SpanArena<F>) -> Option<SpanInfo> {
        info(arena, self.head)
    }

    /// The last span.
    pub fn last<F: Frame>(&self, arena: &SpanArena<F>) -> Option<SpanInfo> {
        info(arena, self.tail)
    }

    /// The span after `id`.
    pub fn next<F: Frame>(&self, arena: &SpanArena<F>, id: SpanId) -> Option<SpanInfo> {
        info(arena, arena.spans[id.0 as usize].next)
    }

    /// Adds a span behind the last. `start` must not lie before the end of the last.
    pub fn push<F: Frame>(
        &mut self,
        arena: &mut SpanArena<F>,
        frame: Option<F>,
        start: u64,
        offset: u32,
        len: u32,
    ) -> SpanId {
        debug_assert!(self.last(arena).is_none_or(|last| last.end() <= start));
        self.insert_after(arena, SpanId(self.tail), frame, start, offset, len)
    }

    /// Adds a span behind `after`, or in front when `after` is none of the list's.
    fn insert_after<F: Frame>(
        &mut self,
        arena: &mut SpanArena<F>,
        after: SpanId,
        frame: Option<F>,
        start: u64,
        offset: u32,
        len: u32,
    ) -> SpanId {
        let next = if after.0 == NIL {
            self.head
        } else {
            arena.spans[after.0 as usize].next
        };
        let index = arena.take(Span {
            frame,
            start,
            offset,
            len,
            next,
        });
        if after.0 == NIL {
            self.head = index;
        } else {
            arena.spans[after.0 as usize].next = index;
        }
        if next == NIL {
            self.tail = index;
        }
        self.count += 1;
        SpanId(index)
    }

    /// Fills the holes of the list between `start` and `end` with what `frame` holds, whose byte
    /// `offset` is stream byte `start`. What the list has already, it keeps. Returns how many spans
    /// were added.
    pub fn fill<F: Frame>(
        &mut self,
        arena: &mut SpanArena<F>,
        frame: F,
        start: u64,
        end: u64,
        offset: u32,
    ) -> u32 {
        let mut frame = Some(frame);
        let mut added = 0;
        let mut previous = SpanId(NIL);
        let mut at = start;
        let mut cursor = self.head;
        while at < end {
            // The hole that `at` lies in ends where the next span begins.
            let here = info(arena, cursor);
            if let Some(here) = here
                && here.end() <= at
            {
                previous = here.id;
                cursor = arena.spans[cursor as usize].next;
                continue;
            }
            let hole_end = here.map_or(end, |here| here.start.min(end));
            if at < hole_end {
                let last_piece = hole_end == end;
                let owner = if last_piece {
                    frame.take()
                } else {
                    frame.clone()
                };
                let _ = self.insert_after(
                    arena,
                    previous,
                    owner,
                    at,
                    offset + (at - start) as u32,
                    (hole_end - at) as u32,
                );
                added += 1;
            }
            match here {
                Some(here) if here.start < end => {
                    at = here.end();
                    previous = here.id;
                    cursor = arena.spans[cursor as usize].next;
                }
                _ => break,
            }
        }
        added
    }

    /// Drops every byte before stream offset `to`.
    pub fn drop_front<F: Frame>(&mut self, arena: &mut SpanArena<F>, to: u64) {
        while let Some(first) = self.first(arena) {
            if first.end() <= to {
                drop(self.pop(arena));
            } else {
                if first.start < to {
                    let span = &mut arena.spans[first.id.0 as usize];
                    let cut = (to - first.start) as u32;
                    span.start = to;
                    span.offset += cut;
                    span.len -= cut;
                }
                break;
            }
        }
    }

    /// Takes the first span off.
    pub fn pop<F: Frame>(&mut self, arena: &mut SpanArena<F>) -> Option<(SpanInfo, Option<F>)> {
        let first = self.first(arena)?;
        self.head = arena.spans[first.id.0 as usize].next;
        if self.head == NIL {
            self.tail = NIL;
        }
        self.count -= 1;
        let frame = arena.give_back(first.id.0);
        Some((first, frame))
    }

    /// Gives every span back.
    pub fn clear<F: Frame>(&mut self, arena: &mut SpanArena<F>) {
        while self.pop(arena).is_some() {}
    }

    /// The frame of a span, unless a mover still has it.
    pub fn frame<'a, F: Frame>(&self, arena: &'a SpanArena<F>, id: SpanId) -> Option<&'a F> {
        arena.spans[id.0 as usize].frame.as_ref()
    }

    /// The bytes of a span.
    pub fn bytes<'a, F: Frame>(&self, arena: &'a SpanArena<F>, id: SpanId) -> &'a [u8] {
        let span = &arena.spans[id.0 as usize];
        match &span.frame {
            Some(frame) => &frame.data()[span.offset as usize..(span.offset + span.len) as usize],
            None => &[],
        }
    }

    /// Puts the copied frame of a span in its place.
    pub fn complete<F: Frame>(&mut self, arena: &mut SpanArena<F>, id: SpanId, frame: F) {
        let span = &mut arena.spans[id.0 as usize];
        debug_assert!(span.frame.is_none());
        span.frame = Some(frame);
    }

    /// Copies `bytes` behind the last span's, into the same frame, if that frame has room there and
    /// no other owner. Keeps a peer that sends a byte a packet from pinning a frame for each.
    pub fn extend_last<F: Frame>(&mut self, arena: &mut SpanArena<F>, bytes: &[u8]) -> bool {
        if self.tail == NIL {
            return false;
        }
        let span = &mut arena.spans[self.tail as usize];
        let end = (span.offset + span.len) as usize;
        let Some(frame) = &mut span.frame else {
            return false;
        };
        // What lies behind the span is nobody's when the frame has no other owner: the padding of
        // a short Ethernet frame, or bytes beyond the window.
        if frame.capacity() - end < bytes.len() {
            return false;
        }
        let Some(room) = frame.room_mut() else {
            return false;
        };
        room[end..end + bytes.len()].copy_from_slice(bytes);
        frame.set_len(end + bytes.len());
        span.len += bytes.len() as u32;
        true
    }

    /// The pieces of frames that hold the stream bytes from `start` to `end`, looking from span
    /// `from` on (or from the first). All of them must be in place.
    pub fn pieces<'a, F: Frame>(
        &self,
        arena: &'a SpanArena<F>,
        from: Option<SpanId>,
        start: u64,
        end: u64,
    ) -> Pieces<'a, F> {
        Pieces {
            arena,
            cursor: from.map_or(self.head, |id| id.0),
            at: start,
            end,
        }
    }
}

/// Iterator of [`SpanList::pieces`].
#[derive(Debug)]
pub struct Pieces<'a, F> {
    arena: &'a SpanArena<F>,
    cursor: u32,
    at: u64,
    end: u64,
}

impl<F> Clone for Pieces<'_, F> {
    fn clone(&self) -> Self {
        Self {
            arena: self.arena,
            cursor: self.cursor,
            at: self.at,
            end: self.end,
        }
    }
}

impl<F> Pieces<'_, F> {
    /// The span the next piece is looked for from.
    pub fn cursor(&self) -> Option<SpanId> {
        (self.cursor != NIL).then_some(SpanId(self.cursor))
    }
}

impl<'a, F: Frame> Iterator for Pieces<'a, F> {
    type Item = Piece<'a, F>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end && self.cursor != NIL {
            let span = &self.arena.spans[self.cursor as usize];
            let span_end = span.start + u64::from(span.len);
            if span_end <= self.at {
                self.cursor = span.next;
                continue;
            }
            debug_assert!(span.start <= self.at, "a hole in bytes that are to be sent");
            let frame = span.frame.as_ref()?;
            let skip = (self.at - span.start) as u32;
            let len = (span_end.min(self.end) - self.at) as u32;
            self.at += u64::from(len);
            return Some(Piece {
                frame,
                offset: span.offset + skip,
                len,
            });
        }
        None
    }
}

fn info<F>(arena: &SpanArena<F>, index: u32) -> Option<SpanInfo> {
    if index == NIL {
        return None;
    }
    let span = &arena.spans[index as usize];
    Some(SpanInfo {
        id: SpanId(index),
        start: span.start,
        offset: span.offset,
        len: span.len,
    })
}
