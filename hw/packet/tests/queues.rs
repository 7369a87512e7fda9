//! Several queues on one interface.
mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::lab::{Capture, Lab, PEER, PORT};
use common::pool::HeapPool;
use common::wire;
use dataplane::port::Port;
use packet::{Options, PacketPort, PacketSocket};

#[test]
fn queues_share_flows_and_every_packet_comes_once() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(2_000, 2_000);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let mut queues: Vec<_> = PacketSocket::open(PEER, 3, &Options::default())
        .expect("opens")
        .into_iter()
        .map(|socket| PacketPort::new(socket, pool.clone()).expect("frames"))
        .collect();
    let (flows, rounds) = (64_u16, 10);
    for seq in 0..rounds {
        for flow in 0..flows {
            let mut headers = wire::tcp_v4(seq, 0);
            headers[34..36].copy_from_slice(&(1000 + flow).to_be_bytes());
            port.tx_push(&wire::bare(&headers), std::iter::empty())
                .expect("room");
        }
    }
    port.tx_flush();
    let mut queue_of = vec![None; flows.into()];
    let mut total = 0;
    for (q, queue) in queues.iter_mut().enumerate() {
        let received = wire::drain(queue);
        assert!(
            !received.is_empty(),
            "queue {q} got nothing of {flows} flows"
        );
        total += received.len();
        for (_, bytes) in received {
            let flow = usize::from(u16::from_be_bytes([bytes[34], bytes[35]])) - 1000;
            assert_eq!(*queue_of[flow].get_or_insert(q), q, "flow {flow} moved");
        }
    }
    assert_eq!(total, usize::from(flows) * rounds as usize);
}

/// While sockets are opened one after another under traffic, the later ones see packets that the
/// earlier ones see too. None of those may be handed out twice.
#[test]
#[allow(clippy::disallowed_methods)] // The traffic must go on while sockets are opened.
fn queues_opened_under_traffic_hand_nothing_out_twice() {
    let Some(_lab) = Lab::new(1500) else { return };
    /// Stops the traffic when the test ends, also when it fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        let _ = scope.spawn(|| {
            let capture = Capture::open(PORT, false);
            let mut seq = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut headers = wire::tcp_v4(seq, 0);
                headers[34..36].copy_from_slice(&(seq as u16).to_be_bytes());
                capture.send(&headers);
                seq += 1;
            }
        });
        for round in 0..20 {
            let pool = HeapPool::new(2_000, 2_000);
            let sockets = PacketSocket::open(PEER, 3, &Options::default()).expect("opens");
            let mut seen = HashSet::new();
            for socket in sockets {
                let mut queue = PacketPort::new(socket, pool.clone()).expect("frames");
                for (_, bytes) in wire::receive(&mut queue, |all| all.len() > 200) {
                    let seq: [u8; 4] = bytes[38..42].try_into().expect("four bytes");
                    assert!(seen.insert(seq), "round {round}: {seq:?} twice");
                }
            }
        }
    });
}
