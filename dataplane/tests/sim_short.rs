//! Connections that carry one exchange each: what they leave behind must not keep others out.

mod sim_common;

use dataplane::counters::{Counter, Counters, Drop, Gauge, LocalReply, Timeout};
use dataplane::sim::client::{Answer, Exchange, Plan};
use dataplane::sim::{Setup, World};
use sim_common::{AnyWorld, SECOND, assert_settles, assert_whole, movers};

/// So many connections of one exchange each, one every `every_us`.
fn short(connections: u64, every_us: u64) -> Vec<Plan> {
    (0..connections)
        .map(|i| Plan {
            start_us: i * every_us,
            exchanges: vec![Exchange {
                close: true,
                tag: i,
                ..Exchange::get(500)
            }],
            ..Plan::default()
        })
        .collect()
}

/// A worker of 64 slots.
fn small() -> Setup {
    let mut setup = Setup::default();
    setup.settings.limits.max_connections = 64;
    setup.settings.limits.session_buffer = 16 * 1024;
    setup
}

/// Nobody was kept waiting by a full table, and nobody was reset.
fn assert_nobody_refused(counters: &Counters, what: &str) {
    assert_eq!(counters[Drop::TcpNoConnectionSlot], 0, "{what}");
    assert_eq!(counters[LocalReply::Overloaded], 0, "{what}");
    assert_eq!(counters[Counter::ResetsSent], 0, "{what}");
    assert_eq!(counters[Counter::ResetsReceived], 0, "{what}");
}

fn serve(setup: Setup, connections: u64, what: &str) -> AnyWorld {
    let [_, mover] = movers();
    let mut world = World::new(setup, mover);
    let _ = world.add_client(4 * 1024, short(connections, 2_000));
    // In time: one that is kept out sends its SYN again after a second.
    let until = connections * 2_000 + SECOND / 2;
    let _ = world.run_until(until, |world| {
        assert!(world.worker.connections() <= 64);
        world.finished()
    });
    assert_whole(&world, what);
    assert_nobody_refused(world.worker.counters(), what);
    world
}

#[test]
fn clients_connections_in_time_wait_make_room() {
    const CONNECTIONS: u64 = 3000;
    let mut world = serve(small(), CONNECTIONS, "clients");
    let counters = world.worker.counters();
    assert_eq!(counters[Counter::Accepted], CONNECTIONS);
    let evicted = counters[Counter::TimeWaitsEvicted];
    let held = world.worker.connections() as u64;
    // All but those that are there: the connections to the origin are pooled.
    assert!(
        evicted + held >= CONNECTIONS,
        "{evicted} evicted, {held} held"
    );
    assert!(evicted < CONNECTIONS, "{evicted} evicted");
    world.run_for(SECOND);
    world.worker.sample();
    let counters = world.worker.counters();
    assert_eq!(counters[Gauge::ClientConnections], 0);
    assert_eq!(
        counters[Gauge::UpstreamConnections],
        counters[Gauge::UpstreamIdle]
    );
    assert_eq!(world.worker.exchanges(), 0);
    assert_settles(&mut world, "clients");
}

/// No connection to the origin is pooled: the proxy closes them first, and its limit of connections is
/// for such as are open.
#[test]
fn upstream_connections_in_time_wait_make_room() {
    const CONNECTIONS: u64 = 2000;
    let mut setup = small();
    setup.max_idle = 0;
    setup.cluster_connections = 8;
    let mut world = serve(setup, CONNECTIONS, "upstreams");
    let counters = world.worker.counters();
    assert_eq!(counters[Counter::Connected], CONNECTIONS);
    let evicted = counters[Counter::TimeWaitsEvicted];
    assert!(evicted > 2 * CONNECTIONS - 70, "{evicted} evicted");
    assert_settles(&mut world, "upstreams");
}

/// The endpoint that says it closes is given the time to do so: TIME-WAIT is its.
#[test]
fn an_endpoint_that_closes_holds_time_wait_itself() {
    const CONNECTIONS: u64 = 200;
    // The last one never closes as long as anybody waits.
    for (parting_us, closes) in [(0, true), (20_000, true), (5 * SECOND, false)] {
        let what = format!("after {parting_us} µs");
        let [_, mover] = movers();
        let mut world = World::new(Setup::default(), mover);
        let origin = world.hosts[0].origin_mut().expect("the first host");
        origin.most_requests = 1;
        origin.parting_us = parting_us;
        let plans = (0..CONNECTIONS).map(|i| Plan {
            start_us: i * 1_000,
            exchanges: vec![Exchange::get(500)],
            ..Plan::default()
        });
        let _ = world.add_client(4 * 1024, plans.collect());
        let _ = world.run_until(2 * SECOND, World::finished);
        assert_whole(&world, &what);
        world.run_for(2 * SECOND);
        // The clients close first. What is left is in TIME-WAIT.
        let left = world.worker.connections() as u64;
        assert_eq!(left, if closes { 0 } else { CONNECTIONS }, "{what}");
        world.worker.sample();
        let counters = world.worker.counters();
        assert_eq!(counters[Gauge::UpstreamConnections], 0, "{what}");
        assert_eq!(counters[Timeout::UpstreamIdle], 0);
        assert_eq!(counters[Counter::ResetsSent], 0, "{what}");
        assert_settles(&mut world, &what);
    }
}

/// 70 connections to the endpoint stay open; the search for a port comes to them when it has gone
/// round.
#[test]
fn a_long_run_of_taken_ports_keeps_nobody_out() {
    const OPEN: u64 = 70;
    const HOSTS: u64 = 57;
    const EACH: u64 = 1000;
    let mut setup = Setup::default();
    setup.settings.limits.max_connections = 512;
    setup.settings.limits.session_buffer = 16 * 1024;
    setup.settings.timeouts.response = 0;
    setup.max_idle = 0;
    let [_, mover] = movers();
    let mut world = World::new(setup, mover);
    let silent = Plan {
        exchanges: vec![Exchange {
            answer: Answer::Silence,
            ..Exchange::get(0)
        }],
        ..Plan::default()
    };
    let _ = world.add_client(1024, vec![silent; OPEN as usize]);
    for host in 0..HOSTS {
        let mut plans = short(EACH, 500);
        for plan in &mut plans {
            plan.start_us += SECOND / 10 + host * EACH * 500;
        }
        let _ = world.add_client(2048, plans);
    }
    let until = HOSTS * EACH * 500 + SECOND;
    let served =
        |world: &AnyWorld| world.outcomes().filter(|outcome| outcome.whole()).count() as u64;
    world.run_for(until);
    assert_eq!(served(&world), HOSTS * EACH);
    let counters = world.worker.counters();
    assert_nobody_refused(counters, "a long run");
    assert_eq!(counters[Counter::Connected], OPEN + HOSTS * EACH);
}
