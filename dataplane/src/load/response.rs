//! Follows a response to its end at the generator.

use super::body::BodyReader;
use super::{Heads, Malformed, Piece};
use crate::http1::framing::{is_persistent, response_framing};
use crate::http1::{BodyFraming, HeadScan, MessageKind, Method, ResponseKind};

/// Follows one response. Make a new one for each request.
#[derive(Clone, Copy, Debug)]
pub struct ResponseReader {
    scan: HeadScan,
    body: BodyReader,
    /// The request was `HEAD`: there is no body whatever the head says.
    head_only: bool,
    /// 0 before the head.
    status: u16,
    keep_alive: bool,
    head_bytes: u32,
}

impl ResponseReader {
    /// At the first byte of the response to a request, which was `HEAD` or another.
    pub fn new(head_only: bool) -> Self {
        Self {
            scan: HeadScan::new(MessageKind::Response),
            body: BodyReader::new(BodyFraming::None),
            head_only,
            status: 0,
            keep_alive: false,
            head_bytes: 0,
        }
    }

    /// Takes the next run of bytes of one kind from the front of `bytes`. As long as the answer is
    /// [`Piece::Incomplete`], `bytes` must begin with the first byte of a head. Interim responses (1xx)
    /// are heads before the one that counts.
    ///
    /// # Errors
    /// [`Malformed`] when it is no response.
    pub fn next(&mut self, bytes: &[u8], heads: &mut Heads) -> Result<Piece, Malformed> {
        if self.status != 0 {
            return self.body.next(bytes).map_err(Malformed::Chunk);
        }
        let found = self.scan.find_end(bytes, &heads.limits);
        let Some(range) = found.map_err(Malformed::Head)? else {
            return Ok(Piece::Incomplete);
        };
        let len = range.end;
        let line = heads
            .head
            .parse_response(&bytes[range], &heads.limits)
            .map_err(Malformed::Head)?;
        // Of methods only HEAD matters for framing.
        let method = if self.head_only {
            Method::Head
        } else {
            Method::Get
        };
        let kind = response_framing(&heads.head, line, method, false).map_err(Malformed::Head)?;
        self.head_bytes += len as u32;
        match kind {
            // A tunnel is refused above: none is asked for.
            ResponseKind::Interim | ResponseKind::Tunnel => {
                self.scan = HeadScan::new(MessageKind::Response);
            }
            ResponseKind::Final { body } => {
                self.status = line.status;
                self.body = BodyReader::new(body);
                self.keep_alive = body != BodyFraming::UntilClose
                    && is_persistent(line.version, heads.head.connection());
            }
        }
        Ok(Piece::Head { len })
    }

    /// The status code; `None` before the head has come in.
    pub fn status(&self) -> Option<u16> {
        (self.status != 0).then_some(self.status)
    }

    /// Bytes of head so far, interim responses included.
    pub fn head_bytes(&self) -> u32 {
        self.head_bytes
    }

    /// Bytes of body so far, without framing.
    pub fn body_bytes(&self) -> u64 {
        self.body.data()
    }

    /// Whether the connection may carry another request after this response.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Bytes of body that are sure to come next; see [`BodyReader::data_left`].
    pub fn data_left(&self) -> u64 {
        self.body.data_left()
    }

    /// Passes over bytes of body; see [`BodyReader::skip`].
    pub fn skip(&mut self, len: u64) {
        self.body.skip(len);
    }

    /// True when the response has come in whole.
    pub fn is_done(&self) -> bool {
        self.status != 0 && self.body.is_done()
    }

    /// The peer has closed in an orderly way. Returns whether the response is whole.
    pub fn close(&mut self) -> bool {
        self.status != 0 && self.body.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{ChunkError, HeadError};

    struct Read {
        reader: ResponseReader,
        taken: usize,
        result: Result<(), Malformed>,
    }

    fn read(text: &[u8], head_only: bool, cut: usize) -> Read {
        let mut heads = Heads::new();
        let mut reader = ResponseReader::new(head_only);
        let (mut taken, mut end) = (0, 0);
        let mut result = Ok(());
        'all: while end < text.len() && !reader.is_done() {
            end = text.len().min(end + cut);
            while taken < end && !reader.is_done() {
                match reader.next(&text[taken..end], &mut heads) {
                    Ok(Piece::Incomplete) => break,
                    Ok(Piece::Head { len } | Piece::Framing { len } | Piece::Data { len }) => {
                        taken += len
                    }
                    Err(error) => {
                        result = Err(error);
                        break 'all;
                    }
                }
            }
        }
        Read {
            reader,
            taken,
            result,
        }
    }

    #[test]
    fn responses_end_where_they_end_however_they_are_cut() {
        for (text, head_only, status, head, body, keep) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                false,
                200,
                38,
                3,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                true,
                200,
                38,
                0,
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, 204, 27, 0, true),
            (
                "HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                false,
                503,
                56,
                0,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
                false,
                200,
                38,
                1,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
                false,
                200,
                47,
                5,
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
                false,
                200,
                63,
                2,
                true,
            ),
        ] {
            let followed = format!("{text}HTTP/1.1");
            for cut in 1..=followed.len() {
                let read = read(followed.as_bytes(), head_only, cut);
                let reader = &read.reader;
                assert_eq!(read.result, Ok(()), "{text}");
                assert!(reader.is_done(), "{text} cut by {cut}");
                assert_eq!(read.taken, text.len(), "{text}");
                assert_eq!(reader.status(), Some(status), "{text}");
                assert_eq!(reader.head_bytes(), head, "{text}");
                assert_eq!(reader.body_bytes(), body, "{text}");
                assert_eq!(reader.keep_alive(), keep, "{text}");
            }
        }
    }

    #[test]
    fn a_close_ends_a_body_without_length_and_breaks_others() {
        let mut open = read(b"HTTP/1.1 200 OK\r\n\r\nabc", false, 5).reader;
        assert!(!open.is_done());
        assert!(open.close() && open.is_done() && !open.keep_alive());
        assert_eq!(open.body_bytes(), 3);
        assert!(
            !read(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", false, 9)
                .reader
                .close()
        );
        assert!(!read(b"HTTP/1.1 200", false, 9).reader.close());
        assert!(!ResponseReader::new(false).close());
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for (text, error) in [
            (
                "SSH-2.0-x\r\n\r\n",
                Malformed::Head(HeadError::BadStatusLine),
            ),
            (
                "HTTP/2 200 OK\r\n\r\n",
                Malformed::Head(HeadError::BadVersion),
            ),
            (
                "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                Malformed::Head(HeadError::UnexpectedSwitch),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
                Malformed::Chunk(ChunkError::BadSize),
            ),
        ] {
            assert_eq!(
                read(text.as_bytes(), false, 99).result,
                Err(error),
                "{text}"
            );
        }
    }
}
