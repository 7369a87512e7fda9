//! Heads that are refused: a row for each way to break each rule.

mod http1_common;

use dataplane::http1::error::HeadError as E;
use http1_common::{get_with, ok_with, request, response};

/// Requests that are refused whole, and why.
#[test]
fn malformed_requests_are_refused_by_name() {
    let rows: &[(&[u8], E)] = &[
        // Line ends.
        (b"GET / HTTP/1.1\nHost: a\n\n", E::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", E::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", E::BareLf),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::BareLf),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", E::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", E::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", E::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rX", E::BareCr),
        // What is skipped in front of a request line, and what is not.
        (
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            E::BadRequestLine,
        ),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::BadMethod),
        (b"\x16\x03\x01\x02\x00\x01\x00", E::BadMethod),
        // Control characters.
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", E::Nul),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", E::Nul),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", E::Nul),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x1bb\r\n\r\n",
            E::ControlCharacter,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
            E::ControlCharacter,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX\x0b: b\r\n\r\n",
            E::ControlCharacter,
        ),
        (
            b"GET /\x0c HTTP/1.1\r\nHost: a\r\n\r\n",
            E::ControlCharacter,
        ),
        // The request line.
        (b"GET\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET /\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET /\tb HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", E::BadRequestLine),
        (b"GET\t/ x HTTP/1.1\r\nHost: a\r\n\r\n", E::BadMethod),
        (b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", E::BadMethod),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", E::BadMethod),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTP/11\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTP/a.1\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / ICY\r\nHost: a\r\n\r\n", E::BadVersion),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", E::UnsupportedVersion),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::UnsupportedVersion),
        // Targets.
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", E::Connect),
        (b"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (b"GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", E::BadTarget),
        (
            b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            E::BadTarget,
        ),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::UserInfo),
        (
            b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            E::UserInfo,
        ),
        // Host.
        (b"GET / HTTP/1.1\r\n\r\n", E::MissingHost),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", E::MissingHost),
        (b"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n", E::BadHost),
        (
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            E::SeveralHosts,
        ),
        // Transfer-Encoding in 1.0, even beside a length.
        (
            b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::CodingInHttp10,
        ),
    ];
    for (bytes, expected) in rows {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(request(bytes).err(), Some(*expected), "{shown:?}");
    }
}

/// Field lines that make a request (and where it applies a response) bad.
#[test]
fn malformed_fields_are_refused_by_name() {
    let rows: &[(&str, E)] = &[
        (" X: y\r\n", E::ObsFold),
        ("X: y\r\n z\r\n", E::ObsFold),
        ("X: y\r\n\tz\r\n", E::ObsFold),
        ("X: y\r\n \r\n", E::ObsFold),
        ("X\r\n", E::MissingColon),
        ("X y\r\n", E::BadFieldName),
        (": y\r\n", E::EmptyFieldName),
        ("X : y\r\n", E::SpaceBeforeColon),
        ("X\t: y\r\n", E::SpaceBeforeColon),
        ("X \t : y\r\n", E::SpaceBeforeColon),
        ("Transfer-Encoding : chunked\r\n", E::SpaceBeforeColon),
        ("Content-Length : 5\r\n", E::SpaceBeforeColon),
        ("X(y): z\r\n", E::BadFieldName),
        ("X\u{e4}: z\r\n", E::BadFieldName),
        ("\"X\": z\r\n", E::BadFieldName),
        ("X/Y: z\r\n", E::BadFieldName),
        ("X_Forwarded_For: 1.2.3.4\r\n", E::DisguisedField),
        ("content_length: 5\r\n", E::DisguisedField),
        ("Transfer_Encoding: chunked\r\n", E::DisguisedField),
        // Content-Length.
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            E::SeveralLengths,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            E::SeveralLengths,
        ),
        ("Content-Length: 5, 5\r\n", E::BadLength),
        ("Content-Length: 5,\r\n", E::BadLength),
        ("Content-Length: +5\r\n", E::BadLength),
        ("Content-Length: -5\r\n", E::BadLength),
        ("Content-Length: 5 5\r\n", E::BadLength),
        ("Content-Length: 0x5\r\n", E::BadLength),
        ("Content-Length: 5.0\r\n", E::BadLength),
        ("Content-Length: 1_0\r\n", E::BadLength),
        ("Content-Length:\r\n", E::BadLength),
        ("Content-Length: \"5\"\r\n", E::BadLength),
        ("Content-Length: \u{665}\r\n", E::BadLength),
        ("Content-Length: 4611686018427387905\r\n", E::BadLength),
        ("Content-Length: 18446744073709551615\r\n", E::BadLength),
        ("Content-Length: 18446744073709551621\r\n", E::BadLength),
        (
            "Content-Length: 99999999999999999999999999\r\n",
            E::BadLength,
        ),
        // Transfer-Encoding.
        ("Transfer-Encoding: gzip\r\n", E::UnknownCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", E::UnknownCoding),
        ("Transfer-Encoding: identity\r\n", E::UnknownCoding),
        ("Transfer-Encoding: xchunked\r\n", E::UnknownCoding),
        ("Transfer-Encoding: chunked, chunked\r\n", E::ChunkedTwice),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            E::ChunkedTwice,
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", E::ChunkedNotLast),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            E::ChunkedNotLast,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
            E::ChunkedNotLast,
        ),
        ("Transfer-Encoding:\r\n", E::BadCoding),
        ("Transfer-Encoding: chunked,\r\n", E::BadCoding),
        ("Transfer-Encoding: , chunked\r\n", E::BadCoding),
        ("Transfer-Encoding: chunked;q=1\r\n", E::BadCoding),
        ("Transfer-Encoding: \"chunked\"\r\n", E::BadCoding),
        ("Transfer-Encoding: chunked x\r\n", E::BadCoding),
        ("Transfer-Encoding: chunked\u{a0}\r\n", E::BadCoding),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            E::LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            E::LengthAndCoding,
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            E::LengthAndCoding,
        ),
        // Connection.
        ("Connection: close; x\r\n", E::BadConnectionOption),
        ("Connection: a b\r\n", E::BadConnectionOption),
        ("Connection: close, Host\r\n", E::ForbiddenConnectionOption),
        (
            "Connection: content-length\r\n",
            E::ForbiddenConnectionOption,
        ),
        (
            "Connection: X-Forwarded-For\r\n",
            E::ForbiddenConnectionOption,
        ),
        ("Connection: via\r\n", E::ForbiddenConnectionOption),
        (
            "Connection: a,b,c,d,e,f,g,h,i\r\n",
            E::TooManyConnectionOptions,
        ),
        // The rest.
        ("Expect: 100-continued\r\n", E::UnknownExpectation),
        ("Expect: y 100-continue\r\n", E::UnknownExpectation),
        ("Expect:\r\n", E::UnknownExpectation),
        ("Max-Forwards: -1\r\n", E::BadMaxForwards),
        ("Max-Forwards: 1\r\nMax-Forwards: 1\r\n", E::BadMaxForwards),
    ];
    for (fields, expected) in rows {
        assert_eq!(
            request(&get_with(fields)).err(),
            Some(*expected),
            "{fields:?}"
        );
        assert_eq!(
            response(&ok_with(fields)).err(),
            Some(*expected),
            "{fields:?} in a response"
        );
    }
    let hosts: &[(&str, E)] = &[
        ("Host: a\r\nHost: a\r\n", E::SeveralHosts),
        ("Host: a\r\nhost: b\r\n", E::SeveralHosts),
        ("Host:\r\n", E::BadHost),
        ("Host: a b\r\n", E::BadHost),
        ("Host: a, b\r\n", E::BadHost),
        ("Host: a/b\r\n", E::BadHost),
        ("Host: u@a\r\n", E::BadHost),
        ("Host: a:b\r\n", E::BadHost),
        ("Host: a:65536\r\n", E::BadHost),
        ("Host: a:+1\r\n", E::BadHost),
        ("Host: a:1:2\r\n", E::BadHost),
        ("Host: :80\r\n", E::BadHost),
        ("Host: 2001:db8::1\r\n", E::BadHost),
        ("Host: [2001:db8::1\r\n", E::BadHost),
        ("Host: [::1]x\r\n", E::BadHost),
        ("Host: [fe80::1%25eth0]\r\n", E::BadHost),
        ("Host: []\r\n", E::BadHost),
        ("Host: a%4\r\n", E::BadHost),
        ("Host: a%zz\r\n", E::BadHost),
        ("Host: \u{e4}\r\n", E::BadHost),
        ("Host: a#b\r\n", E::BadHost),
        ("Host: a\\b\r\n", E::BadHost),
    ];
    for (fields, expected) in hosts {
        let text = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(
            request(text.as_bytes()).err(),
            Some(*expected),
            "{fields:?}"
        );
    }
}

#[test]
fn every_error_has_its_status() {
    let rows = [
        (E::TooLarge, 431),
        (E::TooManyFields, 431),
        (E::RequestLineTooLong, 414),
        (E::BodyTooLarge, 413),
        (E::UnknownExpectation, 417),
        (E::UnknownCoding, 501),
        (E::Connect, 501),
        (E::UnsupportedVersion, 505),
        (E::UnexpectedSwitch, 502),
        (E::BareLf, 400),
        (E::LengthAndCoding, 400),
        (E::SeveralHosts, 400),
        (E::BadVersion, 400),
        (E::CodingInHttp10, 400),
    ];
    for (error, status) in rows {
        assert_eq!(error.status(), status, "{error:?}");
        assert!(!error.cause().is_empty());
    }
}
