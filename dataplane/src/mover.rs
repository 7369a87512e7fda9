//! Movers carry payload from the frames it was received in to the frames it is sent from.
//!
//! The sessions of one turn collect their copy jobs in one [`CopyBatch`]; the worker submits it
//! once, and harvests what has been done later in the same turn (a CPU mover is done at once) or at
//! the beginning of a later one (an accelerator works meanwhile). A job owns its frames until its
//! completion is seen: nobody can free or change what is being read or written.

mod accelerator;
#[cfg(any(test, feature = "sim"))]
pub mod conformance;
mod jobs;

pub use accelerator::{AcceleratorStats, CpuReason, SIZES};
pub use jobs::{JobId, Jobs};

use crate::conn::ConnRef;
use crate::payload::SpanId;
use crate::port::Frame;

/// Where a finished job's frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTag {
    /// The connection whose send queue waits for it. It may be gone when the job is done.
    pub conn: ConnRef,
    /// The place in that queue.
    pub span: SpanId,
}

/// One run of bytes to copy.
#[derive(Debug)]
pub struct CopyPiece<F> {
    /// Where they are.
    pub source: F,
    /// First byte, counted from the start of the source's data.
    pub source_offset: u32,
    /// First byte in the target, counted from the start of its room.
    pub target_offset: u32,
    /// How many.
    pub len: u32,
}

/// A target frame that is to be filled from its start, by the pieces that go with it.
#[derive(Debug)]
pub struct CopyJob<F> {
    /// The frame to fill. It has no other owner.
    pub target: F,
    /// Where it belongs afterwards.
    pub tag: JobTag,
    /// How many bytes the pieces have together.
    pub len: u32,
}

/// A job and how many of the batch's pieces are its; they follow one another.
#[derive(Debug)]
struct ListedJob<F> {
    job: CopyJob<F>,
    pieces: u32,
}

/// The pieces of one job, for its taker. Those that are not taken are dropped.
#[derive(Debug)]
pub struct Pieces<'a, 'b, F> {
    rest: &'a mut std::vec::Drain<'b, CopyPiece<F>>,
    left: usize,
}

impl<F> Pieces<'_, '_, F> {
    /// Those that are left.
    pub fn as_slice(&self) -> &[CopyPiece<F>] {
        &self.rest.as_slice()[..self.left]
    }
}

impl<F> Iterator for Pieces<'_, '_, F> {
    type Item = CopyPiece<F>;

    fn next(&mut self) -> Option<CopyPiece<F>> {
        self.left = self.left.checked_sub(1)?;
        self.rest.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<F> ExactSizeIterator for Pieces<'_, '_, F> {}

/// The copy jobs of one turn.
#[derive(Debug)]
pub struct CopyBatch<F> {
    jobs: Vec<ListedJob<F>>,
    pieces: Vec<CopyPiece<F>>,
    /// Pieces that already belong to a job.
    assigned: usize,
}

impl<F> Default for CopyBatch<F> {
    fn default() -> Self {
        Self {
            jobs: Vec::with_capacity(256),
            pieces: Vec::with_capacity(1024),
            assigned: 0,
        }
    }
}

impl<F: Frame> CopyBatch<F> {
    /// Adds one run of bytes to the job that [`CopyBatch::finish_job`] will close.
    pub fn add_piece(&mut self, piece: CopyPiece<F>) {
        self.pieces.push(piece);
    }

    /// Makes the pieces added since the last job one job that fills the first `len` bytes of
    /// `target`, which must have no other owner.
    pub fn finish_job(&mut self, target: F, len: u32, tag: JobTag) {
        let pieces = (self.pieces.len() - self.assigned) as u32;
        self.assigned = self.pieces.len();
        self.jobs.push(ListedJob {
            job: CopyJob { target, tag, len },
            pieces,
        });
    }

    /// Takes all jobs out, in the order in which they came, each with its pieces. For movers.
    pub fn take_jobs(&mut self, mut take: impl FnMut(CopyJob<F>, &mut Pieces<'_, '_, F>)) {
        self.assigned = 0;
        let mut rest = self.pieces.drain(..);
        for ListedJob { job, pieces } in self.jobs.drain(..) {
            let mut pieces = Pieces {
                rest: &mut rest,
                left: pieces as usize,
            };
            take(job, &mut pieces);
            pieces.for_each(drop);
        }
    }

    /// Jobs in the batch.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// True when there is nothing to copy.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// A job that is done: the frame holds the bytes.
#[derive(Debug)]
pub struct Done<F> {
    /// The filled frame, its length set.
    pub frame: F,
    /// Where it belongs.
    pub tag: JobTag,
}

/// Unaligned runs are copied in parts of this many bytes.
const PART: usize = 2048;

/// Copies a run. Long copies are `rep movsb` in the C library, from 4 KiB on or earlier, and that is
/// many times slower on some processors when source and target are not aligned alike: there it is
/// kept from it by shorter ones.
fn copy_run(to: &mut [u8], from: &[u8]) {
    let shift = to.as_ptr().addr().wrapping_sub(from.as_ptr().addr());
    if to.len() <= PART || shift.is_multiple_of(64) {
        to.copy_from_slice(from);
        return;
    }
    for (to, from) in to.chunks_mut(PART).zip(from.chunks(PART)) {
        to.copy_from_slice(from);
    }
}

/// Does a job with the CPU.
///
/// # Panics
/// When the target has other owners, or a piece lies outside its frame.
pub fn copy_with_cpu<F: Frame>(
    mut job: CopyJob<F>,
    pieces: impl Iterator<Item = CopyPiece<F>>,
) -> Done<F> {
    let room = job
        .target
        .room_mut()
        .expect("the target of a copy job has one owner");
    for piece in pieces {
        let from = piece.source_offset as usize;
        let to = piece.target_offset as usize;
        let len = piece.len as usize;
        copy_run(
            &mut room[to..to + len],
            &piece.source.data()[from..from + len],
        );
    }
    job.target.set_len(job.len as usize);
    Done {
        frame: job.target,
        tag: job.tag,
    }
}

/// What a mover has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoverStats {
    /// Jobs taken.
    pub jobs: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Batches submitted.
    pub batches: u64,
}

/// How payload gets from one side of a session to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveMode {
    /// It is copied to frames of its own: the frames it was received in are free early.
    Copy,
    /// It is sent from the frames it was received in: nothing moves.
    Reference,
}

/// Whoever carries out copy jobs.
pub trait Mover<F: Frame> {
    /// Whether there is anything to carry.
    fn mode(&self) -> MoveMode;

    /// Says that it is `now_us`, in microseconds from any fixed point, once a turn before anything
    /// else. Movers that wait for a device measure their patience with it.
    fn begin_turn(&mut self, _now_us: u64) {}

    /// Says how many exchanges are under way, once a turn: where there are many, a job may wait for
    /// others to be submitted with, since that is little beside what its exchange waits for its turn.
    fn note_load(&mut self, _exchanges: u32) {}

    /// Takes every job of `batch`, leaving it empty. Jobs that a device has no room for wait inside
    /// the mover.
    fn submit(&mut self, batch: &mut CopyBatch<F>);

    /// Appends the jobs that are done to `done`. Their order is nobody's promise.
    fn harvest(&mut self, done: &mut Vec<Done<F>>);

    /// Jobs taken and not yet handed back.
    fn in_flight(&self) -> usize;

    /// Frames of jobs that were handed back but that a device may still read, or write the same
    /// bytes to once more. The mover stays one of their owners until it knows that it will not.
    fn quarantined(&self) -> usize {
        0
    }

    /// What has been done so far.
    fn stats(&self) -> MoverStats;

    /// What an accelerator did of it; all zero without one.
    fn accelerator(&self) -> AcceleratorStats {
        AcceleratorStats::default()
    }
}

/// The CPU copies.
#[derive(Debug)]
pub struct MemMover<F> {
    done: Vec<Done<F>>,
    stats: MoverStats,
}

impl<F> Default for MemMover<F> {
    fn default() -> Self {
        Self {
            done: Vec::with_capacity(256),
            stats: MoverStats::default(),
        }
    }
}

impl<F: Frame> Mover<F> for MemMover<F> {
    fn mode(&self) -> MoveMode {
        MoveMode::Copy
    }

    fn submit(&mut self, batch: &mut CopyBatch<F>) {
        if batch.jobs.is_empty() {
            return;
        }
        self.stats.batches += 1;
        batch.take_jobs(|job, pieces| {
            self.stats.jobs += 1;
            self.stats.bytes += u64::from(job.len);
            self.done.push(copy_with_cpu(job, pieces));
        });
    }

    fn harvest(&mut self, done: &mut Vec<Done<F>>) {
        done.append(&mut self.done);
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }

    fn stats(&self) -> MoverStats {
        self.stats
    }
}

/// Nothing moves: payload is sent from the frames it came in.
#[derive(Debug, Default)]
pub struct ZeroCopy;

impl<F: Frame> Mover<F> for ZeroCopy {
    fn mode(&self) -> MoveMode {
        MoveMode::Reference
    }

    fn submit(&mut self, batch: &mut CopyBatch<F>) {
        debug_assert!(batch.is_empty(), "zero-copy sessions make no copy jobs");
    }

    fn harvest(&mut self, _done: &mut Vec<Done<F>>) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn stats(&self) -> MoverStats {
        MoverStats::default()
    }
}

/// A mover chosen at start-up.
#[derive(Debug)]
pub enum AnyMover<F> {
    /// The CPU copies.
    Mem(MemMover<F>),
    /// Nothing moves.
    ZeroCopy(ZeroCopy),
}

impl<F: Frame> Mover<F> for AnyMover<F> {
    fn mode(&self) -> MoveMode {
        match self {
            Self::Mem(mover) => mover.mode(),
            Self::ZeroCopy(mover) => Mover::<F>::mode(mover),
        }
    }

    fn submit(&mut self, batch: &mut CopyBatch<F>) {
        match self {
            Self::Mem(mover) => mover.submit(batch),
            Self::ZeroCopy(mover) => mover.submit(batch),
        }
    }

    fn harvest(&mut self, done: &mut Vec<Done<F>>) {
        match self {
            Self::Mem(mover) => mover.harvest(done),
            Self::ZeroCopy(mover) => mover.harvest(done),
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Mem(mover) => mover.in_flight(),
            Self::ZeroCopy(mover) => Mover::<F>::in_flight(mover),
        }
    }

    fn stats(&self) -> MoverStats {
        match self {
            Self::Mem(mover) => mover.stats(),
            Self::ZeroCopy(mover) => Mover::<F>::stats(mover),
        }
    }
}
