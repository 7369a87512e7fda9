//! How long a body an origin is asked for: it stands in the request's target.
//!
//! `/16384`, `/16k`, `/12m`, `/1g`: the last segment of the path; `/x?size=16k`: a `size` in the query
//! goes before it. The suffixes are powers of 1024, and a `b` or `ib` may follow them (`16KiB`).

use crate::http1::framing::MAX_BODY;

/// The length that `target`, a path with its query, asks for. `None` when it names none.
pub fn body_length(target: &[u8]) -> Option<u64> {
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    let mut parameters = query.split(|&byte| byte == b'&');
    if let Some(size) = parameters.find_map(|parameter| parameter.strip_prefix(b"size=")) {
        return size_of(size);
    }
    size_of(path.rsplit(|&byte| byte == b'/').next()?)
}

/// Bytes that `text` names: `16384`, `16k`, `16KiB`. `None` when it is nothing of the kind, or more
/// than a body may have.
pub fn size_of(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, suffix) = text.split_at(digits);
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let mut shift = 0;
    let mut rest = suffix;
    if let Some((unit, after)) = rest.split_first() {
        shift = match unit.to_ascii_lowercase() {
            b'k' => 10,
            b'm' => 20,
            b'g' => 30,
            b'b' => 0,
            _ => return None,
        };
        rest = after;
        if shift > 0
            && !rest.is_empty()
            && !rest.eq_ignore_ascii_case(b"b")
            && !rest.eq_ignore_ascii_case(b"ib")
        {
            return None;
        }
        if shift == 0 && !rest.is_empty() {
            return None;
        }
    }
    number
        .checked_mul(1 << shift)
        .filter(|&length| length <= MAX_BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_targets() {
        for (target, length) in [
            ("/0", Some(0)),
            ("/16384", Some(16_384)),
            ("/16k", Some(16_384)),
            ("/16K", Some(16_384)),
            ("/16KiB", Some(16_384)),
            ("/12m", Some(12 << 20)),
            ("/1g", Some(1 << 30)),
            ("/5b", Some(5)),
            ("/files/2k", Some(2048)),
            ("/x?size=16k", Some(16_384)),
            ("/16k?size=3", Some(3)),
            ("/16k?a=1&size=4&size=5", Some(4)),
            ("/16k?resize=3", Some(16_384)),
            ("/16k?", Some(16_384)),
            ("/", None),
            ("", None),
            ("/index.html", None),
            ("/16kk", None),
            ("/16kib2", None),
            ("/16ib", None),
            ("/16bb", None),
            ("/-1", None),
            ("/+1", None),
            ("/16k/", None),
            ("/x?size=", None),
            ("/16k?size=x", None),
            ("/99999999999999999999", None),
            ("/9999999999g", None),
            ("*", None),
        ] {
            assert_eq!(body_length(target.as_bytes()), length, "{target}");
        }
    }
}
