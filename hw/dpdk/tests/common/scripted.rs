//! A DMA device that fails as it is told to, seeded.
//!
//! It keeps to what `rte_dmadev.h` promises and to no more: copies are carried out at any time between
//! submission and report, in any order, from what the source holds then; reports come in the order in
//! which copies were queued, some at a time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use dataplane::sim::Rng;
use dpdk::{CopyEnd, DmaChannel};

/// Copies the mover submits at a time at most: drivers are said to not look at their queue's limit.
const MOST_SUBMITTED: usize = 32;

/// What goes wrong, in thousandths of the occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    /// Copies the ring holds.
    pub ring: usize,
    /// A copy ends with an error, after a part of it.
    pub fails: u32,
    /// A copy ends with a page fault, after a part of it.
    pub faults: u32,
    /// A copy is not taken though there is room.
    pub refuses: u32,
    /// A copy waits for so many polls before it is begun.
    pub stalls: u32,
    /// How many.
    pub stall_polls: u32,
    /// At a poll with work to do: the device does nothing for so many polls.
    pub stops: u32,
    /// How many; `u32::MAX`: for ever.
    pub stop_polls: u32,
    /// When all is reported: so is a copy that there never was.
    pub invents: u32,
}

/// What the device did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    /// Copies it took.
    pub queued: u64,
    /// Copies it carried out to their end.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that ended with an error, page faults included.
    pub failed: u64,
    /// Copies that ended with a page fault.
    pub faults: u64,
    /// Copies it did not take.
    pub refused: u64,
    /// Of these, for want of room: the mover had not asked.
    pub overflowed: u64,
    /// Times it stopped.
    pub stops: u64,
    /// Copies it reported that there never were.
    pub invented: u64,
    /// Copies not reported when it was closed.
    pub unreported: u64,
    /// It was closed.
    pub closed: bool,
}

struct Queued {
    source: u64,
    target: u64,
    len: u32,
    waits: u32,
    end: Option<CopyEnd>,
}

/// The device.
pub struct Scripted {
    script: Script,
    rng: Rng,
    ring: VecDeque<Queued>,
    /// How many of them, the first ones, are submitted.
    submitted: usize,
    frozen: u32,
    deeds: Rc<Cell<Deeds>>,
}

impl Scripted {
    /// A device, and where its deeds are told.
    pub fn new(seed: u64, script: Script) -> (Self, Rc<Cell<Deeds>>) {
        let deeds = Rc::<Cell<Deeds>>::default();
        let device = Self {
            script,
            rng: Rng::new(seed ^ 0x646d_6100),
            ring: VecDeque::new(),
            submitted: 0,
            frozen: 0,
            deeds: Rc::clone(&deeds),
        };
        (device, deeds)
    }

    fn tell(&self, deed: impl FnOnce(&mut Deeds)) {
        let mut deeds = self.deeds.get();
        deed(&mut deeds);
        self.deeds.set(deeds);
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.rng.below(1000) < u64::from(thousandths)
    }

    /// Goes on with some of what is submitted.
    fn work(&mut self) {
        for at in 0..self.submitted {
            if self.ring[at].end.is_some() || self.chance(500) {
                continue;
            }
            if self.ring[at].waits > 0 {
                self.ring[at].waits -= 1;
                continue;
            }
            let end = if self.chance(self.script.fails) {
                CopyEnd::Failed
            } else if self.chance(self.script.faults) {
                CopyEnd::PageFault
            } else {
                CopyEnd::Copied
            };
            let len = self.ring[at].len;
            let done = match end {
                CopyEnd::Copied => len,
                _ => self.rng.below(u64::from(len)) as u32,
            };
            let (source, target) = (self.ring[at].source, self.ring[at].target);
            let from = std::ptr::with_exposed_provenance::<u8>(source as usize);
            let to = std::ptr::with_exposed_provenance_mut::<u8>(target as usize);
            // SAFETY: who queued the copy promised that both are there until it is reported.
            unsafe { std::ptr::copy(from, to, done as usize) };
            self.ring[at].end = Some(end);
            self.tell(|deeds| match end {
                CopyEnd::Copied => {
                    deeds.copied += 1;
                    deeds.bytes += u64::from(len);
                }
                _ => {
                    deeds.failed += 1;
                    deeds.faults += u64::from(end == CopyEnd::PageFault);
                }
            });
        }
    }
}

impl DmaChannel for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn room(&self) -> usize {
        self.script.ring - self.ring.len()
    }

    unsafe fn queue(&mut self, source: u64, target: u64, len: u32) -> bool {
        assert!(source != 0 && target != 0 && len != 0);
        let full = self.room() == 0;
        if full || self.chance(self.script.refuses) {
            self.tell(|deeds| {
                deeds.refused += 1;
                deeds.overflowed += u64::from(full);
            });
            return false;
        }
        let waits = if self.chance(self.script.stalls) {
            self.script.stall_polls
        } else {
            0
        };
        self.ring.push_back(Queued {
            source,
            target,
            len,
            waits,
            end: None,
        });
        self.tell(|deeds| deeds.queued += 1);
        true
    }

    fn submit(&mut self) {
        let fresh = self.ring.len() - self.submitted;
        assert!(fresh <= MOST_SUBMITTED, "{fresh} copies submitted at once");
        self.submitted = self.ring.len();
        if self.frozen == 0 {
            self.work();
        }
    }

    fn reports(&mut self, ends: &mut Vec<CopyEnd>) {
        if self.submitted == 0 {
            return;
        }
        if self.frozen == 0 && self.chance(self.script.stops) {
            self.frozen = self.script.stop_polls;
            self.tell(|deeds| deeds.stops += 1);
        }
        if self.frozen > 0 {
            // `u32::MAX` polls are for ever.
            self.frozen -= u32::from(self.script.stop_polls != u32::MAX);
            return;
        }
        self.work();
        while let Some(Queued { end: Some(end), .. }) = self.ring.front() {
            ends.push(*end);
            let _reported = self.ring.pop_front();
            self.submitted -= 1;
            if self.chance(300) {
                break;
            }
        }
        if self.ring.is_empty() && self.chance(self.script.invents) {
            ends.push(CopyEnd::Copied);
            self.tell(|deeds| deeds.invented += 1);
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let unreported = self.ring.len() as u64;
        self.tell(|deeds| {
            deeds.closed = true;
            deeds.unreported = unreported;
        });
    }
}
