//! Requests: how the generator writes them, and how an origin follows them.

use super::body::BodyReader;
use super::target::body_length;
use super::{Heads, Malformed, Piece};
use crate::http1::framing::{is_persistent, request_framing};
use crate::http1::token::push_decimal;
use crate::http1::{BodyFraming, HeadScan, MessageKind, Method, Target, Version};

/// A request as the generator sends it, all through a run.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, a token.
    pub method: &'a str,
    /// Path and query; begins with `/`.
    pub target: &'a str,
    /// What `Host` says.
    pub host: &'a str,
    /// Further fields, name and value. `Host` and `User-Agent` replace those written otherwise.
    pub fields: &'a [(String, String)],
    /// Bytes of body; `None`: no body, and no `Content-Length`.
    pub body: Option<u64>,
    /// Whether the connection is to be kept.
    pub keep_alive: bool,
}

impl RequestHead<'_> {
    /// Appends the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let given = |name: &str| {
            let mut fields = self.fields.iter();
            fields.any(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        let mut line = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        };
        line(&[self.method, " ", self.target, " HTTP/1.1"]);
        if !given("host") {
            line(&["Host: ", self.host]);
        }
        if !given("user-agent") {
            line(&["User-Agent: minivoy-load"]);
        }
        for (name, value) in self.fields {
            line(&[name, ": ", value]);
        }
        if !self.keep_alive {
            line(&["Connection: close"]);
        }
        if let Some(length) = self.body {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What a request asks an origin for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Bytes of body that its target names; `None`: it names none.
    pub length: Option<u64>,
    /// The method was `HEAD`.
    pub head_only: bool,
    /// The client keeps the connection.
    pub keep_alive: bool,
    /// The client waits for 100 (Continue) before it sends its body.
    pub expects_continue: bool,
    /// The client's version.
    pub version: Version,
}

/// Follows one request at the origin. Make a new one for each.
#[derive(Clone, Copy, Debug)]
pub struct RequestReader {
    scan: HeadScan,
    body: BodyReader,
    asked: Option<Asked>,
}

impl RequestReader {
    /// At the first byte of a request.
    pub fn new() -> Self {
        Self {
            scan: HeadScan::new(MessageKind::Request),
            body: BodyReader::new(BodyFraming::None),
            asked: None,
        }
    }

    /// Takes the next run of bytes of one kind from the front of `bytes`. As long as the answer is
    /// [`Piece::Incomplete`], `bytes` must begin with the request's first byte.
    ///
    /// # Errors
    /// [`Malformed`] when it is no request; its head may say which status to answer with.
    pub fn next(&mut self, bytes: &[u8], heads: &mut Heads) -> Result<Piece, Malformed> {
        if self.asked.is_some() {
            return self.body.next(bytes).map_err(Malformed::Chunk);
        }
        let found = self.scan.find_end(bytes, &heads.limits);
        let Some(range) = found.map_err(Malformed::Head)? else {
            return Ok(Piece::Incomplete);
        };
        let len = range.end;
        let text = &bytes[range];
        let line = heads
            .head
            .parse_request(text, &heads.limits)
            .map_err(Malformed::Head)?;
        let target = match line.target {
            Target::Origin { path } | Target::Absolute { path, .. } => path.of(text),
            Target::Asterisk => b"*",
        };
        self.body = BodyReader::new(request_framing(&heads.head));
        self.asked = Some(Asked {
            length: body_length(target),
            head_only: line.method == Method::Head,
            keep_alive: is_persistent(line.version, heads.head.connection()),
            expects_continue: heads.head.expects_continue(),
            version: line.version,
        });
        Ok(Piece::Head { len })
    }

    /// What is asked for; `None` before the head has come in.
    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// Bytes of body that are sure to come next; see [`BodyReader::data_left`].
    pub fn data_left(&self) -> u64 {
        self.body.data_left()
    }

    /// Passes over bytes of body; see [`BodyReader::skip`].
    pub fn skip(&mut self, len: u64) {
        self.body.skip(len);
    }

    /// True when the request has come in whole.
    pub fn is_done(&self) -> bool {
        self.asked.is_some() && self.body.is_done()
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::HeadError;

    fn read(text: &[u8], cut: usize) -> Result<(RequestReader, usize), Malformed> {
        let mut heads = Heads::new();
        let mut reader = RequestReader::new();
        let (mut start, mut end) = (0, 0);
        while end < text.len() && !reader.is_done() {
            end = text.len().min(end + cut);
            while start < end && !reader.is_done() {
                match reader.next(&text[start..end], &mut heads)? {
                    Piece::Incomplete => break,
                    Piece::Head { len } | Piece::Framing { len } | Piece::Data { len } => {
                        start += len
                    }
                }
            }
        }
        Ok((reader, start))
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = [("X-Own".to_owned(), "1 2".to_owned())];
        for (method, keep_alive, body) in [
            ("GET", true, None),
            ("HEAD", true, None),
            ("GET", false, None),
            ("POST", true, Some(5)),
            ("POST", true, Some(0)),
        ] {
            let request = RequestHead {
                method,
                target: "/x?size=16k",
                host: "origin.test:8080",
                fields: &fields,
                body,
                keep_alive,
            };
            let mut text = Vec::new();
            request.write(&mut text);
            assert!(text.windows(12).any(|part| part == b"X-Own: 1 2\r\n"));
            let len = text.len() + body.unwrap_or(0) as usize;
            text.resize(len, b'x');
            text.extend_from_slice(b"GET /next");
            for cut in 1..text.len() {
                let (reader, taken) = read(&text, cut).unwrap();
                assert_eq!(taken, len, "{method} cut by {cut}");
                assert_eq!(
                    reader.asked(),
                    Some(&Asked {
                        length: Some(16_384),
                        head_only: method == "HEAD",
                        keep_alive,
                        expects_continue: false,
                        version: Version::Http11,
                    })
                );
            }
        }
    }

    #[test]
    fn fields_replace_those_written_otherwise() {
        let fields = [
            ("host".to_owned(), "other".to_owned()),
            ("USER-AGENT".to_owned(), "me".to_owned()),
        ];
        let request = RequestHead {
            method: "GET",
            target: "/",
            host: "origin",
            fields: &fields,
            body: None,
            keep_alive: true,
        };
        let mut text = Vec::new();
        request.write(&mut text);
        assert_eq!(
            text,
            b"GET / HTTP/1.1\r\nhost: other\r\nUSER-AGENT: me\r\n\r\n"
        );
    }

    #[test]
    fn bodies_are_passed_over_and_nonsense_is_refused() {
        let text =
            b"PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let (reader, taken) = read(text, 7).unwrap();
        assert!(reader.is_done());
        assert_eq!(taken, text.len());
        let (reader, _) = read(b"GET /none HTTP/1.0\r\n\r\n", 99).unwrap();
        let asked = reader.asked().unwrap();
        assert_eq!((asked.length, asked.keep_alive), (None, false));
        let refused = read(b"GET / HTTP/1.1\r\n\r\n", 99).err();
        assert_eq!(refused, Some(Malformed::Head(HeadError::MissingHost)));
        assert!(!read(b"GET / HTT", 99).unwrap().0.is_done());
    }
}
