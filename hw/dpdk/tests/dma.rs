//! The mover on a DMA device: on dma_skeleton, DPDK's own without hardware, which does everything in
//! order and with success; or on the one that `MINIVOY_TEST_DMA` names (scripts/dmadev.sh: DPDK's driver
//! of the accelerator on the modelled queue).

mod common;

use common::*;
use dataplane::mover::Mover;
use dataplane::mover::conformance::short_course;
use dpdk::{DmaDevice, DmaMover, DmaSettings, DpdkError};

#[test]
fn the_mover_conforms_on_a_dma_device() {
    let named = std::env::var("MINIVOY_TEST_DMA");
    let name = named.as_deref().unwrap_or("dma_skeleton");
    let eal = eal("dma", &["-l", "0", "--vdev", "dma_skeleton"]);
    let mut pool = pool(&eal, "test");
    let unknown = DmaDevice::open(&eal, "dma_nothing").unwrap_err();
    assert!(matches!(unknown, DpdkError::UnknownDma { .. }), "{unknown}");
    let mut moved = 0;
    for seed in 0..3 {
        for (threshold, deadline_us) in [(0, u64::MAX / 2), (512, u64::MAX / 2), (0, 20)] {
            let device = DmaDevice::open(&eal, name).unwrap();
            assert_eq!(device.name(), name);
            let settings = DmaSettings {
                threshold,
                deadline_us,
            };
            let mover = DmaMover::new(device, settings);
            let stats = short_course(&mut pool, mover, seed, 2, |mover| mover.accelerator());
            assert!(stats.jobs > 0 && stats.batches > 0, "{stats:?}");
            let late = deadline_us == 20;
            assert_eq!(stats.redone > 0, stats.timeouts > 0, "{stats:?}");
            assert!(late || stats.timeouts == 0, "{stats:?}");
            moved += stats.copies;
        }
    }
    assert!(moved > 500, "{moved}");
    assert_eq!(out(&pool), 0);
    drop((pool, eal));
    assert_eq!(leaks(), 0);
}
