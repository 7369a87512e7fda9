//! The port against the kernel: two ports on the ends of a veth pair.
mod common;

use common::lab::{Capture, Lab, PEER, PORT};
use common::pool::HeapPool;
use common::wire;
use dataplane::port::{Port, RxChecksum, TxHeader};
use packet::Options;

#[test]
fn packets_cross_whole_in_order_and_frames_come_back() {
    let Some(lab) = Lab::new(1500) else { return };
    let mut pool = HeapPool::new(512, 1024);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let mut peer = lab.port(PEER, &pool, &Options::default());
    assert!(port.link_up());
    assert_eq!(port.caps().mtu, 1500);

    let payload = wire::pattern(64_000);
    let frames = wire::spread(&mut pool, &payload);
    let headers = wire::tcp_v4(7, payload.len());
    for number in 0..100 {
        let short = wire::numbered(number);
        port.tx_push(&wire::bare(&short), std::iter::empty())
            .expect("room");
        let header = TxHeader {
            bytes: &headers,
            offload: wire::offload(1448, false),
        };
        port.tx_push(&header, wire::pieces(&frames)).expect("room");
    }
    port.tx_flush();
    assert_eq!(port.tx_room(), 1024);

    let received = wire::receive(&mut peer, |all| all.len() == 200);
    assert_eq!(received.len(), 200);
    let whole = [&headers[..], &payload].concat();
    for (i, pair) in received.chunks(2).enumerate() {
        assert_eq!(wire::number(&pair[0].1), i as u32);
        assert_eq!(pair[0].0.frames, 1);
        assert!(pair[1].1 == whole, "super-segment {i} arrived changed");
        assert_eq!(pair[1].0.frames, 5);
        assert_eq!(pair[1].0.checksum, RxChecksum::Good);
    }
    let (sent, got) = (port.stats(), peer.stats());
    assert_eq!((sent.tx_packets, got.rx_packets), (200, 200));
    assert_eq!(sent.tx_bytes, 100 * (60 + whole.len() as u64));
    assert_eq!(got.rx_bytes, sent.tx_bytes);
    assert_eq!((sent.tx_errors, got.rx_errors, got.rx_missed), (0, 0, 0));

    assert_eq!(
        pool.outstanding(),
        frames.len() + port.frames_held() + peer.frames_held()
    );
    drop((port, peer, frames));
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn what_others_send_on_the_interface_is_not_received() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    Capture::open(PORT, false).send(&wire::numbered(1));
    Capture::open(PEER, false).send(&wire::numbered(2));
    let received = wire::drain(&mut port);
    let numbers: Vec<u32> = received
        .iter()
        .map(|(_, bytes)| wire::number(bytes))
        .collect();
    assert_eq!(numbers, [2]);
}
