//! The account of stages: every tick of a busy turn is charged, idle turns read no clock, and the
//! clock is read at the borders of stages alone, however many packets a turn has.

mod sim_common;

use std::cell::Cell;

use dataplane::counters::{Counter, Counters, Stage};
use dataplane::sim::client::Exchange;
use dataplane::sim::{Setup, World};
use sim_common::{SECOND, assert_settles, assert_whole, mover, plan};

thread_local! {
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// Counts how often it is asked: a stage's ticks are the readings since the last border.
fn ticks() -> u64 {
    READS.set(READS.get() + 1);
    READS.get()
}

fn charged(counters: &Counters) -> u64 {
    Stage::ALL.iter().map(|&stage| counters[stage]).sum()
}

#[test]
fn every_reading_is_charged_and_there_are_few() {
    for zero_copy in [false, true] {
        let setup = Setup {
            ticks,
            ..Setup::default()
        };
        let mut world = World::new(setup, mover(zero_copy));
        let plans = (0..100).map(|_| plan(vec![Exchange::get(16_384); 5]));
        let _ = world.add_client(64 * 1024, plans.collect());
        READS.set(0);
        let _ = world.run_until(20 * SECOND, World::finished);
        assert_whole(&world, "account");
        let counters = world.worker.counters();
        let (turns, busy) = (counters[Counter::Turns], counters[Counter::BusyTurns]);
        // The world reads once for each turn, to say when it begins.
        assert_eq!(READS.get(), turns + charged(counters));
        assert!(turns > busy, "no turn was idle");
        let reads = charged(counters) as f64 / busy as f64;
        assert!(reads <= 10.0, "{reads} readings in a busy turn");
        for &stage in Stage::ALL {
            let idle = matches!(stage, Stage::Idle | Stage::Asleep);
            assert_eq!(counters[stage] == 0, idle, "{stage:?}");
        }
        let text = counters.summary(&Counters::default(), 1.0).to_string();
        assert!(text.contains(", core % (cycles a request): rx "), "{text}");
        assert_settles(&mut world, "account");
    }
}

#[test]
fn an_idle_turn_reads_nothing() {
    let setup = Setup {
        ticks,
        ..Setup::default()
    };
    let mut world = World::new(setup, mover(false));
    world.run_for(10_000);
    let before = world.worker.counters().clone();
    READS.set(0);
    world.run_for(100_000);
    let grown = world.worker.counters().since(&before);
    assert!(grown[Counter::Turns] >= 90);
    assert_eq!((grown[Counter::BusyTurns], charged(&grown)), (0, 0));
    assert_eq!(READS.get(), grown[Counter::Turns]);
}
