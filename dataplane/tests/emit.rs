//! Segments as they go out: smoltcp must find the checksum right over the true payload.

mod frames;

use dataplane::emit::Headers;
use dataplane::port::{
    Frame, Piece, Port, PortCaps, PortStats, RxBurst, TxError, TxHeader, TxOffload,
};
use dataplane::tcp::Emitted;
use frames::{HeapFrame, HeapPool};
use proptest::prelude::*;
use smoltcp::phy::{Checksum, ChecksumCapabilities};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr, IpAddress, IpProtocol, IpRepr,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TARGET: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Takes packets.
struct Catch {
    caps: PortCaps,
    caught: Vec<(Vec<u8>, usize, TxOffload)>,
    full: bool,
}

impl Catch {
    fn new(tx_tcp_checksum: bool) -> Self {
        Self {
            caps: PortCaps {
                name: "catch".to_owned(),
                mac: SOURCE,
                mtu: 1500,
                tx_tcp_checksum,
                tso_v4: None,
                max_pieces: 16,
                max_burst: 1,
            },
            caught: Vec::new(),
            full: false,
        }
    }
}

impl Port for Catch {
    type Frame = HeapFrame;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn rx_burst(&mut self, _burst: &mut RxBurst<HeapFrame>) -> usize {
        0
    }

    fn tx_room(&mut self) -> usize {
        usize::from(!self.full)
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, HeapFrame>>,
    ) -> Result<(), TxError> {
        if self.full {
            return Err(TxError::Full);
        }
        let mut packet = header.bytes.to_vec();
        for (count, piece) in payload.enumerate() {
            assert!(count < self.caps.max_pieces);
            let from = piece.offset as usize;
            packet.extend_from_slice(&piece.frame.data()[from..from + piece.len as usize]);
        }
        self.caught
            .push((packet, header.bytes.len(), header.offload));
        Ok(())
    }

    fn tx_flush(&mut self) {}

    fn stats(&mut self) -> PortStats {
        PortStats::default()
    }

    fn frames_held(&self) -> usize {
        0
    }
}

fn addresses(ipv6: bool) -> (IpAddress, IpAddress) {
    if ipv6 {
        (
            IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1),
            IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 9),
        )
    } else {
        (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 9))
    }
}

/// What smoltcp sends: no TCP checksum, and filler for payload.
fn phantom(ipv6: bool, payload_len: usize, syn: bool) -> Vec<u8> {
    let filler = vec![0; payload_len];
    let segment = TcpRepr {
        src_port: 80,
        dst_port: 40_000,
        control: if syn {
            TcpControl::Syn
        } else {
            TcpControl::Fin
        },
        seq_number: TcpSeqNumber(0x9234_5678u32 as i32),
        ack_number: Some(TcpSeqNumber(77)),
        window_len: 1000,
        window_scale: syn.then_some(7),
        max_seg_size: syn.then_some(1460),
        sack_permitted: syn,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &filler,
    };
    let (source, target) = addresses(ipv6);
    let mut caps = ChecksumCapabilities::default();
    caps.tcp = Checksum::None;
    let header = IpRepr::new(source, target, IpProtocol::Tcp, segment.buffer_len(), 64);
    let l3_len = header.header_len();
    let mut packet = vec![0; l3_len + segment.buffer_len()];
    header.emit(&mut packet[..], &caps);
    let mut tcp = TcpPacket::new_unchecked(&mut packet[l3_len..]);
    segment.emit(&mut tcp, &source, &target, &caps);
    packet
}

/// The payload in `pieces`, sent; checks all that does not depend on the checksum. Returns the TCP
/// segment and its offload.
fn send(ipv6: bool, offload: bool, syn: bool, pieces: &[(usize, Vec<u8>)]) -> (Vec<u8>, TxOffload) {
    let mut pool = HeapPool::new(16, 16);
    let held: Vec<_> = pieces
        .iter()
        .map(|(skip, bytes)| {
            let mut whole = vec![0xaa; *skip];
            whole.extend_from_slice(bytes);
            whole.push(0xbb);
            pool.filled(&whole)
        })
        .collect();
    let payload = pieces
        .iter()
        .zip(&held)
        .map(|((skip, bytes), frame)| Piece {
            frame,
            offset: *skip as u32,
            len: bytes.len() as u32,
        });
    let whole: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let packet = phantom(ipv6, whole.len(), syn);
    let headers = Headers::new(&packet, SOURCE, TARGET);
    assert!(headers.is_tcp());
    assert_eq!(headers.seq(), 0x9234_5678);
    assert_eq!(headers.syn(), syn);
    assert_eq!(headers.ip_len(), packet.len() - whole.len());
    let mut port = Catch::new(offload);
    let emitted = Emitted {
        len: packet.len(),
        segment_size: 1234,
    };
    headers.send(&mut port, emitted, payload).unwrap();
    let (frame, header_len, said) = port.caught.pop().unwrap();
    assert_eq!(header_len, 14 + packet.len() - whole.len());
    assert_eq!(frame.len(), 14 + packet.len());
    assert_eq!(&frame[header_len..], &whole);
    let l3_len = if ipv6 { 40 } else { 20 };
    let l4_len = packet.len() - whole.len() - l3_len;
    assert_eq!(
        said,
        TxOffload {
            tcp_checksum: offload,
            segment_size: 1234,
            ipv6,
            l3_len: l3_len as u8,
            l4_len: l4_len as u8,
        }
    );

    let ethernet = EthernetFrame::new_checked(&frame).unwrap();
    assert_eq!(ethernet.src_addr().0, SOURCE);
    assert_eq!(ethernet.dst_addr().0, TARGET);
    let segment = if ipv6 {
        assert_eq!(ethernet.ethertype(), EthernetProtocol::Ipv6);
        Ipv6Packet::new_checked(ethernet.payload())
            .unwrap()
            .payload()
            .to_vec()
    } else {
        assert_eq!(ethernet.ethertype(), EthernetProtocol::Ipv4);
        let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
        assert!(ip.verify_checksum());
        ip.payload().to_vec()
    };
    (segment, said)
}

/// RFC 1071, word by word.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn pieces() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8),
        prop::collection::vec(any::<u8>(), 1..700),
        prop::collection::vec(Just(0xffu8), 1..90),
    ];
    prop::collection::vec((0usize..70, bytes), 0..6)
}

proptest! {
    #[test]
    fn checksums_are_right(ipv6: bool, syn: bool, pieces in pieces()) {
        let (source, target) = addresses(ipv6);
        let (segment, _) = send(ipv6, false, syn, &pieces);
        let tcp = TcpPacket::new_checked(&segment).unwrap();
        prop_assert!(tcp.verify_checksum(&source, &target));
    }

    /// The device sums up the segment as it is, pseudo-header's sum and all, and complements it.
    #[test]
    fn what_the_device_completes_is_right(ipv6: bool, pieces in pieces()) {
        let (source, target) = addresses(ipv6);
        let (mut segment, _) = send(ipv6, true, false, &pieces);
        let checksum = !plain_sum(&segment);
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        let tcp = TcpPacket::new_checked(&segment).unwrap();
        prop_assert!(tcp.verify_checksum(&source, &target));
    }
}

#[test]
fn a_full_port_says_so() {
    let packet = phantom(false, 0, false);
    let mut port = Catch::new(false);
    port.full = true;
    let emitted = Emitted {
        len: packet.len(),
        segment_size: 0,
    };
    let none = std::iter::empty();
    let sent = Headers::new(&packet, SOURCE, TARGET).send(&mut port, emitted, none);
    assert_eq!(sent, Err(TxError::Full));
}

#[test]
fn control_packets_go_out_unchanged() {
    let pong = Icmpv4Repr::EchoReply {
        ident: 1,
        seq_no: 2,
        data: b"odd",
    };
    let header = Ipv4Repr {
        src_addr: [10, 0, 0, 1].into(),
        dst_addr: [10, 0, 0, 9].into(),
        next_header: IpProtocol::Icmp,
        payload_len: pong.buffer_len(),
        hop_limit: 64,
    };
    let caps = ChecksumCapabilities::default();
    let mut packet = vec![0; 20 + pong.buffer_len()];
    header.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &caps);
    pong.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[20..]), &caps);

    let headers = Headers::new(&packet, SOURCE, TARGET);
    assert!(!headers.is_tcp());
    assert_eq!(headers.ip_len(), 20);
    let body = HeapPool::new(1, 0).filled(&packet[20..]);
    let mut port = Catch::new(true);
    headers.send_control(&mut port, Some(&body)).unwrap();
    let (frame, header_len, said) = port.caught.pop().unwrap();
    assert_eq!(header_len, 34);
    assert_eq!(&frame[14..], &packet);
    assert_eq!(
        said,
        TxOffload {
            l3_len: 20,
            ..TxOffload::default()
        }
    );
}

/// More pieces than the port takes in one packet: several packets, that make up the same stream.
#[test]
fn a_segment_of_many_pieces_is_parted() {
    for ipv6 in [false, true] {
        for (count, packets) in [(16, 1), (17, 2), (32, 2), (100, 7)] {
            let mut pool = HeapPool::new(128, 1);
            let held: Vec<_> = (0..count)
                .map(|n| pool.filled(&vec![n as u8; 301]))
                .collect();
            let payload = held.iter().map(|frame| Piece {
                frame,
                offset: 1,
                len: 300,
            });
            let packet = phantom(ipv6, count * 300, false);
            let mut port = Catch::new(false);
            let emitted = Emitted {
                len: packet.len(),
                segment_size: 1234,
            };
            let headers = Headers::new(&packet, SOURCE, TARGET);
            headers.send(&mut port, emitted, payload).unwrap();
            assert_eq!(port.caught.len(), packets, "{count} pieces");

            let (source, target) = addresses(ipv6);
            let mut whole = Vec::new();
            for (n, (frame, _, offload)) in port.caught.iter().enumerate() {
                let bytes = if ipv6 {
                    let ip = Ipv6Packet::new_checked(&frame[14..]).unwrap();
                    assert_eq!(frame.len(), 14 + ip.total_len());
                    ip.payload().to_vec()
                } else {
                    let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
                    assert!(ip.verify_checksum());
                    assert_eq!(frame.len(), 14 + usize::from(ip.total_len()));
                    ip.payload().to_vec()
                };
                let tcp = TcpPacket::new_checked(&bytes[..]).unwrap();
                assert!(tcp.verify_checksum(&source, &target));
                assert_eq!(
                    tcp.seq_number().0 as u32,
                    0x9234_5678u32.wrapping_add(whole.len() as u32)
                );
                assert_eq!(tcp.fin(), n + 1 == packets);
                let cut = tcp.payload().len() > 1234;
                assert_eq!(offload.segment_size, if cut { 1234 } else { 0 });
                whole.extend_from_slice(tcp.payload());
            }
            let sent: Vec<u8> = (0..count).flat_map(|n| vec![n as u8; 300]).collect();
            assert!(whole == sent, "{count} pieces");
        }
    }
}
