//! One descriptor being carried out, in pieces with time between them.

use dsa::{Descriptor, Flags, Opcode, Status};

use crate::memory::{Memory, Missing};
use crate::{Config, Faults};

/// How a descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: Status,
    /// Bit 7 of the status.
    pub write_fault: bool,
    /// `None`: the field is not used, and holds garbage.
    pub result: Option<u8>,
    /// Bytes, or descriptors.
    pub completed: Option<u32>,
    /// Where a page is missing.
    pub fault_address: Option<u64>,
    /// Flags that are not valid.
    pub detail: Option<u32>,
}

impl Outcome {
    /// A status and nothing else.
    pub fn plain(status: Status) -> Self {
        Self {
            status,
            write_fault: false,
            result: None,
            completed: None,
            fault_address: None,
            detail: None,
        }
    }

    fn fault(missing: Missing, result: u8) -> Self {
        Self {
            write_fault: missing.write,
            result: Some(result),
            completed: Some(missing.done as u32),
            fault_address: Some(missing.address),
            ..Self::plain(Status::PageFault)
        }
    }

    /// The record, its unused fields full of garbage.
    pub fn record(&self, random: &mut fastrand::Rng) -> [u8; 32] {
        let mut record = [0; 32];
        random.fill(&mut record);
        record[0] = self.status.bits() | u8::from(self.write_fault) << 7;
        if let Some(result) = self.result {
            record[1] = result;
        }
        let mut put = |at: usize, bytes: Option<&[u8]>| {
            if let Some(bytes) = bytes {
                record[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        put(
            4,
            self.completed
                .map(u32::to_le_bytes)
                .as_ref()
                .map(|b| &b[..]),
        );
        put(
            8,
            self.fault_address
                .map(u64::to_le_bytes)
                .as_ref()
                .map(|b| &b[..]),
        );
        put(
            16,
            self.detail.map(u32::to_le_bytes).as_ref().map(|b| &b[..]),
        );
        record
    }
}

/// A descriptor under way.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What is to be done.
    pub descriptor: Descriptor,
    /// Bytes done.
    done: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// Whether something of this many thousandths happens now.
pub fn happens(random: &mut fastrand::Rng, rate: u32) -> bool {
    rate > 0 && random.u32(0..1000) < rate
}

impl Operation {
    /// One that has passed the checks.
    pub fn new(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            done: 0,
            outcome: None,
        }
    }

    /// Goes on. Copies go half way first, mostly: who looks early sees an unfinished target.
    pub fn advance(&mut self, memory: &mut Memory, config: &Config, random: &mut fastrand::Rng) {
        let outcome = match Opcode::from_bits(self.descriptor.opcode()) {
            Some(Opcode::Memmove) => self.memmove(memory, &config.faults, random),
            Some(Opcode::Fill) => Some(self.fill(memory)),
            _ => Some(Outcome::plain(Status::Success)),
        };
        self.outcome = outcome;
    }

    fn memmove(
        &mut self,
        memory: &mut Memory,
        faults: &Faults,
        random: &mut fastrand::Rng,
    ) -> Option<Outcome> {
        let Descriptor {
            source,
            target,
            size,
            ..
        } = self.descriptor;
        let blocks = self.descriptor.flags().has(Flags::BLOCK_ON_FAULT);
        if self.done == 0 {
            let (read, write) = (
                happens(random, faults.source),
                happens(random, faults.target),
            );
            if (read || write) && !blocks {
                return Some(missing_page(memory, &self.descriptor, !read, random));
            }
            let overlap = source.abs_diff(target) < u64::from(size);
            if !overlap && size > 1 && random.u32(0..4) > 0 {
                let half = random.u32(1..size);
                if let Err(missing) = memory.copy(source, target, half as usize) {
                    return Some(Outcome::fault(missing, 0));
                }
                self.done = half;
                return None;
            }
        }
        let done = self.done;
        let rest = memory.copy(
            source + u64::from(done),
            target + u64::from(done),
            (size - done) as usize,
        );
        Some(match rest {
            Ok(()) => Outcome::plain(Status::Success),
            Err(missing) => Outcome::fault(
                Missing {
                    done: missing.done + done as usize,
                    ..missing
                },
                0,
            ),
        })
    }

    fn fill(&mut self, memory: &Memory) -> Outcome {
        let Descriptor {
            source: pattern,
            target,
            size,
            ..
        } = self.descriptor;
        let bytes: Vec<u8> = pattern
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(size as usize)
            .collect();
        match memory.write(target, &bytes) {
            Ok(()) => Outcome::plain(Status::Success),
            Err(missing) => Outcome::fault(missing, 0),
        }
    }
}

/// A fault where there is none: some of the bytes are copied truly, from the start, or (result 1)
/// from the end.
fn missing_page(
    memory: &mut Memory,
    descriptor: &Descriptor,
    write: bool,
    random: &mut fastrand::Rng,
) -> Outcome {
    let size = u64::from(descriptor.size);
    let done = random.u64(0..size);
    let backwards = random.u32(0..4) == 0;
    let first = if backwards { size - done } else { 0 };
    let (source, target) = (descriptor.source + first, descriptor.target + first);
    if let Err(missing) = memory.copy(source, target, done as usize) {
        return Outcome::fault(missing, 0);
    }
    let base = if write {
        descriptor.target
    } else {
        descriptor.source
    };
    let at = if backwards { size - done - 1 } else { done };
    Outcome::fault(
        Missing {
            address: base + at,
            write,
            done: done as usize,
        },
        u8::from(backwards),
    )
}
