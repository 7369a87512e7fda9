//! The fields that mean something to the proxy.

/// A field that the proxy acts on; all others are passed on as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownField {
    /// Any field the proxy has no opinion on.
    Other,
    /// `Host`, RFC 9110 section 7.2.
    Host,
    /// `Content-Length`, RFC 9110 section 8.6.
    ContentLength,
    /// `Transfer-Encoding`, RFC 9112 section 6.1.
    TransferEncoding,
    /// `Connection`, RFC 9110 section 7.6.1.
    Connection,
    /// `Keep-Alive`, RFC 2068 section 19.7.1.1.
    KeepAlive,
    /// `Proxy-Connection`, RFC 9112 appendix C.2.2: never standard, never passed on.
    ProxyConnection,
    /// `TE`, RFC 9110 section 10.1.4.
    Te,
    /// `Trailer`, RFC 9110 section 6.6.2.
    Trailer,
    /// `Upgrade`, RFC 9110 section 7.8.
    Upgrade,
    /// `Expect`, RFC 9110 section 10.1.1.
    Expect,
    /// `Via`, RFC 9110 section 7.6.3.
    Via,
    /// `X-Forwarded-For`: the client's address, in front of which proxies it went through.
    XForwardedFor,
    /// `X-Forwarded-Proto`: the scheme the client used.
    XForwardedProto,
    /// `Proxy-Authenticate`, RFC 9110 section 11.7.1.
    ProxyAuthenticate,
    /// `Proxy-Authorization`, RFC 9110 section 11.7.2.
    ProxyAuthorization,
    /// `Max-Forwards`, RFC 9110 section 7.6.2.
    MaxForwards,
    /// `Date`, RFC 9110 section 6.6.1.
    Date,
}

impl KnownField {
    /// Which field `name` is, in whatever case it is written.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            3 => &[(b"via", Self::Via)],
            4 => &[(b"host", Self::Host), (b"date", Self::Date)],
            6 => &[(b"expect", Self::Expect)],
            7 => &[(b"upgrade", Self::Upgrade), (b"trailer", Self::Trailer)],
            10 => &[
                (b"connection", Self::Connection),
                (b"keep-alive", Self::KeepAlive),
            ],
            12 => &[(b"max-forwards", Self::MaxForwards)],
            14 => &[(b"content-length", Self::ContentLength)],
            15 => &[(b"x-forwarded-for", Self::XForwardedFor)],
            16 => &[(b"proxy-connection", Self::ProxyConnection)],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::XForwardedProto),
            ],
            18 => &[(b"proxy-authenticate", Self::ProxyAuthenticate)],
            19 => &[(b"proxy-authorization", Self::ProxyAuthorization)],
            _ => &[],
        };
        for (text, known) in candidates {
            if name.eq_ignore_ascii_case(text) {
                return *known;
            }
        }
        Self::Other
    }

    /// True for a name that is not known but would be with `-` in place of `_`.
    ///
    /// CGI and everything shaped like it (WSGI, Rack, PHP) maps both to one variable, so that
    /// `X_Forwarded_For` would slip past the proxy and be believed by the origin (RFC 9110
    /// section 17.10).
    #[inline]
    pub fn is_disguised(name: &[u8]) -> bool {
        let mut plain = [0u8; Self::LONGEST];
        let Some(plain) = plain.get_mut(..name.len()) else {
            return false;
        };
        if !name.contains(&b'_') {
            return false;
        }
        for (to, &from) in plain.iter_mut().zip(name) {
            *to = if from == b'_' { b'-' } else { from };
        }
        Self::of(plain) != Self::Other
    }

    /// Length of the longest name, `proxy-authorization`.
    const LONGEST: usize = 19;

    /// True for fields that end at the next hop whether `Connection` names them or not.
    ///
    /// RFC 9110 section 7.6.1 lists the first six. The two `Proxy-Auth…` fields are between a
    /// client and a forward proxy (section 11.7); behind a reverse proxy they have no addressee,
    /// and passing a stray `Proxy-Authorization` on would give its secret away.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
        )
    }
}
