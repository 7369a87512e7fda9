//! The send queue against a vector of bytes.

mod frames;

use dataplane::payload::{SendQueue, SpanArena, SpanId};
use dataplane::port::{Frame, FrameClass, FramePool};
use frames::{HeapFrame, HeapPool};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Push {
        header: u32,
        len: u32,
        shared: bool,
    },
    Extend {
        len: usize,
    },
    PushPending {
        len: u32,
    },
    /// The mover is done with one of the jobs.
    Complete {
        which: usize,
    },
    Tell {
        most: u64,
    },
    Ack {
        most: u64,
    },
    /// An acknowledgement that is not new.
    AckAgain,
    /// The next new segment.
    Segment {
        len: u64,
        in_flight: bool,
    },
    /// Everything from what is not acknowledged on is sent again, in segments.
    GoBack {
        len: u64,
    },
    /// Any range that TCP knows about.
    Any {
        from: u64,
        len: u64,
    },
    /// The device has let go of what was in flight.
    Sent,
    Reset,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0u32..100, 1u32..3000, any::<bool>())
            .prop_map(|(header, len, shared)| Op::Push { header, len, shared }),
        3 => (1usize..300).prop_map(|len| Op::Extend { len }),
        4 => (1u32..3000).prop_map(|len| Op::PushPending { len }),
        5 => any::<usize>().prop_map(|which| Op::Complete { which }),
        5 => (0u64..8000).prop_map(|most| Op::Tell { most }),
        4 => (0u64..5000).prop_map(|most| Op::Ack { most }),
        1 => Just(Op::AckAgain),
        8 => (1u64..3000, any::<bool>())
            .prop_map(|(len, in_flight)| Op::Segment { len, in_flight }),
        1 => (300u64..3000).prop_map(|len| Op::GoBack { len }),
        3 => (any::<u64>(), 0u64..4000).prop_map(|(from, len)| Op::Any { from, len }),
        2 => Just(Op::Sent),
        1 => (0u8..10).prop_map(|n| if n == 0 { Op::Reset } else { Op::Sent }),
    ];
    prop::collection::vec(op, 1..150)
}

struct Bench {
    pool: HeapPool,
    arena: SpanArena<HeapFrame>,
    queue: SendQueue,
    /// The oracle: every byte ever queued, and how far who has come.
    stream: Vec<u8>,
    acked: u64,
    told: u64,
    sent: u64,
    /// Where the next new segment starts.
    next: u64,
    /// What the mover has: a place in the queue, and the stream bytes that belong there.
    jobs: Vec<(SpanId, u64, u32)>,
    salt: u8,
    /// Frames that a device sends, and what they held when they were given to it.
    in_flight: Vec<(HeapFrame, usize, Vec<u8>)>,
}

impl Bench {
    fn new() -> Self {
        Self {
            pool: HeapPool::new(400, 400),
            arena: SpanArena::with_capacity(4),
            queue: SendQueue::default(),
            stream: Vec::new(),
            acked: 0,
            told: 0,
            sent: 0,
            next: 0,
            jobs: Vec::new(),
            salt: 0,
            in_flight: Vec::new(),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.salt = self.salt.wrapping_add(41);
        let salt = self.salt;
        (0..len)
            .map(|at| (at as u8).wrapping_mul(7) ^ ((at >> 8) as u8) ^ salt)
            .collect()
    }

    fn push(&mut self, header: u32, len: u32, shared: bool) {
        let bytes = self.bytes(len as usize);
        let mut whole = vec![0xaa; header as usize];
        whole.extend_from_slice(&bytes);
        let frame = self.pool.filled(&whole);
        if shared {
            self.hold(&frame);
        }
        self.queue.push(&mut self.arena, frame, header, len);
        self.stream.extend_from_slice(&bytes);
    }

    fn push_pending(&mut self, len: u32) {
        let start = self.stream.len() as u64;
        let id = self.queue.push_pending(&mut self.arena, len);
        self.jobs.push((id, start, len));
        let bytes = self.bytes(len as usize);
        self.stream.extend_from_slice(&bytes);
    }

    fn complete(&mut self, which: usize) {
        let (id, start, len) = self.jobs.swap_remove(which);
        let bytes = &self.stream[start as usize..start as usize + len as usize];
        let frame = self.pool.filled(bytes);
        self.queue.complete(&mut self.arena, id, frame);
    }

    fn extend(&mut self, len: usize) -> bool {
        let bytes = self.bytes(len);
        let extended = self.queue.extend(&mut self.arena, &bytes);
        if extended {
            assert!(self.jobs.is_empty(), "behind what is still being copied");
            self.stream.extend_from_slice(&bytes);
        }
        extended
    }

    fn ready(&self) -> u64 {
        let pending = self.jobs.iter().map(|(_, start, _)| *start).min();
        pending.unwrap_or(self.stream.len() as u64)
    }

    fn tell(&mut self, most: u64) {
        let n = most.min(self.ready() - self.told);
        self.queue.tell(n);
        self.told += n;
    }

    fn ack(&mut self, n: u64) {
        self.acked += n.min(self.told - self.acked);
        self.next = self.next.max(self.acked);
        self.queue.ack(&mut self.arena, self.acked);
    }

    fn hold(&mut self, frame: &HeapFrame) {
        let data = frame.data().to_vec();
        self.in_flight.push((frame.clone(), data.len(), data));
    }

    fn segment(&mut self, start: u64, end: u64, in_flight: bool) {
        let mut seen = Vec::new();
        let mut held = Vec::new();
        for piece in self.queue.pieces(&self.arena, start, end) {
            assert!(piece.len > 0);
            let from = piece.offset as usize;
            seen.extend_from_slice(&piece.frame.data()[from..from + piece.len as usize]);
            held.push(piece.frame.clone());
        }
        assert!(
            seen == self.stream[start as usize..end as usize],
            "the bytes {start}..{end}"
        );
        if in_flight {
            for frame in &held {
                self.hold(frame);
            }
        }
        self.sent = self.sent.max(end);
    }

    fn reset(&mut self) {
        self.queue.reset(&mut self.arena);
        self.stream.clear();
        self.jobs.clear();
        (self.acked, self.told, self.sent, self.next) = (0, 0, 0, 0);
        assert_eq!(self.arena.used(), 0);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Push {
                header,
                len,
                shared,
            } => self.push(header, len, shared && len % 2 == 0),
            Op::Extend { len } => {
                let _ = self.extend(len);
            }
            Op::PushPending { len } => self.push_pending(len),
            Op::Complete { which } => {
                if !self.jobs.is_empty() {
                    self.complete(which % self.jobs.len());
                }
            }
            Op::Tell { most } => self.tell(most),
            Op::Ack { most } => self.ack(most),
            Op::AckAgain => self.queue.ack(&mut self.arena, self.acked / 2),
            Op::Segment { len, in_flight } => {
                let end = (self.next + len).min(self.told);
                if self.next < end {
                    self.segment(self.next, end, in_flight);
                    self.next = end;
                }
            }
            Op::GoBack { len } => {
                self.next = self.acked;
                while self.next < self.sent.min(self.told) {
                    let end = (self.next + len).min(self.told);
                    self.segment(self.next, end, false);
                    self.next = end;
                }
            }
            Op::Any { from, len } => {
                let start = self.acked + from % (self.told - self.acked + 1);
                let end = (start + len).min(self.told);
                self.segment(start, end, false);
            }
            Op::Sent => self.in_flight.clear(),
            Op::Reset => self.reset(),
        }
        self.check();
    }

    fn check(&self) {
        let (queue, end) = (&self.queue, self.stream.len() as u64);
        assert_eq!(queue.acked(), self.acked);
        assert_eq!(queue.told(), self.told);
        assert_eq!(queue.end(), end);
        assert_eq!(queue.untold(), self.ready() - self.told);
        assert_eq!(queue.outstanding(), end - self.acked);
        assert_eq!(queue.all_told(), self.told == end);
        assert_eq!(queue.pending() as usize, self.jobs.len());
        assert_eq!(queue.sent(), self.sent);
        for (frame, len, data) in &self.in_flight {
            assert_eq!(frame.data().len(), *len, "a frame in flight has grown");
            assert!(frame.data() == data, "a frame in flight has changed");
        }
        // Acknowledged frames are gone: no more are out than have a span or are in flight.
        assert!(self.pool.out() <= self.arena.used() + self.in_flight.len());
        if self.acked == end {
            assert_eq!(self.arena.used(), 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_segment_has_the_bytes_that_were_queued(ops in ops()) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.run(op);
        }
        while !bench.jobs.is_empty() {
            bench.complete(bench.jobs.len() / 2);
            bench.check();
        }
        bench.tell(u64::MAX);
        prop_assert!(bench.queue.all_told());
        bench.segment(bench.acked, bench.told, false);
        bench.in_flight.clear();
        bench.reset();
        prop_assert_eq!(bench.pool.out(), 0);
    }
}

#[test]
fn ready_ends_where_the_first_copy_is_missing() {
    let mut bench = Bench::new();
    bench.push(10, 100, false);
    for _ in 0..3 {
        bench.push_pending(50);
    }
    bench.push(0, 20, false);
    assert_eq!(bench.queue.untold(), 100);
    bench.complete(1);
    assert_eq!(bench.queue.untold(), 100);
    bench.complete(0);
    assert_eq!(bench.queue.untold(), 200);
    bench.complete(0);
    assert_eq!(bench.queue.untold(), 270);
}

#[test]
fn small_writes_share_a_frame_until_it_is_in_flight() {
    let mut bench = Bench::new();
    assert!(!bench.extend(1), "there is no frame yet");
    bench.push(0, 10, false);
    for _ in 0..20 {
        assert!(bench.extend(10));
    }
    assert_eq!((bench.arena.used(), bench.pool.out()), (1, 1));
    bench.tell(u64::MAX);
    bench.segment(0, 210, true);
    assert!(!bench.extend(10), "a device sends the frame");
    bench.in_flight.clear();
    assert!(bench.extend(10));
    assert!(!bench.extend(frames::SMALL), "the frame has no more room");
    bench.push_pending(10);
    assert!(!bench.extend(10), "the last frame is still being copied");
    bench.check();
}

#[test]
fn an_empty_segment_leaves_nothing_behind() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.push(0, 100, false);
    }
    bench.tell(u64::MAX);
    bench.segment(250, 250, false);
    bench.ack(150);
    // Were the first span remembered for the empty segment, it would be looked for in vain.
    bench.push(0, 100, false);
    bench.tell(u64::MAX);
    bench.segment(250, 400, false);
}

#[test]
fn a_mover_may_be_done_after_the_connection_is_gone() {
    let mut bench = Bench::new();
    bench.push_pending(100);
    let orphan = bench.pool.alloc(FrameClass::Small);
    bench.reset();
    drop(orphan);
    bench.push(0, 100, false);
    assert_eq!(bench.queue.untold(), 100);
    bench.reset();
    assert_eq!(bench.pool.out(), 0);
}
