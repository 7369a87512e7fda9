//! Where bodies end, which connections stay open, and the smuggling corpus.

mod http1_common;

use dataplane::http1::framing::{
    BodyFraming, ResponseKind, is_persistent, request_framing, response_framing,
};
use dataplane::http1::{HeadError, Method};
use http1_common::{get_with, request, response};

#[test]
fn request_bodies_end_where_rfc9112_says() {
    for (fields, expected) in [
        ("", BodyFraming::None),
        ("Content-Length: 0\r\n", BodyFraming::Length(0)),
        ("Content-Length: 0005\r\n", BodyFraming::Length(5)),
        ("Transfer-Encoding: chunked\r\n", BodyFraming::Chunked),
        ("Transfer-Encoding: \t Chunked \r\n", BodyFraming::Chunked),
    ] {
        for method in ["GET", "POST", "HEAD", "DELETE", "X"] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let (head, ..) = request(bytes.as_bytes()).unwrap();
            assert_eq!(request_framing(&head), expected, "{bytes:?}");
        }
    }
}

#[test]
fn response_bodies_end_where_rfc9112_says() {
    let length = "Content-Length: 7\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let switch = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    let last = |body| Ok(ResponseKind::Final { body });
    let none = last(BodyFraming::None);
    let get = Method::Get;
    let rows = [
        // (status, fields, method, upgrade asked for, expected)
        (200, "", get, false, last(BodyFraming::UntilClose)),
        (200, length, get, false, last(BodyFraming::Length(7))),
        (200, chunked, get, false, last(BodyFraming::Chunked)),
        (
            404,
            "Content-Length: 0\r\n",
            get,
            false,
            last(BodyFraming::Length(0)),
        ),
        (205, "", get, false, last(BodyFraming::UntilClose)),
        (200, "", Method::Head, false, none),
        (200, length, Method::Head, false, none),
        (200, chunked, Method::Head, false, none),
        (204, "", get, false, none),
        (204, length, get, false, none),
        (204, chunked, get, false, none),
        (304, length, get, false, none),
        (304, chunked, Method::Head, false, none),
        (100, "", get, false, Ok(ResponseKind::Interim)),
        (103, length, get, false, Ok(ResponseKind::Interim)),
        (199, "", Method::Head, false, Ok(ResponseKind::Interim)),
        (101, switch, get, true, Ok(ResponseKind::Tunnel)),
        (101, switch, get, false, Err(HeadError::UnexpectedSwitch)),
        (101, "", get, true, Err(HeadError::UnexpectedSwitch)),
        (
            101,
            "Upgrade: websocket\r\n",
            get,
            true,
            Err(HeadError::UnexpectedSwitch),
        ),
        (200, switch, get, true, last(BodyFraming::UntilClose)),
    ];
    for (status, fields, method, upgrade, expected) in rows {
        let bytes = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        let (head, line, _) = response(bytes.as_bytes()).unwrap();
        let kind = response_framing(&head, line, method, upgrade);
        assert_eq!(kind, expected, "{method:?} {bytes:?}");
    }
}

#[test]
fn connections_persist_where_rfc9112_says() {
    for (version, fields, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive\r\n", true),
        ("1.1", "Connection: keep-alive, CLOSE\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.1", "Connection: x-closed\r\n", true),
        ("1.1", "Connection: ,\t, close ,\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: close\r\n", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (head, line, _) = request(bytes.as_bytes()).unwrap();
        assert_eq!(
            is_persistent(line.version, head.connection()),
            expected,
            "{bytes:?}"
        );
    }
}

#[test]
fn connection_names_fields() {
    let fields =
        "Connection: X-One, keep-alive,x-two ,TE,Trailer\r\nX-One: 1\r\nX-TWO: 2\r\nX-Three: 3\r\n";
    let (head, _, text) = request(&get_with(fields)).unwrap();
    let nominated: Vec<&[u8]> = head
        .fields()
        .iter()
        .filter(|field| head.is_nominated(field, &text))
        .map(|field| field.name.of(&text))
        .collect();
    assert_eq!(nominated, [&b"X-One"[..], b"X-TWO"]);
    assert!(head.connection().keep_alive && !head.connection().upgrade);
}

/// Requests that two recipients have read differently. None gets past the head.
#[test]
fn smuggling_is_refused() {
    let te = "Transfer-Encoding";
    let mut corpus: Vec<String> = [
        // CL.TE and TE.CL.
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 6\r\ntransfer-encoding: CHUNKED",
        "Content-Length: 6\r\nTransfer-Encoding:chunked",
        // CL.CL.
        "Content-Length: 6\r\nContent-Length: 7",
        "Content-Length: 6\r\nContent-Length: 6",
        "Content-Length: 6\r\ncontent-length: 0",
        "Content-Length: 6,6",
        "Content-Length: 6\r\nContent_Length: 7",
        // A length that parsers of numbers read in more than one way.
        "Content-Length: 0x6",
        "Content-Length: 06h",
        "Content-Length: 6e1",
        "Content-Length: 6;",
        "Content-Length: \"6\"",
        "Content-Length: 6\u{b}",
        "Content-Length: 6\0",
        "Content-Length: 6 7",
        "Content-Length: 6\t7",
        "Content-Length: 18446744073709551622",
        // Names that are almost right.
        "Content-Length : 6",
        "Content-Length\t: 6",
        " Content-Length: 6",
        "Content-Length\0: 6",
        "Content-Length\u{b}: 6",
        "X: y\nContent-Length: 6",
        "X: y\rContent-Length: 6",
        "X: y\r\n Content-Length: 6",
        "X\r\nContent-Length: 6",
        // Hop-by-hop tricks.
        "Content-Length: 6\r\nConnection: Content-Length",
        "Connection: close, content-length\r\nContent-Length: 6",
        "Connection: Host",
        "Expect: 100-continue, x\r\nContent-Length: 6",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    // TE.TE: one coding field that some recipients would overlook.
    let disguises = [
        format!("{te}: xchunked"),
        format!("{te} : chunked"),
        format!("{te}\t: chunked"),
        format!(" {te}: chunked"),
        format!("X: y\r\n {te}: chunked"),
        format!("X: y\n{te}: chunked"),
        format!("X: y\r{te}: chunked"),
        format!("{te}:\u{b}chunked"),
        format!("{te}: chunked\u{c}"),
        format!("{te}: \u{a0}chunked"),
        format!("{te}: chunked\u{85}"),
        format!("{te}: chunked\0"),
        format!("{te}: 'chunked'"),
        format!("{te}: \"chunked\""),
        format!("{te}: chunked;x=y"),
        format!("{te}: chunk"),
        format!("{te}: chunked chunked"),
        format!("{te}: chunked, identity"),
        format!("{te}: identity, chunked"),
        format!("{te}: identity\r\n{te}: chunked"),
        format!("{te}: chunked\r\n{te}: identity"),
        format!("{te}: chunked\r\n{te}: x"),
        format!("{te}: x\r\n{te}: chunked"),
        format!("{te}:\r\n{te}: chunked"),
        format!("{te}: chunked\r\n{te}:"),
        format!("{te}: ,chunked"),
        format!("{te}: chunked,,"),
        format!("{te}:\r\n chunked"),
        format!("{te}: chun\r\n ked"),
        format!("{te}\r\n: chunked"),
        "Transfer_Encoding: chunked".to_owned(),
        "Transfer\u{2011}Encoding: chunked".to_owned(),
        "Transfer Encoding: chunked".to_owned(),
        "\"Transfer-Encoding\": chunked".to_owned(),
    ];
    for disguise in disguises {
        corpus.push(format!("Content-Length: 6\r\n{disguise}"));
        corpus.push(format!("{disguise}\r\nContent-Length: 6"));
        corpus.push(disguise);
    }
    for fields in corpus {
        let fields = format!("{fields}\r\n");
        let post = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\nX");
        assert!(request(post.as_bytes()).is_err(), "{fields:?}");
        let first = format!("POST / HTTP/1.1\r\n{fields}Host: a\r\n\r\n0\r\n\r\nX");
        assert!(request(first.as_bytes()).is_err(), "{fields:?} first");
        let reply = format!("HTTP/1.1 200 OK\r\nX: y\r\n{fields}\r\n0\r\n\r\nX");
        assert!(
            response(reply.as_bytes()).is_err(),
            "{fields:?} in a response"
        );
    }
}
