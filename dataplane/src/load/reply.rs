//! The heads of an origin's responses.

use super::request::Asked;
use crate::http1::reply::reason_phrase;
use crate::http1::rewrite::persistence;
use crate::http1::token::push_decimal;

/// Before a request's body, where the client waits for it (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How an origin answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, or 404 when the target names no length.
    pub status: u16,
    /// Bytes of body that the head states.
    pub length: u64,
    /// Bytes of body that are sent: the same, or none for `HEAD`.
    pub sent: u64,
    /// The connection closes behind it.
    pub close: bool,
}

impl Answer {
    /// The answer to `asked`; `close` is whether the connection closes behind it whatever the client
    /// wants.
    pub fn to(asked: &Asked, close: bool) -> Self {
        let length = asked.length.unwrap_or(0);
        Self {
            status: if asked.length.is_some() { 200 } else { 404 },
            length,
            sent: if asked.head_only { 0 } else { length },
            close: close || !asked.keep_alive,
        }
    }

    /// Appends its head to `out`; at most 200 bytes. `date` is an IMF-fixdate
    /// ([`HttpDate`](crate::http1::HttpDate)), `None` when the time is not known.
    pub fn write_head(&self, asked: &Asked, date: Option<&[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, self.status.into());
        out.push(b' ');
        out.extend_from_slice(match self.status {
            404 => b"Not Found",
            status => reason_phrase(status).as_bytes(),
        });
        if let Some(date) = date {
            out.extend_from_slice(b"\r\nDate: ");
            out.extend_from_slice(date);
        }
        out.extend_from_slice(b"\r\nServer: minivoy-load\r\nContent-Type: application/octet-stream\r\nContent-Length: ");
        push_decimal(out, self.length);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(persistence(asked.version, self.close));
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Version;
    use crate::load::response::ResponseReader;
    use crate::load::{Heads, Piece};

    #[test]
    fn heads_say_what_follows() {
        let date = Some(&b"Sun, 06 Nov 1994 08:49:37 GMT"[..]);
        for length in [Some(0), Some(16_384), Some(1 << 62), None] {
            for (head_only, keep_alive, version) in [
                (false, true, Version::Http11),
                (true, false, Version::Http11),
                (false, true, Version::Http10),
            ] {
                let asked = Asked {
                    length,
                    head_only,
                    keep_alive,
                    expects_continue: false,
                    version,
                };
                let answer = Answer::to(&asked, false);
                let mut head = Vec::new();
                answer.write_head(&asked, date, &mut head);
                assert!(head.len() <= 200, "{}", head.len());
                let mut reader = ResponseReader::new(head_only);
                let read = reader.next(&head, &mut Heads::new());
                assert_eq!(read, Ok(Piece::Head { len: head.len() }));
                assert_eq!(
                    reader.status(),
                    Some(if length.is_some() { 200 } else { 404 })
                );
                assert_eq!(reader.is_done(), answer.sent == 0);
                assert_eq!(reader.keep_alive(), keep_alive);
                assert_eq!(reader.data_left(), answer.sent);
            }
        }
    }
}
