//! Parses a head and settles what its fields mean together.

use super::authority::is_authority;
use super::error::HeadError;
use super::field::KnownField;
use super::framing::{Coding, ConnectionOptions, MAX_BODY, Nominated};
use super::line::{
    Method, RequestLine, StatusLine, Target, Version, parse_request_line, parse_status_line,
};
use super::token::{Part, decimal, is_space, is_text, is_token, trim};
use crate::settings::Limits;

/// Bounds on heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes of a head, its final empty line included.
    pub max_head: u32,
    /// Most bytes of a request line, without its CR LF.
    pub max_request_line: u32,
    /// Most fields.
    pub max_fields: u16,
    /// Largest `Content-Length` of a request; `None`: no bound but [`MAX_BODY`].
    pub max_body: Option<u64>,
}

impl From<&Limits> for HeadLimits {
    /// The request line may take half of the head, which at the default is twice what RFC 9112
    /// section 3 asks recipients to support.
    fn from(limits: &Limits) -> Self {
        Self {
            max_head: limits.max_head,
            max_request_line: limits.max_head / 2,
            max_fields: limits.max_fields,
            max_body: limits.max_request_body,
        }
    }
}

/// One field of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name; a token.
    pub name: Part,
    /// The value without the whitespace around it; may be empty.
    pub value: Part,
    /// The byte after the CR LF that ends the line.
    pub line_end: u32,
    /// Which field it is.
    pub known: KnownField,
}

/// A parsed head. It holds positions, not bytes: keep the bytes it was parsed from beside it.
///
/// One is made for each worker and reused for every message.
#[derive(Clone, Debug)]
pub struct Head {
    fields: Vec<Field>,
    facts: Facts,
}

/// What the fields of one head say together.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    host: Option<Part>,
    content_length: Option<u64>,
    coding: Coding,
    connection: ConnectionOptions,
    nominated: Nominated,
    upgrade: Option<Part>,
    upgrades: u16,
    expect_continue: bool,
    max_forwards: Option<u64>,
    has_date: bool,
}

impl Head {
    /// Storage for heads within `limits`; the only place where this type allocates.
    pub fn new(limits: &HeadLimits) -> Self {
        Self {
            fields: Vec::with_capacity(usize::from(limits.max_fields)),
            facts: Facts::default(),
        }
    }

    /// Parses `head`, which must be exactly one request head as found by
    /// [`HeadScan`](super::scan::HeadScan). Safe on any bytes.
    ///
    /// # Errors
    /// Any [`HeadError`] but those of responses; the contents are then unspecified.
    pub fn parse_request(
        &mut self,
        head: &[u8],
        limits: &HeadLimits,
    ) -> Result<RequestLine, HeadError> {
        let end = self.begin(head, limits)?;
        if end > limits.max_request_line as usize {
            return Err(HeadError::RequestLineTooLong);
        }
        let line = parse_request_line(head, end)?;
        self.parse_fields(head, end + 2, limits)?;
        self.settle(line.version)?;
        self.settle_request(head, line, limits)?;
        Ok(line)
    }

    /// Parses `head`, which must be exactly one response head.
    ///
    /// # Errors
    /// Any [`HeadError`] but those of requests; the origin is at fault, so the client gets 502.
    pub fn parse_response(
        &mut self,
        head: &[u8],
        limits: &HeadLimits,
    ) -> Result<StatusLine, HeadError> {
        let end = self.begin(head, limits)?;
        let line = parse_status_line(head, end)?;
        self.parse_fields(head, end + 2, limits)?;
        self.settle(line.version)?;
        Ok(line)
    }

    /// The fields in their order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The value of the first field of this kind.
    pub fn find(&self, known: KnownField) -> Option<Part> {
        let field = self.fields.iter().find(|field| field.known == known)?;
        Some(field.value)
    }

    /// The authority that the request is for: of its target if that is in absolute-form, else of
    /// `Host` (RFC 9112 section 3.2.2). `None` only in HTTP/1.0.
    pub fn authority(&self) -> Option<Part> {
        self.facts.host
    }

    /// The value of `Content-Length`.
    pub fn content_length(&self) -> Option<u64> {
        self.facts.content_length
    }

    /// True with `Transfer-Encoding: chunked`.
    pub fn is_chunked(&self) -> bool {
        self.facts.coding == Coding::Chunked
    }

    /// What `Connection` says.
    pub fn connection(&self) -> ConnectionOptions {
        self.facts.connection
    }

    /// The request waits for 100 (Continue) before it sends its body (RFC 9110 section 10.1.1).
    /// Never true without a body or in HTTP/1.0, where the expectation means nothing.
    pub fn expects_continue(&self) -> bool {
        self.facts.expect_continue
    }

    /// The protocol that a request asks to switch to, or that a 101 response switches to.
    ///
    /// `None` when the message does not ask for it properly, and then the field is dropped, as RFC
    /// 9110 section 7.8 lets servers do. Properly is: HTTP/1.1, `Connection: upgrade`, one
    /// `Upgrade` field that names one protocol, no body (its end would have to be found before the
    /// tunnel begins), and not `h2c`, which would put requests past the proxy's eyes.
    pub fn upgrade(&self) -> Option<Part> {
        self.facts.upgrade
    }

    /// How many more proxies an `OPTIONS` or `TRACE` request may pass (RFC 9110 section 7.6.2). At
    /// 0 the proxy must answer itself. `None` for other methods or without the field.
    pub fn max_forwards(&self) -> Option<u64> {
        self.facts.max_forwards
    }

    /// True when the message has a `Date`.
    pub fn has_date(&self) -> bool {
        self.facts.has_date
    }

    /// True when `Connection` names `field` as one that ends at this hop. `head` must be the head
    /// that was parsed.
    pub fn is_nominated(&self, field: &Field, head: &[u8]) -> bool {
        field.known == KnownField::Other && self.facts.nominated.contains(field.name.of(head), head)
    }

    /// Checks the head as a whole and returns where its first line ends.
    fn begin(&mut self, head: &[u8], limits: &HeadLimits) -> Result<usize, HeadError> {
        self.fields.clear();
        self.facts = Facts::default();
        if head.len() > limits.max_head as usize {
            return Err(HeadError::TooLarge);
        }
        refuse_controls(head)?;
        line_end(head, 0)
    }

    fn parse_fields(
        &mut self,
        head: &[u8],
        mut at: usize,
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        loop {
            let line = at;
            while head.get(at).is_some_and(|&byte| is_token(byte)) {
                at += 1;
            }
            if head.get(at) != Some(&b':') {
                return end_or_error(head, line, at);
            }
            if at == line {
                return Err(HeadError::EmptyFieldName);
            }
            if self.fields.len() >= usize::from(limits.max_fields) {
                return Err(HeadError::TooManyFields);
            }
            let mut start = at + 1;
            let next = line_end(head, start)?;
            let mut end = next;
            while start < end && is_space(head[start]) {
                start += 1;
            }
            while start < end && is_space(head[end - 1]) {
                end -= 1;
            }
            let field = Field {
                name: Part::new(line, at),
                value: Part::new(start, end),
                line_end: (next + 2) as u32,
                known: KnownField::of(&head[line..at]),
            };
            match field.known {
                KnownField::Other if KnownField::is_disguised(&head[line..at]) => {
                    return Err(HeadError::DisguisedField);
                }
                KnownField::Other => {}
                _ => self.facts.note(&field, head)?,
            }
            self.fields.push(field);
            at = next + 2;
        }
    }

    /// What holds for requests and responses alike.
    fn settle(&mut self, version: Version) -> Result<(), HeadError> {
        let facts = &mut self.facts;
        if facts.coding == Coding::Chunked {
            if facts.content_length.is_some() {
                return Err(HeadError::LengthAndCoding);
            }
            if version == Version::Http10 {
                return Err(HeadError::CodingInHttp10);
            }
        }
        if version == Version::Http10 || !facts.connection.upgrade || facts.upgrades != 1 {
            facts.upgrade = None;
        }
        Ok(())
    }

    fn settle_request(
        &mut self,
        head: &[u8],
        line: RequestLine,
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        let facts = &mut self.facts;
        match facts.host {
            Some(host) if is_authority(host.of(head)) => {}
            Some(_) => return Err(HeadError::BadHost),
            None if line.version == Version::Http11 => return Err(HeadError::MissingHost),
            None => {}
        }
        if let Target::Absolute { authority, .. } = line.target {
            facts.host = Some(authority);
        }
        if let (Some(length), Some(max)) = (facts.content_length, limits.max_body)
            && length > max
        {
            return Err(HeadError::BodyTooLarge);
        }
        let has_body = facts.coding == Coding::Chunked
            || facts.content_length.is_some_and(|length| length > 0);
        if has_body {
            facts.upgrade = None;
        }
        if !has_body || line.version == Version::Http10 {
            facts.expect_continue = false;
        }
        if !matches!(line.method, Method::Options | Method::Trace) {
            facts.max_forwards = None;
        }
        Ok(())
    }
}

impl Facts {
    /// Takes in a field that is known.
    fn note(&mut self, field: &Field, head: &[u8]) -> Result<(), HeadError> {
        let value = field.value.of(head);
        match field.known {
            KnownField::Host if self.host.is_some() => return Err(HeadError::SeveralHosts),
            KnownField::Host => self.host = Some(field.value),
            KnownField::ContentLength => {
                let length = decimal(value, MAX_BODY).ok_or(HeadError::BadLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(HeadError::SeveralLengths);
                }
            }
            KnownField::TransferEncoding => self.coding = self.coding.and(value)?,
            KnownField::Connection => {
                let nominated = &mut self.nominated;
                self.connection.note(field.value, head, nominated)?;
            }
            KnownField::Upgrade => {
                self.upgrades = self.upgrades.saturating_add(1);
                let one_protocol = value.iter().all(|&byte| is_token(byte) || byte == b'/');
                if one_protocol && !value.is_empty() && !value.eq_ignore_ascii_case(b"h2c") {
                    self.upgrade = Some(field.value);
                }
            }
            KnownField::Expect => {
                if !trim(value).eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::UnknownExpectation);
                }
                self.expect_continue = true;
            }
            KnownField::MaxForwards => {
                let count = decimal(value, u64::MAX).ok_or(HeadError::BadMaxForwards)?;
                if self.max_forwards.replace(count).is_some() {
                    return Err(HeadError::BadMaxForwards);
                }
            }
            KnownField::Date => self.has_date = true,
            _ => {}
        }
        Ok(())
    }
}

/// Refuses every control character that no head holds. CR, LF and HTAB remain, whose place the
/// line and field parsers know. One pass that the compiler turns into vector instructions.
fn refuse_controls(head: &[u8]) -> Result<(), HeadError> {
    let allowed = |byte: u8| is_text(byte) | (byte == b'\r') | (byte == b'\n');
    let mut bad = false;
    for &byte in head {
        bad |= !allowed(byte);
    }
    if !bad {
        return Ok(());
    }
    match head.iter().find(|&&byte| !allowed(byte)) {
        Some(0) => Err(HeadError::Nul),
        _ => Err(HeadError::ControlCharacter),
    }
}

/// Where the line that `from` lies in ends: the position of its CR LF.
#[inline]
fn line_end(head: &[u8], from: usize) -> Result<usize, HeadError> {
    let rest = head.get(from..).unwrap_or_default();
    let at = from + memchr::memchr2(b'\r', b'\n', rest).ok_or(HeadError::NotOneHead)?;
    match (head[at], head.get(at + 1)) {
        (b'\n', _) => Err(HeadError::BareLf),
        (_, Some(b'\n')) => Ok(at),
        (_, Some(_)) => Err(HeadError::BareCr),
        (_, None) => Err(HeadError::NotOneHead),
    }
}

/// A line that does not begin with a name and a colon: the end of the head, or a mistake to name.
/// `at` is the first byte that is not part of a name.
fn end_or_error(head: &[u8], line: usize, at: usize) -> Result<(), HeadError> {
    match head.get(at) {
        None => Err(HeadError::NotOneHead),
        Some(b'\r' | b'\n') => {
            let end = line_end(head, at)?;
            match end == line {
                true if end + 2 == head.len() => Ok(()),
                true => Err(HeadError::NotOneHead),
                false => Err(HeadError::MissingColon),
            }
        }
        Some(b' ' | b'\t') if at == line => Err(HeadError::ObsFold),
        Some(b' ' | b'\t') => {
            let space = head[at..]
                .iter()
                .take_while(|&&byte| is_space(byte))
                .count();
            match head.get(at + space) {
                Some(b':') => Err(HeadError::SpaceBeforeColon),
                _ => Err(HeadError::BadFieldName),
            }
        }
        Some(_) => Err(HeadError::BadFieldName),
    }
}
