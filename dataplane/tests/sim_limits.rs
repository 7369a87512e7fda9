//! What one peer may cost: frames, connections, time.

mod sim_common;

use std::net::Ipv4Addr;

use dataplane::counters::{Counter, Drop, LocalReply};
use dataplane::port::FrameClass;
use dataplane::sim::client::{Exchange, Method, Pace, Plan};
use dataplane::sim::world::{CLIENTS, LISTEN, ORIGINS};
use dataplane::sim::{End, Faults, PortOptions, Setup, Split, World};
use sim_common::{AnyWorld, SECOND, assert_settles, assert_whole, mover, movers, packet, plan};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

/// Frames used of both classes at the worst moment.
fn most_used(world: &AnyWorld) -> u32 {
    world.pool.most_used(FrameClass::Small) + world.pool.most_used(FrameClass::Large)
}

/// Nothing here is about patience.
fn be_patient(setup: &mut Setup) {
    for timeout in [
        &mut setup.settings.timeouts.connect,
        &mut setup.settings.timeouts.request_head,
        &mut setup.settings.timeouts.stream,
        &mut setup.settings.timeouts.response,
        &mut setup.settings.timeouts.idle,
    ] {
        *timeout = 1_000_000;
    }
}

#[test]
fn a_slow_reader_holds_no_more_than_the_session_buffer() {
    const CLIENTS: u32 = 4;
    for split in [Split::Whole, Split::Small] {
        for mover in movers() {
            let what = format!("{split:?}, {mover:?}");
            let mut setup = Setup {
                port: PortOptions {
                    split,
                    ..PortOptions::default()
                },
                ..Setup::default()
            };
            setup.settings.limits.session_buffer = 64 * 1024;
            let buffer = setup.settings.limits.session_buffer;
            let mut world = World::new(setup, mover);
            let mut slow = plan(vec![Exchange::get(1_000_000)]);
            slow.read = Pace {
                bytes: 1500,
                every_us: 4_000,
            };
            let _ = world.add_client(8 * 1024, vec![slow; CLIENTS as usize]);
            let _ = world.run_until(20 * SECOND, World::finished);
            assert_whole(&world, &what);
            // Each direction holds one buffer received and one to send, a frame for each packet at
            // worst; beyond that only what one turn has in its hands.
            let bound = CLIENTS * (2 * buffer / 1400) + 128;
            let used = most_used(&world);
            assert!(used <= bound, "{what}: {used} frames, more than {bound}");
            assert_settles(&mut world, &what);
        }
    }
}

#[test]
fn one_byte_packets_do_not_pin_the_pool() {
    for zero_copy in [false, true] {
        let mut setup = Setup::default();
        setup.settings.timeouts.connect = 600_000;
        setup.settings.timeouts.request_head = 600_000;
        let mut world = World::new(setup, mover(zero_copy));
        // The endpoint does not answer: what the clients send stays where it is.
        world.hosts[0].dead = true;
        let drip = Plan {
            exchanges: vec![Exchange {
                method: Method::Post {
                    len: 30_000,
                    chunked: false,
                },
                ..Exchange::get(10)
            }],
            write: Pace {
                bytes: 1,
                every_us: 100,
            },
            ..Plan::default()
        };
        let _ = world.add_client(64 * 1024, vec![drip; 4]);
        world.run_for(2 * SECOND);
        let received = world.wires[CLIENTS].stats(End::Hosts).sent;
        assert!(received > 15_000, "only {received} packets were sent");
        let used = most_used(&world);
        assert!(
            used <= 256,
            "zero-copy {zero_copy}: {used} frames for {received} bytes"
        );
        world.worker.abort_all();
        assert_settles(&mut world, "one byte each");
    }
}

#[test]
fn a_head_that_drips_in_does_not_pin_the_pool() {
    let mut setup = Setup::default();
    setup.settings.timeouts.request_head = 600_000;
    setup.settings.limits.max_head = 32 * 1024;
    let mut world = World::new(setup, mover(false));
    let drip = Plan {
        exchanges: vec![Exchange {
            // The tag makes the path, and with it the head, a little longer; 100 heads at once
            // make up for it.
            tag: u64::MAX,
            ..Exchange::get(10)
        }],
        write: Pace {
            bytes: 1,
            every_us: 2_000,
        },
        ..Plan::default()
    };
    let _ = world.add_client(4 * 1024, vec![drip; 100]);
    let _ = world.run_until(20 * SECOND, World::finished);
    assert_whole(&world, "dripping heads");
    let used = most_used(&world);
    assert!(used <= 100 * 4 + 128, "{used} frames");
    assert_settles(&mut world, "dripping heads");
}

#[test]
fn everything_completes_with_hardly_any_frames() {
    for zero_copy in [false, true] {
        // Few of what is received into, or, for copies, few of what is sent from.
        for (split, small, large) in [
            (Split::Whole, 800, 800),
            (Split::Small, 800, 800),
            (Split::Small, 1600, 24),
        ] {
            let what = format!("zero-copy {zero_copy}, {split:?}, {small} and {large} frames");
            let mut setup = Setup {
                // Both sides' windows are worth four times as many frames. One part in eight is the
                // reserve; it must be more than a burst of each port.
                small,
                large,
                port: PortOptions {
                    split,
                    ..PortOptions::default()
                },
                ..Setup::default()
            };
            be_patient(&mut setup);
            let mut world = World::new(setup, mover(zero_copy));
            let post = Exchange {
                method: Method::Post {
                    len: 40_000,
                    chunked: true,
                },
                ..Exchange::get(40_000)
            };
            let mut slow = plan(vec![Exchange::get(100_000), post]);
            slow.read = Pace {
                bytes: 4000,
                every_us: 10_000,
            };
            let plans = vec![slow; 100];
            let _ = world.add_client(32 * 1024, plans);
            let _ = world.run_until(900 * SECOND, World::finished);
            assert_whole(&world, &what);
            if large < 100 && zero_copy {
                // Nothing needs a large frame.
                assert_settles(&mut world, &what);
                continue;
            }
            let counters = world.worker.counters();
            assert!(
                counters[Drop::TcpPoolLow] > 0,
                "{what}: the pool was never low: {counters:?}"
            );
            assert_settles(&mut world, &what);
        }
    }
}

/// Every response lies whole in the worker, its endpoint has nothing more to send, and its client
/// nothing to acknowledge: what moves it is that another's frames come back, and nothing else.
#[test]
fn transfers_that_wait_for_frames_are_woken_when_there_are_some() {
    // An eighth of it is none: no payload is refused, whose retransmission would wake its connection.
    const LARGE: u32 = 4;
    let mut setup = Setup {
        small: 8192,
        large: LARGE,
        port: PortOptions {
            split: Split::Small,
            ..PortOptions::default()
        },
        ..Setup::default()
    };
    be_patient(&mut setup);
    let mut world = World::new(setup, mover(false));
    let mut slow = plan(vec![Exchange::get(30_000); 2]);
    slow.read = Pace {
        bytes: 4000,
        every_us: 10_000,
    };
    let _ = world.add_client(8 * 1024, vec![slow; 60]);
    let _ = world.run_until(300 * SECOND, World::finished);
    assert_whole(&world, "few frames to copy to");
    assert_eq!(
        world.pool.most_used(FrameClass::Large),
        LARGE,
        "nobody had to wait"
    );
    assert_settles(&mut world, "few frames to copy to");
}

/// A SYN to the listener from nobody.
fn syn(n: u32) -> Vec<u8> {
    let source = Ipv4Addr::from(0x0a00_c800 + n / 50_000);
    let tcp = TcpRepr {
        src_port: 1024 + (n % 50_000) as u16,
        dst_port: LISTEN,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(n as i32),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    packet(source, &tcp)
}

#[test]
fn a_flood_of_syns_is_capped_and_passes() {
    let mut setup = Setup::default();
    setup.settings.limits.max_half_open = 50;
    let mut world = World::new(setup, mover(false));
    for n in 0..500 {
        world.wires[CLIENTS].send(End::Hosts, world.clock.now(), syn(n));
        world.run_for(100);
    }
    world.run_for(10_000);
    assert_eq!(world.worker.connections(), 50);
    assert_eq!(world.worker.counters()[Drop::TcpHalfOpenFull], 450);
    // Half-open connections end by their time-out, and then clients get in again.
    let _ = world.add_client(8 * 1024, vec![plan(vec![Exchange::get(1000)])]);
    let _ = world.run_until(60 * SECOND, World::finished);
    assert_whole(&world, "after the flood");
    assert_eq!(world.worker.counters()[Counter::Accepted], 1);
    assert_settles(&mut world, "after the flood");
}

#[test]
fn the_connection_limit_holds_and_those_inside_are_served() {
    let mut setup = Setup::default();
    setup.settings.limits.max_connections = 24;
    setup.cluster_connections = 12;
    let mut world = World::new(setup, mover(false));
    let plans = (0..60)
        .map(|i| Plan {
            start_us: i * 1_000,
            exchanges: vec![Exchange {
                close: true,
                ..Exchange::get(2_000)
            }],
            ..Plan::default()
        })
        .collect();
    let _ = world.add_client(8 * 1024, plans);
    let _ = world.run_until(600 * SECOND, |world| {
        assert!(world.worker.connections() <= 24);
        world.finished()
    });
    assert!(world.finished(), "{:?}", world.worker.counters());
    let served = world.outcomes().filter(|outcome| outcome.whole()).count();
    assert!(served >= 12, "only {served} were served");
    assert_settles(&mut world, "connection limit");
}

/// Far more clients than there are frames are given up at once: none of them may keep the frames that others'
/// packets are received into.
#[test]
fn a_storm_of_timeouts_leaves_frames_for_others() {
    const SLOW: u32 = 3_000;
    let mut setup = Setup {
        small: 1024,
        // Replies stay long on their way.
        client_faults: Faults {
            delay_us: 100_000,
            ..Faults::default()
        },
        ..Setup::default()
    };
    setup.settings.limits.max_connections = 8_000;
    setup.settings.timeouts.request_head = 2_000;
    let mut world = World::new(setup, mover(false));
    let mut slow = plan(vec![Exchange::get(1)]);
    slow.write = Pace {
        bytes: 1,
        every_us: 60 * SECOND,
    };
    for n in 0..SLOW / 50 {
        slow.start_us = u64::from(n) * 1_000;
        let _ = world.add_client(2048, vec![slow.clone(); 50]);
    }
    let late = Plan {
        start_us: 2_300_000,
        exchanges: vec![Exchange::get(1_000); 5],
        ..Plan::default()
    };
    let _ = world.add_client(8 * 1024, vec![late; 10]);
    world.run_for(1_900_000);
    assert_eq!(world.worker.counters()[Counter::Accepted], u64::from(SLOW));
    world.run_for(5 * SECOND);
    let counters = world.worker.counters();
    assert_eq!(
        counters[LocalReply::HeadTimeout],
        u64::from(SLOW),
        "{counters:?}"
    );
    let most = world.pool.most_used(FrameClass::Small);
    assert!(most <= 1024 - 1024 / 16, "{most} frames at once");
    let whole = world.outcomes().filter(|outcome| outcome.whole()).count();
    assert_eq!(whole, 10, "{counters:?}");
    assert_settles(&mut world, "after the storm");
}

/// Nanoseconds from any fixed point.
#[allow(
    clippy::disallowed_methods,
    reason = "measures the engine from outside"
)]
fn nanoseconds() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What a received packet costs the worker, in ns, while `idle` other connections are open.
fn cost_per_packet(idle: usize) -> u64 {
    const PER_HOST: usize = 100;
    let mut setup = Setup::default();
    setup.settings.limits.max_connections = 12_000;
    setup.settings.limits.session_buffer = 4096;
    setup.settings.timeouts.idle = 3_600_000;
    setup.origin_buffer = 16 * 1024;
    let mut world = World::new(setup, mover(false));
    for host in 0..idle / PER_HOST {
        let plans = (0..PER_HOST)
            .map(|i| Plan {
                start_us: (host * PER_HOST + i) as u64 * 200,
                // The second request is never sent whole: the connection stays open.
                exchanges: vec![Exchange::get(100), Exchange::get(100)],
                write: Pace {
                    bytes: 500,
                    every_us: 1_000_000 * SECOND,
                },
                ..Plan::default()
            })
            .collect();
        let _ = world.add_client(1024, plans);
    }
    world.run_for(idle as u64 * 200 + SECOND);
    let answered: usize = world.outcomes().map(|outcome| outcome.statuses.len()).sum();
    assert_eq!(answered, idle, "{:?}", world.worker.counters());
    assert!(world.worker.connections() >= idle);

    // The best of many short runs: whatever else the machine does only adds, and some run is spared.
    let mut best = u64::MAX;
    for _ in 0..40 {
        let start = world.clock.now();
        let mut busy = plan(vec![Exchange::get(1000); 50]);
        busy.start_us = start;
        let _ = world.add_client(8 * 1024, vec![busy]);
        let last = world.hosts.len() - 1;
        let packets = |world: &AnyWorld| {
            world.wires[CLIENTS].stats(End::Hosts).sent
                + world.wires[ORIGINS].stats(End::Hosts).sent
        };
        let before = packets(&world);
        world.meter = Some(nanoseconds);
        world.metered = 0;
        let _ = world.run_until(start + 10 * SECOND, |world| {
            world.hosts[last]
                .client()
                .is_some_and(|client| client.finished())
        });
        let carried = packets(&world) - before;
        assert!(carried > 100, "{carried} packets");
        best = best.min(world.metered / carried);
    }
    best
}

#[test]
fn a_packet_costs_the_same_among_100_and_10_000_connections() {
    let few = cost_per_packet(100);
    let many = cost_per_packet(10_000);
    // A cost that grew with the connections would grow a hundredfold; caches may cost a little.
    assert!(many < few * 8, "{few} ns among 100, {many} ns among 10 000");
}
