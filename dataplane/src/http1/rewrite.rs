//! Writes the head that is passed on to the other side.
//!
//! Fields that end at this hop are left out (RFC 9110 section 7.6.1), framing is written anew from
//! what was understood, so that the next recipient sees one unambiguous statement of it, and the
//! configured fields are added. All other fields keep their bytes and their order. The version
//! written is always HTTP/1.1, the proxy's own (section 2.5).

use std::io::Write;
use std::net::IpAddr;

use super::field::KnownField;
use super::framing::BodyFraming;
use super::head::{Field, Head};
use super::line::{Method, RequestLine, StatusLine, Target, Version};
use super::token::{Part, push_decimal};
use crate::settings::Forwarding;

/// Most bytes that a rewritten head has beyond the received head and the texts that the caller
/// passes: names of added fields, an address, a length, a `Connection`.
const MAX_ADDED: usize = 512;

/// How a request head is to be passed on.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// Which fields are added.
    pub forwarding: &'a Forwarding,
    /// The client's address, for `X-Forwarded-For`.
    pub client: IpAddr,
    /// The listener's scheme, for `X-Forwarded-Proto`.
    pub scheme: &'a str,
    /// `Host` for HTTP/1.0 requests that name none.
    pub default_host: &'a str,
    /// The framing of the body that is sent: that of the request.
    pub body: BodyFraming,
    /// Pass the request's `Upgrade` on; false drops it.
    pub upgrade: bool,
}

/// How a response head is to be passed on.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// Which fields are added.
    pub forwarding: &'a Forwarding,
    /// The version of the client's request.
    pub client_version: Version,
    /// The framing of the body that is sent, which is not always the one that was received: a
    /// chunked body goes to an HTTP/1.0 client as [`BodyFraming::UntilClose`].
    pub body: BodyFraming,
    /// The client's connection closes after this response.
    pub close: bool,
    /// The response is the 101 that opens a tunnel.
    pub tunnel: bool,
    /// The date for responses that have none, as RFC 9110 section 6.6.1 asks of recipients with
    /// a clock: an IMF-fixdate.
    pub date: Option<&'a [u8]>,
}

impl RequestRewrite<'_> {
    /// What [`write_request`] appends at most for a received head of `len` bytes.
    pub fn max_len(&self, len: usize) -> usize {
        len + MAX_ADDED + via_len(self.forwarding) + self.default_host.len() + self.scheme.len()
    }
}

impl ResponseRewrite<'_> {
    /// What [`write_response`] appends at most for a received head of `len` bytes.
    pub fn max_len(&self, len: usize) -> usize {
        len + MAX_ADDED + via_len(self.forwarding) + self.date.map_or(0, <[u8]>::len)
    }
}

fn via_len(forwarding: &Forwarding) -> usize {
    forwarding.via.as_ref().map_or(0, String::len)
}

/// Appends the request head to send to the origin. `head` must be the bytes that `parsed` and
/// `line` were parsed from. Appends at most [`RequestRewrite::max_len`] bytes.
pub fn write_request(
    out: &mut Vec<u8>,
    head: &[u8],
    parsed: &Head,
    line: RequestLine,
    how: &RequestRewrite<'_>,
) {
    out.extend_from_slice(line.method.text(head));
    out.push(b' ');
    write_target(out, head, line);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match parsed.authority() {
        Some(authority) => out.extend_from_slice(authority.of(head)),
        None => out.extend_from_slice(how.default_host.as_bytes()),
    }
    out.extend_from_slice(b"\r\n");

    let forwarding = how.forwarding;
    copy_fields(out, head, parsed, |field| match field.known {
        KnownField::Host | KnownField::ContentLength => false,
        KnownField::Expect => parsed.expects_continue(),
        KnownField::Trailer => how.body == BodyFraming::Chunked,
        KnownField::MaxForwards => parsed.max_forwards().is_none(),
        KnownField::Via => forwarding.via.is_none(),
        KnownField::XForwardedFor => !forwarding.x_forwarded_for,
        KnownField::XForwardedProto => !forwarding.x_forwarded_proto,
        _ => true,
    });

    if let Some(count) = parsed.max_forwards() {
        out.extend_from_slice(b"Max-Forwards: ");
        push_decimal(out, count.saturating_sub(1));
        out.extend_from_slice(b"\r\n");
    }
    if forwarding.x_forwarded_for {
        begin_list(
            out,
            b"X-Forwarded-For: ",
            head,
            parsed,
            KnownField::XForwardedFor,
        );
        write_text(out, format_args!("{}\r\n", how.client.to_canonical()));
    }
    if forwarding.x_forwarded_proto {
        write_text(out, format_args!("X-Forwarded-Proto: {}\r\n", how.scheme));
    }
    write_via(out, head, parsed, line.version, forwarding);
    write_framing(out, how.body);
    if how.upgrade {
        write_upgrade(out, head, parsed.upgrade());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the response head to send to the client. `head` must be the bytes that `parsed` and
/// `line` were parsed from. Appends at most [`ResponseRewrite::max_len`] bytes.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &[u8],
    parsed: &Head,
    line: StatusLine,
    how: &ResponseRewrite<'_>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(line.status));
    out.push(b' ');
    out.extend_from_slice(line.reason.of(head));
    out.extend_from_slice(b"\r\n");

    let interim = line.status < 200;
    let bodiless = how.body == BodyFraming::None;
    // In answers to HEAD and in 304 the length is that of the body that is not sent (RFC 9110
    // section 8.6). 1xx and 204 must not have one.
    let describes_body = bodiless && !interim && line.status != 204;
    let forwarding = how.forwarding;
    copy_fields(out, head, parsed, |field| match field.known {
        KnownField::ContentLength => false,
        KnownField::Trailer => how.body == BodyFraming::Chunked,
        KnownField::Via => forwarding.via.is_none(),
        _ => true,
    });

    if let Some(date) = how.date
        && !parsed.has_date()
        && !interim
    {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    write_via(out, head, parsed, line.version, forwarding);
    match parsed.content_length() {
        Some(length) if describes_body => write_framing(out, BodyFraming::Length(length)),
        _ => write_framing(out, how.body),
    }
    if how.tunnel {
        write_upgrade(out, head, parsed.upgrade());
    } else if !interim {
        let close = how.close || how.body == BodyFraming::UntilClose;
        out.extend_from_slice(persistence(how.client_version, close));
    }
    out.extend_from_slice(b"\r\n");
}

/// The `Connection` line that tells a client of `version` whether its connection stays open:
/// nothing where that is what its version assumes.
pub fn persistence(version: Version, close: bool) -> &'static [u8] {
    match (close, version) {
        (true, _) => b"Connection: close\r\n",
        (false, Version::Http10) => b"Connection: keep-alive\r\n",
        (false, Version::Http11) => b"",
    }
}

/// Writes the target in origin-form (or `*`), RFC 9112 sections 3.2.1 and 3.2.4.
fn write_target(out: &mut Vec<u8>, head: &[u8], line: RequestLine) {
    match line.target {
        Target::Origin { path } => out.extend_from_slice(path.of(head)),
        Target::Asterisk => out.push(b'*'),
        Target::Absolute { path, .. } => match path.of(head) {
            [] if line.method == Method::Options => out.push(b'*'),
            path => {
                if path.first() != Some(&b'/') {
                    out.push(b'/');
                }
                out.extend_from_slice(path);
            }
        },
    }
}

/// Copies the fields that `keep` and that do not end at this hop. Neighbours are copied in one go.
fn copy_fields(out: &mut Vec<u8>, head: &[u8], parsed: &Head, keep: impl Fn(&Field) -> bool) {
    let mut run: Option<Part> = None;
    for field in parsed.fields() {
        let passes = match field.known {
            KnownField::Other => !parsed.is_nominated(field, head),
            known => !known.is_hop_by_hop() && keep(field),
        };
        if passes {
            let start = run.map_or(field.name.start, |run| run.start);
            run = Some(Part {
                start,
                end: field.line_end,
            });
        } else if let Some(run) = run.take() {
            out.extend_from_slice(run.of(head));
        }
    }
    if let Some(run) = run {
        out.extend_from_slice(run.of(head));
    }
}

/// Begins a list field with all elements it has so far, so that the one that follows is the last.
///
/// One line, not one more line: many origins read only one of several lines of the same name, and
/// a client could choose what they see.
fn begin_list(out: &mut Vec<u8>, name: &[u8], head: &[u8], parsed: &Head, known: KnownField) {
    out.extend_from_slice(name);
    for field in parsed.fields() {
        if field.known == known && !field.value.is_empty() {
            out.extend_from_slice(field.value.of(head));
            out.extend_from_slice(b", ");
        }
    }
}

/// RFC 9110 section 7.6.3: the version of the message as it was received, and who received it.
fn write_via(
    out: &mut Vec<u8>,
    head: &[u8],
    parsed: &Head,
    version: Version,
    forwarding: &Forwarding,
) {
    if let Some(pseudonym) = &forwarding.via {
        begin_list(out, b"Via: ", head, parsed, KnownField::Via);
        out.extend_from_slice(match version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
        });
        out.extend_from_slice(pseudonym.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn write_framing(out: &mut Vec<u8>, body: BodyFraming) {
    match body {
        BodyFraming::None | BodyFraming::UntilClose => {}
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_upgrade(out: &mut Vec<u8>, head: &[u8], protocol: Option<Part>) {
    if let Some(protocol) = protocol {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
        out.extend_from_slice(protocol.of(head));
        out.extend_from_slice(b"\r\n");
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}
