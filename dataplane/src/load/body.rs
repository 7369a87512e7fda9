//! Follows a body to its end, however it is framed.

use super::Piece;
use crate::http1::{BodyFraming, ChunkError, ChunkPiece, ChunkedDecoder};

/// Where in a body the next byte lies.
#[derive(Clone, Copy, Debug)]
pub struct BodyReader {
    state: State,
    data: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length { left: u64 },
    Chunked { decoder: ChunkedDecoder },
    UntilClose,
    Done,
}

impl BodyReader {
    /// At the first byte of a body.
    pub fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Chunked {
                decoder: ChunkedDecoder::new(),
            },
            BodyFraming::UntilClose => State::UntilClose,
        };
        Self { state, data: 0 }
    }

    /// Takes the next run of bytes of one kind from the front of `bytes`: [`Piece::Data`], which is
    /// not looked at, or [`Piece::Framing`]. Once done, and without bytes, it takes none.
    ///
    /// # Errors
    /// [`ChunkError`] at the first byte that no chunked body has there.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        let available = bytes.len() as u64;
        let len = match &mut self.state {
            State::Length { left } => {
                let len = available.min(*left);
                *left -= len;
                if *left == 0 {
                    self.state = State::Done;
                }
                len
            }
            State::Chunked { decoder } => match decoder.next(bytes)? {
                ChunkPiece::Data { len } => len as u64,
                ChunkPiece::Framing { len } => return Ok(Piece::Framing { len }),
                ChunkPiece::End { len } => {
                    self.state = State::Done;
                    return Ok(Piece::Framing { len });
                }
            },
            State::UntilClose => available,
            State::Done => return Ok(Piece::Framing { len: 0 }),
        };
        self.data += len;
        Ok(Piece::Data { len: len as usize })
    }

    /// Bytes of data that are sure to come next, before any framing; they may be passed over with
    /// [`Self::skip`] instead of being shown to [`Self::next`].
    pub fn data_left(&self) -> u64 {
        match &self.state {
            State::Length { left } => *left,
            State::Chunked { decoder } => decoder.data_left(),
            State::UntilClose => u64::MAX,
            State::Done => 0,
        }
    }

    /// Passes over `len` bytes of data, at most [`Self::data_left`] (more is cut to that).
    pub fn skip(&mut self, len: u64) {
        let len = len.min(self.data_left());
        self.data += len;
        match &mut self.state {
            State::Length { left } if *left == len => self.state = State::Done,
            State::Length { left } => *left -= len,
            State::Chunked { decoder } => decoder.skip_data(len),
            State::UntilClose | State::Done => {}
        }
    }

    /// Bytes of data so far.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// True when no byte of it is missing.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The sender has closed in an orderly way. Returns whether the body is whole.
    pub fn close(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Done;
        }
        self.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` cut into pieces of `cut`; returns data, bytes taken, and whether it is done.
    fn read(framing: BodyFraming, bytes: &[u8], cut: usize) -> (Vec<u8>, usize, bool) {
        let mut reader = BodyReader::new(framing);
        let (mut data, mut taken) = (Vec::new(), 0);
        for mut piece in bytes.chunks(cut) {
            while !piece.is_empty() && !reader.is_done() {
                let (Piece::Data { len } | Piece::Framing { len }) = reader.next(piece).unwrap()
                else {
                    panic!("bodies have no heads");
                };
                if len > 0 && data.len() as u64 + len as u64 == reader.data() {
                    data.extend_from_slice(&piece[..len]);
                }
                taken += len;
                piece = &piece[len..];
            }
        }
        assert_eq!(reader.data(), data.len() as u64);
        (data, taken, reader.is_done())
    }

    #[test]
    fn every_framing_however_it_is_cut() {
        let chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: v\r\n\r\nNEXT";
        for cut in 1..=chunked.len() {
            let end = chunked.len() - 4;
            assert_eq!(
                read(BodyFraming::Chunked, chunked, cut),
                (b"abcde".to_vec(), end, true)
            );
            assert_eq!(
                read(BodyFraming::Length(4), b"abcdef", cut),
                (b"abcd".to_vec(), 4, true)
            );
            assert_eq!(
                read(BodyFraming::Length(9), b"abcdef", cut),
                (b"abcdef".to_vec(), 6, false)
            );
            assert_eq!(
                read(BodyFraming::UntilClose, b"abc", cut),
                (b"abc".to_vec(), 3, false)
            );
            assert_eq!(read(BodyFraming::None, b"abc", cut), (Vec::new(), 0, true));
            assert_eq!(
                read(BodyFraming::Length(0), b"abc", cut),
                (Vec::new(), 0, true)
            );
        }
    }

    #[test]
    fn a_close_ends_only_what_it_may_end() {
        for (framing, whole) in [
            (BodyFraming::UntilClose, true),
            (BodyFraming::Length(1), false),
            (BodyFraming::Chunked, false),
            (BodyFraming::None, true),
        ] {
            assert_eq!(BodyReader::new(framing).close(), whole, "{framing:?}");
        }
    }

    #[test]
    fn data_may_be_passed_over_unseen() {
        let mut reader = BodyReader::new(BodyFraming::Length(10));
        reader.skip(4);
        assert_eq!((reader.data_left(), reader.data()), (6, 4));
        reader.skip(99);
        assert!(reader.is_done());
        assert_eq!(reader.data(), 10);
        let mut reader = BodyReader::new(BodyFraming::Chunked);
        assert_eq!(reader.data_left(), 0);
        assert_eq!(reader.next(b"a\r\n"), Ok(Piece::Framing { len: 3 }));
        assert_eq!(reader.data_left(), 10);
        reader.skip(10);
        assert_eq!(reader.next(b"\r\n0\r\n\r\n"), Ok(Piece::Framing { len: 7 }));
        assert!(reader.is_done());
        assert_eq!(reader.data(), 10);
        assert_eq!(
            BodyReader::new(BodyFraming::Chunked).next(b"x"),
            Err(ChunkError::BadSize)
        );
    }
}
