//! Payload costs no allocation once the queues have been as full as they get. Alone in its file:
//! the allocator that counts is the whole process's.

mod frames;

use allocation_counter::measure;
use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, MemMover, Mover};
use dataplane::payload::{Insert, RecvQueue, SendQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use frames::{HeapFrame, HeapPool};

/// Bytes of a segment, and of what goes through in one turn.
const SEGMENT: u32 = 1460;
const TURN: u32 = 40 * SEGMENT;

struct Session {
    pool: HeapPool,
    arena: SpanArena<HeapFrame>,
    recv: RecvQueue,
    send: SendQueue,
    batch: CopyBatch<HeapFrame>,
    mover: MemMover<HeapFrame>,
    done: Vec<dataplane::mover::Done<HeapFrame>>,
    scratch: Vec<u8>,
}

impl Session {
    /// One turn: segments arrive, out of order and twice, are copied, sent, sent again and
    /// acknowledged.
    fn turn(&mut self) {
        let base = self.recv.readable();
        for at in (0..40).rev().chain(0..40) {
            let mut frame = self.pool.alloc(FrameClass::Small).expect("a frame");
            frame.set_len(54 + SEGMENT as usize);
            let start = base + u64::from(at * SEGMENT);
            let said =
                self.recv
                    .insert(&mut self.arena, &frame, 54, SEGMENT, start, base + 500_000);
            assert_eq!(said, Insert::Held);
        }
        self.recv.set_available(u64::from(TURN));
        let limit = self.scratch.capacity();
        let nothing = |_: &[u8]| None::<()>;
        let (seen, _) = self
            .recv
            .search(&self.arena, &mut self.scratch, limit, nothing);
        assert_eq!(seen.len(), limit);
        self.recv.skip(&mut self.arena, 100);

        while self.recv.available() > 0 {
            let target = self.pool.alloc(FrameClass::Large).expect("a frame");
            let mut filled = 0;
            while filled < target.capacity() as u32 {
                let room = u64::from(target.capacity() as u32 - filled);
                let Some((source, offset, len)) = self.recv.take(&mut self.arena, room) else {
                    break;
                };
                self.batch.add_piece(CopyPiece {
                    source,
                    source_offset: offset,
                    target_offset: filled,
                    len,
                });
                filled += len;
            }
            let tag = JobTag {
                conn: ConnRef {
                    id: ConnId(0),
                    generation: 0,
                },
                span: self.send.push_pending(&mut self.arena, filled),
            };
            self.batch.finish_job(target, filled, tag);
        }
        self.mover.submit(&mut self.batch);
        self.mover.harvest(&mut self.done);
        for done in self.done.drain(..).rev() {
            self.send
                .complete(&mut self.arena, done.tag.span, done.frame);
        }
        assert!(
            self.send
                .extend(&mut self.arena, b"bytes of the proxy's own")
        );
        let reply = self.pool.alloc(FrameClass::Small).expect("a frame");
        self.send.push(&mut self.arena, reply, 0, 500);

        let from = self.send.told();
        self.send.tell(self.send.untold());
        assert!(self.send.all_told());
        for _ in 0..2 {
            let mut at = self.send.acked();
            while at < self.send.told() {
                let end = (at + u64::from(SEGMENT)).min(self.send.told());
                let bytes: u32 = self
                    .send
                    .pieces(&self.arena, at, end)
                    .map(|piece| piece.len)
                    .sum();
                assert_eq!(u64::from(bytes), end - at);
                at = end;
                self.send.ack(&mut self.arena, from + (at - from) / 3);
            }
        }
        self.send.ack(&mut self.arena, self.send.told());
        assert_eq!((self.arena.used(), self.pool.out()), (0, 0));
    }
}

#[test]
fn payload_costs_no_allocation() {
    let mut session = Session {
        pool: HeapPool::new(100, 8),
        arena: SpanArena::with_capacity(4),
        recv: RecvQueue::default(),
        send: SendQueue::default(),
        batch: CopyBatch::default(),
        mover: MemMover::default(),
        done: Vec::new(),
        scratch: Vec::with_capacity(16 * 1024),
    };
    let counted = measure(|| session.turn());
    assert!(counted.count_total > 0, "the arena grows at first");
    let counted = measure(|| (0..100).for_each(|_| session.turn()));
    assert_eq!(counted.count_total, 0);
    assert_eq!(session.mover.stats().jobs, 101 * 4);
}
