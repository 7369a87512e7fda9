//! What every copying mover must do, as a test that any of them can be put through.
//!
//! The suite sees a mover only from outside, by its trait and by its pool. That a mover owns what
//! it works on is found out by taking every frame that the pool thinks is free and writing over it:
//! had the mover let go of a source or a target too early, the bytes it hands back would be wrong.

use super::{CopyBatch, CopyPiece, Done, JobTag, MoveMode, Mover};
use crate::conn::ConnRef;
use crate::flow_table::ConnId;
use crate::payload::{SendQueue, SpanArena};
use crate::port::{Frame, FrameClass, FramePool};

/// Times a mover is asked for its completions before it is given up. A copy of a few KiB takes an
/// accelerator some microseconds; being asked takes nanoseconds.
const MOST_POLLS: u64 = 200_000_000;

/// Longest runs and targets; as far as the pool's frames are that large.
const LONGEST: usize = 16 * 1024;

/// Puts movers that `make_mover` makes through everything, with frames of `pool`.
///
/// The pool must be full, with at least 64 frames of each class, and used by nobody else. It is
/// full again afterwards.
///
/// # Panics
/// When a mover does something wrong.
pub fn conformance<L: FramePool, M: Mover<L::Frame>>(
    pool: &mut L,
    mut make_mover: impl FnMut() -> M,
) {
    let mut bench = Bench::new(pool, make_mover());
    assert_eq!(bench.mover.mode(), MoveMode::Copy);
    bench.nothing();
    bench.every_alignment();
    bench.every_size();
    bench.one_source_for_many();
    bench.many_pieces();
    for round in 0..200 {
        bench.random_batch(round);
    }
    bench.several_batches_at_once();
    bench.sources_with_other_owners();
    bench.settle();
    bench.stats_balance();

    let full = bench.full;
    drop(bench);
    assert_eq!(free(pool), full, "an idle mover held frames");
    for _ in 0..8 {
        let mut bench = Bench::new(pool, make_mover());
        for length in [1, 64, 1500, 9000, LONGEST] {
            let target_room = bench.large;
            let _ = bench.job(&[Run::plain(length.min(target_room))]);
        }
        bench.submit();
        drop(bench);
        assert_eq!(free(pool), full, "frames of a mover that was dropped");
    }
}

/// A shorter course, different for each `seed`, for movers with much to go wrong: `rounds` random
/// batches, several at once, and an end in the middle of work. Returns what `look` makes of the mover
/// once all its work is done.
///
/// # Panics
/// When the mover does something wrong.
pub fn short_course<L: FramePool, M: Mover<L::Frame>, T>(
    pool: &mut L,
    mover: M,
    seed: u64,
    rounds: usize,
    look: impl FnOnce(&M) -> T,
) -> T {
    let mut bench = Bench::new(pool, mover);
    bench.random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        let jobs = bench.below(10);
        bench.random_batch(jobs);
        bench.several_batches_at_once();
        bench.batches_over_time();
    }
    bench.sources_with_other_owners();
    bench.settle();
    bench.stats_balance();
    let seen = look(&bench.mover);
    for _ in 0..bench.below(8) {
        bench.random_job();
        bench.submit();
    }
    let full = bench.full;
    drop(bench);
    assert_eq!(free(pool), full, "frames of a mover that was dropped");
    seen
}

fn free<L: FramePool>(pool: &L) -> [u32; 2] {
    [
        pool.level(FrameClass::Small).free,
        pool.level(FrameClass::Large).free,
    ]
}

/// A run to copy: how long it is, and where it begins in its source.
#[derive(Clone, Copy)]
struct Run {
    len: usize,
    source_offset: usize,
}

impl Run {
    fn plain(len: usize) -> Self {
        Self {
            len,
            source_offset: 0,
        }
    }
}

/// A job that has not come back yet.
struct Expected {
    tag: JobTag,
    bytes: Vec<u8>,
}

struct Bench<'a, L: FramePool, M> {
    pool: &'a mut L,
    mover: M,
    batch: CopyBatch<L::Frame>,
    done: Vec<Done<L::Frame>>,
    arena: SpanArena<L::Frame>,
    /// Where the tags are from.
    queue: SendQueue,
    open: Vec<Expected>,
    submitted: usize,
    jobs: u64,
    bytes: u64,
    batches: u64,
    /// Frames the pool has when all are home.
    full: [u32; 2],
    large: usize,
    random: u64,
    /// The mover's time: a microsecond for each time it is asked.
    now: u64,
}

impl<'a, L: FramePool, M: Mover<L::Frame>> Bench<'a, L, M> {
    fn new(pool: &'a mut L, mover: M) -> Self {
        let full = free(pool);
        assert!(
            full[0] >= 64 && full[1] >= 64,
            "too few frames to test with"
        );
        let large = pool.alloc(FrameClass::Large).expect("a full pool");
        Self {
            mover,
            batch: CopyBatch::default(),
            done: Vec::new(),
            arena: SpanArena::with_capacity(64),
            queue: SendQueue::default(),
            open: Vec::new(),
            submitted: 0,
            jobs: 0,
            bytes: 0,
            batches: 0,
            full,
            large: large.capacity().min(LONGEST),
            random: 0x1234_5678_9abc_def1,
            now: 0,
            pool,
        }
    }

    /// xorshift64: the suite must not depend on a random number crate.
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }

    fn alloc(&mut self, len: usize) -> L::Frame {
        let small = self.pool.alloc(FrameClass::Small);
        match small {
            Some(frame) if frame.capacity() >= len => frame,
            _ => {
                let frame = self.pool.alloc(FrameClass::Large).expect("a large frame");
                assert!(frame.capacity() >= len);
                frame
            }
        }
    }

    /// A frame of `len` bytes that nobody has seen before.
    fn source(&mut self, len: usize) -> L::Frame {
        let salt = self.below(1 << 30) as u32;
        let mut frame = self.alloc(len);
        let room = frame.room_mut().expect("a fresh frame has one owner");
        for (at, byte) in room[..len].iter_mut().enumerate() {
            let mixed = (at as u32 ^ salt).wrapping_mul(0x9e37_79b1);
            *byte = (mixed >> 24) as u8;
        }
        frame.set_len(len);
        frame
    }

    /// A target that holds something else.
    fn target(&mut self, len: usize) -> L::Frame {
        let mut frame = self.alloc(len);
        frame.room_mut().expect("a fresh frame has one owner")[..len].fill(0x5a);
        frame
    }

    /// Adds a job of `pieces`, each with its source, source offset and length.
    fn job_from(&mut self, pieces: Vec<(L::Frame, usize, usize)>) -> JobTag {
        let mut bytes = Vec::new();
        for (source, source_offset, len) in pieces {
            let target_offset = bytes.len() as u32;
            bytes.extend_from_slice(&source.data()[source_offset..source_offset + len]);
            self.batch.add_piece(CopyPiece {
                source,
                source_offset: source_offset as u32,
                target_offset,
                len: len as u32,
            });
        }
        let len = bytes.len() as u32;
        let target = self.target(bytes.len());
        let tag = JobTag {
            conn: ConnRef {
                id: ConnId(self.jobs as u32),
                generation: !self.jobs as u32,
            },
            span: self.queue.push_pending(&mut self.arena, len),
        };
        let before = self.batch.len();
        self.batch.finish_job(target, len, tag);
        assert_eq!(self.batch.len(), before + 1);
        self.jobs += 1;
        self.bytes += u64::from(len);
        self.open.push(Expected { tag, bytes });
        tag
    }

    /// Adds a job whose pieces each have a source of their own.
    fn job(&mut self, runs: &[Run]) -> JobTag {
        let pieces = runs
            .iter()
            .map(|run| {
                let source = self.source(run.source_offset + run.len);
                (source, run.source_offset, run.len)
            })
            .collect();
        self.job_from(pieces)
    }

    fn submit(&mut self) {
        self.batches += u64::from(!self.batch.is_empty());
        let before = self.mover.in_flight();
        assert_eq!(before, self.submitted);
        self.submitted += self.batch.len();
        self.mover.submit(&mut self.batch);
        assert!(self.batch.is_empty(), "a batch is taken whole");
        assert_eq!(self.mover.in_flight(), self.submitted);
        assert!(self.done.is_empty());
    }

    /// Writes over every frame that is free.
    fn scribble(&mut self) {
        let mut taken = Vec::new();
        for class in [FrameClass::Small, FrameClass::Large] {
            while let Some(mut frame) = self.pool.alloc(class) {
                frame
                    .room_mut()
                    .expect("the pool has given out a frame that somebody still owns")
                    .fill(0xee);
                taken.push(frame);
            }
        }
    }

    /// Takes what is done; every job must be one that is open, and right.
    fn harvest(&mut self) {
        let kept = self.done.len();
        self.now += 1;
        self.mover.begin_turn(self.now);
        self.mover.harvest(&mut self.done);
        let quarantined = self.mover.quarantined() > 0;
        self.submitted -= self.done.len() - kept;
        assert_eq!(self.mover.in_flight(), self.submitted);
        for mut done in self.done.drain(kept..) {
            let at = self
                .open
                .iter()
                .position(|expected| expected.tag == done.tag)
                .expect("a job came back that is not open");
            let expected = self.open.swap_remove(at);
            assert!(
                done.frame.data() == expected.bytes,
                "wrong bytes in a job of {} bytes: {} came back",
                expected.bytes.len(),
                done.frame.data().len()
            );
            assert!(
                quarantined || done.frame.room_mut().is_some(),
                "the mover still owns a target that it has handed back"
            );
            self.queue
                .complete(&mut self.arena, done.tag.span, done.frame);
        }
    }

    fn harvest_all(&mut self) {
        let mut polls = 0;
        while self.mover.in_flight() > 0 {
            self.harvest();
            polls += 1;
            assert!(polls < MOST_POLLS, "a job never came back");
            std::hint::spin_loop();
        }
        while self.mover.quarantined() > 0 {
            self.harvest();
            polls += 1;
            assert!(polls < MOST_POLLS, "frames never left quarantine");
            std::hint::spin_loop();
        }
    }

    /// Submits, scribbles and harvests until nothing is open; then all frames must be home.
    fn settle(&mut self) {
        self.submit();
        self.scribble();
        self.harvest_all();
        self.harvest();
        assert!(self.open.is_empty(), "a job was lost");
        assert_eq!(self.queue.pending(), 0);
        self.queue.reset(&mut self.arena);
        assert_eq!(free(self.pool), self.full, "the mover kept frames");
    }

    fn nothing(&mut self) {
        let before = self.mover.stats();
        for _ in 0..3 {
            self.settle();
        }
        assert_eq!(self.mover.stats(), before, "an empty batch is no batch");
    }

    fn every_alignment(&mut self) {
        for source_offset in 0..65 {
            for len in [1, 7, 64, 65, 500] {
                let _ = self.job(&[
                    // Shifts the second run's place in the target.
                    Run::plain(1 + source_offset % 9),
                    Run { len, source_offset },
                ]);
            }
            self.settle();
        }
    }

    fn every_size(&mut self) {
        let mut len = 1;
        while len <= self.large {
            for near in [len - 1, len, len + 1] {
                if (1..=self.large).contains(&near) {
                    let _ = self.job(&[Run::plain(near)]);
                }
            }
            self.settle();
            len *= 2;
        }
    }

    fn one_source_for_many(&mut self) {
        let source = self.source(self.large);
        let step = self.large / 20;
        for at in 0..20 {
            let _ = self.job_from(vec![(source.clone(), at * step, step)]);
        }
        // Twice into one target.
        let _ = self.job_from(vec![(source.clone(), 5, 100), (source, 5, 100)]);
        self.settle();
    }

    fn many_pieces(&mut self) {
        let source = self.source(self.large);
        let piece = self.large / 500;
        let pieces = (0..500)
            .rev()
            .map(|at| (source.clone(), at * piece, piece))
            .collect();
        let _ = self.job_from(pieces);
        drop(source);
        let _ = self.job(&[Run::plain(100)]);
        self.settle();
    }

    fn random_job(&mut self) {
        let mut room = self.large;
        let mut runs = Vec::new();
        for _ in 0..1 + self.below(4) {
            let most = [40, 1460, self.large][self.below(3)].min(room);
            if most == 0 {
                break;
            }
            let len = 1 + self.below(most);
            let source_offset = self.below(100.min(self.large - len + 1));
            runs.push(Run { len, source_offset });
            room -= len;
        }
        let _ = self.job(&runs);
    }

    fn random_batch(&mut self, round: usize) {
        // Five frames a job at most, of either class, and there are 64.
        for _ in 0..1 + round % 10 {
            self.random_job();
        }
        self.settle();
    }

    fn several_batches_at_once(&mut self) {
        for _ in 0..10 {
            self.random_job();
            self.submit();
            if self.below(2) == 0 {
                self.scribble();
                self.harvest();
            }
        }
        self.settle();
    }

    /// Jobs keep coming while earlier ones are under way, late, or in quarantine.
    fn batches_over_time(&mut self) {
        for _ in 0..10 {
            self.random_job();
            self.submit();
            for _ in 0..self.below(200) {
                self.harvest();
            }
            self.scribble();
        }
        self.settle();
    }

    /// A peer's frame may be consumed by one queue and sent by another: it is read by the mover,
    /// but not the mover's alone.
    fn sources_with_other_owners(&mut self) {
        let mut sources: Vec<_> = (0..8).map(|_| self.source(1000)).collect();
        let before: Vec<_> = sources.iter().map(|s| s.data().to_vec()).collect();
        for source in &sources {
            let _ = self.job_from(vec![(source.clone(), 3, 990)]);
        }
        self.submit();
        // Whoever may write while the mover is reading will.
        for (source, before) in sources.iter_mut().zip(&before) {
            assert_eq!(source.data(), before, "a mover changes no source");
            if let Some(room) = source.room_mut() {
                room[..1000].fill(0xcc);
            }
        }
        self.harvest_all();
        for source in &mut sources {
            assert!(
                source.room_mut().is_some(),
                "the mover still owns a source after its job came back"
            );
        }
        drop(sources);
        self.settle();
    }

    fn stats_balance(&mut self) {
        let stats = self.mover.stats();
        assert_eq!(stats.jobs, self.jobs);
        assert_eq!(stats.bytes, self.bytes);
        assert_eq!(stats.batches, self.batches);
    }
}
