//! A mover on a modelled device that is stepped while the mover is looked at.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::cell::RefCell;

use dataplane::mover::conformance::{conformance, short_course};
use dataplane::mover::{AcceleratorStats, CopyBatch, Done, MoveMode, Mover, MoverStats};
use dataplane::sim::pool::{SimFrame, SimPool};
use dsa::mover::{DsaMover, Rules, Settings};
use dsa::portal::{HardwarePortal, Portal};
use dsa::queue::WorkQueue;
use dsa_model::chardev::ModelFile;
use dsa_model::engine::EngineStats;
use dsa_model::gate::GateStats;
use dsa_model::{Config, Memory, Model, ModelPortal};

/// Harvests in a row without a job coming back, after which the mover has lost one.
const PATIENCE: u32 = 200_000;

pub struct Stepped<P: Portal> {
    pub mover: DsaMover<SimFrame, P>,
    pub model: Model,
    random: fastrand::Rng,
    fruitless: u32,
}

impl<P: Portal> Stepped<P> {
    pub fn new(mover: DsaMover<SimFrame, P>, model: &Model) -> Self {
        Self {
            mover,
            model: model.clone(),
            random: fastrand::Rng::with_seed(model.config().seed ^ 0x7374_6570),
            fruitless: 0,
        }
    }

    fn step(&mut self) {
        for _ in 0..self.random.u32(0..10) {
            let _busy = self.model.step();
        }
    }
}

impl<P: Portal> Mover<SimFrame> for Stepped<P> {
    fn mode(&self) -> MoveMode {
        self.mover.mode()
    }

    fn begin_turn(&mut self, now_us: u64) {
        self.mover.begin_turn(now_us);
        self.mover.note_load(self.random.u32(0..200));
    }

    fn submit(&mut self, batch: &mut CopyBatch<SimFrame>) {
        self.mover.submit(batch);
        self.step();
    }

    fn harvest(&mut self, done: &mut Vec<Done<SimFrame>>) {
        self.step();
        let before = done.len();
        self.mover.harvest(done);
        let idle = self.mover.in_flight() + self.mover.quarantined() == 0;
        self.fruitless = if idle || done.len() > before {
            0
        } else {
            self.fruitless + 1
        };
        assert!(self.fruitless < PATIENCE, "the mover waits for ever");
    }

    fn in_flight(&self) -> usize {
        self.mover.in_flight()
    }

    fn quarantined(&self) -> usize {
        self.mover.quarantined()
    }

    fn stats(&self) -> MoverStats {
        self.mover.stats()
    }

    fn accelerator(&self) -> AcceleratorStats {
        self.mover.accelerator()
    }
}

/// How descriptors get to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a call.
    Direct,
    /// By the true instructions, which trap.
    Trap,
    /// By `write()`, since the portal may not be mapped.
    Write,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub mover: AcceleratorStats,
    pub gate: GateStats,
    pub engine: EngineStats,
}

/// All jobs are the device's, as far as it can do them, and at once.
pub fn eager() -> Settings {
    Settings {
        threshold: 0,
        gather_us: 0,
        deadline_us: 300,
        ..Settings::default()
    }
}

pub fn pool() -> SimPool {
    SimPool::new(80, 80)
}

/// Whether [`Way::Trap`] can be gone: not where the processor has the instructions.
pub fn can_trap() -> bool {
    dsa_model::trap::install().expect("a handler for SIGILL");
    !dsa::instruction::has_movdir64b() && !dsa::instruction::has_enqcmd()
}

/// Every second seed gathers jobs over several turns.
fn gathering(settings: Settings, seed: u64) -> Settings {
    if seed.is_multiple_of(2) {
        return settings;
    }
    Settings {
        gather_jobs: 6,
        gather_us: 40,
        ..settings
    }
}

/// A course of `rounds` rounds for a mover on a device like `config`.
pub fn course(way: Way, config: &Config, settings: Settings, rules: Rules, rounds: usize) -> Seen {
    let settings = gathering(settings, config.seed);
    let model = Model::new(config.clone(), Memory::direct());
    match way {
        Way::Direct => run(
            &model,
            ModelPortal::queue(&model, "wq0.0"),
            settings,
            rules,
            rounds,
        ),
        Way::Trap | Way::Write => {
            let file = ModelFile::new(&model, way == Way::Trap).open().unwrap();
            let info = config.info("wq0.0");
            let portal = HardwarePortal::new(file, &info).unwrap();
            run(
                &model,
                WorkQueue::new(portal, info),
                settings,
                rules,
                rounds,
            )
        }
    }
}

fn run<P: Portal>(
    model: &Model,
    queue: WorkQueue<P>,
    settings: Settings,
    rules: Rules,
    rounds: usize,
) -> Seen {
    let mut pool = pool();
    let mover = Stepped::new(DsaMover::with_rules(queue, settings, rules), model);
    let seed = model.config().seed;
    short_course(&mut pool, mover, seed, rounds, |stepped| {
        let (gate, engine) = model.stats();
        Seen {
            mover: stepped.accelerator(),
            gate,
            engine,
        }
    })
}

/// The whole suite for movers on devices like `config`, each with a seed of its own.
pub fn suite(way: Way, config: &Config, settings: Settings) {
    let seed = RefCell::new(config.seed);
    let model = || {
        *seed.borrow_mut() += 1;
        let config = Config {
            seed: *seed.borrow(),
            ..config.clone()
        };
        Model::new(config, Memory::direct())
    };
    match way {
        Way::Direct => conformance(&mut pool(), || {
            let model = model();
            let queue = ModelPortal::queue(&model, "wq0.0");
            let settings = gathering(settings, model.config().seed);
            Stepped::new(DsaMover::new(queue, settings), &model)
        }),
        Way::Trap | Way::Write => conformance(&mut pool(), || {
            let model = model();
            let file = ModelFile::new(&model, way == Way::Trap).open().unwrap();
            let info = model.config().info("wq0.0");
            let portal = HardwarePortal::new(file, &info).unwrap();
            let queue = WorkQueue::new(portal, info);
            let settings = gathering(settings, model.config().seed);
            Stepped::new(DsaMover::new(queue, settings), &model)
        }),
    }
}
