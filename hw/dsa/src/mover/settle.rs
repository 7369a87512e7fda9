//! What becomes of submissions: done, done again, late, in quarantine, given up.

use dataplane::port::Frame;

use super::drain::Answer;
use super::flight::{Flight, Kind};
use super::{DsaMover, Rule};
use crate::portal::Portal;
use crate::{Descriptor, Status, dma};

impl<F: Frame, P: Portal> DsaMover<F, P> {
    pub(super) fn redo(&mut self, descriptor: &Descriptor) {
        // SAFETY: the frames of source and target are owned by the flight and by the job, which is
        // not handed back yet, and `take` checked the bounds. If the device still writes to the
        // target, it writes the same bytes.
        unsafe { dma::copy(descriptor) };
        self.accelerator.redone += 1;
    }

    /// A flight is done: its jobs are, too, once what failed is done again.
    pub(super) fn settle(&mut self, id: usize) {
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
    pub(super) fn expire(&mut self, id: usize) {
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
    pub(super) fn release(&mut self, at: usize) {
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

    pub(super) fn release_where(&mut self, mut over: impl FnMut(&mut Flight<F>) -> bool) {
        let mut at = 0;
        while at < self.quarantine.len() {
            if over(&mut self.flights[self.quarantine[at]]) {
                self.release(at);
            } else {
                at += 1;
            }
        }
    }

    pub(super) fn tend_quarantine(&mut self) {
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
    pub(super) fn give_up(&mut self, why: &str) {
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
}
