//! Heads: what is read from good ones, however they arrive, and where their bounds are.

mod http1_common;

use dataplane::http1::error::HeadError as E;
use dataplane::http1::{
    Head, HeadLimits, HeadScan, KnownField, MessageKind, Method, Target, Version,
};
use http1_common::{GOOD_REQUESTS, get_with, limits, ok_with, request, response};

#[test]
fn good_hosts_are_taken() {
    for host in [
        "a",
        "a:80",
        "a:",
        "example.org.",
        "1.2.3.4:8080",
        "[::1]",
        "[2001:db8::1]:443",
        "a_b-c~d",
        "a%20b",
        "x!$&'()*+;=y",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: \t {host}\t \r\n\r\n");
        let (head, _, bytes) = request(text.as_bytes()).expect(host);
        let authority = head.authority().expect("there is a Host");
        assert_eq!(authority.of(&bytes), host.as_bytes());
    }
}

#[test]
fn request_lines_are_read() {
    let (_, line, head) = request(b"GET /a/b?c=/d HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((line.method, line.version), (Method::Get, Version::Http11));
    assert!(matches!(line.target, Target::Origin { path } if path.of(&head) == b"/a/b?c=/d"));
    assert_eq!(line.path(&head), b"/a/b");

    let (parsed, line, head) =
        request(b"GET HTTP://Example.org:81?q HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
    assert_eq!(parsed.authority().unwrap().of(&head), b"Example.org:81");
    assert_eq!(line.path(&head), b"/");
    assert!(matches!(line.target, Target::Absolute { path, .. } if path.of(&head) == b"?q"));

    let (_, line, head) = request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(
        (line.target, line.path(&head)),
        (Target::Asterisk, &b"*"[..])
    );

    for (target, path) in [("http://a", "*"), ("http://a?q", "/"), ("http://a/", "/")] {
        let bytes = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_, line, head) = request(bytes.as_bytes()).unwrap();
        assert_eq!(line.path(&head), path.as_bytes());
    }

    let (parsed, line, head) = request(b"get / HTTP/1.0\r\n\r\n").unwrap();
    assert!(matches!(line.method, Method::Other { name } if name.of(&head) == b"get"));
    assert_eq!((line.version, parsed.authority()), (Version::Http10, None));

    for (text, idempotent) in [
        ("GET", true),
        ("HEAD", true),
        ("POST", false),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("TRACE", true),
        ("PATCH", false),
        ("M-SEARCH", false),
    ] {
        let bytes = format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_, line, head) = request(bytes.as_bytes()).unwrap();
        assert_eq!(line.method.text(&head), text.as_bytes());
        assert_eq!(line.method.is_idempotent(), idempotent, "{text}");
    }
}

#[test]
fn status_lines_are_read() {
    let rows: &[(&[u8], Version, u16, &[u8])] = &[
        (b"HTTP/1.1 200 OK\r\n\r\n", Version::Http11, 200, b"OK"),
        (
            b"HTTP/1.0 404 Not Found\r\n\r\n",
            Version::Http10,
            404,
            b"Not Found",
        ),
        (b"HTTP/1.1 599 \r\n\r\n", Version::Http11, 599, b""),
        (b"HTTP/1.1 100\r\n\r\n", Version::Http11, 100, b""),
        (
            b"HTTP/1.1 200 \xc3\xa4 \t!\r\n\r\n",
            Version::Http11,
            200,
            b"\xc3\xa4 \t!",
        ),
    ];
    for (bytes, version, status, reason) in rows {
        let (_, line, head) = response(bytes).unwrap();
        assert_eq!((line.version, line.status), (*version, *status));
        assert_eq!(line.reason.of(&head), *reason);
    }
    let bad: &[(&[u8], E)] = &[
        (b"HTTP/1.1\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 \r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 20\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 2000\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 099 x\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 600 x\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 +20 x\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1  200 x\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 200\tOK\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1\t200 OK\r\n\r\n", E::BadVersion),
        (b"HTTP/2 200\r\n\r\n", E::BadVersion),
        (b"HTTP/2.0 200 OK\r\n\r\n", E::UnsupportedVersion),
        (b"ICY 200 OK\r\n\r\n", E::BadVersion),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", E::BadStatusLine),
        (b"\0HTTP/1.1 200 OK\r\n\r\n", E::BadStatusLine),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", E::Nul),
        (b"HTTP/1.1 200 OK\n\n", E::BareLf),
    ];
    for (bytes, expected) in bad {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(response(bytes).err(), Some(*expected), "{shown:?}");
    }
}

#[test]
fn fields_are_read() {
    let bytes =
        b"GET / HTTP/1.1\r\nHOST:a\r\nX-A: \t v w \t\r\nX-B:\r\nX-C: \r\nX-D: \xff\x80:\r\n\r\n";
    let (head, _, text) = request(bytes).unwrap();
    let read: Vec<(&[u8], &[u8])> = head
        .fields()
        .iter()
        .map(|field| (field.name.of(&text), field.value.of(&text)))
        .collect();
    let expected: [(&[u8], &[u8]); 5] = [
        (b"HOST", b"a"),
        (b"X-A", b"v w"),
        (b"X-B", b""),
        (b"X-C", b""),
        (b"X-D", b"\xff\x80:"),
    ];
    assert_eq!(read, expected);
    assert_eq!(head.find(KnownField::Host).unwrap().of(&text), b"a");
    assert_eq!(head.find(KnownField::Via), None);
}

#[test]
fn known_fields_are_told_from_neighbours() {
    let all: &[(&str, KnownField)] = &[
        ("Host", KnownField::Host),
        ("Content-Length", KnownField::ContentLength),
        ("Transfer-Encoding", KnownField::TransferEncoding),
        ("Connection", KnownField::Connection),
        ("Keep-Alive", KnownField::KeepAlive),
        ("Proxy-Connection", KnownField::ProxyConnection),
        ("TE", KnownField::Te),
        ("Trailer", KnownField::Trailer),
        ("Upgrade", KnownField::Upgrade),
        ("Expect", KnownField::Expect),
        ("Via", KnownField::Via),
        ("X-Forwarded-For", KnownField::XForwardedFor),
        ("X-Forwarded-Proto", KnownField::XForwardedProto),
        ("Proxy-Authenticate", KnownField::ProxyAuthenticate),
        ("Proxy-Authorization", KnownField::ProxyAuthorization),
        ("Max-Forwards", KnownField::MaxForwards),
        ("Date", KnownField::Date),
    ];
    for &(name, known) in all {
        assert_eq!(KnownField::of(name.as_bytes()), known);
        assert_eq!(KnownField::of(name.to_uppercase().as_bytes()), known);
        assert_eq!(KnownField::of(name.to_lowercase().as_bytes()), known);
        assert_eq!(
            KnownField::of(format!("{name}x").as_bytes()),
            KnownField::Other
        );
        assert_eq!(KnownField::of(&name.as_bytes()[1..]), KnownField::Other);
        let disguise = name.replace('-', "_");
        assert_eq!(
            KnownField::is_disguised(disguise.as_bytes()),
            disguise != name
        );
    }
    for name in ["_ost", "X_Custom", "", "x_forwarded_for_and_more"] {
        assert!(!KnownField::is_disguised(name.as_bytes()), "{name}");
    }
}

#[test]
fn limits_are_kept_at_the_byte() {
    let base = limits();
    // The head.
    let head = get_with("X: 0123456789\r\n");
    for (max, expected) in [(head.len(), None), (head.len() - 1, Some(E::TooLarge))] {
        let limits = HeadLimits {
            max_head: max as u32,
            ..base
        };
        let found = HeadScan::new(MessageKind::Request).find_end(&head, &limits);
        assert_eq!(found.err(), expected);
        let parsed = Head::new(&limits).parse_request(&head, &limits);
        assert_eq!(parsed.err(), expected);
    }
    // An empty line in front does not count, and what follows the head does not either.
    let limits = HeadLimits {
        max_head: head.len() as u32,
        ..base
    };
    let bytes = [b"\r\n", &head[..], b"body"].concat();
    let found = HeadScan::new(MessageKind::Request).find_end(&bytes, &limits);
    assert_eq!(found, Ok(Some(2..2 + head.len())));
    // The request line.
    let line = b"GET /0123456789 HTTP/1.1";
    let head = [&line[..], b"\r\nHost: a\r\n\r\n"].concat();
    for (max, expected) in [
        (line.len(), None),
        (line.len() - 1, Some(E::RequestLineTooLong)),
    ] {
        let limits = HeadLimits {
            max_request_line: max as u32,
            ..base
        };
        for bytes in [&head[..], line] {
            let found = HeadScan::new(MessageKind::Request).find_end(bytes, &limits);
            assert_eq!(found.err(), expected);
        }
        let parsed = Head::new(&limits).parse_request(&head, &limits);
        assert_eq!(parsed.err(), expected);
    }
    // A response's first line has no bound of its own.
    let limits = HeadLimits {
        max_request_line: 5,
        ..base
    };
    let found = HeadScan::new(MessageKind::Response).find_end(&ok_with(""), &limits);
    assert!(found.is_ok_and(|found| found.is_some()));
    // The number of fields.
    for (count, expected) in [(100, None), (101, Some(E::TooManyFields))] {
        let fields = "X: y\r\n".repeat(count - 1);
        assert_eq!(request(&get_with(&fields)).err(), expected, "{count}");
    }
    // The length of the body.
    let limits = HeadLimits {
        max_body: Some(10),
        ..base
    };
    for (length, expected) in [(10, None), (11, Some(E::BodyTooLarge))] {
        let fields = format!("Content-Length: {length}\r\n");
        let parsed = Head::new(&limits).parse_request(&get_with(&fields), &limits);
        assert_eq!(parsed.err(), expected);
        let parsed = Head::new(&limits).parse_response(&ok_with(&fields), &limits);
        assert_eq!(parsed.err(), None, "a bound on requests only");
    }
    let (head, ..) = request(&get_with("Content-Length: 4611686018427387904\r\n")).unwrap();
    assert_eq!(head.content_length(), Some(1 << 62));
}

/// A flood without an end is refused as soon as it is too long, not when it ends.
#[test]
fn endless_heads_are_cut_off() {
    let limits = limits();
    let mut flood = b"GET /".to_vec();
    flood.resize(limits.max_request_line as usize + 1, b'a');
    let found = HeadScan::new(MessageKind::Request).find_end(&flood, &limits);
    assert_eq!(found, Err(E::RequestLineTooLong));

    let mut flood = b"GET / HTTP/1.1\r\nX: ".to_vec();
    flood.resize(limits.max_head as usize, b'a');
    let found = HeadScan::new(MessageKind::Request).find_end(&flood, &limits);
    assert_eq!(found, Err(E::TooLarge));
    let _ = flood.pop();
    let found = HeadScan::new(MessageKind::Request).find_end(&flood, &limits);
    assert_eq!(found, Ok(None));
}

/// Cut after every byte, and fed one byte at a time, a head is found where it is found whole.
#[test]
fn heads_may_arrive_in_any_pieces() {
    let limits = limits();
    for text in GOOD_REQUESTS {
        let mut bytes = text.as_bytes().to_vec();
        let end = bytes.len();
        bytes.extend_from_slice(b"GET /next");
        let start = if text.starts_with('\r') { 2 } else { 0 };

        let mut byte_by_byte = HeadScan::new(MessageKind::Request);
        for cut in 0..=bytes.len() {
            let expected = (cut >= end).then_some(start..end);
            let mut scan = HeadScan::new(MessageKind::Request);
            assert_eq!(scan.find_end(&bytes[..cut], &limits), Ok(expected.clone()));
            if expected.is_none() {
                assert_eq!(byte_by_byte.find_end(&bytes[..cut], &limits), Ok(None));
                assert_eq!(scan.find_end(&bytes, &limits), Ok(Some(start..end)));
            }
        }
        assert_eq!(byte_by_byte.find_end(&bytes, &limits), Ok(Some(start..end)));
    }
}

/// The parser is safe and right by itself: anything but exactly one head is refused.
#[test]
fn only_one_whole_head_is_parsed() {
    let limits = limits();
    let mut head = Head::new(&limits);
    for text in GOOD_REQUESTS {
        let whole = text.trim_start().as_bytes();
        assert!(head.parse_request(whole, &limits).is_ok(), "{text:?}");
        for cut in 0..whole.len() {
            let parsed = head.parse_request(&whole[..cut], &limits);
            assert!(parsed.is_err(), "{cut} bytes of {text:?}");
        }
        let more = [whole, b"x"].concat();
        assert_eq!(head.parse_request(&more, &limits), Err(E::NotOneHead));
    }
}

/// The scan and the parser each stand alone: neither relies on what the other refuses.
#[test]
fn scan_and_parser_both_check_line_ends() {
    let limits = limits();
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], E::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", E::BareLf),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", E::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", E::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", E::BareCr),
    ] {
        let mut scan = HeadScan::new(MessageKind::Request);
        assert_eq!(scan.find_end(bytes, &limits), Err(expected));
        let parsed = Head::new(&limits).parse_request(bytes, &limits);
        assert_eq!(parsed, Err(expected));
    }
    let two_empty_lines = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut scan = HeadScan::new(MessageKind::Request);
    assert_eq!(
        scan.find_end(two_empty_lines, &limits),
        Err(E::BadRequestLine)
    );
}

#[test]
fn upgrades_must_be_asked_for_properly() {
    let ask = "Connection: upgrade\r\n";
    let rows: &[(String, Option<&[u8]>)] = &[
        (format!("{ask}Upgrade: websocket\r\n"), Some(b"websocket")),
        (format!("{ask}Upgrade: IRC/6.9\r\n"), Some(b"IRC/6.9")),
        (
            format!("{ask}Upgrade: a\r\nContent-Length: 0\r\n"),
            Some(b"a"),
        ),
        ("Upgrade: websocket\r\n".to_owned(), None),
        (ask.to_owned(), None),
        (format!("{ask}Upgrade: h2c\r\n"), None),
        (format!("{ask}Upgrade: H2C\r\n"), None),
        (format!("{ask}Upgrade: websocket, h2c\r\n"), None),
        (format!("{ask}Upgrade:\r\n"), None),
        (format!("{ask}Upgrade: a\r\nUpgrade: b\r\n"), None),
        (format!("{ask}Upgrade: a\r\nContent-Length: 1\r\n"), None),
        (
            format!("{ask}Upgrade: a\r\nTransfer-Encoding: chunked\r\n"),
            None,
        ),
    ];
    for (fields, expected) in rows {
        let (head, _, text) = request(&get_with(fields)).unwrap();
        assert_eq!(
            head.upgrade()
                .map(|part| part.of(&text).to_vec())
                .as_deref(),
            *expected,
            "{fields:?}"
        );
    }
    let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(request(old).unwrap().0.upgrade(), None);
}

#[test]
fn expectations_need_a_body_and_http11() {
    let body = "Content-Length: 1\r\n";
    for (fields, expected) in [
        (format!("{body}Expect: 100-continue\r\n"), true),
        (format!("{body}expect: 100-Continue\r\n"), true),
        (
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n".to_owned(),
            true,
        ),
        ("Expect: 100-continue\r\n".to_owned(), false),
        (
            "Content-Length: 0\r\nExpect: 100-continue\r\n".to_owned(),
            false,
        ),
        (body.to_owned(), false),
    ] {
        assert_eq!(
            request(&get_with(&fields)).unwrap().0.expects_continue(),
            expected,
            "{fields:?}"
        );
    }
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!request(old).unwrap().0.expects_continue());
}
