//! The Internet checksum (RFC 1071) over bytes that lie in several places.

use crate::port::{Frame, Piece};

/// A one's-complement sum that can be fed in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    total: u64,
    /// True when an odd number of bytes has been added: the next byte is the low half of a word.
    odd: bool,
}

impl Sum {
    /// Adds `bytes`, as if they followed what was added before.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.odd
            && let Some((first, rest)) = bytes.split_first()
        {
            self.total += u64::from(*first);
            self.odd = false;
            bytes = rest;
        }
        if bytes.is_empty() {
            return;
        }
        // RFC 1071 section 2: the sum may be taken over wider words and folded at the end.
        let mut chunks = bytes.chunks_exact(32);
        let mut lanes = [0u64; 4];
        for chunk in &mut chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(8)) {
                let word = u64::from_be_bytes(word.try_into().expect("eight bytes"));
                *lane += (word >> 32) + (word & 0xffff_ffff);
            }
        }
        self.total += lanes.iter().map(|lane| fold(*lane)).sum::<u64>();
        let mut pairs = chunks.remainder().chunks_exact(2);
        for pair in &mut pairs {
            self.total += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        if let [last] = pairs.remainder() {
            self.total += u64::from(*last) << 8;
            self.odd = true;
        }
    }

    /// Adds the bytes of pieces of frames.
    pub fn add_pieces<'a, F: Frame + 'a>(&mut self, pieces: impl Iterator<Item = Piece<'a, F>>) {
        for piece in pieces {
            let from = piece.offset as usize;
            self.add(&piece.frame.data()[from..from + piece.len as usize]);
        }
    }

    /// The sum, folded to 16 bits but not complemented.
    pub fn folded(self) -> u16 {
        fold(self.total) as u16
    }
}

fn fold(mut sum: u64) -> u64 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum
}

/// The sum over the pseudo-header of a TCP packet (RFC 9293 section 3.1, RFC 8200 section 8.1):
/// `ip` is its IP header, `l4_len` the bytes behind it.
pub fn pseudo_header(ip: &[u8], ipv6: bool, l4_len: u32) -> Sum {
    let mut sum = Sum::default();
    sum.add(if ipv6 { &ip[8..40] } else { &ip[12..20] });
    sum.add(&l4_len.to_be_bytes());
    sum.add(&[0, 6]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
        fold(sum) as u16
    }

    #[test]
    fn rfc_1071_example() {
        let mut sum = Sum::default();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn pieces_sum_like_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..400),
                                     cuts in prop::collection::vec(0usize..400, 0..6)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut sum = Sum::default();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                sum.add(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(sum.folded(), plain(&bytes));
        }
    }
}
