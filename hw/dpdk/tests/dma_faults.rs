//! The mover on a DMA device that fails at every point where one can, over thousands of seeds. In all of
//! them bodies are byte-exact, no job is lost or comes twice, and all frames come home: that is what the
//! conformance suite looks at. Here it is added that the device was used, and that what should go wrong did.
//!
//! One test, since EAL initialises once in a process; `MINIVOY_TEST_SEEDS` has another number of seeds tried than 2000 for
//! each kind of trouble.
//!
//! Rules of the mover that were broken by hand, one at a time, each of which this file noticed:
//! jobs handed back before the report; a source freed at submission; no deadline; errors ignored; late jobs
//! handed back without a copy, or again when their reports come; late targets not owned; late copies
//! forgotten; work given to a device that is late; the last copies of a batch not submitted; more than 32
//! submitted at once; a refused copy not done; the ring's room not asked for; the device closed before its
//! reports; frames freed that a dead device may write.

#![allow(clippy::print_stderr, reason = "a report, for who asks for it")]

mod common;

use common::death::{DEADLINE, outlive};
use common::scripted::{Deeds, Script, Scripted};
use common::*;
use dataplane::mover::conformance::{conformance, short_course};
use dataplane::mover::{AcceleratorStats, CpuReason, Mover};
use dpdk::{DmaMover, DmaSettings, Eal, MbufPool};

fn settings() -> DmaSettings {
    DmaSettings {
        threshold: 0,
        deadline_us: DEADLINE,
    }
}

fn everything() -> Script {
    Script {
        ring: 64,
        fails: 30,
        faults: 30,
        refuses: 30,
        stalls: 10,
        stall_polls: 1_000,
        stops: 3,
        stop_polls: 2_000,
        invents: 0,
    }
}

/// Courses with many seeds on rings of many sizes.
fn storm(
    pool: &mut MbufPool,
    seeds: u64,
    script: Script,
    mut each: impl FnMut(u64, AcceleratorStats, Deeds),
) {
    for seed in 0..seeds {
        let ring = [1, 2, 3, 8, 32, 1024][seed as usize % 6];
        let (device, deeds) = Scripted::new(seed, Script { ring, ..script });
        let mover = DmaMover::new(device, settings());
        let seen = short_course(pool, mover, seed, 1, |mover| {
            (mover.accelerator(), deeds.get())
        });
        let (stats, now) = seen;
        assert_eq!(now.overflowed, 0, "seed {seed}");
        let left = (stats.in_flight, stats.quarantined, stats.lost);
        assert_eq!(left, (0, 0, 0), "seed {seed}");
        let later = deeds.get();
        assert!(later.closed, "seed {seed}: the device was not closed");
        assert_eq!(later.unreported, 0, "seed {seed}: closed too early");
        each(seed, stats, now);
    }
}

fn without_trouble(pool: &mut MbufPool, seeds: u64) {
    let (mut copies, mut full) = (0, 0);
    storm(pool, seeds, Script::default(), |seed, stats, deeds| {
        let context = format!("seed {seed}: {stats:?} {deeds:?}");
        assert_eq!(
            (stats.redone, stats.timeouts, stats.faults),
            (0, 0, 0),
            "{context}"
        );
        assert_eq!(
            (stats.copies, stats.bytes),
            (deeds.copied, deeds.bytes),
            "{context}"
        );
        assert_eq!(stats.batched + stats.singles, stats.copies, "{context}");
        assert_eq!(stats.completions, stats.copies, "{context}");
        copies += stats.copies;
        full += stats.by_cpu[CpuReason::QueueFull as usize];
    });
    assert!(copies > seeds * 20 && full > seeds, "{copies} {full}");
}

fn errors(pool: &mut MbufPool, seeds: u64) {
    let script = Script {
        fails: 100,
        faults: 100,
        ..Script::default()
    };
    let mut failed = 0;
    storm(pool, seeds, script, |seed, stats, deeds| {
        let seen = (stats.redone, stats.faults, stats.timeouts);
        assert_eq!(seen, (deeds.failed, deeds.faults, 0), "seed {seed}");
        failed += deeds.failed;
    });
    assert!(failed > seeds * 3, "{failed}");
}

fn refusals(pool: &mut MbufPool, seeds: u64) {
    let script = Script {
        refuses: 200,
        ..Script::default()
    };
    let mut refused = 0;
    storm(pool, seeds, script, |seed, stats, deeds| {
        assert_eq!(
            (stats.redone, stats.timeouts),
            (deeds.refused, 0),
            "seed {seed}"
        );
        assert_eq!(stats.completions, deeds.queued, "seed {seed}");
        refused += deeds.refused;
    });
    assert!(refused > seeds * 3, "{refused}");
}

/// What is not done in time is done by the CPU, the device does it all the same, and meanwhile gets
/// nothing to do.
fn delays(pool: &mut MbufPool, seeds: u64, script: Script) {
    let (mut timeouts, mut redone, mut suspended) = (0, 0, 0);
    storm(pool, seeds, script, |seed, stats, deeds| {
        assert_eq!(stats.completions, deeds.queued, "seed {seed}");
        assert!(stats.timeouts <= stats.redone, "seed {seed}");
        timeouts += stats.timeouts;
        redone += stats.redone;
        suspended += stats.by_cpu[CpuReason::Suspended as usize];
    });
    assert!(timeouts > seeds / 10, "{timeouts}");
    assert!(redone > timeouts && suspended > 0, "{redone} {suspended}");
}

fn everything_at_once(pool: &mut MbufPool, seeds: u64) {
    let mut copied = 0;
    storm(pool, seeds, everything(), |_, _, deeds| {
        copied += deeds.copied
    });
    assert!(copied > seeds * 10, "{copied}");
}

/// The whole suite, on a device without trouble and on one with every kind of it.
fn suite(pool: &mut MbufPool) {
    let calm = Script {
        ring: 1024,
        ..Script::default()
    };
    for script in [calm, everything()] {
        let mut seed = 0;
        conformance(pool, || {
            seed += 1;
            DmaMover::new(Scripted::new(seed, script).0, settings())
        });
    }
}

/// A device that never says anything again.
fn death(eal: &Eal) {
    let mut pool = small_pool(eal, "death");
    let script = Script {
        ring: 1024,
        stops: 1000,
        stop_polls: u32::MAX,
        ..Script::default()
    };
    let (device, deeds) = Scripted::new(1, script);
    let stats = outlive(&mut pool, DmaMover::new(device, settings()));
    assert_eq!((stats.timeouts, stats.redone), (1, 10));
    assert!(deeds.get().closed);
}

/// A device that reports what it was never given is told so in the log, and costs nothing.
fn inventions(pool: &mut MbufPool) {
    let script = Script {
        ring: 8,
        invents: 500,
        ..Script::default()
    };
    let mut invented = 0;
    for seed in 0..20 {
        let (device, deeds) = Scripted::new(seed, script);
        let mover = DmaMover::new(device, settings());
        short_course(pool, mover, seed, 1, |_| ());
        invented += deeds.get().invented;
    }
    assert!(invented > 100, "{invented}");
}

#[test]
fn the_mover_keeps_bodies_and_frames_whatever_the_device_does() {
    let seeds = std::env::var("MINIVOY_TEST_SEEDS").map_or(2_000, |seeds| seeds.parse().unwrap());
    let eal = eal("dmafaults", &["-l", "0"]);
    let mut pool = small_pool(&eal, "test");
    let stalls = Script {
        stalls: 20,
        stall_polls: 1_000,
        ..Script::default()
    };
    let stops = Script {
        stops: 5,
        stop_polls: 2_000,
        ..Script::default()
    };
    let mut timed = |name: &str, part: &mut dyn FnMut(&mut MbufPool)| {
        let start = now();
        part(&mut pool);
        eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f32());
    };
    timed("suite", &mut |pool| suite(pool));
    timed("no trouble", &mut |pool| without_trouble(pool, seeds));
    timed("errors", &mut |pool| errors(pool, seeds));
    timed("refusals", &mut |pool| refusals(pool, seeds));
    timed("stalls", &mut |pool| delays(pool, seeds, stalls));
    timed("stops", &mut |pool| delays(pool, seeds, stops));
    timed("inventions", &mut |pool| inventions(pool));
    timed("everything", &mut |pool| {
        everything_at_once(pool, 4 * seeds)
    });
    assert_eq!(out(&pool), 0);
    assert_eq!(leaks(), 0);
    death(&eal);
    // The dead device's frames.
    assert_eq!(leaks(), 1);
}
