//! One of the client's connections: its socket, and the exchange that it carries.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsFd;

use dataplane::load::pattern;
use dataplane::load::response::ResponseReader;
use dataplane::load::sample::Failure;
use dataplane::load::{Heads, Piece};
use mio::net::TcpStream;

use crate::plan::Payload;

/// Bytes of body from which on it is cheaper to have the kernel throw them away than to copy them.
const DISCARD_FROM: u64 = 64 * 1024;

/// Most bytes thrown away by one call, so that one connection does not keep the others waiting.
const DISCARD_MOST: u64 = 1 << 20;

/// Most bytes that are gathered of a head that comes in pieces; the parser refuses sooner.
const GATHER_MOST: usize = 1 << 20;

/// A request as it is sent all through a run.
#[derive(Debug)]
pub struct Request {
    /// Its head.
    pub head: Vec<u8>,
    /// Its body.
    pub payload: Option<Payload>,
    /// The response has no body.
    pub head_only: bool,
    /// Every byte of the response's body is looked at.
    pub verify: bool,
}

impl Request {
    fn len(&self) -> u64 {
        self.head.len() as u64 + self.payload.as_ref().map_or(0, Payload::len)
    }

    /// Sends what is left of it after `sent` bytes, as much as the kernel takes at once.
    fn send(&self, mut socket: &TcpStream, sent: u64) -> io::Result<usize> {
        let head_len = self.head.len() as u64;
        match (&self.payload, sent < head_len) {
            (None, _) => socket.write(&self.head[sent as usize..]),
            (Some(payload), true) => socket.write_vectored(&[
                IoSlice::new(&self.head[sent as usize..]),
                IoSlice::new(payload.run(0)),
            ]),
            (Some(payload), false) => socket.write(payload.run(sent - head_len)),
        }
    }
}

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no connection.
    Closed,
    /// It has none and waits a little before it tries again.
    Resting,
    /// Its connection is being opened, and a request waits for that.
    Connecting,
    /// A request is being sent, or its response received.
    Exchanging,
    /// Its connection is open and has nothing to do.
    Idle,
    /// The exchange is over and the peer will close: who closes first has to remember the connection.
    Ending,
}

/// What a look at a socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing more for now: wait for the kernel.
    Wait,
    /// The response is whole.
    Done,
    /// The exchange has failed.
    Failed(Failure),
}

/// One of the client's connections.
pub struct Slot {
    /// What it does.
    pub state: State,
    /// The connection, while there is one.
    pub socket: Option<TcpStream>,
    /// When the exchange should have begun.
    pub due_us: u64,
    /// When it did.
    pub started_us: u64,
    /// The response.
    pub reader: ResponseReader,
    /// The connection has carried an exchange before this one.
    pub reused: bool,
    /// A byte of the response has come.
    answered: bool,
    /// Bytes of the request that were sent.
    sent: u64,
    /// A head that comes in pieces; empty otherwise.
    gathered: Vec<u8>,
}

impl Slot {
    /// Without a connection.
    pub fn new() -> Self {
        Self {
            state: State::Closed,
            socket: None,
            due_us: 0,
            started_us: 0,
            reader: ResponseReader::new(false),
            reused: false,
            answered: false,
            sent: 0,
            gathered: Vec::new(),
        }
    }

    /// Nothing of the request has been sent, nothing of the response received.
    pub fn rewind(&mut self, request: &Request) {
        self.reader = ResponseReader::new(request.head_only);
        self.answered = false;
        self.sent = 0;
        self.gathered.clear();
    }

    /// The peer has closed a kept connection, perhaps before it saw this request: it may be sent again.
    pub fn may_retry(&self) -> bool {
        self.reused && !self.answered
    }

    /// Whether all of the request was sent.
    pub fn is_sent(&self, request: &Request) -> bool {
        self.sent == request.len()
    }

    /// Whether the connection has taken any of it, and so is open.
    pub fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// Sends what the kernel takes of the request.
    ///
    /// # Errors
    /// What the kernel says of a connection that is lost, or could not be opened.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Err(ErrorKind::NotConnected.into());
        };
        while !self.is_sent(request) {
            match request.send(socket, self.sent) {
                Ok(sent) => self.sent += sent as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what there is of the response, into `buffer`. `closed` is whether the kernel has said
    /// that the peer has closed: then the end is looked for.
    pub fn receive(
        &mut self,
        request: &Request,
        heads: &mut Heads,
        buffer: &mut [u8],
        closed: bool,
    ) -> Progress {
        loop {
            let Some(socket) = &mut self.socket else {
                return Progress::Failed(Failure::Closed);
            };
            let left = self.reader.data_left();
            let discards = !request.verify && left >= DISCARD_FROM;
            let asked = if discards {
                left.min(DISCARD_MOST) as usize
            } else {
                buffer.len()
            };
            let received = if discards {
                socket::discard(socket.as_fd(), asked)
            } else {
                socket.read(buffer)
            };
            let received = match received {
                Ok(0) => {
                    return if self.reader.close() {
                        Progress::Done
                    } else {
                        Progress::Failed(Failure::Closed)
                    };
                }
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Failed(Failure::Closed),
            };
            self.answered = true;
            let progress = if discards {
                self.reader.skip(received as u64);
                if self.reader.is_done() {
                    Progress::Done
                } else {
                    Progress::Wait
                }
            } else if self.gathered.is_empty() {
                let (taken, progress) =
                    follow(&mut self.reader, request, heads, &buffer[..received]);
                if progress == Progress::Wait {
                    self.gathered.extend_from_slice(&buffer[taken..received]);
                }
                progress
            } else {
                self.gathered.extend_from_slice(&buffer[..received]);
                let (taken, progress) = follow(&mut self.reader, request, heads, &self.gathered);
                drop(self.gathered.drain(..taken));
                progress
            };
            // Less than asked for: there is no more, and the kernel will tell of what comes (epoll(7),
            // edge-triggered, on streams).
            if progress != Progress::Wait || (received < asked && !closed) {
                return progress;
            }
        }
    }

    /// Looks at a connection that nothing should come from. Returns whether it is still open.
    pub fn is_quiet(&self) -> bool {
        let Some(mut socket) = self.socket.as_ref() else {
            return false;
        };
        let error = socket.read(&mut [0; 1]).map_err(|error| error.kind());
        error == Err(ErrorKind::WouldBlock)
    }
}

/// Follows the response through `bytes`. Returns how many were taken, all but the beginning of a head,
/// and what it came to.
fn follow(
    reader: &mut ResponseReader,
    request: &Request,
    heads: &mut Heads,
    bytes: &[u8],
) -> (usize, Progress) {
    let mut taken = 0;
    while taken < bytes.len() {
        if reader.is_done() {
            return (taken, Progress::Failed(Failure::Malformed));
        }
        let offset = reader.body_bytes();
        match reader.next(&bytes[taken..], heads) {
            Ok(Piece::Incomplete) if bytes.len() - taken > GATHER_MOST => {
                return (taken, Progress::Failed(Failure::Malformed));
            }
            Ok(Piece::Incomplete) => return (taken, Progress::Wait),
            Ok(Piece::Head { len } | Piece::Framing { len }) => taken += len,
            Ok(Piece::Data { len }) => {
                let data = &bytes[taken..taken + len];
                if request.verify && pattern::first_wrong(offset, data).is_some() {
                    return (taken, Progress::Failed(Failure::Corrupt));
                }
                taken += len;
            }
            Err(_) => return (taken, Progress::Failed(Failure::Malformed)),
        }
    }
    (
        taken,
        if reader.is_done() {
            Progress::Done
        } else {
            Progress::Wait
        },
    )
}
