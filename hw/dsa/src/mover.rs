//! A [`Mover`] whose copies are made by the accelerator.
//!
//! All jobs of a turn become descriptors, one for each piece, and these become *flights*: a BATCH
//! each, or a single descriptor, or, where the kernel submits for us, an array of singles. While the
//! device is at work, a small flight waits for the jobs of the next turns, for a bounded time. A flight
//! owns the frames that are read, [`Jobs`] those that are written, until the completion was seen.
//! Completions are looked for on every flight, since none says anything about another.
//!
//! # When it does not go well
//!
//! - What ended with anything but success is copied again by the CPU, whole: source and target are
//!   unchanged or hold the same bytes, so nothing that a record says about parts needs to be trusted.
//!   In a failed batch that is found out descriptor by descriptor.
//! - What is not done at its deadline is copied by the CPU and handed back. The device may still write
//!   the same bytes to the same places, so the flight goes into *quarantine*: it stays an owner of its
//!   frames, none of which can be changed or reused, until its completion comes after all, or until a
//!   [`drain`] has passed. Meanwhile the CPU copies everything.
//! - A queue that answers no drain, or refuses everything, is given up: it is closed, after which the
//!   device does nothing any more, and the CPU copies everything from then on.
//!
//! A page fault is left to the CPU too (block-on-fault stays off): frames are in memory that is
//! there, so faults are rare, and mending one costs the device orders of magnitude more than a copy.

mod drain;
mod flight;
mod rules;
mod settings;
mod settle;
mod submit;

use dataplane::mover::{AcceleratorStats, CopyBatch, Done, Jobs, MoveMode, Mover, MoverStats};
use dataplane::port::Frame;

use crate::portal::Portal;
use crate::{Flags, WorkQueue};
use drain::Drains;
use flight::{Flight, Kind};

pub use rules::{Rule, Rules};
pub use settings::Settings;

/// Flights there are at most: more under way than this keep no device busier.
const MOST_FLIGHTS: u32 = 64;

/// With so many exchanges for each job that a flight gathers, gathering prolongs them by less than a
/// sixteenth: the jobs come in the time in which that many exchanges get on.
const CROWD: u32 = 16;

/// Most descriptors of a flight that is no batch.
const SINGLES: u32 = 64;

/// Flights in a row without one descriptor that succeeded, after which the queue is given up.
const MOST_STRIKES: u32 = 64;

/// Moves payload by one work queue.
#[derive(Debug)]
pub struct DsaMover<F: Frame, P: Portal> {
    queue: WorkQueue<P>,
    settings: Settings,
    rules: Rules,
    kind: Kind,
    /// Most descriptors of a flight.
    capacity: u32,
    flags: Flags,
    jobs: Jobs<F>,
    flights: Vec<Flight<F>>,
    /// Flights that are empty.
    free: Vec<usize>,
    /// The flight that is being filled.
    open: Option<usize>,
    /// Jobs in it, and when the first came, in µs.
    open_jobs: u32,
    open_since: u64,
    /// Exchanges under way.
    exchanges: u32,
    /// Flights the device is at.
    flying: Vec<usize>,
    /// Flights that were late.
    quarantine: Vec<usize>,
    drains: Drains,
    /// The number of the next submission.
    next: u64,
    strikes: u32,
    given_up: bool,
    done: Vec<Done<F>>,
    now: u64,
    in_flight: u32,
    stats: MoverStats,
    accelerator: AcceleratorStats,
}

impl<F: Frame, P: Portal> DsaMover<F, P> {
    /// A mover on `queue`, which is its alone.
    pub fn new(queue: WorkQueue<P>, settings: Settings) -> Self {
        Self::with_rules(queue, settings, Rules::default())
    }

    /// One that breaks a rule, for tests.
    pub fn with_rules(queue: WorkQueue<P>, settings: Settings, rules: Rules) -> Self {
        let max_batch = queue.max_batch().min(settings.max_batch.max(1));
        let slots = queue.free_slots();
        let (kind, capacity) = if max_batch >= 2 {
            (Kind::Batch, max_batch)
        } else {
            (Kind::Singles, SINGLES.min(slots))
        };
        let capacity = if rules.broken(Rule::MaxBatch) {
            2 * capacity
        } else {
            capacity
        };
        let most = if rules.broken(Rule::CountSlots) {
            MOST_FLIGHTS
        } else {
            slots
        };
        let count = most.min(MOST_FLIGHTS) as usize;
        let mut flags = Flags::NONE;
        if settings.cache_control {
            flags = flags.with(Flags::CACHE_CONTROL);
        }
        Self {
            kind,
            capacity,
            flags,
            jobs: Jobs::with_capacity(count * capacity as usize),
            flights: (0..count).map(|_| Flight::new(capacity as usize)).collect(),
            free: (0..count).collect(),
            open: None,
            open_jobs: 0,
            open_since: 0,
            exchanges: 0,
            flying: Vec::with_capacity(count),
            quarantine: Vec::with_capacity(count),
            drains: Drains::new(),
            next: 0,
            strikes: 0,
            given_up: false,
            done: Vec::with_capacity(256),
            now: 0,
            in_flight: 0,
            stats: MoverStats::default(),
            accelerator: AcceleratorStats::default(),
            queue,
            settings,
            rules,
        }
    }

    /// The queue it submits to.
    pub fn queue(&self) -> &WorkQueue<P> {
        &self.queue
    }

    /// Whether the open flight may wait for more: the device has something to do meanwhile, or so many
    /// exchanges are under way that each waits for its turn many times as long; and nobody has waited
    /// for long.
    fn gathers(&self) -> bool {
        let settings = &self.settings;
        let patient = !self.flying.is_empty() || self.exchanges >= CROWD * settings.gather_jobs;
        patient
            && self.open_jobs < settings.gather_jobs
            && self.now < self.open_since + settings.gather_us
    }

    fn look(&mut self, id: usize) -> Fate {
        let flight = &mut self.flights[id];
        if flight.is_done() || self.rules.broken(Rule::AwaitRecord) {
            Fate::Done
        } else if self.now >= flight.deadline && !self.rules.broken(Rule::Deadline) {
            Fate::Late
        } else {
            Fate::Flying
        }
    }
}

/// Where a flight is.
enum Fate {
    Flying,
    Done,
    Late,
}

impl<F: Frame, P: Portal> Mover<F> for DsaMover<F, P> {
    fn mode(&self) -> MoveMode {
        MoveMode::Copy
    }

    fn begin_turn(&mut self, now_us: u64) {
        self.now = now_us;
    }

    fn note_load(&mut self, exchanges: u32) {
        self.exchanges = exchanges;
    }

    fn submit(&mut self, batch: &mut CopyBatch<F>) {
        if batch.is_empty() {
            return;
        }
        self.stats.batches += 1;
        batch.take_jobs(|job, pieces| self.take(job, pieces));
        if !self.gathers() {
            self.launch();
        }
    }

    fn harvest(&mut self, done: &mut Vec<Done<F>>) {
        let mut at = 0;
        while at < self.flying.len() {
            let id = self.flying[at];
            match self.look(id) {
                Fate::Flying => at += 1,
                Fate::Done => {
                    let _id = self.flying.swap_remove(at);
                    let number = self.flights[id].number;
                    self.settle(id);
                    if self.rules.broken(Rule::NoOrder) {
                        while let Some(older) = (0..self.flying.len())
                            .find(|&at| self.flights[self.flying[at]].number < number)
                        {
                            let id = self.flying.swap_remove(older);
                            self.settle(id);
                        }
                        at = 0;
                    }
                }
                Fate::Late => {
                    let _id = self.flying.swap_remove(at);
                    self.expire(id);
                }
            }
        }
        if !self.gathers() {
            self.launch();
        }
        if !self.given_up {
            self.tend_quarantine();
            if self.strikes >= MOST_STRIKES {
                self.give_up("carries out nothing");
            }
        }
        done.append(&mut self.done);
    }

    fn in_flight(&self) -> usize {
        self.jobs.len() + self.done.len()
    }

    fn quarantined(&self) -> usize {
        let frames = self.quarantine.iter().map(|&id| self.flights[id].frames());
        frames.sum()
    }

    fn stats(&self) -> MoverStats {
        self.stats
    }

    fn accelerator(&self) -> AcceleratorStats {
        AcceleratorStats {
            retries: self.queue.retries(),
            in_flight: u64::from(self.in_flight),
            quarantined: self.quarantined() as u64,
            ..self.accelerator
        }
    }
}

impl<F: Frame, P: Portal> Drop for DsaMover<F, P> {
    /// Closes the queue first: the device must be done before the frames go.
    fn drop(&mut self) {
        self.queue.close();
    }
}
