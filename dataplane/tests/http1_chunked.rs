//! Chunked bodies: grammar, limits, and any way of cutting them.

mod http1_common;

use dataplane::http1::chunked::{
    ChunkError as E, ChunkPiece, ChunkedDecoder, MAX_EXCESS, MAX_EXTENSION, MAX_TRAILERS,
};
use proptest::prelude::*;

/// What a decoder made of a body: its data, and how many bytes the body has.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    len: usize,
}

/// Decodes `bytes` in pieces of the lengths that `pieces` gives (then whole). `None`: no end yet.
fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Option<Decoded>, E> {
    let mut decoder = ChunkedDecoder::new();
    let mut data = Vec::new();
    let mut at = 0;
    let mut pieces = pieces.iter();
    while at < bytes.len() {
        let end = pieces
            .next()
            .map_or(bytes.len(), |len| (at + len.max(&1)).min(bytes.len()));
        while at < end {
            let left = decoder.data_left();
            match decoder.next(&bytes[at..end])? {
                ChunkPiece::Framing { len } => at += len,
                ChunkPiece::Data { len } => {
                    assert!(len > 0 && len as u64 <= left);
                    data.extend_from_slice(&bytes[at..at + len]);
                    at += len;
                }
                ChunkPiece::End { len } => {
                    assert!(decoder.is_done());
                    assert_eq!(decoder.data_total(), data.len() as u64);
                    let len = at + len;
                    return Ok(Some(Decoded { data, len }));
                }
            }
        }
    }
    assert!(!decoder.is_done());
    Ok(None)
}

/// The verdict, which must not depend on the cut.
fn whole(bytes: &[u8]) -> Result<Option<Decoded>, E> {
    let verdict = decode(bytes, &[]);
    let singly = decode(bytes, &vec![1; bytes.len()]);
    assert_eq!(verdict, singly, "{:?}", String::from_utf8_lossy(bytes));
    verdict
}

#[test]
fn good_bodies_are_decoded() {
    let rows: &[(&str, &str)] = &[
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("00a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"),
        ("5 ; a = \"q;\\\" r\"\t\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;\u{e4}\r\nhello\r\n0\r\n\r\n", "hello"),
        ("0\r\nX-Sum: 1\r\n\r\n", ""),
        ("0\r\nX-Sum:\r\nETag: \t\"a\"\r\n\r\n", ""),
        ("0\r\nX-A-Very-Long-Name-Of-A-Trailer: y\r\n\r\n", ""),
        ("0\r\nContent-LengthX: y\r\n\r\n", ""),
    ];
    for (body, data) in rows {
        let next = format!("{body}GET / HTTP/1.1\r\n");
        let expected = Decoded {
            data: data.as_bytes().to_vec(),
            len: body.len(),
        };
        assert_eq!(whole(next.as_bytes()), Ok(Some(expected)), "{body:?}");
        for cut in 0..body.len() {
            assert_eq!(
                whole(&body.as_bytes()[..cut]),
                Ok(None),
                "{cut} bytes of {body:?}"
            );
        }
    }
}

#[test]
fn bad_bodies_are_refused_by_name() {
    let rows: &[(&[u8], E)] = &[
        // Sizes.
        (b"\r\n", E::BadSize),
        (b"\n", E::BadSize),
        (b" 5\r\nhello\r\n", E::BadSize),
        (b"+5\r\nhello\r\n", E::BadSize),
        (b"-5\r\nhello\r\n", E::BadSize),
        (b"0x5\r\nhello\r\n", E::BadSize),
        (b"5_0\r\nhello\r\n", E::BadSize),
        (b"g\r\n", E::BadSize),
        (b"5h\r\n", E::BadSize),
        (b"5 \r\nhello\r\n", E::BadSize),
        (b"5 5\r\nhello\r\n", E::BadSize),
        (b"5.\r\nhello\r\n", E::BadSize),
        (b"5\0\r\nhello\r\n", E::BadSize),
        (b";a\r\n\r\n", E::BadSize),
        (b"\xef\xbc\x95\r\nhello\r\n", E::BadSize),
        (b"4000000000000001\r\n", E::TooLarge),
        (b"8000000000000000\r\n", E::TooLarge),
        (b"ffffffffffffffff\r\n", E::TooLarge),
        (b"10000000000000000\r\n", E::TooLarge),
        (b"100000000000000005\r\nhello\r\n", E::TooLarge),
        // Line ends.
        (b"5\nhello\r\n", E::BareLineEnd),
        (b"5\rhello\r\n", E::BareLineEnd),
        (b"5\r\r\nhello\r\n", E::BareLineEnd),
        (b"5;a\nhello\r\n", E::BareLineEnd),
        (b"5;a\rb\r\nhello\r\n", E::BareLineEnd),
        (b"5;\nxx;\r\n", E::BareLineEnd),
        (b"5;\"a\nb\"\r\nhello\r\n", E::BareLineEnd),
        (b"5\r\nhello\n0\r\n\r\n", E::MissingLineEnd),
        (b"5\r\nhello\r0\r\n\r\n", E::MissingLineEnd),
        (b"5\r\nhellox\n0\r\n\r\n", E::MissingLineEnd),
        (b"5\r\nhello0\r\n\r\n", E::MissingLineEnd),
        (b"5\r\nhelloworld\r\n0\r\n\r\n", E::MissingLineEnd),
        (b"0\r\n\n", E::BadTrailer),
        (b"0\r\n\rx", E::BareLineEnd),
        // Extensions.
        (b"5;a\0\r\nhello\r\n", E::ControlCharacter),
        (b"5;a\x7f\r\nhello\r\n", E::ControlCharacter),
        // Trailers.
        (b"0\r\n X: y\r\n\r\n", E::BadTrailer),
        (b"0\r\nX: y\r\n z\r\n\r\n", E::BadTrailer),
        (b"0\r\nX : y\r\n\r\n", E::BadTrailer),
        (b"0\r\n: y\r\n\r\n", E::BadTrailer),
        (b"0\r\nX\r\n\r\n", E::BadTrailer),
        (b"0\r\nX\nY: z\r\n\r\n", E::BadTrailer),
        (b"0\r\nX: y\nZ: z\r\n\r\n", E::BareLineEnd),
        (b"0\r\nX: y\rZ: z\r\n\r\n", E::BareLineEnd),
        (b"0\r\nX: a\0\r\n\r\n", E::ControlCharacter),
        (b"0\r\nX: a\x1b\r\n\r\n", E::ControlCharacter),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", E::BadTrailer),
        (b"0\r\nContent-Length: 5\r\n\r\n", E::ForbiddenTrailer),
        (
            b"0\r\nX: y\r\ncontent-length: 5\r\n\r\n",
            E::ForbiddenTrailer,
        ),
        (
            b"0\r\nTRANSFER-ENCODING: chunked\r\n\r\n",
            E::ForbiddenTrailer,
        ),
        (b"0\r\nHost: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nConnection: close\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nX-Forwarded-For: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nX_Forwarded_For: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nAuthorization: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nProxy-Authorization: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nCookie: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nSet-Cookie: a\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nContent-Encoding: gzip\r\n\r\n", E::ForbiddenTrailer),
    ];
    for (body, expected) in rows {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(whole(body), Err(*expected), "{shown:?}");
    }
}

#[test]
fn limits_are_kept_at_the_byte() {
    let extension = |len: u32| format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(len as usize));
    assert!(whole(extension(MAX_EXTENSION).as_bytes()).is_ok());
    assert_eq!(
        whole(extension(MAX_EXTENSION + 1).as_bytes()),
        Err(E::ExtensionTooLong)
    );

    let trailers = |len: u32| format!("0\r\nX: {}\r\n\r\n", "t".repeat(len as usize - 7));
    assert!(whole(trailers(MAX_TRAILERS).as_bytes()).is_ok());
    assert_eq!(
        whole(trailers(MAX_TRAILERS + 1).as_bytes()),
        Err(E::TrailersTooLong)
    );

    let zeros = "0".repeat(MAX_EXTENSION as usize + 2);
    assert_eq!(whole(zeros.as_bytes()), Err(E::BadSize));

    // Small chunks with long extensions add up; large ones with signatures do not.
    let small = format!("1;{}\r\nx\r\n", "e".repeat(1001));
    let fitting = MAX_EXCESS as usize / 1000;
    let body = |count: usize| small.repeat(count) + "0\r\n\r\n";
    assert!(whole(body(fitting).as_bytes()).is_ok());
    assert_eq!(
        whole(body(fitting + 1).as_bytes()),
        Err(E::ExtensionTooLong)
    );
    let large = format!(
        "800;chunk-signature={}\r\n{}\r\n",
        "e".repeat(64),
        "x".repeat(0x800)
    );
    assert!(whole((large.repeat(1000) + "0\r\n\r\n").as_bytes()).is_ok());

    // The sum of the sizes is bounded like each of them.
    let mut decoder = ChunkedDecoder::new();
    let _ = decoder.next(b"3fffffffffffffff\r\n").unwrap();
    assert_eq!(decoder.data_left(), (1 << 62) - 1);
    decoder.skip_data(u64::MAX);
    assert_eq!(decoder.data_left(), 0);
    let _ = decoder.next(b"\r\n1\r\nx\r\n").unwrap();
    assert_eq!(decoder.next(b"x\r\n"), Ok(ChunkPiece::Data { len: 1 }));
    assert_eq!(decoder.next(b"\r\n1\r\n"), Err(E::TooLarge));
}

#[test]
fn data_is_skipped_without_being_shown() {
    let mut decoder = ChunkedDecoder::new();
    decoder.skip_data(10);
    assert_eq!(decoder.next(b""), Ok(ChunkPiece::Framing { len: 0 }));
    assert_eq!(
        decoder.next(b"4000;x\r\n\0\0"),
        Ok(ChunkPiece::Framing { len: 8 })
    );
    assert_eq!(
        (decoder.data_left(), decoder.data_total()),
        (0x4000, 0x4000)
    );
    assert_eq!(decoder.next(b""), Ok(ChunkPiece::Framing { len: 0 }));
    decoder.skip_data(0x3fff);
    assert_eq!(decoder.next(b"\0\r\n0\r"), Ok(ChunkPiece::Data { len: 1 }));
    assert_eq!(decoder.next(b"\r\n0\r"), Ok(ChunkPiece::Framing { len: 4 }));
    assert_eq!(decoder.next(b"\n\r\nGET"), Ok(ChunkPiece::End { len: 3 }));
    assert!(decoder.is_done());
    assert_eq!(decoder.next(b"GET"), Ok(ChunkPiece::Framing { len: 0 }));
}

/// A chunk, its extension, and how its size is written.
fn chunk() -> impl Strategy<Value = (Vec<u8>, String, bool)> {
    let data = prop::collection::vec(any::<u8>(), 1..300);
    (
        data,
        "(;[a-z]{1,5}(=[a-z]{1,5}|=\"[ -!#-~]{0,8}\")?){0,2}",
        any::<bool>(),
    )
}

proptest! {
    /// What an encoder writes is what the decoder reads, however it is cut.
    #[test]
    fn encoded_bodies_come_back(
        chunks in prop::collection::vec(chunk(), 0..8),
        trailers in prop::collection::vec("X-[a-z]{1,30}: [ -~]{0,20}", 0..3),
        pieces in prop::collection::vec(1usize..50, 0..200),
        next in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut body = Vec::new();
        let mut data = Vec::new();
        for (chunk, extension, upper) in &chunks {
            let size = match upper {
                true => format!("{:X}", chunk.len()),
                false => format!("{:03x}", chunk.len()),
            };
            body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
            data.extend_from_slice(chunk);
        }
        body.extend_from_slice(b"0\r\n");
        for trailer in &trailers {
            body.extend_from_slice(format!("{trailer}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        let len = body.len();
        body.extend_from_slice(&next);
        prop_assert_eq!(decode(&body, &pieces), Ok(Some(Decoded { data, len })));
    }

    /// Whatever the bytes, the verdict does not depend on the cut.
    #[test]
    fn the_cut_never_matters(
        bytes in "[0-9a-f\r\n;: xX\t\\x00-\\x7f]{0,80}",
        pieces in prop::collection::vec(1usize..9, 0..80),
    ) {
        prop_assert_eq!(decode(bytes.as_bytes(), &pieces), whole(bytes.as_bytes()));
    }
}
