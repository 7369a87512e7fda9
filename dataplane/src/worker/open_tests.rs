//! What happens when all ports are taken.

use std::collections::HashMap;

use super::*;
use crate::counters::{Counter, LocalReply};
use crate::mover::ZeroCopy;
use crate::sim::client::{Exchange, Plan};
use crate::sim::world::ORIGINS;
use crate::sim::{Setup, World};

#[test]
fn ports_stay_in_their_range_and_come_round() {
    let mut ports = OwnPorts::new(7);
    let mut seen = vec![0; 1 << 16];
    for _ in FIRST_PORT..=u16::MAX {
        seen[usize::from(ports.step())] += 1;
    }
    let first = usize::from(FIRST_PORT);
    assert!(seen[..first].iter().all(|&n| n == 0));
    assert!(seen[first..].iter().all(|&n| n == 1));
    let mut halves = [0; 2];
    for _ in 0..1000 {
        let port = ports.leap();
        assert!(port >= FIRST_PORT);
        halves[usize::from(port > FIRST_PORT + (u16::MAX - FIRST_PORT) / 2)] += 1;
    }
    assert!(halves.iter().all(|&n| n > 400), "{halves:?}");
}

/// Eight ports are in TIME-WAIT, all others carry connections: each request gets one of the eight, and
/// the endpoint sees numbers that the old connection has not used.
#[test]
fn ports_in_time_wait_are_taken_over_with_higher_numbers() {
    const WAITING: u64 = 8;
    const ROUNDS: u64 = 200;
    let mut setup = Setup {
        max_idle: 0,
        ..Setup::default()
    };
    setup.settings.limits.max_connections = 60_000;
    let mut world = World::new(setup, ZeroCopy);
    let plans = (0..WAITING + ROUNDS).map(|i| Plan {
        start_us: i * 20_000,
        exchanges: vec![Exchange {
            close: true,
            tag: i,
            ..Exchange::get(300)
        }],
        ..Plan::default()
    });
    let _ = world.add_client(4096, plans.collect());
    world.run_for(WAITING * 20_000);

    // What each own port has sent, SYN and FIN included.
    let ends = |worker: &Worker<_, _, _>| -> HashMap<u16, u32> {
        let waiting = worker.conns.ids().filter_map(|id| {
            let conn = &worker.conns[id];
            let key = conn.key?;
            let end = conn.local_isn?.wrapping_add(2 + conn.send.acked() as u32);
            (key.port().0 == ORIGINS as u8).then_some((key.local_port(), end))
        });
        waiting.collect()
    };
    let mut before = ends(&world.worker);
    assert_eq!(before.len() as u64, WAITING);
    let known = before.keys().copied().min().expect("there are eight");
    let of = world
        .worker
        .conns
        .ids()
        .find_map(|id| {
            world.worker.conns[id]
                .key
                .filter(|key| key.local_port() == known)
        })
        .expect("it was found by that");
    for port in FIRST_PORT..=u16::MAX {
        let local = SocketAddr::new(of.local().ip(), port);
        let key = FlowKey::new(of.port(), local, of.remote()).expect("of one family");
        if !before.contains_key(&port) {
            // Nobody's slot: not in TIME-WAIT.
            world
                .worker
                .flows
                .insert(key, ConnId(59_999))
                .expect("there is room");
        }
    }
    let mut drawn_high = 0;
    for _ in 0..ROUNDS {
        world.worker.own_ports.last = known - 1;
        world.run_for(20_000);
        let after = ends(&world.worker);
        let changed: Vec<u16> = (before.keys().copied())
            .filter(|port| after[port] != before[port])
            .collect();
        let [port] = changed[..] else {
            panic!("{changed:?} were used");
        };
        let conn = world.worker.conns.ids().map(|id| &world.worker.conns[id]);
        let isn = conn
            .filter(|conn| {
                conn.key
                    .is_some_and(|key| key.port() == of.port() && key.local_port() == port)
            })
            .find_map(|conn| conn.local_isn)
            .expect("it was sent");
        let ahead = isn.wrapping_sub(before[&port]) as i32;
        assert!(ahead >= 0, "{ahead} ahead");
        drawn_high += u32::from(ahead > 1 << 30);
        before = after;
    }
    assert!(drawn_high > 50, "the numbers are still drawn: {drawn_high}");
    assert!(world.outcomes().all(|outcome| outcome.whole()));
    let counters = world.worker.counters();
    assert_eq!(counters[LocalReply::Overloaded], 0);
    assert_eq!(counters[Counter::TimeWaitsEvicted], ROUNDS);
}
