//! Trouble at a definite moment, looked at step by step.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::{eager, pool};
use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, CpuReason, JobTag, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use dataplane::sim::pool::{SimFrame, SimPool};
use dsa::mover::{DsaMover, Settings};
use dsa::sysfs::Mode;
use dsa_model::{Config, Memory, Model, ModelPortal};

struct Lab {
    pool: SimPool,
    model: Model,
    mover: DsaMover<SimFrame, ModelPortal>,
    queue: SendQueue,
    arena: SpanArena<SimFrame>,
    now: u64,
}

impl Lab {
    fn new(config: Config, settings: Settings) -> Self {
        let model = Model::new(config, Memory::direct());
        Self {
            pool: pool(),
            mover: DsaMover::new(ModelPortal::queue(&model, "wq0.0"), settings),
            model,
            queue: SendQueue::default(),
            arena: SpanArena::with_capacity(64),
            now: 0,
        }
    }

    /// One turn with `jobs` jobs of 3 pieces of `size` bytes each.
    fn submit(&mut self, jobs: u32, size: usize) {
        let mut batch = CopyBatch::default();
        for _ in 0..jobs {
            for piece in 0..3 {
                let mut source = self.pool.alloc(FrameClass::Small).unwrap();
                source.room_mut().unwrap()[..size].fill(piece as u8 + 1);
                source.set_len(size);
                batch.add_piece(CopyPiece {
                    source,
                    source_offset: 0,
                    target_offset: piece * size as u32,
                    len: size as u32,
                });
            }
            let target = self.pool.alloc(FrameClass::Large).unwrap();
            let len = 3 * size as u32;
            let conn = ConnRef {
                id: ConnId(0),
                generation: 0,
            };
            let span = self.queue.push_pending(&mut self.arena, len);
            batch.finish_job(target, len, JobTag { conn, span });
        }
        self.mover.submit(&mut batch);
    }

    /// What comes back `after` µs later; its bytes are right.
    fn harvest(&mut self, after: u64) -> Vec<SimFrame> {
        self.now += after;
        self.mover.begin_turn(self.now);
        let mut done = Vec::new();
        self.mover.harvest(&mut done);
        let frames: Vec<SimFrame> = done.into_iter().map(|done| done.frame).collect();
        for frame in &frames {
            let size = frame.data().len() / 3;
            let right = |(at, &byte): (usize, &u8)| byte as usize == at / size + 1;
            assert!(frame.data().iter().enumerate().all(right));
        }
        frames
    }

    fn run(&self) {
        while self.model.step() {}
    }

    fn used(&self) -> [u32; 2] {
        [FrameClass::Small, FrameClass::Large].map(|class| self.pool.used(class))
    }
}

#[test]
fn all_jobs_of_a_turn_are_one_batch_up_to_the_limit_and_what_is_left_over_is_no_batch() {
    let mut lab = Lab::new(
        Config {
            max_batch: 12,
            ..Config::default()
        },
        eager(),
    );
    lab.submit(4, 100);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 4);
    assert_eq!(
        (
            lab.mover.accelerator().batches,
            lab.mover.accelerator().batched
        ),
        (1, 12)
    );
    // 39 descriptors: three batches of 12 and one of 3.
    lab.submit(13, 100);
    assert_eq!(
        lab.mover.accelerator().batches,
        5,
        "several batches are in flight"
    );
    assert_eq!(lab.mover.accelerator().in_flight, 39);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 13);
    let mut lab = Lab::new(
        Config {
            max_batch: 11,
            ..Config::default()
        },
        eager(),
    );
    lab.submit(4, 100);
    let stats = lab.mover.accelerator();
    assert_eq!((stats.batches, stats.batched, stats.singles), (1, 11, 1));
    lab.run();
    assert_eq!(lab.harvest(1).len(), 4);
    assert_eq!(lab.mover.accelerator().redone, 0);
}

#[test]
fn jobs_are_gathered_only_while_somebody_has_to_wait_anyway() {
    let settings = Settings {
        gather_jobs: 4,
        gather_us: 50,
        ..eager()
    };
    let mut lab = Lab::new(Config::default(), settings);
    // The device has nothing to do: at once.
    lab.submit(1, 100);
    assert_eq!(lab.mover.accelerator().batches, 1);
    // It is at work: what comes now waits, but not for ever …
    lab.submit(1, 100);
    assert!(lab.harvest(20).is_empty());
    lab.submit(2, 100);
    assert!(lab.harvest(29).is_empty());
    assert_eq!(lab.mover.accelerator().batches, 1);
    assert_eq!(lab.mover.in_flight(), 4);
    assert!(lab.harvest(1).is_empty());
    let stats = lab.mover.accelerator();
    assert_eq!((stats.batches, stats.batched), (2, 12));
    // … nor when there are enough …
    lab.submit(3, 100);
    assert_eq!(lab.mover.accelerator().batches, 2);
    lab.submit(1, 100);
    assert_eq!(lab.mover.accelerator().batches, 3);
    // … nor when the device has come to an end.
    lab.submit(1, 100);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 8);
    assert_eq!(lab.mover.accelerator().batches, 4);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 1);

    // With a crowd of exchanges each waits for its turn, whatever the device does.
    lab.mover.note_load(64);
    lab.submit(1, 100);
    assert!(lab.harvest(49).is_empty());
    assert_eq!(lab.mover.accelerator().batches, 4);
    lab.mover.note_load(63);
    assert!(lab.harvest(0).is_empty());
    assert_eq!(lab.mover.accelerator().batches, 5);
    lab.run();
    assert_eq!(lab.harvest(0).len(), 1);
    assert_eq!(lab.used(), [0, 0]);
    assert_eq!(lab.mover.accelerator().timeouts, 0);
}

#[test]
fn a_queue_that_is_given_up_leaves_nobody_gathering() {
    let settings = Settings {
        gather_jobs: 100,
        gather_us: 1_000_000,
        ..eager()
    };
    let mut lab = Lab::new(Config::default(), settings);
    lab.submit(1, 100);
    lab.submit(2, 100);
    assert_eq!(lab.mover.in_flight(), 3);
    // Nobody steps the device: neither the first job nor any drain is answered.
    let mut back = 0;
    for _ in 0..20 {
        back += lab.harvest(301).len();
    }
    assert_eq!(back, 3);
    assert_eq!(lab.mover.accelerator().lost, 1);
    assert_eq!(lab.used(), [0, 0]);
}

#[test]
fn the_policy_decides_by_size_and_by_depth() {
    let mut lab = Lab::new(
        Config {
            size: 4,
            max_batch: 12,
            max_transfer: 1500,
            ..Config::default()
        },
        Settings {
            threshold: 512,
            ..eager()
        },
    );
    lab.submit(1, 511);
    assert_eq!(lab.harvest(1).len(), 1, "the CPU is done at once");
    lab.submit(1, 512);
    assert_eq!(lab.harvest(1).len(), 0);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 1);
    lab.submit(1, 1501);
    assert_eq!(lab.harvest(1).len(), 1);
    // Three batches of twelve fit: one of the four slots is kept.
    lab.submit(14, 600);
    assert_eq!(lab.harvest(1).len(), 2);
    lab.run();
    assert_eq!(lab.harvest(1).len(), 12);
    let by_cpu = lab.mover.accelerator().by_cpu;
    let of = |reason| by_cpu[reason as usize];
    assert_eq!(of(CpuReason::Small), 1);
    assert_eq!(of(CpuReason::TooLong), 1);
    assert_eq!(of(CpuReason::QueueFull), 2);
    assert_eq!(lab.model.stats().0.overflowed, 0);

    let settings = Settings {
        max_in_flight: 7,
        ..eager()
    };
    let mut lab = Lab::new(Config::default(), settings);
    lab.submit(5, 100);
    assert_eq!(lab.mover.accelerator().in_flight, 6);
    assert_eq!(lab.harvest(1).len(), 3);
}

#[test]
fn a_reset_in_the_middle_is_found_out_by_a_drain() {
    for steps in 0..40 {
        let config = Config {
            seed: steps,
            ..Config::default()
        };
        let mut lab = Lab::new(config, eager());
        lab.submit(5, 700);
        for _ in 0..steps {
            let _busy = lab.model.step();
        }
        lab.model.reset();
        let mut frames = lab.harvest(299);
        frames.extend(lab.harvest(1));
        assert_eq!(frames.len(), 5, "the CPU has done it");
        if lab.mover.accelerator().timeouts == 0 {
            continue;
        }
        // One of them could be written yet, for all that is known: nobody may change or reuse it.
        assert_eq!(lab.mover.quarantined(), 30);
        assert!(frames.iter_mut().all(|frame| frame.room_mut().is_none()));
        drop(frames);
        assert_eq!(lab.used(), [15, 5]);
        lab.submit(1, 700);
        assert_eq!(lab.harvest(1).len(), 1, "meanwhile the CPU copies");
        assert_eq!(
            lab.mover.accelerator().by_cpu[CpuReason::Suspended as usize],
            1
        );
        lab.run();
        assert_eq!(lab.harvest(1).len(), 0);
        assert_eq!((lab.mover.quarantined(), lab.used()), (0, [0, 0]));
        assert_eq!(lab.mover.accelerator().drains, 1);
        // And everything is as before.
        lab.submit(2, 700);
        lab.run();
        assert_eq!(lab.harvest(1).len(), 2);
        assert_eq!(lab.mover.accelerator().jobs, 7);
    }
}

#[test]
fn a_late_completion_ends_the_quarantine_by_itself() {
    let mut lab = Lab::new(Config::default(), eager());
    lab.submit(2, 700);
    let frames = lab.harvest(300);
    assert_eq!((frames.len(), lab.mover.quarantined()), (2, 12));
    lab.run();
    assert!(lab.harvest(1).is_empty());
    assert_eq!(lab.mover.quarantined(), 0);
    drop(frames);
    assert_eq!(lab.used(), [0, 0]);
}

#[test]
fn a_disabled_queue_is_given_up_and_everything_goes_on() {
    for mode in [Mode::Dedicated, Mode::Shared] {
        let mut lab = Lab::new(
            Config {
                mode,
                ..Config::default()
            },
            eager(),
        );
        lab.submit(3, 700);
        lab.model.reset();
        lab.model.set_enabled(false);
        let mut frames = Vec::new();
        for _ in 0..10 {
            lab.submit(1, 700);
            frames.extend(lab.harvest(301));
            lab.run();
        }
        assert_eq!(frames.len(), 13, "{mode:?}");
        let stats = lab.mover.accelerator();
        assert_eq!(
            (stats.lost, stats.quarantined, stats.drains),
            (1, 0, 4),
            "{mode:?}"
        );
        assert!(stats.by_cpu[CpuReason::Lost as usize] > 0);
        drop(frames);
        assert_eq!(lab.used(), [0, 0]);
    }
}

#[test]
fn a_queue_that_refuses_everything_is_given_up() {
    let mut lab = Lab::new(
        Config {
            min_batch: 64,
            ..Config::default()
        },
        eager(),
    );
    for _ in 0..70 {
        lab.submit(1, 700);
        lab.run();
        assert_eq!(lab.harvest(1).len(), 1);
    }
    let stats = lab.mover.accelerator();
    assert_eq!((stats.lost, stats.redone), (1, 64 * 3));
}

#[test]
fn a_mover_that_is_dropped_in_the_middle_waits_for_the_device() {
    for steps in 0..30 {
        let mut lab = Lab::new(
            Config {
                seed: steps,
                ..Config::default()
            },
            eager(),
        );
        lab.submit(5, 700);
        for _ in 0..steps {
            let _busy = lab.model.step();
        }
        let Lab {
            pool, model, mover, ..
        } = lab;
        drop(mover);
        assert_eq!(pool.used(FrameClass::Large), 0);
        assert!(!model.step(), "the device is at rest");
    }
}

/// On a thread of its own the device works while the worker does something else.
#[test]
fn a_model_on_its_own_thread() {
    use dataplane::mover::conformance::short_course;
    for seed in 0..40 {
        let config = Config {
            seed,
            latency: 20,
            ..Config::default()
        };
        let model = Model::new(config, Memory::direct());
        let _runner = dsa_model::Runner::start(&model).unwrap();
        // The suite's time runs much faster than the clock.
        let settings = Settings {
            deadline_us: u64::MAX / 2,
            ..eager()
        };
        let mover = DsaMover::new(ModelPortal::queue(&model, "wq0.0"), settings);
        let stats = short_course(&mut pool(), mover, seed, 3, |mover| mover.accelerator());
        assert_eq!((stats.redone, stats.timeouts), (0, 0));
        assert!(stats.jobs > 30, "{stats:?}");
        // Late by the suite's time: the thread writes to what is in quarantine.
        let mover = DsaMover::new(ModelPortal::queue(&model, "wq0.0"), eager());
        let _stats = short_course(&mut pool(), mover, seed, 3, |mover| mover.accelerator());
    }
}
