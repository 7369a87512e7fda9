//! The whole engine with the accelerator's mover, in the simulator: bodies of exchanges are checked by
//! clients and origins byte by byte, and in the end no frame may be missing. Links lose and reorder,
//! and the device does everything wrong that it can.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::{Stepped, eager};
use dataplane::counters::{Accelerator, Counter, CpuJob};
use dataplane::mover::Mover;
use dataplane::sim::client::{Answer, Exchange, Method, Plan};
use dataplane::sim::host::Host;
use dataplane::sim::{Faults as LinkFaults, Rng, Setup, SimFrame, World};
use dsa::mover::{DsaMover, Settings};
use dsa_model::{Config, Faults, Memory, Model, ModelPortal};

const SECOND: u64 = 1_000_000;

fn exchange(rng: &mut Rng) -> Exchange {
    let len = rng.below(100_000);
    Exchange {
        method: match rng.below(3) {
            0 => Method::Post {
                len: rng.below(60_000),
                chunked: rng.chance(500_000),
            },
            _ => Method::Get,
        },
        answer: match rng.below(3) {
            0 => Answer::Chunked(len),
            _ => Answer::Length(len),
        },
        tag: rng.below(1000),
        close: false,
    }
}

fn setup(rng: &mut Rng, lossy: bool) -> Setup {
    let link = |rng: &mut Rng| LinkFaults {
        loss: if lossy { 20_000 } else { 0 },
        reorder: if lossy { 20_000 } else { 0 },
        reorder_us: 1000,
        delay_us: rng.between(10, 500),
        ..LinkFaults::default()
    };
    let mut setup = Setup {
        seed: rng.next_u64(),
        client_faults: link(rng),
        origin_faults: link(rng),
        ..Setup::default()
    };
    for timeout in [
        &mut setup.settings.timeouts.request_head,
        &mut setup.settings.timeouts.idle,
        &mut setup.settings.timeouts.stream,
        &mut setup.settings.timeouts.response,
    ] {
        *timeout = 600_000;
    }
    setup
}

/// Runs some clients' exchanges and returns the world, settled.
fn run<M: Mover<SimFrame>>(seed: u64, lossy: bool, mover: M) -> World<M> {
    let mut rng = Rng::new(seed);
    let setup = setup(&mut rng, lossy);
    let mut world = World::new(setup, mover);
    let plans = (0..6).map(|_| Plan {
        exchanges: (0..3).map(|_| exchange(&mut rng)).collect(),
        ..Plan::default()
    });
    let _ = world.add_client(64 * 1024, plans.collect());
    let _ = world.run_until(600 * SECOND, World::finished);
    for outcome in world.outcomes() {
        let standing = || world.hosts.iter().map(Host::standing).collect::<Vec<_>>();
        assert!(
            outcome.whole(),
            "seed {seed}: {outcome:?} {:#?}",
            standing()
        );
    }
    for origin in world.origins() {
        assert!(
            origin.complaints.is_empty(),
            "seed {seed}: {:?}",
            origin.complaints
        );
    }
    if let Err(kept) = world.settle() {
        panic!("seed {seed}: {kept}");
    }
    world.worker.sample();
    world
}

fn on_model(
    seed: u64,
    lossy: bool,
    faults: Faults,
    settings: Settings,
) -> World<Stepped<ModelPortal>> {
    let config = Config {
        seed,
        faults,
        ..Config::default()
    };
    let model = Model::new(config, Memory::direct());
    let mover = DsaMover::new(ModelPortal::queue(&model, "wq0.0"), settings);
    run(seed, lossy, Stepped::new(mover, &model))
}

#[test]
fn exchanges_are_carried_by_the_accelerator() {
    for seed in 0..20 {
        // The model is slow in virtual time, and nothing is late here.
        let settings = Settings {
            deadline_us: SECOND,
            ..eager()
        };
        let world = on_model(seed, false, Faults::default(), settings);
        let counters = world.worker.counters();
        let (jobs, full) = (counters[Accelerator::Jobs], counters[CpuJob::QueueFull]);
        assert_eq!(jobs + full, counters[Counter::MoverJobs], "seed {seed}");
        assert!(jobs > full, "seed {seed}: {jobs} {full}");
        assert_eq!(
            counters[Accelerator::Redone] + counters[Accelerator::Timeouts],
            0
        );
        assert!(counters[Accelerator::Batches] > 0);
    }
}

#[test]
fn exchanges_survive_everything_that_goes_wrong() {
    let faults = Faults {
        source: 20,
        target: 20,
        list: 30,
        record: 10,
        lose: 10,
        silent: 10,
        late: 10,
        late_steps: 5000,
        reset: 1,
        ..Faults::default()
    };
    let (mut timeouts, mut redone, mut suspended) = (0, 0, 0);
    for seed in 0..40 {
        let world = on_model(seed, seed % 2 == 1, faults, eager());
        let counters = world.worker.counters();
        timeouts += counters[Accelerator::Timeouts];
        redone += counters[Accelerator::Redone];
        suspended += counters[CpuJob::Suspended];
    }
    assert!(
        timeouts > 40 && redone > 300 && suspended > 10,
        "{timeouts} {redone} {suspended}"
    );
}
