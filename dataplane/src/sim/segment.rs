//! What a NIC does to TCP packets by itself: complete checksums, cut large packets into segments.

use crate::port::TxOffload;

/// Bytes of the Ethernet header.
pub const ETHERNET: usize = 14;

/// The sum of RFC 1071 over `bytes`, continued from `sum`. Only the last piece may be of odd length.
fn sum(bytes: &[u8], mut sum: u64) -> u64 {
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    sum
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo-header of an IP packet whose TCP segment has `len` bytes (RFC 9293
/// section 3.1, RFC 8200 section 8.1).
fn pseudo(ip: &[u8], ipv6: bool, len: usize) -> u64 {
    let addresses = if ipv6 { &ip[8..40] } else { &ip[12..20] };
    sum(addresses, 6 + len as u64)
}

/// Whether the TCP checksum of a whole Ethernet frame is right; `None` when the frame is not
/// a TCP segment. Padding behind the IP packet does not count.
pub fn tcp_checksum_ok(frame: &[u8]) -> Option<bool> {
    let ip = frame.get(ETHERNET..)?;
    let (ipv6, l3, len) = match (frame[12], frame[13]) {
        (0x08, 0x00) if ip.len() >= 20 && ip[9] == 6 => {
            let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            (false, usize::from(ip[0] & 0xf) * 4, len)
        }
        (0x86, 0xdd) if ip.len() >= 40 && ip[6] == 6 => (
            true,
            40,
            40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])),
        ),
        _ => return None,
    };
    let segment = ip.get(l3..len)?;
    Some(fold(sum(segment, pseudo(ip, ipv6, segment.len()))) == 0xffff)
}

/// Does to `frame` what `offload` leaves to the device and appends the frames that go out to
/// `out`. With `cut` false a packet that is to be segmented goes out whole, like between two
/// interfaces of one machine.
///
/// # Panics
/// When the engine broke the contract of [`TxOffload`]: lengths that do not fit the packet, or
/// a checksum field that does not hold the sum of the pseudo-header.
pub fn finish(mut frame: Vec<u8>, offload: &TxOffload, cut: bool, out: &mut Vec<Vec<u8>>) {
    if !offload.tcp_checksum {
        assert_eq!(offload.segment_size, 0, "segmentation without checksums");
        out.push(frame);
        return;
    }
    let l4 = ETHERNET + usize::from(offload.l3_len);
    let payload = l4 + usize::from(offload.l4_len);
    let expected = fold(pseudo(&frame[ETHERNET..], offload.ipv6, frame.len() - l4));
    let field = u16::from_be_bytes([frame[l4 + 16], frame[l4 + 17]]);
    assert_eq!(
        field, expected,
        "the checksum field is not the sum of the pseudo-header"
    );
    assert_eq!(
        usize::from(frame[l4 + 12] >> 4) * 4,
        usize::from(offload.l4_len),
        "l4_len is not the TCP header's length"
    );

    let size = usize::from(offload.segment_size);
    if !cut || size == 0 || frame.len() - payload <= size {
        complete(&mut frame, l4, offload.ipv6);
        out.push(frame);
        return;
    }
    let seq = u32::from_be_bytes(frame[l4 + 4..l4 + 8].try_into().expect("four bytes"));
    let ident = u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]);
    let flags = frame[l4 + 13];
    let count = (frame.len() - payload).div_ceil(size);
    for (i, bytes) in frame[payload..].chunks(size).enumerate() {
        let mut segment = frame[..payload].to_vec();
        segment.extend_from_slice(bytes);
        let seq = seq.wrapping_add((i * size) as u32);
        segment[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
        if i + 1 < count {
            segment[l4 + 13] = flags & !0x09; // FIN and PSH only with the last byte.
        }
        let ip_len = segment.len() - ETHERNET;
        if offload.ipv6 {
            let len = (ip_len - 40) as u16;
            segment[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&len.to_be_bytes());
        } else {
            let ident = ident.wrapping_add(i as u16);
            segment[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(ip_len as u16).to_be_bytes());
            segment[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&ident.to_be_bytes());
            segment[ETHERNET + 10..ETHERNET + 12].fill(0);
            let header = !fold(sum(&segment[ETHERNET..l4], 0));
            segment[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header.to_be_bytes());
        }
        complete(&mut segment, l4, offload.ipv6);
        out.push(segment);
    }
}

/// Writes the TCP checksum of `frame`.
fn complete(frame: &mut [u8], l4: usize, ipv6: bool) {
    frame[l4 + 16..l4 + 18].fill(0);
    let sum = sum(
        &frame[l4..],
        pseudo(&frame[ETHERNET..], ipv6, frame.len() - l4),
    );
    frame[l4 + 16..l4 + 18].copy_from_slice(&(!fold(sum)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A super-segment of `len` payload bytes over IPv4 with its pseudo-header sum.
    fn large(len: usize) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = 6;
        frame[16..18].copy_from_slice(&((40 + len) as u16).to_be_bytes());
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34 + 12] = 0x50;
        frame[34 + 13] = 0x19;
        let field = fold(pseudo(&frame[14..], false, 20 + len));
        frame[50..52].copy_from_slice(&field.to_be_bytes());
        frame.extend((0..len).map(|i| i as u8));
        frame
    }

    fn offload(segment_size: u16) -> TxOffload {
        TxOffload {
            tcp_checksum: true,
            segment_size,
            ipv6: false,
            l3_len: 20,
            l4_len: 20,
        }
    }

    #[test]
    fn segments_have_right_lengths_numbers_flags_and_checksums() {
        let mut out = Vec::new();
        finish(large(2500), &offload(1000), true, &mut out);
        let lens: Vec<usize> = out.iter().map(Vec::len).collect();
        assert_eq!(lens, [1054, 1054, 554]);
        for (i, segment) in out.iter().enumerate() {
            assert_eq!(tcp_checksum_ok(segment), Some(true));
            assert_eq!(fold(sum(&segment[14..34], 0)), 0xffff);
            let seq = u32::from_be_bytes(segment[38..42].try_into().unwrap());
            assert_eq!(seq, i as u32 * 1000);
            assert_eq!(segment[47], if i == 2 { 0x19 } else { 0x10 });
            assert_eq!(segment[54], (i * 1000) as u8);
        }
    }

    #[test]
    fn uncut_it_stays_whole_and_gets_its_checksum() {
        let mut out = Vec::new();
        finish(large(2500), &offload(1000), false, &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(tcp_checksum_ok(&out[0]), Some(true));
        out[0][100] ^= 1;
        assert_eq!(tcp_checksum_ok(&out[0]), Some(false));
    }

    #[test]
    #[should_panic(expected = "pseudo-header")]
    fn a_wrong_pseudo_header_is_found_out() {
        let mut frame = large(100);
        frame[50] ^= 1;
        finish(frame, &offload(0), true, &mut Vec::new());
    }
}
