//! A queue as who submits to it sees it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use dsa::Descriptor;
use dsa::instruction::Accepted;
use dsa::sysfs::Mode;

use crate::Config;

/// What carried a descriptor to the portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Posted: whatever becomes of it, nobody hears.
    Movdir64b,
    /// With an answer.
    Enqcmd,
}

/// Descriptors that went nowhere, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// That came in.
    pub submitted: u64,
    /// Dropped: a dedicated queue was full.
    pub overflowed: u64,
    /// Dropped: MOVDIR64B into a shared queue.
    pub wrong_instruction: u64,
    /// Dropped: the queue was disabled.
    pub disabled: u64,
    /// Told to try again.
    pub retries: u64,
}

/// The queue's side towards software. Any thread may submit.
#[derive(Debug)]
pub struct Gate {
    mode: Mode,
    size: u32,
    /// Of a thousand ENQCMDs that find room, how many are told that there is none.
    full: u32,
    used: AtomicU32,
    enabled: AtomicBool,
    inbox: Mutex<VecDeque<Descriptor>>,
    random: Mutex<fastrand::Rng>,
    stats: Mutex<GateStats>,
    /// The thread that steps the engine, when there is one.
    runner: OnceLock<Thread>,
    asleep: AtomicBool,
    /// Steps the engine has made: a clock for those who wait for it.
    pub(crate) steps: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mode: config.mode,
            size: config.size,
            full: config.faults.full,
            used: AtomicU32::new(0),
            enabled: AtomicBool::new(true),
            inbox: Mutex::new(VecDeque::new()),
            random: Mutex::new(fastrand::Rng::with_seed(config.seed ^ 0x6761_7465)),
            stats: Mutex::default(),
            runner: OnceLock::new(),
            asleep: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }

    /// A descriptor arrives. [`Accepted::Retry`] is ENQCMD's only; MOVDIR64B never learns anything.
    pub fn submit(&self, instruction: Instruction, descriptor: Descriptor) -> Accepted {
        let answer = self.admit(instruction, descriptor);
        if answer == Accepted::Yes {
            self.wake();
        }
        answer
    }

    fn admit(&self, instruction: Instruction, descriptor: Descriptor) -> Accepted {
        let mut stats = lock(&self.stats);
        let enabled = self.enabled.load(Ordering::Acquire);
        match (self.mode, instruction) {
            (Mode::Dedicated, Instruction::Movdir64b) => {
                if !enabled {
                    stats.disabled += 1;
                } else if !self.take_slot() {
                    stats.overflowed += 1;
                } else {
                    stats.submitted += 1;
                    lock(&self.inbox).push_back(descriptor);
                }
                Accepted::Yes
            }
            (Mode::Shared, Instruction::Movdir64b) => {
                stats.wrong_instruction += 1;
                Accepted::Yes
            }
            (Mode::Dedicated, Instruction::Enqcmd) => {
                stats.retries += 1;
                Accepted::Retry
            }
            (Mode::Shared, Instruction::Enqcmd) => {
                let pretends = lock(&self.random).u32(0..1000) < self.full;
                if !enabled || pretends || !self.take_slot() {
                    stats.retries += 1;
                    return Accepted::Retry;
                }
                stats.submitted += 1;
                lock(&self.inbox).push_back(descriptor);
                Accepted::Yes
            }
        }
    }

    fn take_slot(&self) -> bool {
        let take = |used: u32| (used < self.size).then_some(used + 1);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
    }

    pub(crate) fn free_slot(&self) {
        let _before = self.used.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn take_in(&self, into: &mut VecDeque<Descriptor>) {
        into.append(&mut lock(&self.inbox));
    }

    /// A disabled queue takes nothing: what is submitted is dropped, or told to try again.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }

    /// What went in, and what did not.
    pub fn stats(&self) -> GateStats {
        *lock(&self.stats)
    }

    /// Dedicated or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether descriptors wait to be looked at.
    pub(crate) fn has_mail(&self) -> bool {
        !lock(&self.inbox).is_empty()
    }

    pub(crate) fn set_runner(&self, thread: Thread) {
        let _first = self.runner.set(thread);
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel)
            && let Some(runner) = self.runner.get()
        {
            runner.unpark();
        }
    }

    /// For the runner: sleeps until something is submitted, a millisecond at most.
    pub(crate) fn sleep(&self) {
        self.asleep.store(true, Ordering::Release);
        if !self.has_mail() {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        self.asleep.store(false, Ordering::Release);
    }
}
