//! The mover on a DMA device: on dma_skeleton, DPDK's own without hardware, which does everything in
//! order and with success; or on the one that `MINIVOY_TEST_DMA` names (scripts/dmadev.sh: DPDK's driver
//! of the accelerator on the modelled queue). What goes wrong there `MINIVOY_TEST_TROUBLE` says:
//!
//! - `faults`: copies end with errors, batches with some;
//! - `late`: some copies take longer than they are waited for;
//! - `dead`: nothing that is submitted ever ends.
//!
//! `tests/dma_faults.rs` has a device that does all of this by itself.

#![allow(clippy::print_stderr, reason = "a report, for who asks for it")]

mod common;

use common::*;
use dataplane::mover::Mover;
use dataplane::mover::conformance::{conformance, short_course};
use dpdk::{DmaDevice, DmaMover, DmaSettings, DpdkError, Eal, MbufPool};

/// Microseconds that are never over; the suite's are polls.
const NEVER: u64 = u64::MAX / 2;

fn mover(eal: &Eal, name: &str, threshold: u32, deadline_us: u64) -> DmaMover {
    let device = DmaDevice::open(eal, name).unwrap();
    assert_eq!(device.name(), name);
    let settings = DmaSettings {
        threshold,
        deadline_us,
    };
    DmaMover::new(device, settings)
}

fn well(eal: &Eal, pool: &mut MbufPool, name: &str, seeds: u64) {
    conformance(pool, || mover(eal, name, 0, NEVER));
    let mut moved = 0;
    for seed in 0..seeds {
        for (threshold, deadline_us) in [(0, NEVER), (512, NEVER), (0, 20)] {
            let mover = mover(eal, name, threshold, deadline_us);
            let stats = short_course(pool, mover, seed, 1, |mover| mover.accelerator());
            assert!(stats.jobs > 0 && stats.batches > 0, "{stats:?}");
            let late = deadline_us == 20;
            assert_eq!(stats.redone > 0, stats.timeouts > 0, "{stats:?}");
            assert!(late || stats.timeouts == 0, "{stats:?}");
            moved += stats.copies;
        }
    }
    assert!(moved > 50 * seeds, "{moved}");
}

fn faults(eal: &Eal, pool: &mut MbufPool, name: &str, seeds: u64) {
    let (mut redone, mut copies) = (0, 0);
    for seed in 0..seeds {
        let mover = mover(eal, name, 0, NEVER);
        let stats = short_course(pool, mover, seed, 1, |mover| mover.accelerator());
        assert_eq!((stats.timeouts, stats.quarantined), (0, 0), "{stats:?}");
        redone += stats.redone;
        copies += stats.copies;
    }
    eprintln!("{redone} of {copies} copies failed, {seeds} seeds");
    assert!(redone > seeds && redone < copies / 2, "{redone} {copies}");
}

fn late(eal: &Eal, pool: &mut MbufPool, name: &str, seeds: u64) {
    let (mut timeouts, mut redone) = (0, 0);
    for seed in 0..seeds {
        let mover = mover(eal, name, 0, 20_000);
        let stats = short_course(pool, mover, seed, 1, |mover| mover.accelerator());
        assert_eq!(stats.quarantined, 0, "{stats:?}");
        timeouts += stats.timeouts;
        redone += stats.redone;
    }
    eprintln!("{timeouts} times late, {redone} copies done by the CPU, {seeds} seeds");
    assert!(
        timeouts > seeds / 20 && redone >= timeouts,
        "{timeouts} {redone}"
    );
}

#[test]
fn the_mover_conforms_on_a_dma_device() {
    let named = std::env::var("MINIVOY_TEST_DMA");
    let name = named.as_deref().unwrap_or("dma_skeleton");
    let seeds = std::env::var("MINIVOY_TEST_SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    let trouble = std::env::var("MINIVOY_TEST_TROUBLE").unwrap_or_default();
    let eal = eal("dma", &["-l", "0", "--vdev", "dma_skeleton"]);
    let mut pool = small_pool(&eal, "test");
    let unknown = DmaDevice::open(&eal, "dma_nothing").unwrap_err();
    assert!(matches!(unknown, DpdkError::UnknownDma { .. }), "{unknown}");
    match &*trouble {
        "" => well(&eal, &mut pool, name, seeds),
        "faults" => faults(&eal, &mut pool, name, seeds),
        "late" => late(&eal, &mut pool, name, seeds),
        "dead" => {
            let mover = mover(&eal, name, 0, common::death::DEADLINE);
            let stats = common::death::outlive(&mut pool, mover);
            assert_eq!((stats.timeouts, stats.redone), (1, 10));
            drop((pool, eal));
            // Its frames are lost with the device.
            assert_eq!(leaks(), 1);
            return;
        }
        _ => panic!("MINIVOY_TEST_TROUBLE={trouble}"),
    }
    assert_eq!(out(&pool), 0);
    drop((pool, eal));
    assert_eq!(leaks(), 0);
}
