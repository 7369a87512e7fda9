//! Errors, shortages and interfaces that come and go.
mod common;

use std::thread;

use common::lab::{Capture, Lab, PEER, PORT, run};
use common::pool::HeapPool;
use common::wire;
use dataplane::port::{Frame, FrameClass, FramePool, Piece, Port, RxBurst, TxError, TxHeader};
use packet::{Error, Options, PacketPort, PacketSocket};

fn push(port: &mut PacketPort<HeapPool>, number: u32) {
    port.tx_push(&wire::bare(&wire::numbered(number)), std::iter::empty())
        .expect("room");
}

#[test]
fn opening_names_the_interface_and_the_remedy() {
    let Some(_lab) = Lab::new(1500) else { return };
    let options = Options::default();
    let open = |interface: &str, queues| {
        PacketSocket::open(interface, queues, &options).expect_err("refused")
    };
    let says = |error: Error, words: &[&str]| {
        for word in words {
            assert!(error.to_string().contains(word), "{error} lacks {word}");
        }
    };
    says(open("eth77", 1), &["eth77", "no interface", "ip link"]);
    says(open("lo", 1), &["lo", "not Ethernet"]);
    says(open(PORT, 0), &[PORT, "queue"]);
    run(&format!("ip link set dev {PORT} down"));
    says(open(PORT, 1), &[PORT, "ip link set dev", "up"]);
    run(&format!("ip link set dev {PORT} up"));

    let error = PacketPort::new(
        PacketSocket::open(PORT, 1, &options)
            .expect("opens")
            .remove(0),
        HeapPool::new(1, 0),
    );
    says(error.expect_err("no frames"), &[PORT, "more frames"]);

    // A thread that gives up being root, by the bare system call: libc's would change all threads.
    // The thread stays in this namespace.
    #[allow(clippy::disallowed_methods)]
    let unprivileged = thread::spawn(|| {
        // SAFETY: takes no pointers; affects the calling thread only.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(result, 0);
        PacketSocket::open(PORT, 1, &Options::default())
            .expect_err("no privilege")
            .to_string()
    });
    let message = unprivileged.join().expect("thread ends");
    for word in [PORT, "CAP_NET_RAW"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn what_does_not_fit_is_counted_and_the_rest_goes_on() {
    let Some(lab) = Lab::new(9000) else { return };
    let mut pool = HeapPool::new(512, 512);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let options = Options {
        largest_packet: 1514,
        ..Options::default()
    };
    let mut peer = lab.port(PEER, &pool, &options);
    let long = wire::spread(&mut pool, &wire::pattern(5_000));
    for number in 0..200 {
        push(&mut port, number);
        let header = wire::numbered(1000);
        port.tx_push(&wire::bare(&header), wire::pieces(&long))
            .expect("room");
    }
    port.tx_flush();
    let received = wire::receive(&mut peer, |all| all.len() == 200);
    let numbers: Vec<u32> = received
        .iter()
        .map(|(_, bytes)| wire::number(bytes))
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let _ = wire::drain(&mut peer);
    let stats = peer.stats();
    assert_eq!(
        (stats.rx_errors, stats.rx_packets, stats.rx_no_frame),
        (200, 200, 0)
    );
    drop((port, peer, long));
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn without_small_frames_packets_wait_in_the_kernel() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(10, 64);
    let mut port = lab.port(PORT, &HeapPool::new(200, 400), &Options::default());
    let mut peer = lab.port(PEER, &pool, &Options::default());
    for number in 0..50 {
        push(&mut port, number);
    }
    port.tx_flush();
    // The worker holds on to everything it gets: after ten packets nothing is left to receive into.
    let mut held = RxBurst::with_capacity(64);
    for _ in 0..5 {
        let _ = peer.rx_burst(&mut held);
    }
    assert_eq!(held.packets.len(), 10);
    // It lets go of three at a time and gets three more.
    let mut numbers: Vec<u32> = Vec::new();
    while !held.frames.is_empty() {
        let some = held.frames.len().min(3);
        numbers.extend(
            held.frames
                .drain(..some)
                .map(|frame| wire::number(frame.data())),
        );
        let left = 50 - numbers.len() - held.frames.len();
        assert_eq!(peer.rx_burst(&mut held), left.min(some));
    }
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    let stats = peer.stats();
    assert_eq!(
        (stats.rx_no_frame, stats.rx_missed, stats.rx_errors),
        (0, 0, 0)
    );
    drop(peer);
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn without_large_frames_short_packets_still_come() {
    let Some(lab) = Lab::new(9000) else { return };
    let mut pool = HeapPool::new(512, 512);
    let mut short_pool = HeapPool::new(512, 6);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let mut peer = lab.port(PEER, &short_pool, &Options::default());
    // All but one large frame are taken by others.
    let mut hostages: Vec<_> = std::iter::from_fn(|| short_pool.alloc(FrameClass::Large)).collect();
    let last = hostages.pop();
    assert!(last.is_some());
    drop(last);
    let long = wire::spread(&mut pool, &wire::pattern(5_000));
    let send = |port: &mut PacketPort<HeapPool>, number| {
        push(port, number);
        port.tx_push(
            &wire::bare(&wire::numbered(1000 + number)),
            wire::pieces(&long),
        )
        .expect("room");
    };
    for number in 0..20 {
        send(&mut port, number);
    }
    port.tx_flush();
    let received = wire::drain(&mut peer);
    let short = received
        .iter()
        .filter(|(_, bytes)| wire::number(bytes) < 1000)
        .count();
    assert_eq!(short, 20, "every short packet");
    let stats = peer.stats();
    let long_ones = received.len() as u64 - 20;
    assert_eq!(stats.rx_no_frame + long_ones, 20);
    assert!(stats.rx_no_frame > 0);
    assert_eq!(stats.rx_errors, 0);

    // With frames back in the pool nothing is lost any more.
    drop(hostages);
    for number in 0..4 {
        send(&mut port, number);
        port.tx_flush();
        let received = wire::receive(&mut peer, |all| all.len() == 2);
        assert_eq!(received.len(), 2);
    }
    assert_eq!(peer.stats().rx_no_frame, stats.rx_no_frame);
    drop((peer, port));
    assert_eq!(short_pool.outstanding(), 0);
}

/// Random sizes, random bursts, frames held back at random until the pool is dry again and again:
/// every packet that is received is right, those that are not are counted, all frames come back.
#[test]
fn shortage_at_random_never_mixes_packets_up() {
    let Some(lab) = Lab::new(9000) else { return };
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    let mut sender_pool = HeapPool::new(200, 600);
    let pool = HeapPool::new(40, 30);
    let options = Options {
        receive_batch: 16,
        ..Options::default()
    };
    let mut port = lab.port(PORT, &sender_pool, &options);
    let mut peer = lab.port(PEER, &pool, &options);
    let payload = wire::pattern(60_000);
    let frames = wire::spread(&mut sender_pool, &payload);
    let mut held: Vec<Vec<common::pool::HeapFrame>> = Vec::new();
    let (mut sent, mut got, mut last) = (0_u32, 0_u64, None);
    for _ in 0..3_000 {
        for _ in 0..random(24) {
            let len = [0, 10, 1_900, 2_034, 2_035, 8_000, 60_000][random(7)];
            let headers = wire::tcp_v4(sent, len);
            let header = TxHeader {
                bytes: &headers,
                offload: wire::offload(1400, false),
            };
            let mut left = len;
            let parts: Vec<_> = frames
                .iter()
                .map(|frame| {
                    let part = left.min(common::pool::LARGE);
                    left -= part;
                    Piece {
                        frame,
                        offset: 0,
                        len: part as u32,
                    }
                })
                .collect();
            port.tx_push(&header, parts.into_iter()).expect("room");
            sent += 1;
        }
        port.tx_flush();
        let mut burst = RxBurst::with_capacity(16);
        for _ in 0..random(4) {
            let _ = peer.rx_burst(&mut burst);
        }
        let mut arrived = burst.frames.into_iter();
        for packet in burst.packets {
            let frames: Vec<_> = arrived.by_ref().take(packet.frames.into()).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|f| f.data().to_vec()).collect();
            let seq = u32::from_be_bytes(bytes[38..42].try_into().expect("four bytes"));
            assert!(last < Some(seq), "{last:?} before {seq}");
            last = Some(seq);
            assert_eq!(bytes[..54], wire::tcp_v4(seq, bytes.len() - 54));
            assert!(
                bytes[54..] == payload[..bytes.len() - 54],
                "payload of {seq}"
            );
            got += 1;
            held.push(frames);
        }
        while held.len() > random(30) {
            let any = random(held.len());
            drop(held.swap_remove(any));
        }
        let held_frames: usize = held.iter().map(Vec::len).sum();
        assert_eq!(pool.outstanding(), held_frames + peer.frames_held());
    }
    held.clear();
    got += wire::drain(&mut peer).len() as u64;
    let stats = peer.stats();
    assert_eq!(stats.rx_errors, 0);
    assert_eq!(
        got + stats.rx_no_frame + stats.rx_missed,
        u64::from(sent),
        "seed {seed:#x}"
    );
    assert!(
        stats.rx_no_frame > 0,
        "the pool was never short: the test tests nothing"
    );
    assert!(got > u64::from(sent) / 4, "{got} of {sent}");
    drop(peer);
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn a_full_receive_buffer_is_counted() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(600, 600);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let options = Options {
        receive_buffer: 32 * 1024,
        ..Options::default()
    };
    let mut peer = lab.port(PEER, &pool, &options);
    for number in 0..1000 {
        push(&mut port, number);
    }
    port.tx_flush();
    let _ = peer.stats();
    let received = wire::drain(&mut peer).len() as u64;
    let stats = peer.stats();
    assert!(stats.rx_missed > 0);
    assert_eq!(received + stats.rx_missed, 1000);
    assert_eq!(peer.stats(), stats, "reading resets nothing");
}

#[test]
fn a_packet_the_kernel_refuses_is_skipped() {
    let Some(lab) = Lab::new(1500) else { return };
    let mut pool = HeapPool::new(600, 600);
    let mut port = lab.port(PORT, &pool, &Options::default());
    let mut peer = lab.port(PEER, &pool, &Options::default());
    let long = wire::spread(&mut pool, &wire::pattern(5_000));
    for number in 0..10 {
        push(&mut port, number);
        // Longer than the MTU and not to be cut: EMSGSIZE.
        port.tx_push(&wire::bare(&wire::numbered(99)), wire::pieces(&long))
            .expect("room");
    }
    port.tx_flush();
    assert_eq!(port.tx_room(), 1024);
    let received = wire::receive(&mut peer, |all| all.len() == 10);
    let numbers: Vec<u32> = received
        .iter()
        .map(|(_, bytes)| wire::number(bytes))
        .collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    let stats = port.stats();
    assert_eq!((stats.tx_packets, stats.tx_errors), (10, 10));
}

#[test]
fn a_link_that_goes_down_loses_packets_and_comes_back() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(600, 600);
    let mut port = lab.port(PORT, &pool, &Options::default());
    // First the port's own end, then the other: no carrier.
    for (round, end) in [PORT, PEER].into_iter().enumerate() {
        run(&format!("ip link set dev {end} down"));
        let mut burst = RxBurst::with_capacity(64);
        assert_eq!(port.rx_burst(&mut burst), 0);
        push(&mut port, 1);
        push(&mut port, 2);
        // Without carrier the kernel only says that the device takes nothing.
        for _ in 0..64 {
            port.tx_flush();
        }
        assert!(!port.link_up(), "{end} down");
        assert_eq!(port.tx_room(), 1024, "lost, not waiting");
        assert_eq!(port.stats().tx_errors, 2 * (round as u64 + 1));

        run(&format!("ip link set dev {end} up"));
        let capture = Capture::open(PEER, false);
        push(&mut port, 3);
        port.tx_flush();
        let (_, packet) = capture.next().expect("sent");
        assert_eq!(wire::number(&packet), 3);
        let _ = port.stats();
        assert!(port.link_up(), "{end} up again");
        capture.send(&wire::numbered(4));
        let received = wire::receive(&mut port, |all| !all.is_empty());
        assert_eq!(wire::number(&received[0].1), 4);
    }
    // An interface that is gone for good.
    push(&mut port, 5);
    run(&format!("ip link del {PORT}"));
    port.tx_flush();
    let mut burst = RxBurst::with_capacity(64);
    assert_eq!(port.rx_burst(&mut burst), 0);
    assert!(!port.link_up());
    assert_eq!(port.stats().tx_errors, 5);
    assert!(!port.link_up());
    drop(port);
    assert_eq!(pool.outstanding(), 0);
}

/// With a queueing discipline that lets packets out slowly, the send buffer fills up (EAGAIN).
#[test]
fn a_full_send_buffer_makes_packets_wait_and_loses_none() {
    let Some(lab) = Lab::new(1500) else { return };
    // Without segmentation by the device packets pass through the queueing discipline.
    run(&format!("ethtool -K {PORT} tso off"));
    run(&format!(
        "tc qdisc add dev {PORT} root tbf rate 4mbit burst 2kb limit 10mb"
    ));
    let pool = HeapPool::new(600, 600);
    let options = Options {
        send_buffer: 4096,
        send_slots: 300,
        ..Options::default()
    };
    let mut port = lab.port(PORT, &pool, &options);
    let mut peer = lab.port(PEER, &pool, &Options::default());
    for number in 0..300 {
        push(&mut port, number);
    }
    assert_eq!(port.tx_room(), 0);
    let short = wire::numbered(300);
    assert_eq!(
        port.tx_push(&wire::bare(&short), std::iter::empty()),
        Err(TxError::Full)
    );
    port.tx_flush();
    assert!(
        (1..300).contains(&port.tx_room()),
        "some taken, some waiting: {}",
        port.tx_room()
    );
    let mut all = Vec::new();
    let mut next = 300;
    while all.len() < 1000 {
        all.extend(wire::receive(&mut peer, |new| !new.is_empty()));
        while next < 1000 && port.tx_room() > 0 {
            push(&mut port, next);
            next += 1;
        }
        port.tx_flush();
    }
    let numbers: Vec<u32> = all.iter().map(|(_, bytes)| wire::number(bytes)).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    let stats = port.stats();
    assert_eq!((stats.tx_packets, stats.tx_errors), (1000, 0));
}

#[test]
fn the_last_frames_of_a_dry_pool_are_all_used() {
    let Some(lab) = Lab::new(1500) else { return };
    let pool = HeapPool::new(10, 64);
    let mut port = lab.port(PORT, &HeapPool::new(200, 400), &Options::default());
    let mut peer = lab.port(PEER, &pool, &Options::default());
    let mut held = RxBurst::with_capacity(64);
    assert_eq!(peer.rx_burst(&mut held), 0);
    for number in 0..12 {
        push(&mut port, number);
        port.tx_flush();
        assert_eq!(
            peer.rx_burst(&mut held),
            usize::from(number < 10),
            "packet {number}"
        );
    }
    drop(held);
    let rest = wire::drain(&mut peer);
    let numbers: Vec<u32> = rest.iter().map(|(_, bytes)| wire::number(bytes)).collect();
    assert_eq!(numbers, [10, 11]);
}
