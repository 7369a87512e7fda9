//! Descriptors that are submitted together, and what they stand on.

use dataplane::mover::JobId;

use crate::dma::DmaArray;
use crate::{CompletionRecord, Descriptor, Status};

/// How a flight was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As one BATCH.
    Batch,
    /// Each descriptor by itself.
    Singles,
}

/// The memory of one submission. It is used again once the device is known to be done with it.
#[derive(Debug)]
pub struct Flight<F> {
    /// What is to be copied. The device reads it at any time until it is done.
    list: DmaArray<Descriptor>,
    /// A record for each, and one more for the batch.
    records: DmaArray<CompletionRecord>,
    /// Whose pieces they are.
    jobs: Vec<JobId>,
    /// The frames that are read.
    sources: Vec<F>,
    /// The frames that may still be written, once the flight was late.
    targets: Vec<F>,
    pub kind: Kind,
    /// In the order of submission.
    pub number: u64,
    /// When it was submitted, and when patience ends, in µs.
    pub submitted: u64,
    pub deadline: u64,
    /// Singles whose record was seen: those before it.
    seen: usize,
}

impl<F: Clone> Flight<F> {
    /// An empty flight for up to `capacity` descriptors.
    pub fn new(capacity: usize) -> Self {
        Self {
            list: DmaArray::new(capacity, Descriptor::default),
            records: DmaArray::new(capacity + 1, CompletionRecord::default),
            jobs: Vec::with_capacity(capacity),
            sources: Vec::with_capacity(capacity),
            targets: Vec::with_capacity(capacity),
            kind: Kind::Singles,
            number: 0,
            submitted: 0,
            deadline: 0,
            seen: 0,
        }
    }

    /// Descriptors in it.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Slots of the queue it takes.
    pub fn slots(&self) -> u32 {
        match self.kind {
            Kind::Batch => 1,
            Kind::Singles => self.len() as u32,
        }
    }

    fn batch_record(&self) -> usize {
        self.records.len() - 1
    }

    /// Adds a copy for a job; `make` is told the address of the record.
    pub fn push(&mut self, job: JobId, source: F, make: impl FnOnce(u64) -> Descriptor) {
        let index = self.jobs.len();
        self.records.record(index).clear();
        self.list.write(index, make(self.records.address(index)));
        self.jobs.push(job);
        self.sources.push(source);
    }

    /// The BATCH descriptor for all of it.
    pub fn batch(&self) -> Descriptor {
        let record = self.batch_record();
        self.records.record(record).clear();
        let record = self.records.address(record);
        Descriptor::batch(self.list.address(0), self.len() as u32, record)
    }

    /// The descriptors.
    pub fn descriptors(&self) -> &[Descriptor] {
        self.list.first(self.len())
    }

    /// One descriptor and whose it is.
    pub fn entry(&self, index: usize) -> (Descriptor, JobId) {
        (self.list.read(index), self.jobs[index])
    }

    /// The last descriptor was not submitted: it goes.
    pub fn pop(&mut self) -> Option<(Descriptor, JobId, F)> {
        let job = self.jobs.pop()?;
        let source = self.sources.pop()?;
        Some((self.list.read(self.jobs.len()), job, source))
    }

    /// Whether the device is done with it. Costs one look for a batch, and for singles one for each
    /// that has newly ended.
    #[inline]
    pub fn is_done(&mut self) -> bool {
        match self.kind {
            Kind::Batch => self.records.record(self.batch_record()).status().is_some(),
            Kind::Singles => {
                while self.seen < self.len() && self.records.record(self.seen).status().is_some() {
                    self.seen += 1;
                }
                self.seen == self.len()
            }
        }
    }

    /// How the batch as a whole ended.
    pub fn batch_status(&self) -> Option<Status> {
        self.records.record(self.batch_record()).status()
    }

    /// How one descriptor ended.
    pub fn status(&self, index: usize) -> Option<Status> {
        self.records.record(index).status()
    }

    /// Becomes one of the owners of a frame that may still be written.
    pub fn hold_target(&mut self, target: F) {
        self.targets.push(target);
    }

    /// Lets go of the sources before it is time (only tests do).
    pub fn forget_sources(&mut self) {
        self.sources.clear();
    }

    /// Frames it owns.
    pub fn frames(&self) -> usize {
        self.sources.len() + self.targets.len()
    }

    /// Empties it: the device does nothing with it any more.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.sources.clear();
        self.targets.clear();
        self.seen = 0;
    }
}
