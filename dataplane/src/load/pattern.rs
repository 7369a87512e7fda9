//! The bytes of bodies: each follows from its place in the body.
//!
//! The pattern repeats after a prime number of bytes, so no distance that buffers, segments or frames
//! have maps it onto itself: a run that is lost, repeated or out of place is seen by whoever
//! looks at the bytes. It lies in memory once, unrolled far enough that a run from any place can be
//! sent, or compared, as a single slice.

/// After so many bytes the pattern repeats: a prime.
pub const PERIOD: usize = 5003;

/// The longest run that [`run`] returns.
pub const LONGEST_RUN: usize = 64 * 1024;

static UNROLLED: [u8; PERIOD + LONGEST_RUN] = unroll();

const fn unroll() -> [u8; PERIOD + LONGEST_RUN] {
    let mut bytes = [0; PERIOD + LONGEST_RUN];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = if at < PERIOD {
            // SplitMix64's mixing of the place: every byte of it looks random.
            let mut mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 27)) as u8
        } else {
            bytes[at - PERIOD]
        };
        at += 1;
    }
    bytes
}

/// The byte at `offset` of every body.
pub fn byte(offset: u64) -> u8 {
    UNROLLED[(offset % PERIOD as u64) as usize]
}

/// The bytes from `offset` on: `len` of them, or [`LONGEST_RUN`] if that is less.
pub fn run(offset: u64, len: u64) -> &'static [u8] {
    let at = (offset % PERIOD as u64) as usize;
    &UNROLLED[at..at + len.min(LONGEST_RUN as u64) as usize]
}

/// The offset in the body of the first byte that is wrong when `bytes` lie at `offset`.
pub fn first_wrong(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut at = offset;
    for piece in bytes.chunks(LONGEST_RUN) {
        let expected = run(at, piece.len() as u64);
        if piece != expected {
            let equal = piece.iter().zip(expected).take_while(|(a, b)| a == b);
            return Some(at + equal.count() as u64);
        }
        at += piece.len() as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(offset: u64, len: usize) -> Vec<u8> {
        (offset..offset + len as u64).map(byte).collect()
    }

    #[test]
    fn runs_are_the_bytes_one_by_one() {
        for offset in [0, 1, 5002, 5003, 5004, 123_456, 1 << 40, u64::MAX / 2] {
            assert_eq!(run(offset, 300), body(offset, 300), "{offset}");
        }
        assert_eq!(run(3, 0), b"");
        assert_eq!(run(5002, u64::MAX), body(5002, LONGEST_RUN));
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        for at in [0usize, 1, 65_535, 65_536, 65_537, 199_999] {
            let mut bytes = body(77, 200_000);
            assert_eq!(first_wrong(77, &bytes), None);
            bytes[at] ^= 1;
            assert_eq!(first_wrong(77, &bytes), Some(77 + at as u64));
        }
    }

    /// What a receiver would do to a body that loses, repeats or exchanges bytes.
    #[test]
    fn no_distance_that_machines_have_maps_it_onto_itself() {
        for distance in [
            1,
            2,
            1460,
            1448,
            1500,
            2048,
            4096,
            9000,
            16_384,
            65_536,
            1 << 20,
        ] {
            let shifted = body(distance, 64);
            assert!(
                first_wrong(0, &shifted).is_some_and(|at| at < 8),
                "{distance}"
            );
        }
    }
}
