//! Packets built and read by hand, and the loops that every test needs.

use std::time::{Duration, Instant};

use dataplane::port::{Frame, FrameClass, Piece, Port, RxBurst, RxPacket, TxHeader, TxOffload};

use super::pool::{HeapFrame, HeapPool};

pub const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The sum of RFC 1071, not yet complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .fold(0, |sum, word| (sum + word) % 0xffff);
    if sum == 0 && bytes.iter().any(|b| *b != 0) {
        sum = 0xffff;
    }
    sum as u16
}

/// The pseudo-header's sum for TCP over IPv4 or IPv6, with the L4 length.
pub fn pseudo_sum(source: &[u8], target: &[u8], len: usize) -> u16 {
    let mut bytes = [source, target].concat();
    bytes.extend_from_slice(&(len as u32).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 6]);
    sum(&bytes)
}

/// Ethernet, IPv4 and TCP headers of a data segment at sequence number `seq`, with the checksum
/// left to the device.
pub fn tcp_v4(seq: u32, payload: usize) -> Vec<u8> {
    let (source, target) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&((40 + payload) as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend_from_slice(&source);
    ip.extend_from_slice(&target);
    let header_sum = !sum(&ip);
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
    let tcp = tcp_header(seq, pseudo_sum(&source, &target, 20 + payload));
    [&PEER_MAC[..], &PORT_MAC, &[8, 0], &ip, &tcp].concat()
}

/// The same over IPv6.
pub fn tcp_v6(seq: u32, payload: usize) -> Vec<u8> {
    let mut source = [0; 16];
    source[0] = 0xfd;
    let mut target = source;
    (source[15], target[15]) = (1, 2);
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend_from_slice(&((20 + payload) as u16).to_be_bytes());
    ip.extend_from_slice(&[6, 64]);
    ip.extend_from_slice(&source);
    ip.extend_from_slice(&target);
    let tcp = tcp_header(seq, pseudo_sum(&source, &target, 20 + payload));
    [&PEER_MAC[..], &PORT_MAC, &[0x86, 0xdd], &ip, &tcp].concat()
}

fn tcp_header(seq: u32, checksum: u16) -> Vec<u8> {
    let mut tcp = vec![0x12, 0x34, 0x56, 0x78];
    tcp.extend_from_slice(&seq.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff]);
    tcp.extend_from_slice(&checksum.to_be_bytes());
    tcp.extend_from_slice(&[0, 0]);
    tcp
}

/// What the device has to do to a packet with the headers above.
pub fn offload(segment_size: u16, ipv6: bool) -> TxOffload {
    TxOffload {
        tcp_checksum: true,
        segment_size,
        ipv6,
        l3_len: if ipv6 { 40 } else { 20 },
        l4_len: 20,
    }
}

/// `len` bytes, every prefix different from every other shift of itself.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// `bytes` spread over large frames.
pub fn spread(pool: &mut HeapPool, bytes: &[u8]) -> Vec<HeapFrame> {
    bytes
        .chunks(super::pool::LARGE)
        .map(|chunk| pool.filled(FrameClass::Large, chunk))
        .collect()
}

/// The whole of each frame.
pub fn pieces(frames: &[HeapFrame]) -> impl Iterator<Item = Piece<'_, HeapFrame>> {
    frames.iter().map(|frame| Piece {
        frame,
        offset: 0,
        len: frame.data().len() as u32,
    })
}

/// A packet of headers only, nothing left to the device.
pub fn bare(bytes: &[u8]) -> TxHeader<'_> {
    TxHeader {
        bytes,
        offload: TxOffload::default(),
    }
}

/// A short packet of a local experimental EtherType (IEEE 802: 0x88B5) with a number in it.
pub fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = [&PEER_MAC[..], &PORT_MAC, &[0x88, 0xb5]].concat();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(60, 0);
    bytes
}

/// The number of a packet made by [`numbered`].
pub fn number(packet: &[u8]) -> u32 {
    assert_eq!(packet[12..14], [0x88, 0xb5]);
    u32::from_be_bytes(packet[14..18].try_into().expect("four bytes"))
}

/// Polls until `enough` says so or two seconds have passed; whole packets and what was said of
/// them, in order.
#[allow(clippy::disallowed_methods)] // A test against a real kernel must not wait for ever.
pub fn receive<P: Port>(
    port: &mut P,
    mut enough: impl FnMut(&[(RxPacket, Vec<u8>)]) -> bool,
) -> Vec<(RxPacket, Vec<u8>)> {
    let mut all = Vec::new();
    let mut burst = RxBurst::with_capacity(64);
    let end = Instant::now() + Duration::from_secs(2);
    while !enough(&all) && Instant::now() < end {
        let count = port.rx_burst(&mut burst);
        assert_eq!(count, burst.packets.len());
        let mut frames = burst.frames.drain(..);
        for packet in burst.packets.drain(..) {
            let mut bytes = Vec::new();
            for frame in frames.by_ref().take(usize::from(packet.frames)) {
                assert!(!frame.data().is_empty());
                bytes.extend_from_slice(frame.data());
            }
            assert_eq!(bytes.len(), packet.len as usize);
            all.push((packet, bytes));
        }
        assert!(frames.next().is_none(), "frames of no packet");
    }
    all
}

/// All packets that have arrived. What is sent through a veth pair has arrived when the sending
/// call returns, so there is nothing to wait for.
pub fn drain<P: Port>(port: &mut P) -> Vec<(RxPacket, Vec<u8>)> {
    let mut before = usize::MAX;
    receive(port, |all| {
        std::mem::replace(&mut before, all.len()) == all.len()
    })
}
