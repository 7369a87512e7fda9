//! The first line of a head (RFC 9112 sections 3 and 4).

use super::authority::is_authority;
use super::error::HeadError;
use super::token::{Part, decimal, is_token_text};

/// A version of HTTP that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request method. Methods are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH`
    Patch,
    /// Any other token. `CONNECT` is refused before it gets here.
    Other {
        /// Where it stands in the head.
        name: Part,
    },
}

impl Method {
    /// True when a request may be sent again without harm (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }

    /// The method as it is written. `head` must be the head that was parsed.
    pub fn text(self, head: &[u8]) -> &[u8] {
        match self {
            Self::Get => b"GET",
            Self::Head => b"HEAD",
            Self::Post => b"POST",
            Self::Put => b"PUT",
            Self::Delete => b"DELETE",
            Self::Options => b"OPTIONS",
            Self::Trace => b"TRACE",
            Self::Patch => b"PATCH",
            Self::Other { name } => name.of(head),
        }
    }
}

/// What a request asks for (RFC 9112 section 3.2). The fourth form, authority-form, belongs to
/// `CONNECT` alone, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`
    Origin {
        /// Path and query; begins with `/`.
        path: Part,
    },
    /// `http://authority/path?query`
    Absolute {
        /// Host and port; takes the place of `Host`.
        authority: Part,
        /// Path and query; empty, or begins with `/` or `?`.
        path: Part,
    },
    /// `*`, only in `OPTIONS`.
    Asterisk,
}

/// The first line of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// What to do.
    pub method: Method,
    /// To what.
    pub target: Target,
    /// The sender's version.
    pub version: Version,
}

impl RequestLine {
    /// The path without the query, for routing; `*` for asterisk-form and for what becomes it
    /// (`OPTIONS` of a bare authority, RFC 9112 section 3.2.4). Percent-encoding and dot segments
    /// are left as they are. `head` must be the head that was parsed.
    pub fn path(self, head: &[u8]) -> &[u8] {
        let text = match self.target {
            Target::Origin { path } | Target::Absolute { path, .. } => path.of(head),
            Target::Asterisk => b"*",
        };
        let end = memchr::memchr(b'?', text).unwrap_or(text.len());
        match &text[..end] {
            [] if text.is_empty() && self.method == Method::Options => b"*",
            [] => b"/",
            path => path,
        }
    }
}

/// The first line of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// The sender's version.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Part,
}

/// Parses the request line `head[..end]`, which has no CR or LF.
pub(super) fn parse_request_line(head: &[u8], end: usize) -> Result<RequestLine, HeadError> {
    let line = &head[..end];
    let after_method = memchr::memchr(b' ', line).ok_or(HeadError::BadRequestLine)?;
    let target_start = after_method + 1;
    let after_target = memchr::memrchr(b' ', line).ok_or(HeadError::BadRequestLine)?;
    if after_target <= target_start {
        return Err(HeadError::BadRequestLine);
    }

    let method = match &line[..after_method] {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        b"TRACE" => Method::Trace,
        b"PATCH" => Method::Patch,
        name if is_token_text(name) => Method::Other {
            name: Part::new(0, after_method),
        },
        _ => return Err(HeadError::BadMethod),
    };
    let version = parse_version(&line[after_target + 1..])?;
    if method.text(head) == b"CONNECT" {
        return Err(HeadError::Connect);
    }
    let target = parse_target(head, target_start, after_target, method)?;
    Ok(RequestLine {
        method,
        target,
        version,
    })
}

/// Parses `head[start..end]`, which is not empty.
fn parse_target(
    head: &[u8],
    start: usize,
    end: usize,
    method: Method,
) -> Result<Target, HeadError> {
    let text = &head[start..end];
    if text.contains(&b' ') || text.contains(&b'\t') {
        return Err(HeadError::BadRequestLine);
    }
    // Visible ASCII but the fragment's `#`. Wider than the grammar: browsers send `|`, `"`, `[`
    // and their like unencoded, and no reading of them moves the end of the message.
    let strange = text.iter().fold(false, |bad, &byte| {
        bad | !(b'!'..=b'~').contains(&byte) | (byte == b'#')
    });
    if strange {
        return Err(HeadError::BadTarget);
    }
    if text[0] == b'/' {
        return Ok(Target::Origin {
            path: Part::new(start, end),
        });
    }
    if text == b"*" {
        return match method {
            Method::Options => Ok(Target::Asterisk),
            _ => Err(HeadError::BadTarget),
        };
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let authority_start = start + scheme.ok_or(HeadError::BadTarget)?.len();
    let path_start = head[authority_start..end]
        .iter()
        .position(|&byte| byte == b'/' || byte == b'?')
        .map_or(end, |at| authority_start + at);
    let authority = &head[authority_start..path_start];
    if authority.contains(&b'@') {
        return Err(HeadError::UserInfo);
    }
    if !is_authority(authority) {
        return Err(HeadError::BadTarget);
    }
    Ok(Target::Absolute {
        authority: Part::new(authority_start, path_start),
        path: Part::new(path_start, end),
    })
}

/// Parses the status line `head[..end]`, which has no CR or LF.
///
/// The space after the status code may be missing when there is no reason phrase either: many
/// origins leave it out, and nothing else can be meant.
pub(super) fn parse_status_line(head: &[u8], end: usize) -> Result<StatusLine, HeadError> {
    let line = &head[..end];
    let after_version = memchr::memchr(b' ', line).ok_or(HeadError::BadStatusLine)?;
    let version = parse_version(&line[..after_version])?;
    let code_start = after_version + 1;
    let status = line
        .get(code_start..code_start + 3)
        .and_then(|digits| decimal(digits, 599))
        .filter(|&status| status >= 100)
        .ok_or(HeadError::BadStatusLine)?;
    let code_end = code_start + 3;
    let reason_start = match line.get(code_end) {
        None => code_end,
        Some(b' ') => code_end + 1,
        Some(_) => return Err(HeadError::BadStatusLine),
    };
    Ok(StatusLine {
        version,
        status: status as u16,
        reason: Part::new(reason_start, end),
    })
}

/// `HTTP/` digit `.` digit, in upper case (RFC 9112 section 2.3).
fn parse_version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::UnsupportedVersion)
        }
        _ => Err(HeadError::BadVersion),
    }
}
