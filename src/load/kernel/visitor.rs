//! One connection of the origin's: the request that comes in on it, and the answer that goes out.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsFd;

use dataplane::load::pattern;
use dataplane::load::reply::{Answer, CONTINUE};
use dataplane::load::request::{Asked, RequestReader};
use dataplane::load::{Heads, Malformed, Piece};
use mio::net::TcpStream;

/// Runs of pattern in one write: a MiB.
const RUNS: usize = 16;

/// Bytes of a request's body from which on the kernel is asked to throw them away.
const DISCARD_FROM: u64 = 64 * 1024;

/// Most bytes thrown away by one call.
const DISCARD_MOST: u64 = 1 << 20;

/// What an origin has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests answered.
    pub requests: u64,
    /// Of these, those that named no length.
    pub not_found: u64,
    /// Requests that were none.
    pub malformed: u64,
    /// Bytes of body handed to the kernel.
    pub body_bytes: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections closed.
    pub closed: u64,
}

/// What the connections of a thread use together.
pub struct Common {
    /// For parsing.
    pub heads: Heads,
    /// What is received into.
    pub buffer: Box<[u8]>,
    /// An IMF-fixdate.
    pub date: Vec<u8>,
    /// What was counted.
    pub served: Served,
}

/// One connection of the origin's.
pub struct Visitor {
    socket: TcpStream,
    reader: RequestReader,
    /// Bytes that came and could not be taken yet: the beginning of a head, or what follows a request
    /// whose answer is still going out. Empty as a rule.
    gathered: Vec<u8>,
    /// The head that is going out.
    out: Vec<u8>,
    /// Of `out`, how much has gone.
    out_sent: usize,
    /// The body that is going out: from where, to where.
    body_at: u64,
    body_end: u64,
    /// The connection closes when all has gone out.
    close: bool,
    /// All has gone out, and the peer is waited for.
    ending: bool,
    continued: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for the kernel.
    Stay,
    /// It is over.
    Close,
}

impl Visitor {
    /// A connection that was just accepted.
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            reader: RequestReader::new(),
            gathered: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            body_at: 0,
            body_end: 0,
            close: false,
            ending: false,
            continued: false,
        }
    }

    /// The connection.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Goes as far as the kernel lets it. `closed` is whether the kernel has said that the peer has
    /// closed.
    pub fn advance(&mut self, common: &mut Common, closed: bool) -> Fate {
        loop {
            match self.flush(common) {
                Ok(true) if self.close => return self.finish(common),
                Ok(true) => {}
                Ok(false) => return Fate::Stay,
                Err(_) => return Fate::Close,
            }
            if !self.gathered.is_empty() {
                let gathered = std::mem::take(&mut self.gathered);
                let taken = self.follow(&gathered, common);
                self.gathered = gathered;
                drop(self.gathered.drain(..taken));
                if self.has_output() {
                    continue;
                }
            }
            match self.receive(common, closed) {
                Ok(true) => {}
                Ok(false) => return Fate::Stay,
                Err(_) => return Fate::Close,
            }
        }
    }

    /// Receives once. Returns whether there may be more to do.
    fn receive(&mut self, common: &mut Common, closed: bool) -> io::Result<bool> {
        let left = self.reader.data_left();
        if left >= DISCARD_FROM && self.reader.asked().is_some() {
            return match socket::discard(self.socket.as_fd(), left.min(DISCARD_MOST) as usize) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => {
                    self.reader.skip(received as u64);
                    self.answer_if_done(common);
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            };
        }
        let received = match self.socket.read(&mut common.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.gathered.is_empty() {
            let buffer = std::mem::take(&mut common.buffer);
            let taken = self.follow(&buffer[..received], common);
            self.gathered.extend_from_slice(&buffer[taken..received]);
            common.buffer = buffer;
        } else {
            self.gathered.extend_from_slice(&common.buffer[..received]);
            return Ok(true);
        }
        // Less than was asked for: the kernel will tell of what comes.
        Ok(self.has_output() || closed || received == common.buffer.len())
    }

    /// Follows requests through `bytes` until one is to be answered. Returns how many were taken.
    fn follow(&mut self, bytes: &[u8], common: &mut Common) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.has_output() && !self.close {
            match self.reader.next(&bytes[taken..], &mut common.heads) {
                Ok(Piece::Incomplete) => break,
                Ok(Piece::Head { len }) => {
                    taken += len;
                    self.continue_if_asked(taken == bytes.len());
                    self.answer_if_done(common);
                }
                Ok(Piece::Framing { len } | Piece::Data { len }) => {
                    taken += len;
                    self.answer_if_done(common);
                }
                Err(error) => {
                    self.refuse(error, common);
                    return bytes.len();
                }
            }
        }
        taken
    }

    /// Tells a client that waits for it to send its body.
    fn continue_if_asked(&mut self, waits: bool) {
        let asked = self
            .reader
            .asked()
            .is_some_and(|asked| asked.expects_continue);
        if asked && waits && !self.continued {
            self.continued = true;
            self.out.extend_from_slice(CONTINUE);
        }
    }

    /// Prepares the answer when the request has come in whole.
    fn answer_if_done(&mut self, common: &mut Common) {
        if !self.reader.is_done() {
            return;
        }
        let Some(asked) = self.reader.asked().copied() else {
            return;
        };
        self.reader = RequestReader::new();
        self.continued = false;
        let answer = Answer::to(&asked, false);
        common.served.requests += 1;
        common.served.not_found += u64::from(answer.status == 404);
        self.begin(&asked, answer, common);
    }

    fn begin(&mut self, asked: &Asked, answer: Answer, common: &Common) {
        let date = (!common.date.is_empty()).then_some(common.date.as_slice());
        answer.write_head(asked, date, &mut self.out);
        (self.body_at, self.body_end) = (0, answer.sent);
        self.close = answer.close;
    }

    /// Answers what is no request, and closes.
    fn refuse(&mut self, error: Malformed, common: &mut Common) {
        common.served.malformed += 1;
        let status = match error {
            Malformed::Head(error) => error.status(),
            Malformed::Chunk(error) => error.status(),
        };
        dataplane::http1::Reply {
            status,
            cause: &error.to_string(),
            client_version: dataplane::http1::Version::Http11,
            close: true,
            head_only: false,
            date: None,
        }
        .write(&mut self.out);
        self.close = true;
    }

    fn has_output(&self) -> bool {
        self.out_sent < self.out.len() || self.body_at < self.body_end
    }

    /// Sends what the kernel takes. Returns whether everything has gone out.
    fn flush(&mut self, common: &mut Common) -> io::Result<bool> {
        while self.has_output() {
            let mut slices = [IoSlice::new(&[]); RUNS + 1];
            let mut used = 0;
            if self.out_sent < self.out.len() {
                slices[used] = IoSlice::new(&self.out[self.out_sent..]);
                used += 1;
            }
            let mut at = self.body_at;
            while at < self.body_end && used < slices.len() {
                let run = pattern::run(at, self.body_end - at);
                slices[used] = IoSlice::new(run);
                used += 1;
                at += run.len() as u64;
            }
            let sent = match self.socket.write_vectored(&slices[..used]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let of_head = sent.min(self.out.len() - self.out_sent);
            self.out_sent += of_head;
            self.body_at += (sent - of_head) as u64;
            common.served.body_bytes += (sent - of_head) as u64;
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(true)
    }

    /// Everything has gone out: says so to the peer, and waits for it to close. Closing at once would reset
    /// the connection if bytes have come that nobody read, and take the answer with it.
    fn finish(&mut self, common: &mut Common) -> Fate {
        if !self.ending {
            self.ending = true;
            if self.socket.shutdown(std::net::Shutdown::Write).is_err() {
                return Fate::Close;
            }
        }
        loop {
            match self.socket.read(&mut common.buffer) {
                Ok(0) => return Fate::Close,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Stay,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Fate::Close,
            }
        }
    }
}
