//! The mover allocates nothing once it has been as busy as it gets. Alone in its file: the allocator that
//! counts is the whole process's.

use allocation_counter::measure;
use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use dataplane::sim::pool::{SimFrame, SimPool};
use dsa::mover::{DsaMover, Settings};
use dsa::portal::{Portal, Submitted};
use dsa::queue::WorkQueue;
use dsa::sysfs::{Mode, QueueInfo};
use dsa::{Descriptor, Opcode, Status};

/// A device that is done at once, allocates nothing, and loses every 20th submission and fails every
/// 30th copy.
struct Instant(u64);

impl Instant {
    fn record(at: u64, status: Status) {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(at as usize);
        // SAFETY: the mover's record, whose first byte is an atomic.
        unsafe { at.write(status.bits()) };
    }

    fn carry_out(&mut self, descriptor: &Descriptor) {
        self.0 += 1;
        let status = if descriptor.opcode() != Opcode::Memmove as u8 {
            Status::Success
        } else if self.0.is_multiple_of(30) {
            Status::PageFault
        } else {
            // SAFETY: what the mover asks for.
            unsafe { dsa::dma::copy(descriptor) };
            Status::Success
        };
        Self::record(descriptor.record, status);
    }
}

impl Portal for Instant {
    fn takes_batches(&self) -> bool {
        true
    }

    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted {
        for descriptor in descriptors {
            self.0 += 1;
            if self.0.is_multiple_of(20) {
                continue;
            }
            if descriptor.opcode() == Opcode::Batch as u8 {
                let list =
                    std::ptr::with_exposed_provenance::<Descriptor>(descriptor.source as usize);
                for index in 0..descriptor.size as usize {
                    // SAFETY: the mover's list.
                    let listed = unsafe { list.add(index).read() };
                    self.carry_out(&listed);
                }
                // The records of the list say which failed.
                Self::record(descriptor.record, Status::BatchFailed);
            } else {
                self.carry_out(descriptor);
            }
        }
        Submitted {
            taken: descriptors.len(),
            retries: 0,
        }
    }

    fn close(&mut self) {}
}

#[test]
fn a_turn_allocates_nothing_not_even_when_it_goes_wrong() {
    let info = QueueInfo {
        name: "wq0.0".into(),
        device: "dsa0".into(),
        path: "wq0.0".into(),
        mode: Mode::Dedicated,
        size: 16,
        max_batch: 8,
        max_transfer: 1 << 20,
        numa_node: None,
    };
    let settings = Settings {
        threshold: 900,
        deadline_us: 10,
        ..Settings::default()
    };
    let mut mover = DsaMover::new(WorkQueue::new(Instant(0), info), settings);
    let mut pool = SimPool::new(200, 0);
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<SimFrame>::with_capacity(64);
    let (mut batch, mut done) = (CopyBatch::default(), Vec::with_capacity(64));
    let mut counted = 0;
    for turn in 0..3000_u64 {
        for job in 0..11_usize {
            let len = 800 + 100 * (job % 4);
            let mut source = pool.alloc(FrameClass::Small).unwrap();
            source.set_len(len);
            batch.add_piece(CopyPiece {
                source,
                source_offset: 0,
                target_offset: 0,
                len: len as u32,
            });
            let conn = ConnRef {
                id: ConnId(0),
                generation: 0,
            };
            let span = queue.push_pending(&mut arena, len as u32);
            let target = pool.alloc(FrameClass::Small).unwrap();
            batch.finish_job(target, len as u32, JobTag { conn, span });
        }
        let seen = measure(|| {
            mover.submit(&mut batch);
            for poll in 0..5 {
                mover.begin_turn(turn * 5 + poll);
                mover.harvest(&mut done);
                done.clear();
            }
        });
        // The pool grows its shelves as frames come home, but no more after a while.
        if turn > 500 {
            counted += seen.count_total;
        }
        queue.reset(&mut arena);
    }
    let stats = mover.accelerator();
    assert!(
        stats.timeouts > 100 && stats.faults > 100 && stats.drains > 100,
        "{stats:?}"
    );
    assert!(
        stats.by_cpu.iter().sum::<u64>() > 1000 && stats.jobs > 1000,
        "{stats:?}"
    );
    assert_eq!(stats.lost, 0);
    assert_eq!(counted, 0);
}
