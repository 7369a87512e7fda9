//! What carries out descriptors, step by step.
//!
//! A step advances one descriptor by one stage, so that everything that can happen between two
//! stages of one (another's completion, a reset, the driver looking) does happen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dsa::{Descriptor, Flags, Opcode, Status};

use crate::check::{Place, check};
use crate::operation::{Operation, Outcome, happens};
use crate::{Config, Gate, Memory};

/// What the device did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Copies that ended with success.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Batches that were begun.
    pub batches: u64,
    /// Descriptors in them.
    pub batched: u64,
    /// DRAINs that ended.
    pub drains: u64,
    /// Page faults reported, those of lists too.
    pub faults: u64,
    /// Descriptors that broke a rule.
    pub refused: u64,
    /// Descriptors whose record never comes.
    pub silent: u64,
    /// Descriptors that were made to wait.
    pub late: u64,
    /// Resets.
    pub resets: u64,
}

#[derive(Debug)]
struct Batch {
    /// Descriptors of the list that were read, once it was.
    operations: Option<Vec<Operation>>,
    /// Those to come, in the order of the list.
    pending: Vec<usize>,
    /// Whether one ended with anything but success.
    failed: bool,
    completed: u32,
    /// Where the list could not be read.
    fault: Option<u64>,
}

#[derive(Debug)]
enum Work {
    /// Not looked at yet.
    New {
        waited: bool,
    },
    Single(Operation),
    Batch(Batch),
    Drain,
}

#[derive(Debug)]
struct Running {
    /// In the order of submission.
    number: u64,
    descriptor: Descriptor,
    /// Steps until it goes on.
    delay: u32,
    work: Work,
}

/// The device behind one [`Gate`].
#[derive(Debug)]
pub struct Engine {
    gate: Arc<Gate>,
    config: Config,
    random: fastrand::Rng,
    memory: Memory,
    waiting: VecDeque<Descriptor>,
    running: Vec<Running>,
    next: u64,
    stats: EngineStats,
}

impl Engine {
    pub(crate) fn new(gate: Arc<Gate>, config: Config, memory: Memory) -> Self {
        Self {
            random: fastrand::Rng::with_seed(config.seed),
            gate,
            config,
            memory,
            waiting: VecDeque::new(),
            running: Vec::new(),
            next: 0,
            stats: EngineStats::default(),
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> EngineStats {
        self.stats
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&mut self, faults: crate::Faults) {
        self.config.faults = faults;
    }

    /// Goes on by one stage of one descriptor. False when there is nothing to do.
    pub fn step(&mut self) -> bool {
        let _before = self.gate.steps.fetch_add(1, Ordering::Relaxed);
        self.take_in();
        if self.running.is_empty() {
            return false;
        }
        if happens(&mut self.random, self.config.faults.reset) {
            self.reset();
            return true;
        }
        for running in &mut self.running {
            running.delay = running.delay.saturating_sub(1);
        }
        let count = self.running.len();
        let first = if self.config.parallel == 1 {
            0
        } else {
            self.random.usize(0..count)
        };
        let ready = (0..count)
            .map(|step| (first + step) % count)
            .find(|&at| self.running[at].delay == 0 && !self.is_held(at));
        if let Some(at) = ready {
            self.advance(at);
        }
        true
    }

    /// Abandons everything, some of it in the middle. No record is written.
    pub fn reset(&mut self) {
        self.take_in();
        self.stats.resets += 1;
        for mut running in std::mem::take(&mut self.running) {
            self.leave_half_done(&mut running);
            self.gate.free_slot();
        }
        for _ in self.waiting.drain(..) {
            self.gate.free_slot();
        }
    }

    /// Comes to an end with everything: each descriptor is finished or abandoned. Nothing is written
    /// any more afterwards until something new is submitted. It is what the kernel sees to when a
    /// queue is closed.
    pub fn quiesce(&mut self) {
        let faults = std::mem::take(&mut self.config.faults);
        self.take_in();
        while !self.running.is_empty() {
            if self.random.u32(0..8) == 0 {
                let at = self.random.usize(0..self.running.len());
                let mut running = self.running.swap_remove(at);
                self.leave_half_done(&mut running);
                self.gate.free_slot();
            } else {
                for running in &mut self.running {
                    running.delay = 0;
                }
                let _busy = self.step();
            }
            self.take_in();
        }
        self.config.faults = faults;
    }

    fn leave_half_done(&mut self, running: &mut Running) {
        let operation = match &mut running.work {
            Work::Single(operation) => Some(operation),
            Work::Batch(Batch {
                operations: Some(operations),
                pending,
                ..
            }) => pending.first().map(|&index| &mut operations[index]),
            _ => None,
        };
        if let Some(operation) = operation
            && operation.outcome.is_none()
            && self.random.bool()
        {
            operation.advance(&mut self.memory, &self.config, &mut self.random);
        }
    }

    fn take_in(&mut self) {
        self.gate.take_in(&mut self.waiting);
        while self.running.len() < self.config.parallel {
            let Some(descriptor) = self.waiting.pop_front() else {
                break;
            };
            self.running.push(Running {
                number: self.next,
                descriptor,
                delay: 0,
                work: Work::New { waited: false },
            });
            self.next += 1;
        }
    }

    /// A DRAIN waits for all that came before it.
    fn is_held(&self, at: usize) -> bool {
        let held = &self.running[at];
        matches!(held.work, Work::Drain)
            && self.running.iter().any(|other| other.number < held.number)
    }

    fn order(&mut self) -> [u8; 5] {
        let mut order = [0, 1, 2, 3, 4];
        if self.config.shuffle_checks {
            self.random.shuffle(&mut order);
        }
        order
    }

    fn advance(&mut self, at: usize) {
        let delay = self.random.u32(0..=self.config.latency);
        self.running[at].delay = delay;
        let descriptor = self.running[at].descriptor;
        match &mut self.running[at].work {
            Work::New { waited } => {
                let faults = &self.config.faults;
                if !*waited && happens(&mut self.random, faults.late) {
                    *waited = true;
                    self.running[at].delay = faults.late_steps;
                    self.stats.late += 1;
                    return;
                }
                match self.begin(&descriptor) {
                    Ok(work) => self.running[at].work = work,
                    Err(outcome) => self.finish(at, outcome),
                }
            }
            Work::Single(operation) => {
                operation.advance(&mut self.memory, &self.config, &mut self.random);
                if let Some(outcome) = operation.outcome {
                    self.count(&descriptor, &outcome);
                    self.finish(at, Some(outcome));
                }
            }
            Work::Drain => {
                self.stats.drains += 1;
                self.finish(at, Some(Outcome::plain(Status::Success)));
            }
            Work::Batch(_) => self.advance_batch(at),
        }
    }

    /// What a new descriptor becomes, or how it ends at once; `Err(None)`: without a record.
    fn begin(&mut self, descriptor: &Descriptor) -> Result<Work, Option<Outcome>> {
        if happens(&mut self.random, self.config.faults.lose) || !self.has_place(descriptor) {
            return Err(None);
        }
        let order = self.order();
        if let Some((status, detail)) = check(descriptor, Place::Alone, &self.config, order) {
            self.stats.refused += 1;
            return Err(Some(Outcome {
                detail: (status == Status::BadFlags).then_some(detail),
                ..Outcome::plain(status)
            }));
        }
        Ok(match Opcode::from_bits(descriptor.opcode()) {
            Some(Opcode::Batch) => {
                self.stats.batches += 1;
                self.stats.batched += u64::from(descriptor.size);
                Work::Batch(Batch {
                    operations: None,
                    pending: Vec::new(),
                    failed: false,
                    completed: 0,
                    fault: None,
                })
            }
            Some(Opcode::Drain) => Work::Drain,
            _ => Work::Single(Operation::new(*descriptor)),
        })
    }

    /// Whether the record could be written, if there is to be one.
    fn has_place(&mut self, descriptor: &Descriptor) -> bool {
        let flags = descriptor.flags();
        if !flags.has(Flags::RECORD_VALID) {
            // Requesting a record without an address is an error that cannot be told either.
            return !flags.has(Flags::REQUEST_RECORD);
        }
        descriptor.record.is_multiple_of(32)
            && !happens(&mut self.random, self.config.faults.record)
            && self.memory.can_write_record(descriptor.record)
    }

    fn advance_batch(&mut self, at: usize) {
        let mut running = self.running.swap_remove(at);
        let Work::Batch(batch) = &mut running.work else {
            unreachable!("the caller looked");
        };
        let ended = match &mut batch.operations {
            None => {
                self.fetch(&running.descriptor, batch);
                batch.pending.is_empty()
            }
            Some(operations) => {
                let which = self.choose(operations, &batch.pending);
                let index = batch.pending[which];
                self.advance_listed(&mut operations[index]);
                if let Some(outcome) = operations[index].outcome {
                    let _index = batch.pending.remove(which);
                    batch.completed += 1;
                    batch.failed |= outcome.status != Status::Success;
                    // A fence lets nothing pass once something before it has failed.
                    if batch.failed
                        && batch.pending.first().is_some_and(|&first| {
                            operations[first].descriptor.flags().has(Flags::FENCE)
                        })
                    {
                        batch.pending.clear();
                    }
                }
                batch.pending.is_empty()
            }
        };
        let outcome = ended.then(|| {
            let status = match batch {
                Batch { fault: Some(_), .. } => Status::ListFault,
                Batch { failed: true, .. } => Status::BatchFailed,
                _ => Status::Success,
            };
            self.stats.faults += u64::from(batch.fault.is_some());
            Outcome {
                completed: Some(batch.completed),
                fault_address: batch.fault,
                ..Outcome::plain(status)
            }
        });
        self.running.push(running);
        let last = self.running.len() - 1;
        self.running.swap(at, last);
        if let Some(outcome) = outcome {
            self.finish(at, Some(outcome));
        }
    }

    /// Reads the list. Nothing of it was looked at before.
    fn fetch(&mut self, descriptor: &Descriptor, batch: &mut Batch) {
        let count = descriptor.size as usize;
        let stops = happens(&mut self.random, self.config.faults.list);
        let readable = if stops {
            self.random.usize(0..count)
        } else {
            count
        };
        let mut operations = Vec::with_capacity(count);
        for index in 0..count {
            let address = descriptor.source + 64 * index as u64;
            let mut bytes = [0; 64];
            if index >= readable || self.memory.read(address, &mut bytes).is_err() {
                batch.fault = Some(address);
                break;
            }
            // SAFETY: a descriptor is 64 bytes, any of which may have any value.
            let listed = unsafe { std::mem::transmute::<[u8; 64], Descriptor>(bytes) };
            operations.push(Operation::new(listed));
        }
        batch.pending = (0..operations.len()).collect();
        batch.operations = Some(operations);
    }

    /// Which of the pending descriptors goes on: any before the next fence, or the fenced one when
    /// it is the first.
    fn choose(&mut self, operations: &[Operation], pending: &[usize]) -> usize {
        if self.config.ordered || self.config.parallel == 1 {
            return 0;
        }
        let fenced = |&at: &usize| operations[at].descriptor.flags().has(Flags::FENCE);
        let open = pending
            .iter()
            .skip(1)
            .position(fenced)
            .map_or(pending.len(), |before| before + 1);
        let open = if fenced(&pending[0]) { 1 } else { open };
        self.random.usize(0..open)
    }

    /// Goes on with a descriptor of a list; when it has ended, its record is written.
    fn advance_listed(&mut self, operation: &mut Operation) {
        let descriptor = operation.descriptor;
        let order = self.order();
        if let Some((status, detail)) = check(&descriptor, Place::InBatch, &self.config, order) {
            self.stats.refused += 1;
            operation.outcome = Some(Outcome {
                detail: (status == Status::BadFlags).then_some(detail),
                ..Outcome::plain(status)
            });
        } else if !self.has_place(&descriptor) {
            self.stats.silent += 1;
            operation.outcome = Some(Outcome::plain(Status::RecordFault));
            return;
        } else {
            operation.advance(&mut self.memory, &self.config, &mut self.random);
        }
        if let Some(outcome) = operation.outcome {
            self.count(&descriptor, &outcome);
            self.write(&descriptor, &outcome);
        }
    }

    fn count(&mut self, descriptor: &Descriptor, outcome: &Outcome) {
        let copy = descriptor.opcode() == Opcode::Memmove as u8;
        match outcome.status {
            Status::Success if copy => {
                self.stats.copies += 1;
                self.stats.bytes += u64::from(descriptor.size);
            }
            Status::PageFault => self.stats.faults += 1,
            _ => {}
        }
    }

    /// A descriptor leaves: its slot first, then its record, which it may not have.
    fn finish(&mut self, at: usize, outcome: Option<Outcome>) {
        let running = self.running.swap_remove(at);
        self.gate.free_slot();
        match outcome {
            Some(outcome) if !happens(&mut self.random, self.config.faults.silent) => {
                self.write(&running.descriptor, &outcome);
            }
            _ => self.stats.silent += 1,
        }
    }

    fn write(&mut self, descriptor: &Descriptor, outcome: &Outcome) {
        let flags = descriptor.flags();
        let batch = descriptor.opcode() == Opcode::Batch as u8;
        let failed = !matches!(outcome.status, Status::Success | Status::FalsePredicate);
        let wanted = flags.has(Flags::REQUEST_RECORD) || (failed && !batch);
        if wanted && flags.has(Flags::RECORD_VALID) && descriptor.record.is_multiple_of(32) {
            let record = outcome.record(&mut self.random);
            self.memory.write_record(descriptor.record, &record);
        }
    }
}
