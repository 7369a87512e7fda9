//! Received packets of every kind, whole, cut short and at random.

use std::net::{IpAddr, SocketAddr};

use dataplane::classify::{ETHERNET, Packet, Segment, TcpFlags, classify};
use dataplane::counters::Drop;
use dataplane::settings::PortId;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr,
};

const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const TARGET: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn ethernet(kind: u16, behind: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&TARGET);
    frame.extend_from_slice(&SOURCE);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(behind);
    frame
}

fn addresses(ipv6: bool) -> (IpAddr, IpAddr) {
    if ipv6 {
        ("fd00::9".parse().unwrap(), "fd00::1".parse().unwrap())
    } else {
        ("10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap())
    }
}

/// A segment as smoltcp writes it, with `options` bytes of options of its IPv4 header.
fn tcp(ipv6: bool, options: usize) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: 40_000,
        dst_port: 80,
        control: TcpControl::Psh,
        seq_number: TcpSeqNumber(0x8123_4567u32 as i32),
        ack_number: Some(TcpSeqNumber(0x1122_3344)),
        window_len: 0xabcd,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: Some(TcpTimestampRepr::new(7, 8)),
        payload: PAYLOAD,
    };
    let (source, target) = addresses(ipv6);
    let (source, target): (IpAddress, IpAddress) = (source.into(), target.into());
    let header = IpRepr::new(source, target, IpProtocol::Tcp, segment.buffer_len(), 64);
    let caps = ChecksumCapabilities::default();
    let l3_len = header.header_len();
    let mut packet = vec![0; l3_len + segment.buffer_len()];
    header.emit(&mut packet[..], &caps);
    segment.emit(
        &mut TcpPacket::new_unchecked(&mut packet[l3_len..]),
        &source,
        &target,
        &caps,
    );
    if options > 0 {
        packet[0] += (options / 4) as u8;
        let total = (packet.len() + options) as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        let _ = packet.splice(20..20, std::iter::repeat_n(1, options));
    }
    ethernet(if ipv6 { 0x86dd } else { 0x0800 }, &packet)
}

fn look(frame: &[u8]) -> Packet {
    classify(PortId(3), frame, frame.len() as u32)
}

fn segment(frame: &[u8]) -> Segment {
    match look(frame) {
        Packet::Tcp(segment) => segment,
        other => panic!("not a segment: {other:?}"),
    }
}

fn dropped(frame: &[u8]) -> Drop {
    match look(frame) {
        Packet::Ignore(reason) => reason,
        other => panic!("not dropped: {other:?}"),
    }
}

fn check(frame: &[u8], ipv6: bool, options: usize) {
    let segment = segment(frame);
    let (remote, local) = addresses(ipv6);
    assert_eq!(segment.key.port(), PortId(3));
    assert_eq!(segment.key.remote(), SocketAddr::new(remote, 40_000));
    assert_eq!(segment.key.local(), SocketAddr::new(local, 80));
    assert_eq!(segment.source_mac, SOURCE);
    assert_eq!(segment.ipv6, ipv6);
    let l3_len = if ipv6 { 40 } else { 20 + options };
    assert_eq!(usize::from(segment.l3_len), l3_len);
    assert_eq!(segment.l4_len, 32, "twelve bytes of options");
    assert_eq!(segment.header_len(), l3_len + 32);
    assert_eq!(segment.payload_len as usize, PAYLOAD.len());
    let from = segment.payload_offset() as usize;
    assert_eq!(&frame[from..from + PAYLOAD.len()], PAYLOAD);
    assert_eq!(segment.seq, 0x8123_4567);
    assert_eq!(segment.ack, 0x1122_3344);
    assert_eq!(segment.window, 0xabcd);
    assert_eq!(segment.flags, TcpFlags(TcpFlags::ACK | TcpFlags::PSH));
}

#[test]
fn segments_with_and_without_options() {
    check(&tcp(false, 0), false, 0);
    check(&tcp(false, 4), false, 4);
    check(&tcp(false, 40), false, 40);
    check(&tcp(true, 0), true, 0);
}

#[test]
fn padding_is_not_payload() {
    for ipv6 in [false, true] {
        let mut frame = tcp(ipv6, 0);
        frame.extend_from_slice(&[0; 9]);
        check(&frame, ipv6, 0);
    }
}

/// The payload may lie in other frames, the headers may not.
#[test]
fn only_headers_must_be_in_the_first_frame() {
    for frame in [tcp(false, 0), tcp(false, 12), tcp(true, 0)] {
        let headers = segment(&frame).payload_offset() as usize;
        for head in 0..=frame.len() {
            let seen = classify(PortId(0), &frame[..head], frame.len() as u32);
            match seen {
                Packet::Tcp(segment) => {
                    assert!(head >= headers);
                    assert_eq!(segment.payload_len as usize, PAYLOAD.len());
                }
                Packet::Ignore(Drop::RxShort) => assert!(head < headers),
                other => panic!("{head} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn a_packet_cut_short_is_dropped() {
    for frame in [tcp(false, 0), tcp(false, 12), tcp(true, 0)] {
        for len in 0..frame.len() {
            assert_eq!(dropped(&frame[..len]), Drop::RxShort, "{len} bytes");
        }
    }
}

#[test]
fn fragments_are_dropped() {
    let whole = tcp(false, 0);
    // More fragments, the last fragment, one in the middle (RFC 791 section 3.1).
    for field in [0x2000u16, 0x0001, 0x1fff, 0x2010] {
        let mut frame = whole.clone();
        frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
        assert_eq!(dropped(&frame), Drop::RxFragment);
    }
    // Don't fragment, and the reserved bit.
    for field in [0x4000u16, 0x8000] {
        let mut frame = whole.clone();
        frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
        check(&frame, false, 0);
    }
    let mut frame = tcp(true, 0);
    frame[ETHERNET + 6] = 44;
    assert_eq!(dropped(&frame), Drop::RxFragment);
}

#[test]
fn lengths_that_lie() {
    let change = |ipv6: bool, at: usize, bytes: &[u8]| {
        let mut frame = tcp(ipv6, 0);
        frame[ETHERNET + at..ETHERNET + at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let v4_total = (tcp(false, 0).len() - ETHERNET) as u16;
    let v6_payload = (tcp(true, 0).len() - ETHERNET - 40) as u16;
    for frame in [
        // Version, header lengths and total length of IPv4.
        change(false, 0, &[0x55]),
        change(false, 0, &[0x44]),
        change(false, 2, &(v4_total + 1).to_be_bytes()),
        change(false, 2, &19u16.to_be_bytes()),
        change(false, 2, &0u16.to_be_bytes()),
        change(false, 2, &51u16.to_be_bytes()),
        // Version and payload length of IPv6.
        change(true, 0, &[0x40]),
        change(true, 4, &(v6_payload + 1).to_be_bytes()),
        change(true, 4, &31u16.to_be_bytes()),
        // TCP data offset: below five words, and beyond the segment.
        change(false, 20 + 12, &[0x40]),
        change(false, 20 + 12, &[0xf0]),
        change(true, 40 + 12, &[0x40]),
        change(true, 40 + 12, &[0xf0]),
    ] {
        assert_eq!(dropped(&frame), Drop::RxShort);
    }
    // Headers and nothing else is a segment.
    assert_eq!(
        segment(&change(false, 2, &52u16.to_be_bytes())).payload_len,
        0
    );
    assert_eq!(
        segment(&change(true, 4, &32u16.to_be_bytes())).payload_len,
        0
    );
}

#[test]
fn other_protocols() {
    assert!(matches!(look(&ethernet(0x0806, &[0; 28])), Packet::Arp));
    assert_eq!(dropped(&ethernet(0x8100, &[0; 46])), Drop::RxVlan);
    assert_eq!(dropped(&ethernet(0x88a8, &[0; 46])), Drop::RxVlan);
    let lldp = ethernet(0x88cc, &[0; 46]);
    assert_eq!(dropped(&lldp), Drop::RxUnknownProtocol);

    let mut ping = tcp(false, 0);
    ping[ETHERNET + 9] = 1;
    let total = (ping.len() - ETHERNET) as u32;
    ping.extend_from_slice(&[0; 5]);
    assert!(matches!(look(&ping), Packet::Ip { len } if len == total));
    // Less than its own header.
    ping[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&19u16.to_be_bytes());
    assert_eq!(dropped(&ping), Drop::RxShort);

    let mut v6 = tcp(true, 0);
    let total = (v6.len() - ETHERNET) as u32;
    v6[ETHERNET + 6] = 58;
    for (kind, is_ndp) in [(128, false), (134, false), (135, true), (136, true)] {
        v6[ETHERNET + 40] = kind;
        match look(&v6) {
            Packet::Ndp => assert!(is_ndp),
            Packet::Ip { len } => assert!(!is_ndp && len == total),
            other => panic!("{other:?}"),
        }
    }
    // Hop-by-hop options, and UDP.
    for next in [0, 17] {
        v6[ETHERNET + 6] = next;
        assert_eq!(dropped(&v6), Drop::RxUnknownProtocol);
    }
}

#[test]
fn only_a_bare_syn_opens() {
    for flags in 0..=0xffu8 {
        let opens = flags & 0x02 != 0 && flags & 0x15 == 0;
        assert_eq!(TcpFlags(flags).opens(), opens, "{flags:08b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever a device may say of whatever arrives: no panic, and no byte beyond the packet.
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120),
                    kind in prop_oneof![Just(0x0800u16), Just(0x86dd), any::<u16>()],
                    version in any::<bool>(),
                    protocol in prop_oneof![Just(6u8), any::<u8>()],
                    len in 0u32..200) {
        let mut frame = bytes;
        if frame.len() > ETHERNET + 20 {
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
            if version {
                frame[ETHERNET] = if kind == 0x86dd { 0x60 } else { 0x45 };
            }
            frame[ETHERNET + if kind == 0x86dd { 6 } else { 9 }] = protocol;
        }
        match classify(PortId(0), &frame, len) {
            Packet::Tcp(segment) => {
                prop_assert!(segment.payload_offset() as usize <= frame.len());
                prop_assert!(segment.payload_offset() + segment.payload_len <= len);
            }
            Packet::Ip { len: total } => prop_assert!(total + ETHERNET as u32 <= len),
            _ => {}
        }
    }

    /// Single bytes of a good segment changed.
    #[test]
    fn damaged_segments(ipv6: bool, changes in prop::collection::vec((0usize..90, any::<u8>()), 1..4)) {
        let mut frame = tcp(ipv6, 0);
        for (at, value) in changes {
            let at = at % frame.len();
            frame[at] = value;
        }
        if let Packet::Tcp(segment) = look(&frame) {
            let end = segment.payload_offset() + segment.payload_len;
            prop_assert!(end as usize <= frame.len());
        }
    }
}
