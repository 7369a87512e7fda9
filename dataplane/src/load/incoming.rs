//! A message on its way in: its body is counted by its framing, and thrown away. No byte of it is read
//! unless it is to be checked.

use super::pattern;
use super::request::RequestReader;
use super::response::ResponseReader;
use super::{Heads, Malformed, Piece};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::payload::{RecvQueue, SpanArena};
use crate::port::{self, Frame, FramePool, Port};
use crate::worker::Worker;

/// What follows a message, whichever kind.
pub(super) trait Reader {
    /// Takes the next run of bytes of one kind.
    fn next(&mut self, bytes: &[u8], heads: &mut Heads) -> Result<Piece, Malformed>;
    /// Bytes of body that are sure to come next.
    fn data_left(&self) -> u64;
    /// Passes over bytes of body.
    fn skip(&mut self, len: u64);
    /// All of the message has come in.
    fn is_done(&self) -> bool;
    /// Where in the pattern the next byte of body belongs, if the body should be the pattern.
    fn place(&self) -> Option<u64>;
}

macro_rules! reader {
    ($Reader:ty, $place:expr) => {
        impl Reader for $Reader {
            fn next(&mut self, bytes: &[u8], heads: &mut Heads) -> Result<Piece, Malformed> {
                Self::next(self, bytes, heads)
            }
            fn data_left(&self) -> u64 {
                Self::data_left(self)
            }
            fn skip(&mut self, len: u64) {
                Self::skip(self, len);
            }
            fn is_done(&self) -> bool {
                Self::is_done(self)
            }
            fn place(&self) -> Option<u64> {
                $place(self)
            }
        }
    };
}

reader!(RequestReader, |_| None);
reader!(ResponseReader, |reader: &Self| (reader.status()
    == Some(200))
.then(|| reader.body_bytes()));

/// No head is longer: [`Heads`].
const LONGEST_HEAD: usize = 64 * 1024;

/// Why a message was not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not HTTP.
    Malformed(Malformed),
    /// A byte of its body is not the pattern's.
    Corrupt,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Takes in what has come of a message, to its end at most.
    pub(super) fn read_message(
        &mut self,
        id: ConnId,
        reader: &mut impl Reader,
        verify: bool,
    ) -> Result<(), Wrong> {
        let queue = &self.conns[id].recv;
        let available = queue.available();
        let mut taken = 0;
        let result = loop {
            if taken == available || reader.is_done() {
                break Ok(());
            }
            let sure = reader.data_left().min(available - taken);
            if sure > 0 {
                if verify
                    && let Some(place) = reader.place()
                    && !is_pattern(queue, &self.arena, taken, sure, place)
                {
                    break Err(Wrong::Corrupt);
                }
                reader.skip(sure);
                taken += sure;
                continue;
            }
            let next = front(queue, &self.arena, taken, |bytes| {
                reader.next(bytes, &mut self.load.heads)
            });
            let next = match next {
                Ok(Piece::Incomplete) => {
                    gather(queue, &self.arena, taken, &mut self.load.gather);
                    reader.next(&self.load.gather, &mut self.load.heads)
                }
                next => next,
            };
            match next {
                Ok(Piece::Head { len } | Piece::Framing { len } | Piece::Data { len })
                    if len > 0 =>
                {
                    taken += len as u64;
                }
                Ok(_) => break Ok(()),
                Err(error) => break Err(Wrong::Malformed(error)),
            }
        };
        if taken > 0 {
            self.discard(id, taken);
        }
        result
    }
}

/// Shows `read` the readable bytes from `skip` on that lie together.
fn front<F: Frame, T>(
    queue: &RecvQueue,
    arena: &SpanArena<F>,
    skip: u64,
    read: impl FnOnce(&[u8]) -> T,
) -> T {
    match queue.readable_pieces(arena, skip).next() {
        Some(piece) => read(bytes(&piece)),
        None => read(&[]),
    }
}

/// Gathers the readable bytes from `skip` on: a head that lies in several frames is among the first.
fn gather<F: Frame>(queue: &RecvQueue, arena: &SpanArena<F>, skip: u64, into: &mut Vec<u8>) {
    into.clear();
    for piece in queue.readable_pieces(arena, skip) {
        into.extend_from_slice(bytes(&piece));
        if into.len() > LONGEST_HEAD {
            break;
        }
    }
}

/// Whether `len` readable bytes from `skip` on are the pattern's from `place` on.
fn is_pattern<F: Frame>(
    queue: &RecvQueue,
    arena: &SpanArena<F>,
    skip: u64,
    len: u64,
    place: u64,
) -> bool {
    let mut done = 0;
    for piece in queue.readable_pieces(arena, skip) {
        let now = bytes(&piece);
        let now = &now[..now.len().min((len - done) as usize)];
        if pattern::first_wrong(place + done, now).is_some() {
            return false;
        }
        done += now.len() as u64;
    }
    true
}

fn bytes<'a, F: Frame>(piece: &port::Piece<'a, F>) -> &'a [u8] {
    &piece.frame.data()[piece.offset as usize..(piece.offset + piece.len) as usize]
}
