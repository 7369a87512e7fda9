//! From jobs to submissions: the policy, the batches.

use dataplane::mover::{CopyJob, CpuReason, Pieces, copy_with_cpu};
use dataplane::port::Frame;

use super::flight::Kind;
use super::{DsaMover, Rule};
use crate::Descriptor;
use crate::portal::Portal;

impl<F: Frame, P: Portal> DsaMover<F, P> {
    /// How many more descriptors can be taken now, that of the open flight included.
    pub(super) fn room(&self) -> u32 {
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

    pub(super) fn free_slots(&self) -> u32 {
        if self.rules.broken(Rule::CountSlots) {
            return u32::MAX / self.capacity;
        }
        self.queue.free_slots()
    }

    /// Why the CPU does this job, if it does.
    pub(super) fn decide(&self, job: &CopyJob<F>, pieces: &Pieces<'_, '_, F>) -> Option<CpuReason> {
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

    pub(super) fn take(&mut self, job: CopyJob<F>, pieces: &mut Pieces<'_, '_, F>) {
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
        self.open_jobs += 1;
    }

    pub(super) fn open_flight(&mut self) -> usize {
        if let Some(id) = self.open {
            return id;
        }
        let id = self.free.pop();
        let id = id.expect("decide() saw to it that there is room");
        self.open = Some(id);
        self.open_jobs = 0;
        self.open_since = self.now;
        id
    }

    /// Submits the open flight.
    pub(super) fn launch(&mut self) {
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
}
