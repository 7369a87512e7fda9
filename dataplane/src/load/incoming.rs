//! A body on its way in: counted by its framing, and thrown away. No byte of it is read unless it is to
//! be checked.

use super::pattern::Table;
use crate::flow_table::ConnId;
use crate::http1::{ChunkPiece, ChunkedDecoder};
use crate::mover::Mover;
use crate::payload::RecvQueue;
use crate::payload::SpanArena;
use crate::port::{Frame, FramePool, Piece, Port};
use crate::proxy::Body;
use crate::worker::Worker;

/// A body that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Checks data against the pattern, or does not.
struct Check<'a> {
    table: Option<&'a Table>,
    offset: u64,
}

impl Check<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let right = self
            .table
            .is_none_or(|table| table.matches(self.offset, bytes));
        self.offset += bytes.len() as u64;
        if right { Ok(()) } else { Err(Malformed) }
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Takes in what has come of a body; it is [`Body::Done`] when it has come to its end. `had` bytes of
    /// data came before. Returns how many have come now.
    pub(super) fn take_body(
        &mut self,
        id: ConnId,
        body: &mut Body,
        had: u64,
        verify: bool,
    ) -> Result<u64, Malformed> {
        let queue = &self.conns[id].recv;
        let available = queue.available();
        let mut check = Check {
            table: verify.then_some(&self.load.pattern.table),
            offset: had,
        };
        let (taken, data) = match body {
            Body::Done => return Ok(0),
            Body::Length { left } => {
                let n = available.min(*left);
                if verify {
                    check_pieces(queue, &self.arena, n, &mut check)?;
                }
                *left -= n;
                (n, n)
            }
            Body::UntilClose | Body::Tunnel => {
                if verify {
                    check_pieces(queue, &self.arena, available, &mut check)?;
                }
                (available, available)
            }
            Body::Chunked { decoder } => {
                let taken = follow(queue, &self.arena, decoder, &mut check)?;
                (taken, check.offset - had)
            }
        };
        if taken > 0 {
            self.discard(id, taken);
        }
        let conn = &self.conns[id];
        let done = match body {
            Body::Done => true,
            Body::Length { left } => *left == 0,
            Body::Chunked { decoder } => decoder.is_done(),
            Body::UntilClose | Body::Tunnel => conn.peer_finished(),
        };
        if done {
            *body = Body::Done;
        }
        Ok(data)
    }
}

fn bytes<'a, F: Frame>(piece: &Piece<'a, F>) -> &'a [u8] {
    &piece.frame.data()[piece.offset as usize..(piece.offset + piece.len) as usize]
}

fn check_pieces<F: Frame>(
    queue: &RecvQueue,
    arena: &SpanArena<F>,
    most: u64,
    check: &mut Check<'_>,
) -> Result<(), Malformed> {
    let mut left = most;
    for piece in queue.readable_pieces(arena, 0) {
        let now = bytes(&piece);
        let now = &now[..now.len().min(left as usize)];
        check.data(now)?;
        left -= now.len() as u64;
    }
    Ok(())
}

/// How many of the readable bytes belong to the chunked body; moves the decoder behind them.
fn follow<F: Frame>(
    queue: &RecvQueue,
    arena: &SpanArena<F>,
    decoder: &mut ChunkedDecoder,
    check: &mut Check<'_>,
) -> Result<u64, Malformed> {
    let mut taken = 0;
    for piece in queue.readable_pieces(arena, 0) {
        let mut rest = bytes(&piece);
        while !rest.is_empty() && !decoder.is_done() {
            let len = match decoder.next(rest).map_err(|_| Malformed)? {
                ChunkPiece::Data { len } => {
                    check.data(&rest[..len])?;
                    len
                }
                ChunkPiece::Framing { len } | ChunkPiece::End { len } => len,
            };
            taken += len as u64;
            rest = &rest[len..];
        }
    }
    Ok(taken)
}
