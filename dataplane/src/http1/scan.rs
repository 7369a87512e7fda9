//! Finds the end of a head in bytes that are still arriving.

use std::ops::Range;

use super::error::HeadError;
use super::head::HeadLimits;
use super::token::is_token;

/// Which of the two kinds of message is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// From a client.
    Request,
    /// From an origin.
    Response,
}

/// How far a head was searched for its end, so that no byte is searched twice.
///
/// One for each direction of a connection; make a new one for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadScan {
    kind: MessageKind,
    /// The empty line before a request line was skipped.
    skipped: bool,
    /// The start line is complete.
    in_fields: bool,
    /// Bytes before this one hold nothing but whole lines and text.
    scanned: u32,
    /// First byte of the line that `scanned` lies in.
    line: u32,
}

impl HeadScan {
    /// For a message of which nothing was seen yet.
    pub fn new(kind: MessageKind) -> Self {
        Self {
            kind,
            skipped: false,
            in_fields: false,
            scanned: 0,
            line: 0,
        }
    }

    /// Searches for the end of the head. `bytes` is everything received of this message so far,
    /// from its first byte on: each call is given at least what the call before was given.
    ///
    /// Returns where the head lies in `bytes`, with its final empty line, or `None` while that has
    /// not arrived. The range begins after 0 when an empty line preceded the request line, which
    /// RFC 9112 section 2.2 tells servers to skip (one is; bytes before the range belong to
    /// nobody). What follows the range is body or the next message.
    ///
    /// Line ends are checked here already, because a peer that never sends a proper one would
    /// otherwise be waited for until its time is up. So is the first byte: a TLS handshake on a
    /// plain port is refused at once.
    ///
    /// # Errors
    /// [`HeadError::BareCr`], [`HeadError::BareLf`], [`HeadError::BadMethod`],
    /// [`HeadError::BadRequestLine`], [`HeadError::BadStatusLine`], and the limits' [`HeadError::TooLarge`] and
    /// [`HeadError::RequestLineTooLong`].
    pub fn find_end(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<Range<usize>>, HeadError> {
        let mut line = self.line as usize;
        let mut scanned = self.scanned as usize;
        let end = loop {
            // Nothing beyond the longest head is looked at, so that the verdict does not depend on
            // how the bytes are cut into pieces.
            let seen = &bytes[..bytes.len().min(self.start() + limits.max_head as usize)];
            if line == scanned && !self.in_fields {
                self.check_first(seen, line)?;
            }
            let found = seen
                .get(scanned..)
                .and_then(|rest| memchr::memchr2(b'\r', b'\n', rest))
                .map(|found| scanned + found);
            if !self.in_fields {
                self.check_start_line(found.unwrap_or(seen.len()) - line, limits)?;
            }
            let Some(cr) = found else {
                scanned = scanned.max(seen.len());
                break None;
            };
            if seen[cr] == b'\n' {
                return Err(HeadError::BareLf);
            }
            match seen.get(cr + 1) {
                None => {
                    scanned = cr;
                    break None;
                }
                Some(b'\n') => {}
                Some(_) => return Err(HeadError::BareCr),
            }
            let empty = cr == line;
            scanned = cr + 2;
            if !empty {
                self.in_fields = true;
            } else if self.in_fields {
                break Some(scanned);
            } else if self.kind == MessageKind::Request && !self.skipped {
                self.skipped = true;
            } else {
                return Err(self.malformed_start());
            }
            line = scanned;
        };
        self.line = line as u32;
        self.scanned = scanned as u32;
        if end.is_none() && bytes.len() >= self.start() + limits.max_head as usize {
            return Err(HeadError::TooLarge);
        }
        Ok(end.map(|end| self.start()..end))
    }

    /// Where the head begins.
    fn start(&self) -> usize {
        if self.skipped { 2 } else { 0 }
    }

    /// Refuses a message whose first byte no message has.
    fn check_first(&self, bytes: &[u8], at: usize) -> Result<(), HeadError> {
        match bytes.get(at) {
            None | Some(b'\r' | b'\n') => Ok(()),
            Some(&byte) if is_token(byte) => Ok(()),
            Some(_) => Err(self.malformed_start()),
        }
    }

    fn malformed_start(&self) -> HeadError {
        match (self.kind, self.skipped) {
            (MessageKind::Request, false) => HeadError::BadMethod,
            (MessageKind::Request, true) => HeadError::BadRequestLine,
            (MessageKind::Response, _) => HeadError::BadStatusLine,
        }
    }

    fn check_start_line(&self, len: usize, limits: &HeadLimits) -> Result<(), HeadError> {
        if self.kind == MessageKind::Request && len > limits.max_request_line as usize {
            return Err(HeadError::RequestLineTooLong);
        }
        Ok(())
    }
}
