//! Several queues on one interface.
mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::lab::{Capture, Lab, PEER, PORT};
use common::pool::HeapPool;
use common::wire;
use dataplane::port::Port;
use dataplane::steering::by_ports;
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

/// The kernel's program and the engine's function agree, packet by packet.
#[test]
fn every_packet_comes_to_the_queue_that_the_engine_expects() {
    let Some(lab) = Lab::new(1500) else { return };
    for queues in [2_u16, 3, 5] {
        let pool = HeapPool::new(6_000, 2_000);
        let mut port = lab.port(PORT, &pool, &Options::default());
        let mut receivers: Vec<_> = PacketSocket::open(PEER, queues, &Options::default())
            .expect("opens")
            .into_iter()
            .map(|socket| PacketPort::new(socket, pool.clone()).expect("frames"))
            .collect();
        let mut expected = vec![0; queues.into()];
        let mut sent = 0;
        for i in 0..600_u16 {
            let (source, target) = (i.wrapping_mul(40_503), i.wrapping_mul(7_919) ^ 8080);
            let ports = [source.to_be_bytes(), target.to_be_bytes()].concat();
            let mut v4 = wire::tcp_v4(sent, 0);
            v4[34..38].copy_from_slice(&ports);
            let mut v6 = wire::tcp_v6(sent, 0);
            v6[54..58].copy_from_slice(&ports);
            // 12 bytes of options.
            let mut options = wire::tcp_v4(sent, 0);
            options[34..38].copy_from_slice(&ports);
            options[14] = 0x48;
            options[17] += 12;
            let _ = options.splice(34..34, [1; 12]);
            let mut udp = v4.clone();
            udp[23] = 17;
            let mut fragment = v4.clone();
            fragment[20] = 0x20;
            let tcp = by_ports(source, target, queues).0;
            for (packet, queue) in [
                (v4, tcp),
                (v6, tcp),
                (options, tcp),
                (udp, 0),
                (fragment, 0),
            ] {
                port.tx_push(&wire::bare(&packet), std::iter::empty())
                    .expect("room");
                expected[usize::from(queue)] += 1;
                sent += 1;
            }
            port.tx_flush();
            for (queue, receiver) in receivers.iter_mut().enumerate() {
                for (_, bytes) in wire::drain(receiver) {
                    expected[queue] -= 1;
                    let (ip, tcp) = match bytes[12..14] {
                        [8, 0] => (bytes[23], 14 + usize::from(bytes[14] & 15) * 4),
                        _ => (bytes[20], 54),
                    };
                    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                    let whole = bytes[12] != 8 || bytes[20] & 0x20 == 0;
                    let owner = match (ip, whole) {
                        (6, true) => by_ports(port(tcp), port(tcp + 2), queues).0,
                        _ => 0,
                    };
                    assert_eq!(usize::from(owner), queue, "{bytes:02x?}");
                }
            }
        }
        assert_eq!(expected, vec![0; queues.into()], "lost, or in other queues");
    }
}

/// What other sockets send over the interface is not received.
#[test]
fn a_group_sees_no_packet_that_leaves() {
    let Some(_lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(1_000, 1_000);
    let sockets = PacketSocket::open(PEER, 2, &Options::default()).expect("opens");
    let other = Capture::open(PEER, false);
    for seq in 0..20 {
        other.send(&wire::tcp_v4(seq, 0));
    }
    for socket in sockets {
        let mut queue = PacketPort::new(socket, pool.clone()).expect("frames");
        assert!(wire::drain(&mut queue).is_empty());
    }
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
