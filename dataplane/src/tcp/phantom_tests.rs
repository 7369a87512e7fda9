use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};

use super::*;
use crate::classify::{ETHERNET, Packet, classify};
use crate::settings::PortId;

/// A segment with FIN and payload, behind an Ethernet header.
fn frame(ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: 40_000,
        dst_port: 80,
        control: TcpControl::Fin,
        seq_number: TcpSeqNumber(1_000_000),
        ack_number: Some(TcpSeqNumber(77)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: true,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let (source, target) = if ipv6 {
        (
            IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 9),
            IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        )
    } else {
        (IpAddress::v4(10, 0, 0, 9), IpAddress::v4(10, 0, 0, 1))
    };
    let caps = ChecksumCapabilities::default();
    let ip = IpRepr::new(source, target, IpProtocol::Tcp, segment.buffer_len(), 64);
    let l3_len = ip.header_len();
    let mut frame = vec![0; ETHERNET + l3_len + segment.buffer_len()];
    frame[12..14].copy_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    ip.emit(&mut frame[ETHERNET..], &caps);
    let mut tcp = TcpPacket::new_unchecked(&mut frame[ETHERNET + l3_len..]);
    segment.emit(&mut tcp, &source, &target, &caps);
    frame
}

fn segment(frame: &[u8]) -> Segment {
    match classify(PortId(0), frame, frame.len() as u32) {
        Packet::Tcp(segment) => segment,
        other => panic!("{other:?}"),
    }
}

/// The segment that smoltcp takes out of the packet it is shown.
fn taken<T>(
    device: &mut PhantomDevice,
    ipv6: bool,
    look: impl FnOnce(&TcpPacket<&[u8]>) -> T,
) -> T {
    let (received, _) = device.receive(Instant::ZERO).expect("a packet was offered");
    received.consume(|packet| {
        let behind = if ipv6 {
            let ip = Ipv6Packet::new_checked(packet).expect("an IPv6 packet");
            assert_eq!(packet.len(), ip.total_len());
            ip.payload()
        } else {
            let ip = Ipv4Packet::new_checked(packet).expect("an IPv4 packet");
            assert!(ip.verify_checksum());
            ip.payload()
        };
        look(&TcpPacket::new_checked(behind).expect("a segment"))
    })
}

fn device() -> PhantomDevice {
    PhantomDevice::new(1500, None)
}

#[test]
fn headers_are_shown_with_filler() {
    for ipv6 in [false, true] {
        let frame = frame(ipv6, b"payload");
        let segment = segment(&frame);
        let mut device = device();
        let headers = &frame[ETHERNET..ETHERNET + segment.header_len()];
        let shown = device.offer(headers, segment.payload_len);
        assert_eq!(shown, headers);
        taken(&mut device, ipv6, |tcp| {
            assert_eq!(tcp.payload(), [0; 7]);
            assert!(tcp.fin());
        });
        assert!(device.receive(Instant::ZERO).is_none(), "shown once");
    }
}

#[test]
fn stripped_headers_are_a_whole_packet() {
    for ipv6 in [false, true] {
        for len in [1, 2, 3, 255, 256, 257, 1400, 9000] {
            let frame = frame(ipv6, &vec![0x77; len]);
            let segment = segment(&frame);
            let mut device = device();
            let headers = &frame[ETHERNET..ETHERNET + segment.header_len()];
            let shown = device.offer(headers, 0);
            strip_payload(shown, &segment);
            taken(&mut device, ipv6, |tcp| {
                assert_eq!(tcp.payload().len(), 0);
                assert!(!tcp.fin(), "FIN lies behind the payload that is missing");
                assert!(tcp.ack());
                assert_eq!(tcp.seq_number(), TcpSeqNumber(1_000_000));
                assert_eq!(tcp.ack_number(), TcpSeqNumber(77));
                assert_eq!(tcp.window_len(), 1000);
            });
        }
    }
}

/// The Internet checksum has two zeros; only every possible sum shows that the right one is taken.
#[test]
fn the_ipv4_checksum_is_valid_for_every_identification() {
    let original = frame(false, b"payload");
    for identification in 0..=u16::MAX {
        let mut frame = original.clone();
        let at = ETHERNET + 4;
        frame[at..at + 2].copy_from_slice(&identification.to_be_bytes());
        let segment = segment(&frame);
        let headers = &mut frame[ETHERNET..ETHERNET + segment.header_len()];
        strip_payload(headers, &segment);
        assert!(Ipv4Packet::new_unchecked(&headers[..]).verify_checksum());
    }
}

#[test]
fn header_options_of_ipv4_are_summed_up() {
    let mut frame = frame(false, b"payload");
    let _ = frame.splice(ETHERNET + 20..ETHERNET + 20, [1, 2, 3, 4]);
    frame[ETHERNET] = 0x46;
    let total = (frame.len() - ETHERNET) as u16;
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
    let segment = segment(&frame);
    let headers = &mut frame[ETHERNET..ETHERNET + segment.header_len()];
    strip_payload(headers, &segment);
    assert!(Ipv4Packet::new_unchecked(&headers[..]).verify_checksum());
}

/// Every ring of every socket shares pages of zeros: filler must never be anything else, whatever
/// was offered before.
#[test]
fn filler_stays_zero() {
    let mut device = device();
    let long = [0xff; 128];
    device.offer_control([&long[..]; 20].into_iter());
    let (received, _) = device.receive(Instant::ZERO).expect("a packet was offered");
    assert_eq!(received.consume(<[u8]>::len), 128 * 20);
    for header_len in [100, 40, 128, 60] {
        let _ = device.offer(&long[..header_len], 5000);
        let (received, _) = device.receive(Instant::ZERO).expect("a packet was offered");
        received.consume(|packet| {
            assert_eq!(packet.len(), header_len + 5000);
            assert!(packet[..header_len].iter().all(|b| *b == 0xff));
            assert!(packet[header_len..].iter().all(|b| *b == 0));
        });
    }
}

#[test]
fn one_packet_out_at_a_time() {
    let mut device = device();
    let mut token = device.transmit(Instant::ZERO).expect("room");
    let mut meta = PacketMeta::default();
    meta.segmentation_offload_size = std::num::NonZeroU16::new(1400);
    token.set_meta(meta);
    token.consume(3, |packet| packet.copy_from_slice(b"abc"));
    assert!(device.transmit(Instant::ZERO).is_none());
    let _ = device.offer(&[0; 40], 0);
    assert!(
        device.receive(Instant::ZERO).is_none(),
        "its answer would overwrite what was not taken"
    );
    let emitted = device.take_emitted().expect("a packet was sent");
    assert_eq!((emitted.len, emitted.segment_size), (3, 1400));
    assert_eq!(device.emitted_bytes(3), b"abc");
    assert!(!device.has_emitted());
    assert!(device.receive(Instant::ZERO).is_some());
}
