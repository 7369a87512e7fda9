//! Why a head is refused.

/// Why a head is refused. Every reason has a variant of its own, so that tests, counters and
/// operators can tell them apart.
///
/// After any of these the position in the byte stream is lost: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// The head is longer than allowed, or still has no end at that length.
    TooLarge,
    /// The request line is longer than allowed.
    RequestLineTooLong,
    /// There are more fields than allowed.
    TooManyFields,
    /// The bytes given to the parser do not end where the head ends.
    NotOneHead,
    /// A CR that no LF follows.
    BareCr,
    /// An LF that no CR precedes.
    BareLf,
    /// A NUL.
    Nul,
    /// A control character other than NUL.
    ControlCharacter,
    /// The request line is not three words with one space between each.
    BadRequestLine,
    /// The method is not a token.
    BadMethod,
    /// The request target has none of the four forms, or one that the method does not allow.
    BadTarget,
    /// The target's authority holds a user name or password.
    UserInfo,
    /// What should be the version is not one.
    BadVersion,
    /// A version of HTTP other than 1.0 and 1.1.
    UnsupportedVersion,
    /// `CONNECT`: the proxy opens no tunnels to where clients choose.
    Connect,
    /// The status line is malformed or its status code out of range.
    BadStatusLine,
    /// A line without a colon.
    MissingColon,
    /// A field without a name.
    EmptyFieldName,
    /// A field name that is not a token.
    BadFieldName,
    /// A field name that CGI-like origins take for one the proxy vouches for, such as
    /// `Content_Length`.
    DisguisedField,
    /// Whitespace between a field's name and the colon.
    SpaceBeforeColon,
    /// A line that begins with whitespace: the obsolete way to continue a field.
    ObsFold,
    /// No `Host` in an HTTP/1.1 request.
    MissingHost,
    /// More than one `Host`.
    SeveralHosts,
    /// `Host` (or the target's authority) is not a host with an optional port.
    BadHost,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// More than one `Content-Length`, even if they agree.
    SeveralLengths,
    /// `Content-Length` is not one decimal number, or one too big.
    BadLength,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    CodingInHttp10,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// `Transfer-Encoding` is not a list of codings.
    BadCoding,
    /// `chunked` is not the last coding.
    ChunkedNotLast,
    /// `chunked` is applied twice.
    ChunkedTwice,
    /// `Connection` is not a list of tokens.
    BadConnectionOption,
    /// `Connection` asks for the removal of a field that must reach the other side.
    ForbiddenConnectionOption,
    /// `Connection` names more fields than are looked for.
    TooManyConnectionOptions,
    /// `Expect` asks for something other than `100-continue`.
    UnknownExpectation,
    /// `Max-Forwards` is not one decimal number.
    BadMaxForwards,
    /// `Content-Length` exceeds what a request's body may have.
    BodyTooLarge,
    /// A 101 response that no request asked for, or that names no protocol.
    UnexpectedSwitch,
}

impl HeadError {
    /// The status a client gets for a bad request. A bad *response* is the origin's fault:
    /// the client gets 502 whatever the variant.
    pub fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::UnknownExpectation => 417,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::Connect | Self::UnknownCoding => 501,
            Self::UnexpectedSwitch => 502,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// The reason in a few words, for the body of the reply and for logs.
    pub fn cause(self) -> &'static str {
        match self {
            Self::TooLarge => "head too large",
            Self::RequestLineTooLong => "request line too long",
            Self::TooManyFields => "too many fields",
            Self::NotOneHead => "incomplete head",
            Self::BareCr => "CR without LF",
            Self::BareLf => "LF without CR",
            Self::Nul => "NUL in head",
            Self::ControlCharacter => "control character in head",
            Self::BadRequestLine => "malformed request line",
            Self::BadMethod => "malformed method",
            Self::BadTarget => "malformed request target",
            Self::UserInfo => "user information in request target",
            Self::BadVersion => "malformed HTTP version",
            Self::UnsupportedVersion => "HTTP version not supported",
            Self::Connect => "CONNECT not supported",
            Self::BadStatusLine => "malformed status line",
            Self::MissingColon => "field without colon",
            Self::EmptyFieldName => "field without name",
            Self::BadFieldName => "malformed field name",
            Self::DisguisedField => "underscore in a reserved field name",
            Self::SpaceBeforeColon => "whitespace before colon",
            Self::ObsFold => "folded field",
            Self::MissingHost => "no Host",
            Self::SeveralHosts => "several Hosts",
            Self::BadHost => "malformed Host",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::SeveralLengths => "several Content-Lengths",
            Self::BadLength => "malformed Content-Length",
            Self::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::UnknownCoding => "unknown transfer coding",
            Self::BadCoding => "malformed Transfer-Encoding",
            Self::ChunkedNotLast => "chunked is not the last transfer coding",
            Self::ChunkedTwice => "chunked applied twice",
            Self::BadConnectionOption => "malformed Connection",
            Self::ForbiddenConnectionOption => "Connection names an end-to-end field",
            Self::TooManyConnectionOptions => "Connection names too many fields",
            Self::UnknownExpectation => "unknown expectation",
            Self::BadMaxForwards => "malformed Max-Forwards",
            Self::BodyTooLarge => "body too large",
            Self::UnexpectedSwitch => "unexpected switch of protocols",
        }
    }
}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.cause())
    }
}

impl std::error::Error for HeadError {}
