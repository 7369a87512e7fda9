//! Payload from one side of a session to the other, as far as frames and the buffer limit allow.

use super::Body;
use crate::counters::Counter;
use crate::flow_table::ConnId;
use crate::http1::{ChunkError, ChunkPiece, ChunkedDecoder};
use crate::mover::{CopyPiece, JobTag, MoveMode, Mover};
use crate::payload::{RecvQueue, SpanArena};
use crate::port::{Frame, FrameClass, FramePool, Port};
use crate::worker::Worker;

/// Runs of payload up to this many bytes are copied by the CPU whatever the mover: a reference or a
/// job would cost more, and a slow receiver would pin a whole frame for each.
const SMALL_RUN: u32 = 256;

/// What pumping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// This many bytes went over (or were dropped as framing); the body goes on.
    More(u64),
    /// The body is complete.
    Complete,
    /// The body is not what its framing promises.
    Malformed(ChunkError),
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Moves as much of `body` as can be moved now. With `dechunk` only the data of a chunked body
    /// goes over, without its framing.
    pub(super) fn pump(
        &mut self,
        from: ConnId,
        to: ConnId,
        body: &mut Body,
        dechunk: bool,
    ) -> Pumped {
        let limit = u64::from(self.settings.limits.session_buffer);
        let room = limit.saturating_sub(self.conns[to].send.outstanding());
        let available = self.conns[from].recv.available();
        match body {
            Body::Done => Pumped::Complete,
            Body::Length { left } => {
                let moved = self.carry(from, to, available.min(room).min(*left));
                *left -= moved;
                if *left == 0 {
                    *body = Body::Done;
                    Pumped::Complete
                } else {
                    Pumped::More(moved)
                }
            }
            Body::UntilClose | Body::Tunnel => {
                Pumped::More(self.carry(from, to, available.min(room)))
            }
            Body::Chunked { decoder } if dechunk => self.pump_data(from, to, decoder, room),
            Body::Chunked { decoder } => {
                // What follows the decoder must be carried, so no more is followed than there are
                // frames for.
                let room = self.afford(from, available.min(room));
                let wanted = match follow(&self.conns[from].recv, &self.arena, decoder, room) {
                    Ok(wanted) => wanted,
                    Err(error) => {
                        self.reserved.clear();
                        return Pumped::Malformed(error);
                    }
                };
                let moved = self.carry(from, to, wanted);
                debug_assert_eq!(moved, wanted);
                if decoder.is_done() {
                    *body = Body::Done;
                    Pumped::Complete
                } else {
                    Pumped::More(moved)
                }
            }
        }
    }

    /// Carries the data of a chunked body and drops its framing.
    fn pump_data(
        &mut self,
        from: ConnId,
        to: ConnId,
        decoder: &mut ChunkedDecoder,
        room: u64,
    ) -> Pumped {
        let mut moved = 0;
        let mut room = room;
        loop {
            let queue = &self.conns[from].recv;
            let Some(piece) = queue.readable_pieces(&self.arena, 0).next() else {
                return Pumped::More(moved);
            };
            let bytes =
                &piece.frame.data()[piece.offset as usize..(piece.offset + piece.len) as usize];
            let mut next = *decoder;
            let (data, len, end) = match next.next(bytes) {
                Ok(ChunkPiece::Data { len }) => (true, len as u64, false),
                Ok(ChunkPiece::Framing { len }) => (false, len as u64, false),
                Ok(ChunkPiece::End { len }) => (false, len as u64, true),
                Err(error) => return Pumped::Malformed(error),
            };
            if data {
                let carried = self.carry(from, to, len.min(room));
                decoder.skip_data(carried);
                room -= carried;
                moved += carried;
                if carried < len {
                    return Pumped::More(moved);
                }
            } else {
                *decoder = next;
                self.discard(from, len);
                moved += len;
                if end {
                    return Pumped::Complete;
                }
            }
        }
    }

    /// Consumes `n` received bytes that go nowhere.
    pub(crate) fn discard(&mut self, from: ConnId, n: u64) {
        self.conns[from].recv.skip(&mut self.arena, n);
        self.consumed(from, n);
    }

    /// How many of `n` bytes from a connection can be carried now. The frames that copies will need
    /// are set aside; when they are short, the session runs again as soon as there are some.
    fn afford(&mut self, from: ConnId, n: u64) -> u64 {
        if self.mover.mode() == MoveMode::Reference {
            return n;
        }
        let mut capacity: u64 = self.reserved.iter().map(|f| f.capacity() as u64).sum();
        while capacity < n {
            let class = if n - capacity <= 2048 {
                FrameClass::Small
            } else {
                FrameClass::Large
            };
            match self.pool.alloc(class) {
                Some(frame) => {
                    capacity += frame.capacity() as u64;
                    self.reserved.push(frame);
                }
                None => {
                    self.list_starved(from);
                    break;
                }
            }
        }
        n.min(capacity)
    }

    /// Carries `n` received bytes of one connection to the end of another's send queue. Returns how
    /// many went; fewer when frames are short.
    fn carry(&mut self, from: ConnId, to: ConnId, n: u64) -> u64 {
        let n = self.afford(from, n);
        if n > 0 {
            match self.mover.mode() {
                MoveMode::Copy if n > u64::from(SMALL_RUN) => self.carry_copies(from, to, n),
                MoveMode::Copy | MoveMode::Reference => self.carry_references(from, to, n),
            }
            self.consumed(from, n);
            self.list_egress(to);
        }
        self.reserved.clear();
        n
    }

    fn carry_references(&mut self, from: ConnId, to: ConnId, n: u64) {
        let (source, target) = self.conns.pair(from, to);
        let mut carried = 0;
        while carried < n {
            let Some((frame, offset, len)) = source.recv.take(&mut self.arena, n - carried) else {
                break;
            };
            carried += u64::from(len);
            if len <= SMALL_RUN {
                let bytes = &frame.data()[offset as usize..(offset + len) as usize];
                if target.send.extend(&mut self.arena, bytes) {
                    continue;
                }
                if let Some(mut copy) = self.pool.alloc(FrameClass::Small) {
                    if let Some(room) = copy.room_mut() {
                        room[..bytes.len()].copy_from_slice(bytes);
                    }
                    copy.set_len(bytes.len());
                    target.send.push(&mut self.arena, copy, 0, len);
                    continue;
                }
            }
            target.send.push(&mut self.arena, frame, offset, len);
        }
    }

    /// One job for each target frame that was set aside.
    fn carry_copies(&mut self, from: ConnId, to: ConnId, n: u64) {
        let conn = self.conns.reference(to);
        let (source, target) = self.conns.pair(from, to);
        let mut carried = 0;
        for frame in self.reserved.drain(..) {
            let want = (n - carried).min(frame.capacity() as u64);
            if want == 0 {
                break;
            }
            let mut filled = 0u32;
            while u64::from(filled) < want {
                let left = want - u64::from(filled);
                let Some((piece, offset, len)) = source.recv.take(&mut self.arena, left) else {
                    break;
                };
                self.batch.add_piece(CopyPiece {
                    source: piece,
                    source_offset: offset,
                    target_offset: filled,
                    len,
                });
                filled += len;
            }
            let span = target.send.push_pending(&mut self.arena, filled);
            self.batch.finish_job(frame, filled, JobTag { conn, span });
            self.counters[Counter::MoverJobs] += 1;
            self.counters[Counter::MoverBytes] += u64::from(filled);
            carried += u64::from(filled);
        }
        debug_assert_eq!(carried, n);
    }

    /// Queues bytes that the proxy has written itself. False, and nothing queued, when frames are
    /// short.
    pub(crate) fn push_bytes(&mut self, to: ConnId, bytes: &[u8]) -> bool {
        if self.conns[to].send.extend(&mut self.arena, bytes) {
            self.list_egress(to);
            return true;
        }
        debug_assert!(self.reserved.is_empty());
        let mut left = bytes;
        while !left.is_empty() {
            let class = if left.len() <= 2048 {
                FrameClass::Small
            } else {
                FrameClass::Large
            };
            let Some(mut frame) = self.pool.alloc(class) else {
                self.reserved.clear();
                return false;
            };
            let now = left.len().min(frame.capacity());
            if let Some(room) = frame.room_mut() {
                room[..now].copy_from_slice(&left[..now]);
            }
            frame.set_len(now);
            self.reserved.push(frame);
            left = &left[now..];
        }
        let send = &mut self.conns[to].send;
        for frame in self.reserved.drain(..) {
            let len = frame.data().len() as u32;
            send.push(&mut self.arena, frame, 0, len);
        }
        self.list_egress(to);
        true
    }
}

/// How many of the readable bytes, at most `room`, belong to the chunked body that `decoder` stands
/// in; moves the decoder behind them.
fn follow<F: Frame>(
    queue: &RecvQueue,
    arena: &SpanArena<F>,
    decoder: &mut ChunkedDecoder,
    room: u64,
) -> Result<u64, ChunkError> {
    let mut total = 0;
    for piece in queue.readable_pieces(arena, 0) {
        let mut bytes =
            &piece.frame.data()[piece.offset as usize..(piece.offset + piece.len) as usize];
        while !bytes.is_empty() {
            let left = (room - total).min(bytes.len() as u64) as usize;
            if left == 0 || decoder.is_done() {
                return Ok(total);
            }
            let len = match decoder.next(&bytes[..left])? {
                ChunkPiece::Framing { len }
                | ChunkPiece::Data { len }
                | ChunkPiece::End { len } => len,
            };
            total += len as u64;
            bytes = &bytes[len..];
        }
    }
    Ok(total)
}
