//! Heads as they are passed on, and the proxy's own replies.

mod http1_common;

use dataplane::http1::reply::{Reply, reason_phrase};
use dataplane::http1::rewrite::{RequestRewrite, ResponseRewrite, write_request, write_response};
use dataplane::http1::{BodyFraming, Version, framing};
use dataplane::settings::Forwarding;
use http1_common::{GOOD_REQUESTS, get_with, ok_with, request, response};

fn plain() -> Forwarding {
    Forwarding::default()
}

fn full() -> Forwarding {
    Forwarding {
        x_forwarded_for: true,
        x_forwarded_proto: true,
        via: Some("mv".to_owned()),
        upgrade: true,
    }
}

/// The forwarded head of a request, checked against the stated bound.
fn forward(bytes: &[u8], forwarding: &Forwarding, client: &str) -> String {
    let (parsed, line, head) = request(bytes).expect("a good request");
    let how = RequestRewrite {
        forwarding,
        client: client.parse().expect("an address"),
        scheme: "http",
        default_host: "10.0.0.9:80",
        body: framing::request_framing(&parsed),
        upgrade: forwarding.upgrade,
    };
    let mut out = b"before".to_vec();
    write_request(&mut out, &head, &parsed, line, &how);
    assert!(out.len() - 6 <= how.max_len(head.len()));
    // What is sent must itself be beyond reproach, and mean the same.
    let (again, second, sent) = request(&out[6..]).expect("a forwarded request parses");
    assert_eq!(framing::request_framing(&again), how.body);
    assert_eq!(second.path(&sent), line.path(&head));
    assert_eq!(second.version, Version::Http11);
    String::from_utf8_lossy(&out[6..]).into_owned()
}

#[test]
fn requests_are_passed_on() {
    let rows: &[(&str, &str)] = &[
        // Origin-form, field order and bytes of other fields are kept; Host comes first.
        (
            "GET /a?b HTTP/1.1\r\nX-A:  1 \r\nHost: h:1\r\nX-B:2\r\nX-A: 3\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-A:  1 \r\nX-B:2\r\nX-A: 3\r\n\r\n",
        ),
        // The authority of an absolute target takes the place of Host.
        (
            "GET http://e.org:81/x?y HTTP/1.1\r\nHost: other\r\n\r\n",
            "GET /x?y HTTP/1.1\r\nHost: e.org:81\r\n\r\n",
        ),
        (
            "GET http://e.org HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: e.org\r\n\r\n",
        ),
        (
            "GET http://e.org?q HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: e.org\r\n\r\n",
        ),
        (
            "OPTIONS http://e.org HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: e.org\r\n\r\n",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        // HTTP/1.0 goes on as 1.1, with a Host whatever happens.
        (
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 10.0.0.9:80\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        // Hop-by-hop fields, named and by nature.
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Hop, te\r\nX-Hop: 1\r\nx-hop: 2\r\n\
             X-End: 3\r\nKeep-Alive: timeout=1\r\nProxy-Connection: close\r\nTE: trailers\r\n\
             Upgrade: x\r\nProxy-Authorization: secret\r\nAuthorization: kept\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX-End: 3\r\nAuthorization: kept\r\n\r\n",
        ),
        // Framing is written anew.
        (
            "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding:CHUNKED\r\nTrailer: X-Sum\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-length:\t007\r\nTrailer: X-Sum\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        // Expectations, where they mean something.
        (
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "POST / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
        ),
        // Max-Forwards counts down where it applies.
        (
            "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 10\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 9\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 10\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 10\r\n\r\n",
        ),
        // What is not configured passes through; an upgrade is dropped.
        (
            "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Forwarded-Proto: https\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Forwarded-Proto: https\r\n\r\n",
        ),
    ];
    for (received, sent) in rows {
        assert_eq!(forward(received.as_bytes(), &plain(), "192.0.2.1"), *sent);
    }
}

#[test]
fn configured_fields_are_added_to_requests() {
    assert_eq!(
        forward(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &full(), "192.0.2.1"),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
         Via: 1.1 mv\r\n\r\n"
    );
    // One line, the client's own claims first; a scheme claimed by the client is not believed.
    let claims = "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nVia: 1.0 a\r\nX: y\r\nx-forwarded-for:\r\n\
                  X-Forwarded-For: 10.0.0.3\r\nvia: 1.1 b\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(
        forward(&get_with(claims), &full(), "2001:db8::7"),
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\
         X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 2001:db8::7\r\n\
         X-Forwarded-Proto: http\r\nVia: 1.0 a, 1.1 b, 1.1 mv\r\n\r\n"
    );
    // The version is that of the received message; an IPv4 client of an IPv6 socket is IPv4.
    let old = forward(b"GET / HTTP/1.0\r\n\r\n", &full(), "::ffff:192.0.2.1");
    assert!(
        old.contains("\r\nVia: 1.0 mv\r\n") && old.contains("For: 192.0.2.1\r\n"),
        "{old}"
    );
    // An upgrade that was asked for properly goes on.
    let ask = get_with("Upgrade:  websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k\r\n");
    let sent = forward(&ask, &full(), "192.0.2.1");
    assert!(sent.contains("\r\nSec-WebSocket-Key: k\r\n"), "{sent}");
    assert!(
        sent.ends_with("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "{sent}"
    );
}

#[test]
fn every_good_request_stays_good_and_within_bounds() {
    for text in GOOD_REQUESTS {
        for forwarding in [plain(), full()] {
            let _ = forward(
                text.as_bytes(),
                &forwarding,
                "2001:db8:1234:5678:9abc:def0:1234:5678",
            );
        }
    }
    // The shortest lines grow most: values to join, names without spaces.
    for field in ["X-Forwarded-For:1\r\n", "Via:1\r\n", "a:\r\n"] {
        let sent = forward(&get_with(&field.repeat(95)), &full(), "ffff::fffe");
        assert!(!sent.is_empty());
    }
}

/// How a response goes on: what is received, by which version of client, in which framing,
/// whether the connection closes, and what is sent.
type ResponseRow = (&'static str, Version, BodyFraming, bool, &'static str);

#[test]
fn responses_are_passed_on() {
    use BodyFraming::{Chunked, Length, None, UntilClose};
    use Version::{Http10, Http11};
    let rows: &[ResponseRow] = &[
        (
            "HTTP/1.1 200 OK\r\nServer: s\r\ncontent-length:5\r\nX:y\r\n\r\n",
            Http11,
            Length(5),
            false,
            "HTTP/1.1 200 OK\r\nServer: s\r\nX:y\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Http11,
            Length(5),
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        ),
        (
            "HTTP/1.0 404 Not  Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            Http10,
            Length(5),
            false,
            "HTTP/1.1 404 Not  Found\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        ),
        (
            "HTTP/1.1 299\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
            Http11,
            Chunked,
            false,
            "HTTP/1.1 299 \r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        // Chunked to an HTTP/1.0 client, and a body that ends with its connection.
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
            Http10,
            UntilClose,
            true,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\n",
            Http11,
            UntilClose,
            false,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        // Without a body: the length of what HEAD and 304 leave out stays, elsewhere it goes.
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
            Http11,
            None,
            false,
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Http11,
            None,
            false,
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
            Http11,
            None,
            false,
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        // Interim responses say nothing about the connection.
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
            Http11,
            None,
            true,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        ),
        // Hop-by-hop fields.
        (
            "HTTP/1.1 200 OK\r\nConnection: X-Hop, Transfer-Encoding\r\nX-Hop: 1\r\nX: 2\r\n\
             Keep-Alive: timeout=1\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
             WWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            Http11,
            Length(0),
            false,
            "HTTP/1.1 200 OK\r\nX: 2\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    for &(received, client_version, body, close, sent) in rows {
        let how = ResponseRewrite {
            forwarding: &plain(),
            client_version,
            body,
            close,
            tunnel: false,
            date: Option::None,
        };
        assert_eq!(reply_with(received.as_bytes(), &how), sent);
    }
}

fn reply_with(bytes: &[u8], how: &ResponseRewrite<'_>) -> String {
    let (parsed, line, head) = response(bytes).expect("a good response");
    let mut out = Vec::new();
    write_response(&mut out, &head, &parsed, line, how);
    assert!(out.len() <= how.max_len(head.len()));
    let (_, second, _) = response(&out).expect("a forwarded response parses");
    assert_eq!(second.status, line.status);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn configured_fields_are_added_to_responses() {
    let forwarding = full();
    let date = b"Tue, 15 Nov 1994 08:12:31 GMT";
    let how = ResponseRewrite {
        forwarding: &forwarding,
        client_version: Version::Http11,
        body: BodyFraming::Length(0),
        close: false,
        tunnel: false,
        date: Some(date),
    };
    assert_eq!(
        reply_with(&ok_with("Via: 1.1 o\r\nContent-Length: 0\r\n"), &how),
        "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nVia: 1.1 o, 1.1 mv\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(
        reply_with(b"HTTP/1.0 200 OK\r\ndate: then\r\n\r\n", &how),
        "HTTP/1.1 200 OK\r\ndate: then\r\nVia: 1.0 mv\r\nContent-Length: 0\r\n\r\n"
    );
    let none = ResponseRewrite {
        body: BodyFraming::None,
        ..how
    };
    assert_eq!(
        reply_with(b"HTTP/1.1 100 Continue\r\n\r\n", &none),
        "HTTP/1.1 100 Continue\r\nVia: 1.1 mv\r\n\r\n"
    );
    let tunnel = ResponseRewrite {
        tunnel: true,
        ..none
    };
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: k\r\n\r\n";
    assert_eq!(
        reply_with(switch.as_bytes(), &tunnel),
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: k\r\nVia: 1.1 mv\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn replies_are_whole_messages() {
    for status in (200..=599).filter(|&status| reason_phrase(status) != "Unknown") {
        for (client_version, close, connection) in [
            (Version::Http11, true, "Connection: close\r\n"),
            (Version::Http10, true, "Connection: close\r\n"),
            (Version::Http10, false, "Connection: keep-alive\r\n"),
            (Version::Http11, false, ""),
        ] {
            let reply = Reply {
                status,
                cause: "no reason",
                client_version,
                close,
                head_only: false,
                date: None,
            };
            let mut out = Vec::new();
            reply.write(&mut out);
            let (head, line, text) = response(&out).unwrap();
            let body = &out[text.len()..];
            let phrase = reason_phrase(status);
            assert_eq!(line.status, status);
            assert_eq!(line.reason.of(&text), phrase.as_bytes());
            assert_eq!(head.content_length(), Some(body.len() as u64));
            assert_eq!(body, format!("{status} {phrase}: no reason\n").as_bytes());
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(connection), "{text}");
            assert_eq!(
                text.contains("Connection"),
                !connection.is_empty(),
                "{text}"
            );
            assert!(text.contains("\r\nContent-Type: text/plain\r\n"));

            let mut bare = Vec::new();
            let date = Some(&b"now"[..]);
            Reply {
                head_only: true,
                date,
                ..reply
            }
            .write(&mut bare);
            let bare = String::from_utf8(bare).unwrap();
            assert_eq!(bare.replace("Date: now\r\n", ""), text);
            assert_ne!(bare, text);
        }
    }
}
