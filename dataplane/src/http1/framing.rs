//! Where a body ends (RFC 9112 section 6.3) and whether the connection outlives it (section 9.3).

use super::error::HeadError;
use super::field::KnownField;
use super::head::Head;
use super::line::{Method, StatusLine, Version};
use super::token::{Part, is_token_text, trim};

/// The largest body length accepted: far from where sums of lengths and positions overflow.
pub const MAX_BODY: u64 = 1 << 62;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// So many bytes; may be 0.
    Length(u64),
    /// A chunked body: a [`ChunkedDecoder`](super::chunked::ChunkedDecoder) finds its end.
    Chunked,
    /// Everything until the sender closes (responses only). An abortive close is a broken body.
    UntilClose,
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// A 1xx response without a body: another response to the same request follows. Not for the
    /// eyes of HTTP/1.0 clients (RFC 9110 section 15.2).
    Interim,
    /// The response itself.
    Final {
        /// How its body ends.
        body: BodyFraming,
    },
    /// 101: from here on both directions are bytes of another protocol.
    Tunnel,
}

/// The body of a request that parsed: without `Content-Length` and `Transfer-Encoding` there is
/// none, whatever the method.
pub fn request_framing(head: &Head) -> BodyFraming {
    match head.content_length() {
        Some(length) => BodyFraming::Length(length),
        None if head.is_chunked() => BodyFraming::Chunked,
        None => BodyFraming::None,
    }
}

/// What follows the head of a response to a request with `method`. `upgrade` is whether the
/// forwarded request asked to switch protocols.
///
/// # Errors
/// [`HeadError::UnexpectedSwitch`] for a 101 that was not asked for or is not a proper one.
pub fn response_framing(
    head: &Head,
    line: StatusLine,
    method: Method,
    upgrade: bool,
) -> Result<ResponseKind, HeadError> {
    let body = match line.status {
        101 if upgrade && head.upgrade().is_some() => return Ok(ResponseKind::Tunnel),
        101 => return Err(HeadError::UnexpectedSwitch),
        100..=199 => return Ok(ResponseKind::Interim),
        204 | 304 => BodyFraming::None,
        _ if method == Method::Head => BodyFraming::None,
        _ => match request_framing(head) {
            BodyFraming::None => BodyFraming::UntilClose,
            framed => framed,
        },
    };
    Ok(ResponseKind::Final { body })
}

/// Whether the sender of a message keeps the connection open after it (RFC 9112 section 9.3).
///
/// For a response with [`BodyFraming::UntilClose`] the answer is no, whatever this says.
/// `Proxy-Connection` is not looked at.
pub fn is_persistent(version: Version, options: ConnectionOptions) -> bool {
    match (options.close, version) {
        (true, _) => false,
        (false, Version::Http11) => true,
        (false, Version::Http10) => options.keep_alive,
    }
}

/// The options of `Connection` that are not names of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
}

impl ConnectionOptions {
    /// Takes in the value of one `Connection` field; names of fields go to `nominated`.
    pub(super) fn note(
        &mut self,
        value: Part,
        head: &[u8],
        nominated: &mut Nominated,
    ) -> Result<(), HeadError> {
        let mut start = value.start as usize;
        for element in value.of(head).split(|&byte| byte == b',') {
            let option = trim(element);
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if is_token_text(option) {
                nominated.add(Part::new(start, start + element.len()), head)?;
            } else if !option.is_empty() {
                return Err(HeadError::BadConnectionOption);
            }
            start += element.len() + 1;
        }
        Ok(())
    }
}

/// The fields that `Connection` says end at this hop.
///
/// Naming a field gets it removed, so clients have used this to strip what the origin relies on.
/// Fields of framing, routing and provenance (everything in [`KnownField`] that is not
/// hop-by-hop anyway) cannot be named: the message is refused. Other names are obeyed as RFC 9110
/// section 7.6.1 asks, up to a small number, because each is compared with every field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nominated {
    names: [Part; 8],
    count: u8,
}

impl Nominated {
    fn add(&mut self, element: Part, head: &[u8]) -> Result<(), HeadError> {
        match KnownField::of(trim(element.of(head))) {
            KnownField::Other => {}
            known if known.is_hop_by_hop() || known == KnownField::Trailer => return Ok(()),
            _ => return Err(HeadError::ForbiddenConnectionOption),
        }
        let slot = self
            .names
            .get_mut(usize::from(self.count))
            .ok_or(HeadError::TooManyConnectionOptions)?;
        *slot = element;
        self.count += 1;
        Ok(())
    }

    pub(super) fn contains(&self, name: &[u8], head: &[u8]) -> bool {
        let names = &self.names[..usize::from(self.count)];
        names
            .iter()
            .any(|element| trim(element.of(head)).eq_ignore_ascii_case(name))
    }
}

/// What the `Transfer-Encoding` fields of a head add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// There is none.
    #[default]
    Identity,
    /// `chunked`, once.
    Chunked,
}

impl Coding {
    /// This and the value of one more `Transfer-Encoding` field, whose codings come after.
    ///
    /// Only `chunked` is spoken (RFC 9112 section 7.1), without parameters. Empty elements, which
    /// lists elsewhere may have, are refused: they are a way to hide the coding from others.
    pub(super) fn and(self, value: &[u8]) -> Result<Self, HeadError> {
        let mut coding = self;
        for element in value.split(|&byte| byte == b',') {
            let name = trim(element);
            if !is_token_text(name) {
                return Err(HeadError::BadCoding);
            }
            let chunked = name.eq_ignore_ascii_case(b"chunked");
            coding = match (coding, chunked) {
                (Self::Identity, true) => Self::Chunked,
                (Self::Identity, false) => return Err(HeadError::UnknownCoding),
                (Self::Chunked, true) => return Err(HeadError::ChunkedTwice),
                (Self::Chunked, false) => return Err(HeadError::ChunkedNotLast),
            };
        }
        Ok(coding)
    }
}
