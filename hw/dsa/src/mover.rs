//! A [`Mover`] whose copies are made by the accelerator.
//!
//! All jobs of a turn become descriptors, one for each piece, and these become *flights*: a BATCH
//! each, or a single descriptor, or, where the kernel submits for us, an array of singles. A flight
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

use dataplane::mover::{
    AcceleratorStats, CopyBatch, CopyJob, CpuReason, Done, Jobs, MoveMode, Mover, MoverStats,
    Pieces, copy_with_cpu,
};
use dataplane::port::Frame;

use crate::portal::Portal;
use crate::{Descriptor, Flags, Status, WorkQueue, dma};
use drain::{Answer, Drains};
use flight::{Flight, Kind};

pub use rules::{Rule, Rules};
pub use settings::Settings;

/// Flights there are at most: more under way than this keep no device busier.
const MOST_FLIGHTS: u32 = 64;

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

    /// How many more descriptors can be taken now, that of the open flight included.
    fn room(&self) -> u32 {
        let open = self.open.map_or(0, |id| self.flights[id].len() as u32);
        let room = match self.kind {
            // The open flight takes a slot when it is submitted.
            Kind::Batch => {
                let open_flight = u32::from(self.open.is_some());
                let flights = (self.free.len() as u32 + open_flight).min(self.free_slots());
                flights * self.capacity
            }
            Kind::Singles => {
                let flights = self.free.len() as u32 + u32::from(self.open.is_some());
                (flights * self.capacity).min(self.free_slots())
            }
        };
        room.min(self.settings.max_in_flight.saturating_sub(self.in_flight))
            .saturating_sub(open)
    }

    fn free_slots(&self) -> u32 {
        if self.rules.broken(Rule::CountSlots) {
            return u32::MAX / self.capacity;
        }
        self.queue.free_slots()
    }

    /// Why the CPU does this job, if it does.
    fn decide(&self, job: &CopyJob<F>, pieces: &Pieces<'_, '_, F>) -> Option<CpuReason> {
        let count = pieces.len() as u64;
        let longest = self.queue.info().max_transfer;
        if self.given_up {
            Some(CpuReason::Lost)
        } else if u64::from(job.len) < u64::from(self.settings.threshold) * count || job.len == 0 {
            Some(CpuReason::Small)
        } else if !self.quarantine.is_empty() {
            Some(CpuReason::Suspended)
        } else if count > u64::from(self.room()) {
            Some(CpuReason::QueueFull)
        } else if pieces
            .as_slice()
            .iter()
            .any(|piece| u64::from(piece.len) > longest)
        {
            Some(CpuReason::TooLong)
        } else {
            None
        }
    }

    fn take(&mut self, job: CopyJob<F>, pieces: &mut Pieces<'_, '_, F>) {
        self.stats.jobs += 1;
        self.stats.bytes += u64::from(job.len);
        if let Some(reason) = self.decide(&job, pieces) {
            self.accelerator.count_by_cpu(reason);
            self.done.push(copy_with_cpu(job, pieces));
            return;
        }
        let count = pieces.len() as u32;
        let CopyJob {
            mut target,
            tag,
            len,
        } = job;
        let stats = &mut self.accelerator;
        stats.jobs += 1;
        stats.bytes += u64::from(len);
        stats.copies += u64::from(count);
        // The address is what the device is told; no reference to the room is kept.
        let room = target
            .room_mut()
            .expect("the target of a copy job has one owner");
        let (base, size) = (
            room.as_mut_ptr().expose_provenance() as u64,
            room.len() as u64,
        );
        target.set_len(len as usize);
        let job = self.jobs.add(target, tag, count);
        for piece in pieces {
            let (to, len) = (u64::from(piece.target_offset), u64::from(piece.len));
            assert!(to + len <= size, "a piece beyond its target's room");
            let from = piece.source_offset as usize;
            let bytes = &piece.source.data()[from..from + piece.len as usize];
            let from = bytes.as_ptr().expose_provenance() as u64;
            let flags = self.flags;
            let make = |record| Descriptor::memmove(from, base + to, piece.len, flags, record);
            let id = self.open_flight();
            self.flights[id].push(job, piece.source, make);
            if self.flights[id].len() == self.capacity as usize {
                self.launch();
            }
        }
    }

    fn open_flight(&mut self) -> usize {
        *self.open.get_or_insert_with(|| {
            self.free
                .pop()
                .expect("decide() saw to it that there is room")
        })
    }

    /// Submits the open flight.
    fn launch(&mut self) {
        let Some(id) = self.open.take() else { return };
        let flight = &mut self.flights[id];
        let count = flight.len() as u32;
        let alone = count == 1 && !self.rules.broken(Rule::NoBatchOfOne);
        flight.kind = if alone { Kind::Singles } else { self.kind };
        flight.number = self.next;
        flight.submitted = self.now;
        flight.deadline = self.now + self.settings.deadline_us;
        self.next += 1;
        let over = self.rules.broken(Rule::CountSlots);
        let taken = match flight.kind {
            Kind::Batch => {
                let batch = flight.batch();
                let taken = if over {
                    usize::from(self.queue.submit_kept(&batch))
                } else {
                    self.queue.submit(std::slice::from_ref(&batch))
                };
                taken * count as usize
            }
            Kind::Singles => self.queue.submit(flight.descriptors()),
        };
        if self.rules.broken(Rule::OwnSources) {
            flight.forget_sources();
        }
        self.in_flight += count;
        match (taken, self.flights[id].kind) {
            (0, _) => {}
            (_, Kind::Batch) => self.accelerator.count_batch(count),
            (taken, Kind::Singles) => self.accelerator.singles += taken as u64,
        }
        // What was not taken was never submitted: nobody but the CPU will touch it.
        while self.flights[id].len() > taken {
            let Some((descriptor, job, source)) = self.flights[id].pop() else {
                break;
            };
            if !self.rules.broken(Rule::RedoRefused) {
                self.redo(&descriptor);
            }
            drop(source);
            self.in_flight -= 1;
            self.done.extend(self.jobs.piece_done(job));
        }
        if taken == 0 {
            self.flights[id].clear();
            self.free.push(id);
        } else {
            self.flying.push(id);
        }
    }

    fn redo(&mut self, descriptor: &Descriptor) {
        // SAFETY: the frames of source and target are owned by the flight and by the job, which is
        // not handed back yet, and `take` checked the bounds. If the device still writes to the
        // target, it writes the same bytes.
        unsafe { dma::copy(descriptor) };
        self.accelerator.redone += 1;
    }

    /// A flight is done: its jobs are, too, once what failed is done again.
    fn settle(&mut self, id: usize) {
        let flight = &self.flights[id];
        let (kind, count) = (flight.kind, flight.len());
        let delay = self.now.saturating_sub(flight.submitted);
        let slots = flight.slots();
        let status = flight.batch_status();
        let mut whole = kind == Kind::Batch && status == Some(Status::Success);
        whole |= self.rules.broken(Rule::AwaitRecord) || self.rules.broken(Rule::NoOrder);
        let failed = kind == Kind::Batch && status == Some(Status::BatchFailed);
        whole |= failed && self.rules.broken(Rule::RedoFailed);
        let none = failed && self.rules.broken(Rule::KeepHealthy);

        let mut healthy = false;
        for index in 0..count {
            let (descriptor, job) = self.flights[id].entry(index);
            let status = if whole {
                Some(Status::Success)
            } else {
                self.flights[id].status(index)
            };
            let faulted = status == Some(Status::PageFault);
            self.accelerator.faults += u64::from(faulted);
            let fine =
                status == Some(Status::Success) || (faulted && self.rules.broken(Rule::RedoFaults));
            healthy |= fine || faulted;
            if !fine || none {
                self.redo(&descriptor);
            }
            self.done.extend(self.jobs.piece_done(job));
        }
        self.strikes = if healthy { 0 } else { self.strikes + 1 };
        let stats = &mut self.accelerator;
        stats.completions += 1;
        stats.delay_us += delay;
        self.in_flight -= count as u32;
        if !self.rules.broken(Rule::CountSlots) || kind == Kind::Singles {
            self.queue.give_back(slots);
        }
        self.flights[id].clear();
        self.free.push(id);
    }

    /// A flight is late: the CPU does its jobs, and it goes into quarantine.
    fn expire(&mut self, id: usize) {
        self.accelerator.timeouts += 1;
        for index in 0..self.flights[id].len() {
            let (descriptor, job) = self.flights[id].entry(index);
            self.redo(&descriptor);
            let target = self.jobs.target(job).clone();
            self.flights[id].hold_target(target);
            self.done.extend(self.jobs.piece_done(job));
        }
        self.quarantine.push(id);
        if self.rules.broken(Rule::Quarantine) {
            self.release(self.quarantine.len() - 1);
        }
    }

    /// The device is known to be done with a flight in quarantine.
    fn release(&mut self, at: usize) {
        let id = self.quarantine.swap_remove(at);
        let flight = &mut self.flights[id];
        let (kind, slots, count) = (flight.kind, flight.slots(), flight.len());
        flight.clear();
        self.in_flight -= count as u32;
        if !self.rules.broken(Rule::CountSlots) || kind == Kind::Singles {
            self.queue.give_back(slots);
        }
        self.free.push(id);
    }

    fn release_where(&mut self, mut over: impl FnMut(&mut Flight<F>) -> bool) {
        let mut at = 0;
        while at < self.quarantine.len() {
            if over(&mut self.flights[self.quarantine[at]]) {
                self.release(at);
            } else {
                at += 1;
            }
        }
    }

    fn tend_quarantine(&mut self) {
        self.release_where(Flight::is_done);
        if self.quarantine.is_empty() && self.drains.is_idle() {
            return;
        }
        let patience = self.settings.deadline_us;
        match self
            .drains
            .poll(&mut self.queue, self.next, self.now, patience)
        {
            Answer::Waiting => {}
            Answer::Over(before) => self.release_where(|flight| flight.number < before),
            Answer::Silence => self.give_up("answers no drain"),
        }
        self.accelerator.drains = self.drains.submitted;
    }

    /// Closes the queue. The device touches nothing any more afterwards, so everything can be
    /// settled by what its records say.
    fn give_up(&mut self, why: &str) {
        log::warn!(
            "work queue {} {why}: it is given up, and the CPU copies from now on",
            self.queue.info().name
        );
        self.queue.close();
        self.given_up = true;
        self.accelerator.lost = 1;
        while let Some(id) = self.flying.pop() {
            self.settle(id);
        }
        self.release_where(|_| true);
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

    fn submit(&mut self, batch: &mut CopyBatch<F>) {
        if batch.is_empty() {
            return;
        }
        self.stats.batches += 1;
        batch.take_jobs(|job, pieces| self.take(job, pieces));
        self.launch();
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
