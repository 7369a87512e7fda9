//! What the tests of HTTP/1.x share.
#![allow(dead_code, reason = "no test file uses everything")]

use dataplane::http1::{
    Head, HeadError, HeadLimits, HeadScan, MessageKind, RequestLine, StatusLine,
};
use dataplane::settings::Limits;

/// The limits of the default settings.
pub fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

/// Finds and parses a request head at the front of `bytes`, as a connection would on receiving
/// all of them at once.
pub fn request(bytes: &[u8]) -> Result<(Head, RequestLine, Vec<u8>), HeadError> {
    let limits = limits();
    let found = HeadScan::new(MessageKind::Request).find_end(bytes, &limits)?;
    let text = bytes[found.ok_or(HeadError::NotOneHead)?].to_vec();
    let mut head = Head::new(&limits);
    let line = head.parse_request(&text, &limits)?;
    Ok((head, line, text))
}

/// Finds and parses a response head at the front of `bytes`.
pub fn response(bytes: &[u8]) -> Result<(Head, StatusLine, Vec<u8>), HeadError> {
    let limits = limits();
    let found = HeadScan::new(MessageKind::Response).find_end(bytes, &limits)?;
    let text = bytes[found.ok_or(HeadError::NotOneHead)?].to_vec();
    let mut head = Head::new(&limits);
    let line = head.parse_response(&text, &limits)?;
    Ok((head, line, text))
}

/// A GET with `Host: a` and these field lines.
pub fn get_with(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// A 200 with these field lines.
pub fn ok_with(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes()
}

/// A small generator with a seed that can be printed (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound
    }
}

/// Heads that are right, in the many ways in which they can be.
pub const GOOD_REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a?b=c&d HTTP/1.0\r\n\r\n",
    "GET /a?b=c&d HTTP/1.0\r\nHost: example.org:80\r\nConnection: keep-alive\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nContent-Length: 5\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost:a\r\ntransfer-encoding:CHUNKED\r\n\r\n",
    "GET http://example.org/x?y HTTP/1.1\r\nHost: other\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
    "PROPFIND /dav HTTP/1.1\r\nHost: a\r\nDepth: 1\r\nX-Empty:\r\nX-Text:\t\u{a0} v\u{e4}lue \t\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\
     Connection: close, X-One\r\nX-One: 1\r\nVia: 1.0 fred\r\nX-Forwarded-For: 10.0.0.1\r\n\
     Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X-Sum\r\n\r\n",
];
