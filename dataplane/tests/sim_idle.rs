//! A worker that sleeps until its next deadline or packet misses nothing: timers, retransmissions, window
//! probes, questions to neighbours.

mod sim_common;

use dataplane::counters::Counter;
use dataplane::sim::client::{Exchange, Plan};
use dataplane::sim::{Faults, Rng, Setup, World};
use sim_common::{SECOND, any_exchange, assert_settles, assert_whole, mover};

fn setup(seed: u64, faults: Faults) -> Setup {
    Setup {
        seed,
        client_faults: faults,
        origin_faults: faults,
        sleeps: true,
        ..Setup::default()
    }
}

#[test]
fn nothing_is_missed_on_links_that_lose() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let faults = Faults {
            loss: 30_000,
            reorder: 20_000,
            reorder_us: 3_000,
            delay_us: rng.between(10, 20_000),
            ..Faults::default()
        };
        let mut world = World::new(setup(seed, faults), mover(seed % 2 == 0));
        let plans = (0..8).map(|_| Plan {
            start_us: rng.below(500_000),
            exchanges: (0..4).map(|_| any_exchange(&mut rng, 100_000)).collect(),
            ..Plan::default()
        });
        let plans = plans.collect();
        let _ = world.add_client(32 * 1024, plans);
        let _ = world.run_until(120 * SECOND, World::finished);
        assert_whole(&world, &format!("seed {seed}"));
        assert_settles(&mut world, &format!("seed {seed}"));
    }
}

/// An idle connection costs a turn for each of its timers, not one a millisecond.
#[test]
fn an_idle_worker_has_few_turns() {
    let faults = Faults {
        delay_us: 100,
        ..Faults::default()
    };
    let mut world = World::new(setup(1, faults), mover(false));
    let plan = Plan {
        exchanges: vec![Exchange::get(10_000)],
        ..Plan::default()
    };
    let _ = world.add_client(32 * 1024, vec![plan]);
    world.run_for(SECOND);
    let before = world.worker.counters()[Counter::Turns];
    world.run_for(20 * SECOND);
    let turns = world.worker.counters()[Counter::Turns] - before;
    assert!(turns < 100, "{turns} turns in 20 s");
    assert!(world.worker.connections() > 0);
}
