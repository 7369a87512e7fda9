//! Reading HTTP/1.1 messages the way an independent peer does: with httparse, not with the
//! engine's own parser, so that both can be wrong only independently of each other.

use super::pattern;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body, or one of that many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// Everything until the end of the connection.
    UntilClose,
}

/// What a peer wants to know of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status; 0 for a request.
    pub status: u16,
    /// The method; empty for a response.
    pub method: String,
    /// The path; empty for a response.
    pub path: String,
    /// How the body is delimited if there may be one.
    pub body: Body,
    /// The sender will close, or wants the connection closed, after this exchange.
    pub close: bool,
    /// Its `Date`, all of them if there is more than one.
    pub dates: Vec<String>,
}

/// Which kind of head to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// A response.
    Response,
}

/// What the reader has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// A head is complete: say with [`Reader::begin_body`] what follows.
    Head(Head),
    /// The body is complete; the next head may follow.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// A head was handed out.
    Waiting,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    /// The line end behind a chunk's data.
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// Takes bytes as they come, finds the messages in them and compares their bodies.
pub struct Reader {
    kind: Kind,
    state: State,
    buffer: Vec<u8>,
    seed: u64,
    offset: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("state", &self.state)
            .field("offset", &self.offset)
            .field("unread", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader at the start of a stream of messages.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Head,
            buffer: Vec::new(),
            seed: 0,
            offset: 0,
        }
    }

    /// Adds bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of the current body seen so far.
    pub fn body_bytes(&self) -> u64 {
        self.offset
    }

    /// True between messages, with nothing of the next one seen.
    pub fn idle(&self) -> bool {
        self.state == State::Head && self.buffer.is_empty()
    }

    /// Says what follows the head that was handed out, and what its bytes must follow from.
    pub fn begin_body(&mut self, body: Body, seed: u64) {
        debug_assert_eq!(self.state, State::Waiting);
        self.seed = seed;
        self.offset = 0;
        self.state = match body {
            Body::Length(len) => State::Length(len),
            Body::Chunked => State::ChunkSize,
            Body::UntilClose => State::UntilClose,
        };
    }

    /// The connection has ended. Whether a body ended with it rightly.
    ///
    /// # Errors
    /// Says what was cut off.
    pub fn end_of_stream(&mut self) -> Result<Option<Step>, String> {
        match self.state {
            State::UntilClose => {
                self.state = State::Head;
                Ok(Some(Step::End))
            }
            State::Head if self.buffer.is_empty() => Ok(None),
            state => Err(format!(
                "closed in {state:?} with {} bytes of body, {} bytes left over",
                self.offset,
                self.buffer.len()
            )),
        }
    }

    /// Goes on as far as the bytes reach, to the next head or end.
    ///
    /// # Errors
    /// Says what is wrong with the message.
    pub fn step(&mut self) -> Result<Step, String> {
        loop {
            match self.state {
                State::Waiting => return Ok(Step::More),
                State::Head => {
                    let Some(end) = find(&self.buffer, b"\r\n\r\n") else {
                        return Ok(Step::More);
                    };
                    let head = parse(self.kind, &self.buffer[..end + 4])?;
                    let _ = self.buffer.drain(..end + 4);
                    self.state = State::Waiting;
                    return Ok(Step::Head(head));
                }
                State::Length(0) => {
                    self.state = State::Head;
                    return Ok(Step::End);
                }
                State::Length(left) => match self.take(left)? {
                    0 => return Ok(Step::More),
                    n => self.state = State::Length(left - n),
                },
                State::UntilClose => {
                    let _ = self.take(u64::MAX)?;
                    return Ok(Step::More);
                }
                State::ChunkSize => match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((len, size))) => {
                        let _ = self.buffer.drain(..len);
                        self.state = match size {
                            0 => State::Trailers,
                            size => State::ChunkData(size),
                        };
                    }
                    Ok(httparse::Status::Partial) => return Ok(Step::More),
                    Err(error) => return Err(format!("chunk size: {error:?}")),
                },
                State::ChunkData(0) => self.state = State::ChunkEnd,
                State::ChunkData(left) => match self.take(left)? {
                    0 => return Ok(Step::More),
                    n => self.state = State::ChunkData(left - n),
                },
                State::ChunkEnd => {
                    if self.buffer.len() < 2 {
                        return Ok(Step::More);
                    }
                    if &self.buffer[..2] != b"\r\n" {
                        return Err("no line end behind a chunk".into());
                    }
                    let _ = self.buffer.drain(..2);
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let Some(end) = find(&self.buffer, b"\r\n") else {
                        return Ok(Step::More);
                    };
                    let _ = self.buffer.drain(..end + 2);
                    if end == 0 {
                        self.state = State::Head;
                        return Ok(Step::End);
                    }
                }
            }
        }
    }

    /// Takes and compares up to `most` bytes of body.
    fn take(&mut self, most: u64) -> Result<u64, String> {
        let len = (self.buffer.len() as u64).min(most) as usize;
        if let Some(at) = pattern::first_wrong(self.seed, self.offset, &self.buffer[..len]) {
            return Err(format!("byte {at} of the body is wrong"));
        }
        let _ = self.buffer.drain(..len);
        self.offset += len as u64;
        Ok(len as u64)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse(kind: Kind, bytes: &[u8]) -> Result<Head, String> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let bad = |error| format!("head: {error:?}: {}", String::from_utf8_lossy(bytes));
    let mut head = Head {
        status: 0,
        method: String::new(),
        path: String::new(),
        body: Body::UntilClose,
        close: false,
        dates: Vec::new(),
    };
    let fields = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut fields);
            let _ = request.parse(bytes).map_err(bad)?;
            head.method = request.method.unwrap_or_default().into();
            head.path = request.path.unwrap_or_default().into();
            head.close = request.version == Some(0);
            head.body = Body::Length(0);
            request.headers
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut fields);
            let _ = response.parse(bytes).map_err(bad)?;
            head.status = response.code.unwrap_or_default();
            head.close = response.version == Some(0);
            response.headers
        }
    };
    let mut lengths = 0;
    for field in fields {
        let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
        if field.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            let len = value.parse().map_err(|_| format!("length {value:?}"))?;
            head.body = Body::Length(len);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            lengths += 1;
            if value != "chunked" {
                return Err(format!("transfer coding {value:?}"));
            }
            head.body = Body::Chunked;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close = value.split(',').any(|option| option.trim() == "close");
        } else if field.name.eq_ignore_ascii_case("date") {
            head.dates
                .push(String::from_utf8_lossy(field.value).into_owned());
        }
    }
    if lengths > 1 {
        return Err("more than one framing".into());
    }
    Ok(head)
}
