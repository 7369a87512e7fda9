//! What bodies are made of: bytes that follow from a number, so that both ends know every one of
//! them and a body that was given to the wrong request, or continued at the wrong place, is noticed.

/// Bytes after which the pattern begins anew: a prime, so that no frame, segment or ring is a
/// multiple of it.
const PERIOD: usize = 65_521;
/// Bytes from one body's beginning in the pattern to that of the next body.
const STRIDE: usize = 7_919;

/// The bytes bodies are cut from.
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// One period of it: xorshift64 (Marsaglia, 2003) from a fixed seed.
    pub fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        Self((0..PERIOD).map(byte).collect())
    }

    /// Writes the bytes of body `seed` from `offset` on.
    pub fn fill(&self, seed: usize, offset: usize, mut out: &mut [u8]) {
        let mut at = start(seed, offset);
        while !out.is_empty() {
            let len = out.len().min(PERIOD - at);
            let (now, rest) = out.split_at_mut(len);
            now.copy_from_slice(&self.0[at..at + len]);
            (out, at) = (rest, 0);
        }
    }

    /// Whether `bytes` are those of body `seed` from `offset` on.
    pub fn matches(&self, seed: usize, offset: usize, mut bytes: &[u8]) -> bool {
        let mut at = start(seed, offset);
        while !bytes.is_empty() {
            let len = bytes.len().min(PERIOD - at);
            if bytes[..len] != self.0[at..at + len] {
                return false;
            }
            (bytes, at) = (&bytes[len..], 0);
        }
        true
    }
}

fn start(seed: usize, offset: usize) -> usize {
    (seed % PERIOD * STRIDE + offset) % PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_in_whatever_pieces() {
        let pattern = Pattern::new();
        let mut whole = vec![0; 200_000];
        pattern.fill(5, 0, &mut whole);
        let mut offset = 0;
        for len in [1, 65_520, 2, 65_521, 30_000].into_iter().cycle() {
            let end = (offset + len).min(whole.len());
            assert!(pattern.matches(5, offset, &whole[offset..end]));
            offset = end;
            if end == whole.len() {
                break;
            }
        }
    }

    #[test]
    fn wrong_bytes_are_noticed() {
        let pattern = Pattern::new();
        let mut body = vec![0; 100_000];
        pattern.fill(5, 0, &mut body);
        assert!(!pattern.matches(6, 0, &body));
        assert!(!pattern.matches(5, 1, &body));
        body[99_999] ^= 1;
        assert!(!pattern.matches(5, 0, &body));
    }
}
