//! The small responses that the proxy makes itself.

use super::line::Version;
use super::rewrite::persistence;
use super::token::push_decimal;

/// A response of the proxy's own, with a line of text that names the cause.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// What went wrong, in a few words of plain text.
    pub cause: &'a str,
    /// The version of the client's request; HTTP/1.1 when it could not be told.
    pub client_version: Version,
    /// The connection closes after this.
    pub close: bool,
    /// The request was `HEAD`: the length is stated, the body left out.
    pub head_only: bool,
    /// `Date` as an IMF-fixdate, which RFC 9110 section 6.6.1 asks for of whoever makes a response
    /// and has a clock. `None`: the time is not known.
    pub date: Option<&'a [u8]>,
}

impl Reply<'_> {
    /// Appends the whole response to `out`. At most 320 bytes beside the cause and the
    /// date.
    pub fn write(&self, out: &mut Vec<u8>) {
        let reason = reason_phrase(self.status);
        // "502 Bad Gateway: connection refused\n"
        let length = 3 + 1 + reason.len() + 2 + self.cause.len() + 1;
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(date) = self.date {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Content-Type: text/plain\r\nContent-Length: ");
        push_decimal(out, length as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(persistence(self.client_version, self.close));
        out.extend_from_slice(b"\r\n");
        if !self.head_only {
            push_decimal(out, u64::from(self.status));
            out.push(b' ');
            out.extend_from_slice(reason.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.cause.as_bytes());
            out.push(b'\n');
        }
    }
}

/// The reason phrase of RFC 9110 section 15 (RFC 6585 for 429 and 431).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}
