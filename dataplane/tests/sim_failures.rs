//! Peers that fail in the middle: resets, silence, connections that died in the pool.

mod sim_common;

use dataplane::counters::{Counter, LocalReply, Timeout};
use dataplane::sim::client::{Answer, Exchange, Method, Outcome, Plan};
use dataplane::sim::world::ORIGINS;
use dataplane::sim::{Faults, Setup, World};
use sim_common::{AnyWorld, SECOND, assert_settles, assert_whole, mover, plan};

fn world(zero_copy: bool, exchanges: Vec<Exchange>) -> AnyWorld {
    let mut setup = Setup::default();
    setup.settings.timeouts.connect = 2_000;
    setup.settings.timeouts.response = 2_000;
    let mut world = World::new(setup, mover(zero_copy));
    let _ = world.add_client(64 * 1024, vec![plan(exchanges)]);
    world
}

fn outcome(world: &AnyWorld) -> &Outcome {
    world.outcomes().next().expect("one connection")
}

#[test]
fn a_client_that_resets_mid_body_leaves_nothing_behind() {
    for zero_copy in [false, true] {
        let mut world = World::new(Setup::default(), mover(zero_copy));
        let mut plan = plan(vec![Exchange::get(1_000_000)]);
        plan.abort_after = Some(100_000);
        let _ = world.add_client(64 * 1024, vec![plan; 8]);
        let _ = world.run_until(10 * SECOND, World::finished);
        world.run_for(SECOND);
        assert_eq!(world.worker.spans(), 0);
        // The endpoint's connections cannot be used again and are gone, too.
        assert_eq!(
            world.worker.connections(),
            0,
            "{:?}",
            world.worker.counters()
        );
        assert_eq!(world.worker.counters()[Counter::ResetsReceived], 8);
        assert_settles(&mut world, "client resets");
    }
}

#[test]
fn an_origin_that_resets_mid_body_is_not_taken_for_a_whole_response() {
    for zero_copy in [false, true] {
        for sent in [0, 1, 1460, 20_000, 99_999] {
            let abort = Exchange {
                answer: Answer::Abort {
                    promised: 100_000,
                    sent,
                },
                ..Exchange::get(0)
            };
            let mut world = world(zero_copy, vec![abort]);
            assert!(world.run_until(20 * SECOND, World::finished));
            let outcome = outcome(&world);
            assert!(outcome.error.is_some(), "{sent} bytes: {outcome:?}");
            assert!(
                !outcome.statuses.contains(&200),
                "{sent} bytes: {outcome:?}"
            );
            assert_eq!(world.worker.counters()[LocalReply::UpstreamClosed], 1);
            assert_settles(&mut world, "origin resets");
        }
    }
}

#[test]
fn an_origin_that_refuses_connections_gives_502_or_503() {
    let mut world = world(false, vec![Exchange::get(100)]);
    world.hosts[0].origin_mut().unwrap().refuses = true;
    assert!(world.run_until(20 * SECOND, World::finished));
    let statuses = &outcome(&world).statuses;
    assert!(matches!(statuses[..], [502 | 503]), "{statuses:?}");
    assert!(world.clock.now() < SECOND, "a refusal needs no time-out");
    assert_settles(&mut world, "origin refuses");
}

#[test]
fn an_origin_that_is_not_there_gives_504_in_time() {
    let mut world = world(false, vec![Exchange::get(100)]);
    world.hosts[0].dead = true;
    assert!(world.run_until(20 * SECOND, World::finished));
    let statuses = &outcome(&world).statuses;
    assert!(matches!(statuses[..], [502..=504]), "{statuses:?}");
    assert!(world.clock.now() < 5 * SECOND);
    assert_settles(&mut world, "origin is not there");
}

#[test]
fn an_origin_that_says_nothing_gives_504_in_time() {
    let silence = Exchange {
        answer: Answer::Silence,
        ..Exchange::get(0)
    };
    let mut world = world(false, vec![silence]);
    assert!(world.run_until(20 * SECOND, World::finished));
    assert_eq!(outcome(&world).statuses, [504]);
    assert_eq!(world.worker.counters()[Timeout::Response], 1);
    assert!((2 * SECOND..3 * SECOND).contains(&world.clock.now()));
    assert_settles(&mut world, "origin is silent");
}

/// A world in which a pooled connection has died without the worker's knowledge, and a client is
/// about to send `second`.
fn with_dead_pooled_connection(second: Exchange) -> AnyWorld {
    let mut world = World::new(Setup::default(), mover(false));
    let later = Plan {
        start_us: SECOND,
        ..plan(vec![second])
    };
    let _ = world.add_client(64 * 1024, vec![plan(vec![Exchange::get(100)]), later]);
    world.run_for(SECOND / 2);
    // The RST is lost on its way.
    world.wires[ORIGINS].set_faults(Faults {
        loss: 1_000_000,
        ..Faults::default()
    });
    let origin = world.hosts[0].origin_mut().unwrap();
    assert_eq!(origin.open(), 1);
    origin.reset_all = true;
    world.hosts[0].wake();
    world.run_for(SECOND / 4);
    assert_eq!(world.hosts[0].origin().unwrap().open(), 0);
    world.wires[ORIGINS].set_faults(Faults::default());
    let _ = world.run_until(20 * SECOND, World::finished);
    world
}

#[test]
fn a_get_on_a_connection_that_died_in_the_pool_is_sent_again() {
    let mut world = with_dead_pooled_connection(Exchange::get(5_000));
    assert_whole(&world, "stale connection");
    assert_eq!(world.worker.counters()[Counter::Retries], 1);
    assert_settles(&mut world, "stale connection");
}

#[test]
fn a_post_on_a_connection_that_died_in_the_pool_is_answered_once() {
    let mut world = with_dead_pooled_connection(Exchange {
        method: Method::Post {
            len: 3_000,
            chunked: false,
        },
        ..Exchange::get(5_000)
    });
    // RFC 9110 section 9.2.2: a request that is not idempotent is not repeated on its own account.
    let outcome = world.outcomes().nth(1).unwrap();
    assert_eq!(outcome.statuses, [502], "{outcome:?}");
    assert_eq!(world.worker.counters()[Counter::Retries], 0);
    assert_settles(&mut world, "stale connection");
}

#[test]
fn an_origin_that_closes_idle_connections_goes_unnoticed_by_clients() {
    for zero_copy in [false, true] {
        let mut world = World::new(Setup::default(), mover(zero_copy));
        world.hosts[0].origin_mut().unwrap().idle_us = 3_000;
        world.hosts[0].origin_mut().unwrap().most_requests = 5;
        // Requests come at intervals around the moment at which the origin closes.
        let plans = (0..200)
            .map(|i| Plan {
                start_us: i * 3_170,
                ..plan(vec![Exchange::get(700); 3])
            })
            .collect();
        let _ = world.add_client(8 * 1024, plans);
        let _ = world.run_until(60 * SECOND, World::finished);
        assert_whole(&world, "origin closes");
        assert_settles(&mut world, "origin closes");
    }
}
