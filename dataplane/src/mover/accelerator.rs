//! What a mover with an accelerator counts.

use crate::counters::{Accelerator, BatchSize, Counters, CpuJob, Gauge};

/// Why a job is done by the CPU although there is an accelerator.
pub type CpuReason = CpuJob;

/// Classes of batches by size: from 2, 4, 8, 16, 32, 64 descriptors on.
pub const SIZES: usize = 6;

/// What was done since the mover was made, and what is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceleratorStats {
    /// Jobs given to the accelerator.
    pub jobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Descriptors they came to.
    pub copies: u64,
    /// Batches submitted.
    pub batches: u64,
    /// Descriptors in those.
    pub batched: u64,
    /// Descriptors submitted one by one.
    pub singles: u64,
    /// Batches by their size.
    pub sizes: [u64; SIZES],
    /// Submissions whose completion was seen.
    pub completions: u64,
    /// Microseconds from submission until then, added up.
    pub delay_us: u64,
    /// Descriptors that ended with a page fault.
    pub faults: u64,
    /// Submissions that were not completed in time.
    pub timeouts: u64,
    /// Descriptors that the CPU did after the accelerator had not.
    pub redone: u64,
    /// Times a shared queue asked to try again.
    pub retries: u64,
    /// Drains submitted.
    pub drains: u64,
    /// Jobs that the CPU did, by reason, in the order of [`CpuReason::ALL`].
    pub by_cpu: [u64; CpuReason::ALL.len()],
    /// Descriptors under way now.
    pub in_flight: u64,
    /// Frames in quarantine now.
    pub quarantined: u64,
    /// 1 when the queue was given up.
    pub lost: u64,
}

impl AcceleratorStats {
    /// Counts a batch of `descriptors`, 2 at least.
    pub fn count_batch(&mut self, descriptors: u32) {
        self.batches += 1;
        self.batched += u64::from(descriptors);
        let class = descriptors.max(2).ilog2() as usize - 1;
        self.sizes[class.min(SIZES - 1)] += 1;
    }

    /// Counts a job that the CPU does.
    pub fn count_by_cpu(&mut self, reason: CpuReason) {
        self.by_cpu[reason as usize] += 1;
    }

    /// Writes the values where they are published from.
    pub(crate) fn write(&self, c: &mut Counters) {
        c[Gauge::AcceleratorInFlight] = self.in_flight;
        c[Gauge::AcceleratorQuarantined] = self.quarantined;
        c[Gauge::AcceleratorsLost] = self.lost;
        for (cell, value) in [
            (Accelerator::Jobs, self.jobs),
            (Accelerator::Bytes, self.bytes),
            (Accelerator::Copies, self.copies),
            (Accelerator::Batches, self.batches),
            (Accelerator::Batched, self.batched),
            (Accelerator::Singles, self.singles),
            (Accelerator::Completions, self.completions),
            (Accelerator::DelayMicros, self.delay_us),
            (Accelerator::Faults, self.faults),
            (Accelerator::Timeouts, self.timeouts),
            (Accelerator::Redone, self.redone),
            (Accelerator::Retries, self.retries),
            (Accelerator::Drains, self.drains),
        ] {
            c[cell] = value;
        }
        for (&reason, count) in CpuReason::ALL.iter().zip(self.by_cpu) {
            c[reason] = count;
        }
        for (&size, count) in BatchSize::ALL.iter().zip(self.sizes) {
            c[size] = count;
        }
    }
}

const _: () = assert!(BatchSize::ALL.len() == SIZES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_classed_by_size_and_everything_is_published() {
        let mut stats = AcceleratorStats::default();
        for size in [2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 1000] {
            stats.count_batch(size);
        }
        assert_eq!(stats.sizes, [2; SIZES]);
        stats.jobs = 40;
        stats.bytes = 80_000_000;
        stats.completions = 4;
        stats.delay_us = 100;
        stats.timeouts = 1;
        stats.count_by_cpu(CpuReason::QueueFull);
        stats.count_by_cpu(CpuReason::Small);
        let mut counters = Counters::default();
        stats.write(&mut counters);
        assert_eq!(counters[BatchSize::From64], 2);
        assert_eq!(counters[CpuReason::QueueFull], 1);
        let line = counters.summary(&Counters::default(), 2.0).to_string();
        let mean = (2 + 3 + 4 + 7 + 8 + 15 + 16 + 31 + 32 + 63 + 64 + 1000) as f64 / 12.0;
        let expected = format!(
            ", accelerator 20 jobs/s 40.0 MB/s, 3.3 jobs ({mean:.1} copies) a batch, seen after 25 us, \
             timeouts 1, by CPU instead: small 1, queue_full 1"
        );
        assert!(line.ends_with(&expected), "{line}");
        let none = Counters::default().summary(&Counters::default(), 1.0);
        assert!(!none.to_string().contains("accelerator"));
    }
}
