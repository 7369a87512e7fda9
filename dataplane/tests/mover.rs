//! The movers of the engine itself, and whether the suite finds what is wrong with others.

mod frames;

use dataplane::mover::conformance::conformance;
use dataplane::mover::{
    AnyMover, CopyBatch, Done, MemMover, MoveMode, Mover, MoverStats, ZeroCopy,
};
use dataplane::port::Frame;
use frames::{HeapFrame, HeapPool};

fn pool() -> HeapPool {
    HeapPool::new(80, 80)
}

#[test]
fn mem_mover_conforms() {
    conformance(&mut pool(), MemMover::default);
}

#[test]
fn any_mover_conforms() {
    conformance(&mut pool(), || AnyMover::Mem(MemMover::default()));
}

#[test]
fn zero_copy_has_nothing_to_do() {
    fn check(mover: &mut impl Mover<HeapFrame>) {
        assert_eq!(mover.mode(), MoveMode::Reference);
        let mut done = Vec::new();
        mover.submit(&mut CopyBatch::default());
        mover.harvest(&mut done);
        assert!(done.is_empty());
        assert_eq!(mover.in_flight(), 0);
        assert_eq!(mover.stats(), MoverStats::default());
    }
    check(&mut ZeroCopy);
    check(&mut AnyMover::ZeroCopy(ZeroCopy));
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Late and out of order, as an accelerator may be: no fault.
    None,
    Byte,
    Length,
    Tag,
    Loses,
    Repeats,
    KeepsTarget,
    ForgetsWhenDropped,
    MiscountsJobs,
    MiscountsBatches,
    MiscountsInFlight,
    Overtaken,
}

/// A mover with a delay and a fault in its 51st job.
struct Faulty {
    mover: MemMover<HeapFrame>,
    waiting: Vec<Done<HeapFrame>>,
    kept: Option<HeapFrame>,
    fault: Fault,
    handed: u64,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if self.fault == Fault::ForgetsWhenDropped {
            self.waiting.drain(..).for_each(std::mem::forget);
        }
    }
}

impl Mover<HeapFrame> for Faulty {
    fn mode(&self) -> MoveMode {
        MoveMode::Copy
    }

    fn submit(&mut self, batch: &mut CopyBatch<HeapFrame>) {
        self.mover.submit(batch);
        self.mover.harvest(&mut self.waiting);
    }

    fn harvest(&mut self, done: &mut Vec<Done<HeapFrame>>) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.waiting.len() / 2;
        let mut job = self.waiting.swap_remove(at);
        self.handed += 1;
        if self.handed == 51 {
            match self.fault {
                Fault::Byte => {
                    let last = job.frame.data().len() - 1;
                    job.frame.room_mut().unwrap()[last] ^= 1;
                }
                Fault::Length => job.frame.set_len(job.frame.data().len() + 1),
                Fault::Tag => job.tag.conn.generation += 1,
                Fault::Loses => return,
                Fault::Repeats => done.push(Done {
                    frame: pool().filled(job.frame.data()),
                    tag: job.tag,
                }),
                Fault::KeepsTarget => self.kept = Some(job.frame.clone()),
                Fault::Overtaken => {
                    if let Some(other) = self.waiting.first_mut() {
                        std::mem::swap(&mut other.frame, &mut job.frame);
                    }
                }
                _ => {}
            }
        }
        done.push(job);
    }

    fn in_flight(&self) -> usize {
        let miscounts = self.fault == Fault::MiscountsInFlight && self.handed > 50;
        self.waiting.len() + usize::from(miscounts)
    }

    fn stats(&self) -> MoverStats {
        let mut stats = self.mover.stats();
        match self.fault {
            Fault::MiscountsJobs => stats.jobs += 1,
            Fault::MiscountsBatches => stats.batches += stats.batches / 50,
            _ => {}
        }
        stats
    }
}

fn passes(fault: Fault) -> bool {
    let run = || {
        conformance(&mut pool(), || Faulty {
            mover: MemMover::default(),
            waiting: Vec::new(),
            kept: None,
            fault,
            handed: 0,
        });
    };
    std::panic::catch_unwind(run).is_ok()
}

#[test]
fn late_completions_conform() {
    assert!(passes(Fault::None));
}

#[test]
fn faults_are_found() {
    for fault in [
        Fault::Byte,
        Fault::Length,
        Fault::Tag,
        Fault::Loses,
        Fault::Repeats,
        Fault::KeepsTarget,
        Fault::ForgetsWhenDropped,
        Fault::MiscountsJobs,
        Fault::MiscountsBatches,
        Fault::MiscountsInFlight,
        Fault::Overtaken,
    ] {
        assert!(!passes(fault), "{fault:?} was not found");
    }
}
