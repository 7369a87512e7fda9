//! Bytes nobody meant: mutated heads and bodies, judged by properties and by another parser.
//!
//! Every run takes new seeds and prints the seed of a failure; `HTTP1_SEED` repeats one.
#![allow(clippy::print_stdout, reason = "the seed must be seen")]

mod http1_common;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dataplane::http1::framing::{BodyFraming, request_framing};
use dataplane::http1::rewrite::{RequestRewrite, write_request};
use dataplane::http1::{ChunkPiece, ChunkedDecoder, Head, HeadError, HeadScan, MessageKind};
use dataplane::settings::Forwarding;
use http1_common::{GOOD_REQUESTS, Random, limits, request, response};

/// Runs `check` on `count` seeds, unless one is given, and names the seed that fails.
fn for_seeds(count: u64, check: impl Fn(&mut Random)) {
    let given = std::env::var("HTTP1_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let start = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let count = if given.is_some() { 1 } else { count };
    for number in 0..count {
        let seed = start.wrapping_add(number);
        let mut random = Random(seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&mut random))) {
            println!("HTTP1_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Pieces that heads go wrong with.
const SCRAPS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\r\n ",
    ":",
    " :",
    ": ",
    ",",
    ", ",
    ";",
    "\t",
    " ",
    "\0",
    "/",
    "*",
    "@",
    "#",
    "[::1]",
    "%",
    "%41",
    "\u{e4}",
    "0",
    "5",
    "+",
    "-",
    "_",
    "chunked",
    "gzip",
    "close",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: keep-alive, x\r\n",
    "Connection: ",
    "Upgrade: x\r\n",
    "Expect: 100-continue\r\n",
    "X-Forwarded-For: ",
    "Via: ",
    "GET ",
    "CONNECT ",
    "\u{7f}",
    "\"",
];

/// Changes `bytes` in a few places.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(8)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copy));
            }
            _ => {
                let scrap = SCRAPS[random.below(SCRAPS.len())];
                drop(bytes.splice(at..at, scrap.bytes()));
            }
        }
    }
}

fn mutated_request(random: &mut Random) -> Vec<u8> {
    let mut bytes = GOOD_REQUESTS[random.below(GOOD_REQUESTS.len())]
        .as_bytes()
        .to_vec();
    if random.below(20) > 0 {
        mutate(random, &mut bytes);
    }
    bytes
}

/// Where a head ends, or why there is none, when its bytes come in the pieces that `random` cuts.
fn found_in_pieces(
    random: &mut Random,
    bytes: &[u8],
) -> Result<Option<std::ops::Range<usize>>, HeadError> {
    let mut scan = HeadScan::new(MessageKind::Request);
    let mut seen = 0;
    while seen < bytes.len() {
        seen = (seen + 1 + random.below(12)).min(bytes.len());
        if let Some(found) = scan.find_end(&bytes[..seen], &limits())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A head that is accepted is forwarded as a head that is accepted, with the same framing, the
/// same authority and nothing of the hop; and another parser reads the same fields in it.
#[test]
fn what_is_accepted_is_unambiguous() {
    let forwarding = Forwarding {
        x_forwarded_for: true,
        x_forwarded_proto: true,
        via: Some("mv".to_owned()),
        upgrade: false,
    };
    let accepted = std::cell::Cell::new(0u32);
    for_seeds(400_000, |random| {
        let bytes = mutated_request(random);
        let whole = HeadScan::new(MessageKind::Request).find_end(&bytes, &limits());
        assert_eq!(found_in_pieces(random, &bytes), whole);
        let _ = response(&bytes);
        let Ok((parsed, line, head)) = request(&bytes) else {
            return;
        };
        accepted.set(accepted.get() + 1);

        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut other = httparse::Request::new(&mut fields);
        let status = other.parse(&head).expect("the other parser accepts it too");
        assert_eq!(status, httparse::Status::Complete(head.len()));
        assert_eq!(
            other.method.map(str::as_bytes),
            Some(line.method.text(&head))
        );
        assert_eq!(other.headers.len(), parsed.fields().len());
        for (ours, theirs) in parsed.fields().iter().zip(other.headers.iter()) {
            assert_eq!(ours.name.of(&head), theirs.name.as_bytes());
            assert_eq!(ours.value.of(&head), theirs.value);
        }

        let body = request_framing(&parsed);
        let how = RequestRewrite {
            forwarding: &forwarding,
            client: [192, 0, 2, 1].into(),
            scheme: "http",
            default_host: "fallback",
            body,
            upgrade: false,
        };
        let mut out = Vec::new();
        write_request(&mut out, &head, &parsed, line, &how);
        assert!(out.len() <= how.max_len(head.len()));
        let (again, second, sent) = request(&out).expect("a forwarded request parses");
        assert_eq!(request_framing(&again), body);
        assert_eq!(second.path(&sent), line.path(&head));
        assert_eq!(second.method.text(&sent), line.method.text(&head));
        let host = parsed
            .authority()
            .map_or(&b"fallback"[..], |part| part.of(&head));
        assert_eq!(again.authority().map(|part| part.of(&sent)), Some(host));
        assert!(again.fields().iter().all(|field| {
            let framing = body == BodyFraming::Chunked
                && field.value.of(&sent).eq_ignore_ascii_case(b"chunked");
            framing || !field.known.is_hop_by_hop()
        }));
    });
    if std::env::var_os("HTTP1_SEED").is_none() {
        let accepted = accepted.get();
        assert!(
            accepted > 50_000,
            "only {accepted} heads were good: the test tests nothing"
        );
    }
}

/// Noise never panics, in any parser.
#[test]
fn noise_is_survived() {
    for_seeds(200_000, |random| {
        let len = random.below(120);
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        if random.below(2) == 0 {
            for byte in &mut bytes {
                *byte = b"\r\n: aA0,\t/HTP.1;"[usize::from(*byte) % 16];
            }
        }
        let _ = request(&bytes);
        let _ = response(&bytes);
        let mut head = Head::new(&limits());
        let _ = head.parse_request(&bytes, &limits());
        let _ = head.parse_response(&bytes, &limits());
        let mut decoder = ChunkedDecoder::new();
        let mut at = 0;
        while at < bytes.len() && !decoder.is_done() {
            match decoder.next(&bytes[at..]) {
                Ok(
                    ChunkPiece::Framing { len }
                    | ChunkPiece::Data { len }
                    | ChunkPiece::End { len },
                ) => at += len,
                Err(_) => break,
            }
        }
        assert!(at <= bytes.len());
    });
}

/// Where the decoder sees a chunk's size, the other parser sees the same one.
#[test]
fn sizes_are_read_alike() {
    for_seeds(200_000, |random| {
        let mut bytes = format!("{:x};e=f\r\n", random.next() >> random.below(64)).into_bytes();
        mutate(random, &mut bytes);
        let mut decoder = ChunkedDecoder::new();
        let Ok(ChunkPiece::Framing { len }) = decoder.next(&bytes) else {
            return;
        };
        if decoder.data_left() > 0 {
            let theirs = httparse::parse_chunk_size(&bytes);
            let ours = httparse::Status::Complete((len, decoder.data_left()));
            // The other parser has no room for sizes of more than sixteen digits.
            let digits = bytes
                .iter()
                .take_while(|byte| byte.is_ascii_hexdigit())
                .count();
            assert!(theirs == Ok(ours) || digits > 15, "{theirs:?} {ours:?}");
        }
    });
}
