//! How many bytes a path asks for.

use crate::http1::token::decimal;

/// The largest body: far from where offsets overflow.
pub const MOST: u64 = 1 << 50;

/// The bytes of the body that `target` (origin-form) asks for: `/<size>`, or any path with `size=<size>`
/// in its query. A size is a decimal number of bytes, or of KiB or MiB with `k` or `m` behind it. `None`
/// when it asks for none.
pub fn body_size(target: &[u8]) -> Option<u64> {
    let path = target.strip_prefix(b"/")?;
    let Some(at) = memchr::memchr(b'?', path) else {
        return size(path);
    };
    path[at + 1..]
        .split(|&byte| byte == b'&')
        .find_map(|part| part.strip_prefix(b"size="))
        .map_or_else(|| size(&path[..at]), size)
}

fn size(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 1 << 10),
        (b'm' | b'M', digits) => (digits, 1 << 20),
        _ => (text, 1),
    };
    let bytes = decimal(digits, MOST)?.checked_mul(unit)?;
    (bytes <= MOST).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_paths() {
        for (target, bytes) in [
            ("/0", Some(0)),
            ("/1", Some(1)),
            ("/16384", Some(16_384)),
            ("/16k", Some(16_384)),
            ("/16K", Some(16_384)),
            ("/12m", Some(12 << 20)),
            ("/700M", Some(700 << 20)),
            ("/file?size=16k", Some(16_384)),
            ("/a/b/c.html?x=1&size=5", Some(5)),
            ("/?size=7", Some(7)),
            ("/9?size=7", Some(7)),
            ("/9?sizes=7", Some(9)),
            ("/1125899906842624", Some(MOST)),
            ("/1125899906842625", None),
            ("/18446744073709551616", None),
            ("/18446744073709551615m", None),
            ("/", None),
            ("/k", None),
            ("/16kk", None),
            ("/16 ", None),
            ("/-1", None),
            ("/+1", None),
            ("/0x10", None),
            ("/file", None),
            ("/file?size=", None),
            ("/file?size=x", None),
            ("/9?size=x", None),
            ("*", None),
            ("http://host/16", None),
            ("", None),
        ] {
            assert_eq!(body_size(target.as_bytes()), bytes, "{target}");
        }
    }
}
