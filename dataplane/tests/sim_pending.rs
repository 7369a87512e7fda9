//! Requests that wait for a connection to their cluster.

mod sim_common;

use dataplane::counters::{Counter, Drop, Gauge, LocalReply, Timeout};
use dataplane::sim::client::{Answer, Exchange, Method, Plan};
use dataplane::sim::rng::Rng;
use dataplane::sim::{Faults, Setup, World};
use sim_common::{
    AnyWorld, SECOND, any_exchange, assert_settles, assert_whole, mover, movers, plan,
};

/// A link that loses, and takes its time.
fn faults(rng: &mut Rng) -> Faults {
    Faults {
        loss: rng.below(20_000) as u32,
        delay_us: rng.between(10, 5_000),
        jitter_us: rng.below(1_000),
        ..Faults::default()
    }
}

/// A cluster of `origins` endpoints that takes `connections` in all.
fn narrow(connections: u32, origins: usize) -> Setup {
    Setup {
        cluster_connections: connections,
        origins,
        max_pending: 1000,
        ..Setup::default()
    }
}

#[test]
fn all_are_served_over_few_connections() {
    for (connections, origins) in [(1, 1), (2, 1), (2, 3), (7, 2)] {
        for mover in movers() {
            let what = format!("{connections} connections, {origins} origins, {mover:?}");
            let mut world = World::new(narrow(connections, origins), mover);
            let plans = (0..60)
                .map(|i| {
                    plan(vec![
                        Exchange {
                            tag: i,
                            ..Exchange::get(5_000)
                        };
                        5
                    ])
                })
                .collect();
            let _ = world.add_client(8 * 1024, plans);
            let done = world.run_until(120 * SECOND, |world| {
                assert!(
                    world.worker.connections() <= 60 + connections as usize,
                    "{what}"
                );
                world.finished()
            });
            assert!(done, "{what}");
            assert_whole(&world, &what);
            let counters = world.worker.counters();
            assert!(counters[Counter::Pended] > 100, "{what}: {counters:?}");
            assert_eq!(counters[LocalReply::Overloaded], 0, "{what}");
            assert_settles(&mut world, &what);
        }
    }
}

#[test]
fn whatever_is_asked_waits_and_comes_whole() {
    for seed in 0..150 {
        let what = format!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut setup = narrow(1 + rng.below(4) as u32, 1 + rng.below(3) as usize);
        setup.seed = seed;
        if seed % 2 == 1 {
            setup.client_faults = faults(&mut rng);
            setup.origin_faults = faults(&mut rng);
        }
        setup.settings.timeouts.pending = 0;
        let mut world = World::new(setup, mover(seed % 3 == 0));
        let plans = (0..20)
            .map(|_| Plan {
                start_us: rng.below(20_000),
                exchanges: (0..1 + rng.below(4))
                    .map(|_| any_exchange(&mut rng, 30_000))
                    .collect(),
                ..Plan::default()
            })
            .collect();
        let _ = world.add_client(8 * 1024, plans);
        let done = world.run_until(600 * SECOND, World::finished);
        assert!(done, "{what}");
        assert_whole(&world, &what);
        assert_settles(&mut world, &what);
    }
}

/// More responses than there are frames for: nothing is dropped, so that nobody waits for a time-out.
#[test]
fn frames_are_waited_for() {
    for mover in movers() {
        let what = format!("{mover:?}");
        let mut setup = narrow(8, 1);
        setup.large = 1024;
        setup.client_faults.delay_us = 20_000;
        let mut world = World::new(setup, mover);
        let plans = vec![plan(vec![Exchange::get(16_000); 4]); 400];
        let _ = world.add_client(32 * 1024, plans);
        assert!(world.run_until(60 * SECOND, World::finished), "{what}");
        assert_whole(&world, &what);
        let counters = world.worker.counters();
        assert!(counters[Counter::Pended] > 100, "{what}: {counters:?}");
        assert_eq!(counters[Drop::TcpPoolLow], 0, "{what}: {counters:?}");
        assert_settles(&mut world, &what);
    }
}

/// The link to the clients takes less than the origins give: what nobody can be sent yet stays there.
#[test]
fn a_port_that_is_behind_is_waited_for() {
    // As they were received, a response is in nine frames.
    for (mover, frames) in movers().into_iter().zip([1, 9]) {
        let what = format!("{mover:?}");
        let mut setup = narrow(50, 1);
        setup.large = 20_000;
        setup.client_faults.bandwidth = 200_000_000;
        setup.port.wire_holds = 32;
        setup.port.tx_queue = 128;
        let mut world = World::new(setup, mover);
        let plans = vec![plan(vec![Exchange::get(12_000); 2]); 800];
        let _ = world.add_client(32 * 1024, plans);
        let (mut used, mut waited) = (0, 0);
        while !world.finished() && world.clock.now() < 60 * SECOND {
            world.run_for(1_000);
            world.worker.sample();
            let counters = world.worker.counters();
            used = used.max(counters[Gauge::LargeFrames] - counters[Gauge::LargeFramesFree]);
            waited = waited.max(counters[Gauge::Pending]);
        }
        assert!(world.finished(), "{what}");
        assert_whole(&world, &what);
        assert!(waited > 300, "{what}: {waited} waited");
        assert!(used < 500 * frames, "{what}: {used} frames in use");
        assert_settles(&mut world, &what);
    }
}

#[test]
fn first_come_first_served() {
    let mut world = World::new(narrow(1, 1), mover(false));
    // One that takes long, and then one every millisecond.
    let plans = (0..30)
        .map(|i| Plan {
            start_us: i * 1_000,
            exchanges: vec![Exchange {
                tag: i,
                ..Exchange::get(if i == 0 { 2_000_000 } else { 1_000 })
            }],
            ..Plan::default()
        })
        .collect();
    let _ = world.add_client(8 * 1024, plans);
    let mut order = Vec::new();
    while !world.finished() {
        world.run_for(50);
        for (i, outcome) in world.outcomes().enumerate() {
            if outcome.finished && !order.contains(&i) {
                order.push(i);
            }
        }
    }
    // Of the first one much is still on its way when its connection is free.
    order.retain(|&i| i > 0);
    assert!(order.is_sorted(), "{order:?}");
    assert_whole(&world, "in a line");
    assert!(world.worker.counters()[Counter::Pended] >= 29);
}

#[test]
fn who_waits_too_long_is_told() {
    let mut setup = narrow(1, 1);
    setup.settings.timeouts.pending = 300;
    setup.settings.timeouts.response = 5_000;
    let mut world = World::new(setup, mover(false));
    let silence = Exchange {
        answer: Answer::Silence,
        ..Exchange::get(0)
    };
    let mut plans = vec![plan(vec![silence])];
    let later = |exchange| Plan {
        start_us: 100_000,
        ..plan(vec![exchange])
    };
    plans.extend(vec![later(Exchange::get(100)); 5]);
    let post = Method::Post {
        len: 50_000,
        chunked: false,
    };
    plans.push(later(Exchange {
        method: post,
        ..Exchange::get(100)
    }));
    let _ = world.add_client(8 * 1024, plans);
    let _ = world.run_until(4 * SECOND, |world| {
        world.worker.counters()[Timeout::Pending] == 6
    });
    let at = world.clock.now();
    assert!((400_000..450_000).contains(&at), "{at} µs");
    let _ = world.run_until(20 * SECOND, World::finished);
    let statuses: Vec<_> = world
        .outcomes()
        .map(|outcome| outcome.statuses.clone())
        .collect();
    assert_eq!(statuses[0], [504]);
    assert!(statuses[1..].iter().all(|s| *s == [503]), "{statuses:?}");
    assert_settles(&mut world, "after waiting");
}

#[test]
fn the_line_is_no_longer_than_it_may_be() {
    let mut setup = narrow(1, 1);
    setup.max_pending = 10;
    let mut world = World::new(setup, mover(false));
    let _ = world.add_client(8 * 1024, vec![plan(vec![Exchange::get(500_000)]); 31]);
    let _ = world.run_until(60 * SECOND, World::finished);
    let refused = world
        .outcomes()
        .filter(|outcome| outcome.statuses == [503])
        .count();
    assert_eq!(refused, 20);
    assert_eq!(world.worker.counters()[LocalReply::Overloaded], 20);
    assert_eq!(
        world.outcomes().filter(|outcome| outcome.whole()).count(),
        11
    );
    assert_settles(&mut world, "a short line");
}

/// Those who give up while they wait leave nothing behind, and do not keep others out.
#[test]
fn whoever_leaves_the_line_makes_room() {
    let mut setup = narrow(1, 1);
    setup.max_pending = 50;
    setup.settings.timeouts.response = 3_000;
    setup.settings.timeouts.pending = 20;
    let mut world = World::new(setup, mover(false));
    let silence = Exchange {
        answer: Answer::Silence,
        ..Exchange::get(0)
    };
    let mut plans = vec![plan(vec![silence])];
    plans.extend((0..1500).map(|i| Plan {
        start_us: 1_000 + i * 1_000,
        ..plan(vec![Exchange::get(100)])
    }));
    plans.push(Plan {
        start_us: 2_990_000,
        ..plan(vec![Exchange::get(100)])
    });
    let _ = world.add_client(8 * 1024, plans);
    let _ = world.run_until(20 * SECOND, World::finished);
    let last = world.outcomes().last().expect("there are clients").clone();
    let counters = world.worker.counters();
    assert!(last.whole(), "{last:?}; {counters:?}");
    assert_eq!(counters[Timeout::Pending], 1500, "{counters:?}");
    assert_settles(&mut world, "after many have left");
}

#[test]
fn a_line_ends_with_its_connections() {
    for aborted in [false, true] {
        let mut world = World::new(narrow(1, 1), mover(false));
        let _ = world.add_client(8 * 1024, vec![plan(vec![Exchange::get(100_000)]); 20]);
        let waiting = |world: &mut AnyWorld| {
            world.worker.sample();
            world.worker.counters()[Gauge::Pending]
        };
        while waiting(&mut world) < 19 {
            world.run_for(100);
        }
        if aborted {
            world.worker.abort_all();
            world.run_for(SECOND);
        } else {
            // Those who wait have been let in, and are served.
            world.worker.start_drain();
            let _ = world.run_until(10 * SECOND, World::finished);
            assert_whole(&world, "draining");
        }
        assert_eq!(waiting(&mut world), 0, "aborted {aborted}");
        assert_settles(&mut world, "the end of a line");
    }
}
