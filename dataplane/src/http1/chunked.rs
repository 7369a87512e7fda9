//! Follows a chunked body (RFC 9112 section 7.1) from chunk to chunk.
//!
//! The decoder looks at the framing bytes only: size lines, the CR LF after each chunk, the
//! trailer section. Chunk data is counted, never read, so it may stay wherever the NIC put it.

use super::field::KnownField;
use super::framing::MAX_BODY;
use super::token::{is_space, is_text, is_token};

/// Most bytes of chunk extensions in one size line.
pub const MAX_EXTENSION: u32 = 4 * 1024;

/// Most bytes of chunk extensions beyond the bytes of data: bodies that are mostly extensions cost
/// work without end and carry nothing.
pub const MAX_EXCESS: u64 = 16 * 1024;

/// Most bytes of the trailer section.
pub const MAX_TRAILERS: u32 = 8 * 1024;

/// Why a chunked body is refused. As with heads, the position in the stream is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkError {
    /// The size is missing or is not a run of hexadecimal digits.
    BadSize,
    /// The size (or the whole body) is too large.
    TooLarge,
    /// A CR without LF, or an LF without CR.
    BareLineEnd,
    /// A control character in an extension or a trailer field.
    ControlCharacter,
    /// Chunk data that no CR LF follows.
    MissingLineEnd,
    /// Too many bytes of chunk extensions.
    ExtensionTooLong,
    /// A trailer line that is not a name, a colon and a value.
    BadTrailer,
    /// A trailer field that only a head may have.
    ForbiddenTrailer,
    /// Too many bytes of trailers.
    TrailersTooLong,
}

impl ChunkError {
    /// The status a client gets when its request's body is refused and no response has begun.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::TrailersTooLong => 431,
            _ => 400,
        }
    }

    /// The reason in a few words.
    pub fn cause(self) -> &'static str {
        match self {
            Self::BadSize => "malformed chunk size",
            Self::TooLarge => "chunk too large",
            Self::BareLineEnd => "CR or LF alone in chunked body",
            Self::ControlCharacter => "control character in chunked body",
            Self::MissingLineEnd => "chunk data without CR LF",
            Self::ExtensionTooLong => "chunk extensions too long",
            Self::BadTrailer => "malformed trailer field",
            Self::ForbiddenTrailer => "trailer field not allowed",
            Self::TrailersTooLong => "trailers too long",
        }
    }
}

impl std::fmt::Display for ChunkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.cause())
    }
}

impl std::error::Error for ChunkError {}

/// A run of bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkPiece {
    /// `len` bytes of size lines, line ends or trailers.
    Framing {
        /// How many bytes.
        len: usize,
    },
    /// `len` bytes of data.
    Data {
        /// How many bytes.
        len: usize,
    },
    /// `len` bytes of framing, the last of which is the last byte of the body.
    End {
        /// How many bytes.
        len: usize,
    },
}

/// Where in a chunked body the next byte lies.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Size of the chunk while it is read, then how much of its data is still to come.
    left: u64,
    /// Bytes of data in the chunks begun so far.
    total: u64,
    /// Bytes of extensions beyond the bytes of data.
    excess: u64,
    /// Bytes of extension in this line; then bytes of the trailer section.
    text: u32,
    name: TrailerName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first digit of a size.
    SizeStart,
    /// Later digits.
    Size,
    /// Whitespace after the size, which only an extension can follow.
    SizeSpace,
    /// After a semicolon.
    Extension,
    /// The LF of a size line.
    SizeLf,
    /// Inside data.
    Data,
    /// The CR after data.
    DataCr,
    /// The LF after data.
    DataLf,
    /// The first byte of a trailer line.
    TrailerStart,
    /// Later bytes of a trailer's name.
    TrailerName,
    /// After the colon.
    TrailerValue,
    /// The LF of a trailer line.
    TrailerLf,
    /// The LF of the empty line that ends the body.
    EndLf,
    /// Behind the last byte.
    Done,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// At the first byte of a body.
    pub fn new() -> Self {
        Self {
            state: State::SizeStart,
            left: 0,
            total: 0,
            excess: 0,
            text: 0,
            name: TrailerName::default(),
        }
    }

    /// Data bytes of the current chunk that are still to come. They may be passed over with
    /// [`Self::skip_data`] instead of being shown to [`Self::next`].
    pub fn data_left(&self) -> u64 {
        match self.state {
            State::Data => self.left,
            _ => 0,
        }
    }

    /// Passes over `len` bytes of data, at most [`Self::data_left`] (more is cut to that).
    pub fn skip_data(&mut self, len: u64) {
        if self.state == State::Data {
            self.left -= len.min(self.left);
            if self.left == 0 {
                self.state = State::DataCr;
            }
        }
    }

    /// Bytes of data in all chunks whose size is known so far: what a limit on the body is
    /// compared with, before the data is taken in.
    pub fn data_total(&self) -> u64 {
        self.total
    }

    /// True after [`ChunkPiece::End`].
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next run of bytes of one kind from the front of `bytes`, which is what is
    /// available from the current position on, cut anywhere. Call it with the rest until `bytes`
    /// is used up or the end is reached. Data is not looked at.
    ///
    /// Without bytes, or once done, the answer is `Framing { len: 0 }`.
    ///
    /// # Errors
    /// [`ChunkError`] at the first byte that no valid body has there.
    pub fn next(&mut self, bytes: &[u8]) -> Result<ChunkPiece, ChunkError> {
        if self.state == State::Data && !bytes.is_empty() {
            let len = self.left.min(bytes.len() as u64);
            self.skip_data(len);
            return Ok(ChunkPiece::Data { len: len as usize });
        }
        let mut len = 0;
        while let Some(&byte) = bytes.get(len)
            && !matches!(self.state, State::Data | State::Done)
        {
            self.state = self.step(byte)?;
            len += 1;
        }
        match self.state {
            State::Done if len > 0 => Ok(ChunkPiece::End { len }),
            _ => Ok(ChunkPiece::Framing { len }),
        }
    }

    /// The state after one byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::SizeStart => match hex(byte) {
                Some(digit) => {
                    self.left = digit;
                    self.text = 0;
                    Ok(State::Size)
                }
                None => Err(ChunkError::BadSize),
            },
            State::Size => match (hex(byte), byte) {
                (Some(digit), _) => {
                    self.add_text(1, MAX_EXTENSION, ChunkError::BadSize)?;
                    if self.left > MAX_BODY >> 4 {
                        return Err(ChunkError::TooLarge);
                    }
                    self.left = self.left << 4 | digit;
                    Ok(State::Size)
                }
                (None, b'\r') => Ok(State::SizeLf),
                (None, b';') => Ok(State::Extension),
                (None, b' ' | b'\t') => Ok(State::SizeSpace),
                (None, b'\n') => Err(ChunkError::BareLineEnd),
                (None, _) => Err(ChunkError::BadSize),
            },
            State::SizeSpace => match byte {
                b';' => Ok(State::Extension),
                _ if is_space(byte) => {
                    self.add_text(1, MAX_EXTENSION, ChunkError::ExtensionTooLong)?;
                    Ok(State::SizeSpace)
                }
                _ => Err(ChunkError::BadSize),
            },
            State::Extension => match byte {
                b'\r' => Ok(State::SizeLf),
                b'\n' => Err(ChunkError::BareLineEnd),
                _ if is_text(byte) => {
                    self.add_text(1, MAX_EXTENSION, ChunkError::ExtensionTooLong)?;
                    Ok(State::Extension)
                }
                _ => Err(ChunkError::ControlCharacter),
            },
            State::SizeLf if byte == b'\n' => self.begin_data(),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::SizeStart),
            State::DataCr | State::DataLf => Err(ChunkError::MissingLineEnd),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.step_trailer(byte),
            State::SizeLf => Err(ChunkError::BareLineEnd),
            State::Data | State::Done => Ok(self.state),
        }
    }

    /// The size line is complete.
    fn begin_data(&mut self) -> Result<State, ChunkError> {
        self.total = self
            .total
            .checked_add(self.left)
            .filter(|&total| total <= MAX_BODY)
            .ok_or(ChunkError::TooLarge)?;
        self.excess = (self.excess + u64::from(self.text)).saturating_sub(self.left);
        if self.excess > MAX_EXCESS {
            return Err(ChunkError::ExtensionTooLong);
        }
        self.text = 0;
        match self.left {
            0 => Ok(State::TrailerStart),
            _ => Ok(State::Data),
        }
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.add_text(1, MAX_TRAILERS, ChunkError::TrailersTooLong)?;
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf | State::TrailerLf, _) => Err(ChunkError::BareLineEnd),
            (State::TrailerStart, _) if is_token(byte) => {
                self.name = TrailerName::default();
                self.name.push(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, _) if is_token(byte) => {
                self.name.push(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') if self.name.is_forbidden() => {
                Err(ChunkError::ForbiddenTrailer)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) => Err(ChunkError::BadTrailer),
            (_, b'\r') => Ok(State::TrailerLf),
            (_, b'\n') => Err(ChunkError::BareLineEnd),
            (_, _) if is_text(byte) => Ok(State::TrailerValue),
            (_, _) => Err(ChunkError::ControlCharacter),
        }
    }

    fn add_text(&mut self, len: u32, max: u32, error: ChunkError) -> Result<(), ChunkError> {
        self.text += len;
        if self.text > max {
            return Err(error);
        }
        Ok(())
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// The name of a trailer field as far as it was seen. A longer name than fits is none of those
/// that are refused.
#[derive(Clone, Copy, Debug, Default)]
struct TrailerName {
    text: [u8; 20],
    len: u8,
}

impl TrailerName {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.text.get_mut(usize::from(self.len)) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// RFC 9110 section 6.5.1: no trailer may change framing, routing, authentication, or how the
    /// content is read, because a recipient that merges trailers into the head would act on it.
    fn is_forbidden(&self) -> bool {
        const FORBIDDEN: [&[u8]; 12] = [
            b"authorization",
            b"cache-control",
            b"content-encoding",
            b"content-range",
            b"content-type",
            b"cookie",
            b"forwarded",
            b"location",
            b"range",
            b"set-cookie",
            b"www-authenticate",
            b"x-forwarded-host",
        ];
        let Some(name) = self.text.get(..usize::from(self.len)) else {
            return false;
        };
        KnownField::of(name) != KnownField::Other
            || KnownField::is_disguised(name)
            || FORBIDDEN
                .iter()
                .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
    }
}
