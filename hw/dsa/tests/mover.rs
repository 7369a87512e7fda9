//! The mover on a modelled device: with everything going well, and with something going wrong at
//! every point where something can, over thousands of seeds. In all of them bodies are byte-exact,
//! no job is lost or comes twice, and all frames come home: that is what the suite looks at. Here it
//! is added that the device was used, what it was asked to do, and that what should go wrong did.
//!
//! `tests/rules.rs` shows that these tests would notice.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::{Seen, Way, can_trap, course, eager, suite};
use dataplane::mover::CpuReason;
use dsa::mover::{Rules, Settings};
use dsa::sysfs::Mode;
use dsa_model::{Config, Faults};

fn modes() -> [Config; 2] {
    [Mode::Dedicated, Mode::Shared].map(|mode| Config {
        mode,
        ..Config::default()
    })
}

#[test]
fn the_mover_conforms_on_the_model() {
    for config in modes() {
        suite(Way::Direct, &config, eager());
        suite(Way::Direct, &config, Settings::default());
    }
}

#[test]
fn the_mover_conforms_through_the_trap() {
    if can_trap() {
        for config in modes() {
            suite(Way::Trap, &config, eager());
        }
    }
}

#[test]
fn the_mover_conforms_by_write() {
    for config in modes() {
        suite(Way::Write, &config, eager());
    }
}

#[test]
fn the_mover_conforms_with_everything_going_wrong() {
    for config in modes() {
        let faults = everything();
        suite(
            Way::Direct,
            &Config {
                faults,
                ..config.clone()
            },
            eager(),
        );
    }
}

/// What a driver must never be found doing.
fn assert_lawful(seen: &Seen, context: &str) {
    assert_eq!(
        seen.engine.refused, 0,
        "{context}: descriptors that break a rule: {seen:?}"
    );
    assert_eq!(seen.gate.wrong_instruction, 0, "{context}");
}

fn everything() -> Faults {
    Faults {
        source: 10,
        target: 10,
        list: 20,
        record: 5,
        lose: 5,
        silent: 5,
        late: 5,
        late_steps: 20_000,
        reset: 1,
        full: 100,
        short_write: 50,
    }
}

/// Small queues and small batches, so that limits are met.
fn small(seed: u64, mode: Mode, faults: Faults) -> Config {
    Config {
        seed,
        mode,
        size: [1, 2, 3, 8, 32][seed as usize % 5],
        max_batch: [1, 2, 5, 16, 64][(seed / 5) as usize % 5],
        max_transfer: [2 << 20, 5000][(seed / 25) as usize % 2],
        parallel: [8, 1, 3][seed as usize % 3],
        faults,
        ..Config::default()
    }
}

/// Courses with many seeds; what all of them came to, added up by `add`.
fn storm(way: Way, seeds: u64, faults: Faults, mut each: impl FnMut(u64, &Config, &Seen)) {
    for seed in 0..seeds {
        let mode = [Mode::Dedicated, Mode::Shared][seed as usize % 2];
        let config = small(seed, mode, faults);
        let seen = course(way, &config, eager(), Rules::default(), 1);
        assert_lawful(&seen, &format!("seed {seed}"));
        each(seed, &config, &seen);
    }
}

const SEEDS: u64 = 500;

#[test]
fn without_faults_nothing_is_done_twice_and_no_queue_overflows() {
    let mut by_device = 0;
    storm(Way::Direct, SEEDS, Faults::default(), |seed, _, seen| {
        let Seen {
            mover,
            gate,
            engine,
        } = seen;
        assert_eq!(
            (mover.redone, mover.timeouts, mover.faults),
            (0, 0, 0),
            "seed {seed}"
        );
        assert_eq!(gate.overflowed, 0, "seed {seed}");
        assert_eq!(mover.copies, engine.copies, "seed {seed}");
        assert_eq!(mover.bytes, engine.bytes, "seed {seed}");
        assert_eq!(
            (mover.batches, mover.batched),
            (engine.batches, engine.batched)
        );
        assert_eq!(
            mover.completions,
            gate.submitted - engine.drains - mover.singles_extra(gate)
        );
        assert_eq!((mover.in_flight, mover.quarantined, mover.lost), (0, 0, 0));
        by_device += mover.jobs;
    });
    assert!(by_device > SEEDS * 10, "{by_device}");
}

/// Submissions of singles count one completion for several descriptors.
trait SinglesExtra {
    fn singles_extra(&self, gate: &dsa_model::gate::GateStats) -> u64;
}

impl SinglesExtra for dataplane::mover::AcceleratorStats {
    fn singles_extra(&self, gate: &dsa_model::gate::GateStats) -> u64 {
        assert_eq!(gate.submitted, self.batches + self.singles + self.drains);
        gate.submitted - self.drains - self.completions
    }
}

#[test]
fn page_faults_are_done_again_and_only_they() {
    let mut faults = 0;
    let rates = Faults {
        source: 100,
        target: 100,
        ..Faults::default()
    };
    storm(Way::Direct, SEEDS, rates, |seed, _, seen| {
        assert_eq!(seen.mover.faults, seen.engine.faults, "seed {seed}");
        assert_eq!(seen.mover.redone, seen.engine.faults, "seed {seed}");
        assert_eq!(seen.mover.timeouts, 0, "seed {seed}");
        faults += seen.mover.faults;
    });
    assert!(faults > SEEDS, "{faults}");
}

#[test]
fn lists_that_cannot_be_read_to_the_end() {
    let mut redone = 0;
    let list = Faults {
        list: 300,
        ..Faults::default()
    };
    storm(Way::Direct, SEEDS, list, |seed, _, seen| {
        assert_eq!(seen.mover.timeouts, 0, "seed {seed}");
        assert_eq!(
            seen.mover.redone,
            seen.mover.copies - seen.engine.copies,
            "seed {seed}"
        );
        redone += seen.mover.redone;
    });
    assert!(redone > SEEDS, "{redone}");
}

/// What the storms with late submissions have in common.
fn storm_of_losses(faults: Faults) -> u64 {
    let (mut timeouts, mut drains, mut suspended, mut lost) = (0, 0, 0, 0);
    storm(Way::Direct, SEEDS, faults, |_, _, seen| {
        timeouts += seen.mover.timeouts;
        drains += seen.mover.drains;
        suspended += seen.mover.by_cpu[CpuReason::Suspended as usize];
        lost += seen.mover.lost;
        assert_eq!(seen.mover.quarantined, 0);
    });
    assert!(timeouts > SEEDS / 10, "{timeouts}");
    assert!(drains > 0 && suspended > 0, "{drains} {suspended}");
    lost
}

#[test]
fn descriptors_lost_on_the_way() {
    let lost = storm_of_losses(Faults {
        lose: 50,
        ..Faults::default()
    });
    assert_eq!(lost, 0, "a device that answers drains is not given up");
}

#[test]
fn records_that_are_never_written() {
    let silent = Faults {
        silent: 50,
        ..Faults::default()
    };
    let record = Faults {
        record: 50,
        ..Faults::default()
    };
    for faults in [silent, record] {
        assert!(storm_of_losses(faults) < SEEDS / 50);
    }
}

#[test]
fn descriptors_that_are_carried_out_after_the_deadline() {
    // 300 µs are about 1350 steps.
    for (late_steps, give_up) in [(1500, false), (3000, false), (50_000, true)] {
        let lost = storm_of_losses(Faults {
            late: 50,
            late_steps,
            ..Faults::default()
        });
        assert_eq!(lost > SEEDS / 20, give_up, "{lost} queues were given up");
    }
}

#[test]
fn resets_in_the_middle() {
    let lost = storm_of_losses(Faults {
        reset: 5,
        ..Faults::default()
    });
    assert!(lost < SEEDS / 50, "{lost} queues were given up");
}

#[test]
fn shared_queues_that_say_they_are_full() {
    let (mut retries, mut full) = (0, 0);
    let faults = Faults {
        full: 800,
        ..Faults::default()
    };
    storm(Way::Direct, SEEDS, faults, |seed, config, seen| {
        assert_eq!(seen.mover.timeouts, 0, "seed {seed}");
        if config.mode == Mode::Shared {
            assert_eq!(seen.mover.retries, seen.gate.retries, "seed {seed}");
            retries += seen.mover.retries;
            full += seen.mover.redone;
        }
    });
    assert!(retries > SEEDS && full > 0, "{retries} {full}");
}

#[test]
fn everything_at_once() {
    let mut done = 0;
    storm(Way::Direct, 2000, everything(), |_, _, seen| {
        done += seen.engine.copies
    });
    assert!(done > 20_000, "{done}");
}

#[test]
fn everything_at_once_through_the_trap() {
    if can_trap() {
        let mut done = 0;
        storm(Way::Trap, 2000, everything(), |_, _, seen| {
            done += seen.engine.copies
        });
        assert!(done > 20_000, "{done}");
    }
}

#[test]
fn everything_at_once_by_write() {
    let (mut done, mut redone) = (0, 0);
    storm(Way::Write, 2000, everything(), |_, _, seen| {
        assert_eq!(seen.mover.batches, 0, "the kernel refuses batches");
        done += seen.engine.copies;
        redone += seen.mover.redone;
    });
    assert!(done > 10_000 && redone > 0, "{done} {redone}");
}
