//! Bodies whose every byte follows from their path and its place.

use super::rng::mix;

/// What the bytes of the response body for `path` follow from.
pub fn response_seed(path: &str) -> u64 {
    // FNV-1a, then mixed: paths that differ in one digit have bodies that differ everywhere.
    mix(path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// What the bytes of the request body for `path` follow from.
pub fn request_seed(path: &str) -> u64 {
    !response_seed(path)
}

/// The byte at `offset`.
fn byte(seed: u64, offset: u64) -> u8 {
    (mix(seed ^ (offset >> 3)) >> (8 * (offset & 7))) as u8
}

/// Appends `len` bytes from `offset` on.
pub fn append(seed: u64, offset: u64, len: u64, out: &mut Vec<u8>) {
    out.extend((offset..offset + len).map(|at| byte(seed, at)));
}

/// The offset of the first byte that is wrong when `bytes` lie at `offset`.
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    (offset..)
        .zip(bytes)
        .find(|(at, found)| byte(seed, *at) != **found)
        .map(|(at, _)| at)
}
