//! How long finding, parsing and rewriting a typical request head takes.
//!
//! `cargo run --release -p dataplane --example http1_speed`
#![allow(clippy::print_stdout, reason = "a program, and this is its result")]
#![allow(clippy::disallowed_methods, reason = "measures time")]

use std::hint::black_box;
use std::time::Instant;

use dataplane::http1::chunked::ChunkedDecoder;
use dataplane::http1::framing::BodyFraming;
use dataplane::http1::rewrite::{RequestRewrite, ResponseRewrite, write_request, write_response};
use dataplane::http1::{Head, HeadLimits, HeadScan, MessageKind, Version};
use dataplane::settings::{Forwarding, Limits};

const REQUEST: &[u8] = b"GET /static/app/index.html?version=20240517 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

const SMALL: &[u8] = b"GET /16k HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 16384\r\n\
    Last-Modified: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"661e1c5a-4000\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

fn main() {
    let limits = HeadLimits::from(&Limits::default());
    let mut head = Head::new(&limits);
    let mut out = Vec::with_capacity(4096);
    let forwarding = Forwarding {
        x_forwarded_for: true,
        x_forwarded_proto: true,
        via: Some("minivoy".to_owned()),
        upgrade: false,
    };
    let how = RequestRewrite {
        forwarding: &forwarding,
        client: [192, 0, 2, 77].into(),
        scheme: "http",
        default_host: "192.0.2.1",
        body: BodyFraming::None,
        upgrade: false,
    };

    for (name, request) in [("typical", REQUEST), ("small", SMALL)] {
        println!("{name} request, {} bytes", request.len());
        report("  find the end", || {
            let mut scan = HeadScan::new(MessageKind::Request);
            let _ = black_box(scan.find_end(black_box(request), &limits));
        });
        report("  parse", || {
            let _ = black_box(head.parse_request(black_box(request), &limits));
        });
        let line = head.parse_request(request, &limits).expect("it is valid");
        report("  rewrite", || {
            out.clear();
            write_request(&mut out, black_box(request), &head, line, &how);
            let _ = black_box(out.len());
        });
    }

    println!("response, {} bytes", RESPONSE.len());
    report("  find the end", || {
        let mut scan = HeadScan::new(MessageKind::Response);
        let _ = black_box(scan.find_end(black_box(RESPONSE), &limits));
    });
    report("  parse", || {
        let _ = black_box(head.parse_response(black_box(RESPONSE), &limits));
    });
    let line = head.parse_response(RESPONSE, &limits).expect("it is valid");
    let how = ResponseRewrite {
        forwarding: &forwarding,
        client_version: Version::Http11,
        body: BodyFraming::Length(16384),
        close: false,
        tunnel: false,
        date: None,
    };
    report("  rewrite", || {
        out.clear();
        write_response(&mut out, black_box(RESPONSE), &head, line, &how);
        let _ = black_box(out.len());
    });

    println!("chunk of 16 KiB");
    report("  framing", || {
        let mut decoder = ChunkedDecoder::new();
        let _ = black_box(decoder.next(black_box(b"4000\r\n")));
        decoder.skip_data(black_box(0x4000));
        let _ = black_box(decoder.next(black_box(b"\r\n")));
    });
}

/// Prints the shortest mean of several rounds: what disturbs only ever adds.
fn report(name: &str, mut work: impl FnMut()) {
    const TIMES: u32 = 200_000;
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..TIMES {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TIMES));
    }
    println!("{name:<16}{best:8.1} ns");
}
