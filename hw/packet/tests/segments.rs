//! What the kernel makes of the super-segments that the port sends.
mod common;

use common::lab::{Capture, Lab, PEER, PORT, run};
use common::pool::HeapPool;
use common::wire;
use dataplane::port::{Port, TxHeader};
use packet::vnet::{Checksum, Segmentation, VnetHeader};
use packet::{Options, PacketPort};

fn send(
    port: &mut PacketPort<HeapPool>,
    pool: &mut HeapPool,
    headers: &[u8],
    payload: &[u8],
    size: u16,
) {
    let frames = wire::spread(pool, payload);
    let header = TxHeader {
        bytes: headers,
        offload: wire::offload(size, headers[12..14] == [0x86, 0xdd]),
    };
    port.tx_push(&header, wire::pieces(&frames)).expect("room");
    port.tx_flush();
}

#[test]
fn a_device_that_cuts_gets_the_super_segment_as_described() {
    let Some(lab) = Lab::new(1500) else { return };
    let mut pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let capture = Capture::open(PEER, true);
    let most = port.caps().tso_v4.expect("cuts") as usize;
    assert!((65_000..=65_535).contains(&most));

    // The largest that the port promises: 20 bytes each of IP and TCP header, the rest payload.
    let payload = wire::pattern(most - 40);
    for headers in [
        wire::tcp_v4(1, payload.len()),
        wire::tcp_v6(1, payload.len() - 20),
    ] {
        let ipv6 = headers[12] == 0x86;
        let payload = if ipv6 { &payload[20..] } else { &payload };
        send(&mut port, &mut pool, &headers, payload, 1400);
        let (vnet, packet) = capture.next().expect("arrived");
        assert!(
            packet == [&headers[..], payload].concat(),
            "changed on the way"
        );
        let vnet = VnetHeader::decode(vnet[..].try_into().expect("ten bytes"));
        let size = 1400;
        let (segmentation, start) = if ipv6 {
            (Segmentation::TcpV6 { size }, 54)
        } else {
            (Segmentation::TcpV4 { size }, 34)
        };
        assert_eq!(vnet.segmentation, segmentation);
        assert_eq!(vnet.checksum, Checksum::Partial { start, offset: 16 });
        assert!(capture.next().is_none());
    }
    assert_eq!(port.stats().tx_errors, 0);
    assert_eq!(port.stats().tx_packets, 2);
}

/// Asserts that what was captured is `payload` cut to segments of `size`, each with a right
/// checksum and sequence number.
fn assert_cut(capture: &Capture, payload: &[u8], size: usize) {
    let mut at = 0;
    while let Some((_, packet)) = capture.next() {
        let ipv6 = packet[12..14] == [0x86, 0xdd];
        let l4 = if ipv6 { 54 } else { 34 };
        let len = if ipv6 {
            14 + 40 + usize::from(u16::from_be_bytes([packet[18], packet[19]]))
        } else {
            assert_eq!(wire::sum(&packet[14..34]), 0xffff, "IPv4 header checksum");
            14 + usize::from(u16::from_be_bytes([packet[16], packet[17]]))
        };
        assert_eq!(packet.len(), len);
        let (source, target) = if ipv6 {
            (&packet[22..38], &packet[38..54])
        } else {
            (&packet[26..30], &packet[30..34])
        };
        let mut checked = packet[l4..].to_vec();
        checked.extend_from_slice(&[0; 1][..checked.len() % 2]);
        let pseudo = wire::pseudo_sum(source, target, len - l4);
        checked.extend_from_slice(&pseudo.to_be_bytes());
        assert_eq!(
            wire::sum(&checked),
            0xffff,
            "TCP checksum at payload byte {at}"
        );
        let seq = u32::from_be_bytes(packet[l4 + 4..l4 + 8].try_into().expect("four bytes"));
        assert_eq!(seq as usize, 1 + at);
        let data = &packet[l4 + 20..];
        assert!(data.len() == size || at + data.len() == payload.len());
        assert!(data == &payload[at..at + data.len()], "bytes at {at}");
        at += data.len();
    }
    assert_eq!(at, payload.len());
}

#[test]
fn a_device_without_offloads_has_them_done_by_the_kernel() {
    let Some(lab) = Lab::new(1500) else { return };
    run(&format!("ethtool -K {PORT} tx off tso off gso off"));
    let mut pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let capture = Capture::open(PEER, false);
    // An odd length, so that the last segment ends in half a checksum word.
    for len in [1, 1400, 1401, 30_001, 60_000] {
        let payload = wire::pattern(len);
        send(&mut port, &mut pool, &wire::tcp_v4(1, len), &payload, 1400);
        assert_cut(&capture, &payload, 1400);
        send(&mut port, &mut pool, &wire::tcp_v6(1, len), &payload, 1400);
        assert_cut(&capture, &payload, 1400);
    }
    assert_eq!(port.stats().tx_errors, 0);
}

#[test]
fn offloads_switched_off_while_sending_lose_nothing() {
    let Some(lab) = Lab::new(1500) else { return };
    let mut pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let capture = Capture::open(PEER, false);
    run(&format!("ethtool -K {PORT} tx off tso off gso off"));
    let payload = wire::pattern(50_000);
    send(
        &mut port,
        &mut pool,
        &wire::tcp_v4(1, payload.len()),
        &payload,
        1400,
    );
    // The port looks for the reason once the device has refused a packet often enough.
    for _ in 0..64 {
        port.tx_flush();
    }
    assert_cut(&capture, &payload, 1400);
    assert_eq!((port.stats().tx_packets, port.stats().tx_errors), (1, 0));
}

#[test]
fn many_short_pieces_are_gathered_and_neighbours_joined() {
    let Some(lab) = Lab::new(9000) else { return };
    let mut pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let capture = Capture::open(PEER, true);
    let payload = wire::pattern(6_400);
    let frames = wire::spread(&mut pool, &payload);
    let piece = |offset: usize, len: usize| dataplane::port::Piece {
        frame: &frames[0],
        offset: offset as u32,
        len: len as u32,
    };
    // 64 pieces, the most there may be, back to front so that none joins another.
    let held = port.frames_held();
    let headers = wire::tcp_v4(1, payload.len());
    let header = TxHeader {
        bytes: &headers,
        offload: wire::offload(0, false),
    };
    port.tx_push(&header, (0..64).rev().map(|i| piece(i * 100, 100)))
        .expect("room");
    assert_eq!(port.frames_held() - held, 64);
    // Front to back they all join; empty ones vanish.
    let forward = (0..6_400).flat_map(|i| [piece(i, 1), piece(5, 0)]);
    let forward = forward.filter(|p| p.len > 0).chain([piece(6_400, 0)]);
    port.tx_push(&header, forward).expect("room");
    assert_eq!(port.frames_held() - held, 65);
    port.tx_flush();
    assert_eq!(port.frames_held(), held);
    let backward: Vec<u8> = payload.chunks(100).rev().flatten().copied().collect();
    for expected in [&backward, &payload] {
        let (_, packet) = capture.next().expect("arrived");
        assert!(packet[54..] == expected[..]);
    }
}
