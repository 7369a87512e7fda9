//! The receive queue against an array of bytes.
//!
//! Every segment carries bytes of its own, also where it overlaps others, so that the oracle knows
//! which of them a stream byte must come from: the first that brought it.

mod frames;

use dataplane::payload::{Insert, RecvQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use frames::{HeapFrame, HeapPool};
use proptest::prelude::*;

const WINDOW: u64 = 20_000;

/// The constant of the same name in the queue.
const MAX_SPANS: usize = 1024;

#[derive(Clone, Debug)]
enum Op {
    /// A segment `from` bytes from the next expected one.
    Insert {
        from: i64,
        len: u32,
        header: u32,
        /// Bytes behind the payload, as Ethernet padding leaves them.
        padding: u32,
        /// Somebody else keeps the frame.
        shared: bool,
    },
    /// TCP delivers this share (of 8) of what is in order.
    Deliver {
        share: u64,
    },
    Skip {
        most: u64,
    },
    Take {
        most: u64,
        keep: bool,
    },
    Look {
        skip: u64,
        limit: usize,
    },
    LetGo,
    Reset,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let from = prop_oneof![
        3 => Just(0i64),
        3 => -1500i64..4000,
        1 => -30i64..30,
        1 => -25_000i64..25_000,
    ];
    let len = prop_oneof![1u32..20, 1u32..1461, 505u32..520, 1u32..15_000];
    let op = prop_oneof![
        12 => (from, len, 0u32..120, prop_oneof![3 => Just(0u32), 1 => 1u32..9], any::<bool>())
            .prop_map(|(from, len, header, padding, shared)| Op::Insert {
                from, len, header, padding, shared: shared && len % 3 == 0
            }),
        6 => (1u64..9).prop_map(|share| Op::Deliver { share }),
        2 => (0u64..6000).prop_map(|most| Op::Skip { most }),
        4 => (0u64..6000, any::<bool>()).prop_map(|(most, keep)| Op::Take { most, keep }),
        2 => (0u64..3000, 1usize..5000).prop_map(|(skip, limit)| Op::Look { skip, limit }),
        1 => Just(Op::LetGo),
        1 => (0u8..8).prop_map(|n| if n == 0 { Op::Reset } else { Op::LetGo }),
    ];
    prop::collection::vec(op, 1..120)
}

struct Bench {
    pool: HeapPool,
    arena: SpanArena<HeapFrame>,
    queue: RecvQueue,
    /// The oracle: each byte of the stream, once a segment has brought it.
    stream: Vec<Option<u8>>,
    consumed: u64,
    readable: u64,
    salt: u8,
    /// Frames with other owners, and what they held when these came to them.
    kept: Vec<(HeapFrame, Vec<u8>)>,
    scratch: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Self {
            pool: HeapPool::new(400, 200),
            arena: SpanArena::with_capacity(4),
            queue: RecvQueue::default(),
            stream: Vec::new(),
            consumed: 0,
            readable: 0,
            salt: 0,
            kept: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether the queue was expected to take something, and what it said.
    fn insert(&mut self, start: u64, len: u32, header: u32, padding: u32, shared: bool) -> Insert {
        self.salt = self.salt.wrapping_add(37);
        let salt = self.salt;
        let value = |at: u64| (at as u8).wrapping_mul(13).wrapping_add((at >> 8) as u8) ^ salt;
        let mut bytes = vec![0xaa; header as usize];
        bytes.extend((start..start + u64::from(len)).map(value));
        bytes.extend(std::iter::repeat_n(0xbb, padding as usize));
        let frame = self.pool.filled(&bytes);
        let window_end = self.consumed + WINDOW;
        let said = self
            .queue
            .insert(&mut self.arena, &frame, header, len, start, window_end);
        let from = start.max(self.readable);
        let end = (start + u64::from(len)).min(window_end);
        if from < end {
            if said == Insert::Held {
                self.stream
                    .resize(self.stream.len().max(end as usize), None);
                for at in from..end {
                    let _ = self.stream[at as usize].get_or_insert(value(at));
                }
            }
        } else {
            assert_eq!(said, Insert::OutsideWindow);
        }
        if shared {
            self.kept.push((frame, bytes));
        }
        said
    }

    /// Stream offset behind the last byte without a hole before it.
    fn in_order(&self) -> u64 {
        let from = self.readable as usize;
        let run = self.stream[from.min(self.stream.len())..]
            .iter()
            .take_while(|b| b.is_some());
        self.readable + run.count() as u64
    }

    fn deliver(&mut self, to: u64) {
        self.readable = to;
        self.queue.set_available(to - self.consumed);
    }

    fn expected(&self, from: u64, to: u64) -> Vec<u8> {
        self.stream[from as usize..to as usize]
            .iter()
            .map(|b| b.expect("readable bytes have been received"))
            .collect()
    }

    fn look(&mut self, skip: u64, limit: usize) {
        let skip = skip.min(self.readable - self.consumed);
        let mut seen = Vec::new();
        for piece in self.queue.readable_pieces(&self.arena, skip) {
            assert!(piece.len > 0);
            let from = piece.offset as usize;
            seen.extend_from_slice(&piece.frame.data()[from..from + piece.len as usize]);
        }
        assert_eq!(seen, self.expected(self.consumed + skip, self.readable));
        let whole = self.expected(self.consumed, self.readable);
        let pieces = self.queue.readable_pieces(&self.arena, 0);
        let ends: Vec<usize> = pieces
            .scan(0, |end, piece| {
                *end += piece.len as usize;
                Some(*end)
            })
            .collect();
        // Never found: everything is looked at, a piece more each time.
        let mut seen = Vec::new();
        let (head, found) = self
            .queue
            .search(&self.arena, &mut self.scratch, limit, |bytes| {
                seen.push(bytes.len());
                None::<()>
            });
        assert!(found.is_none());
        assert!(head.len() >= limit.min(whole.len()), "all, or the limit");
        assert_eq!(head, &whole[..head.len()]);
        for (look, &len) in seen.iter().enumerate() {
            let end = ends.get(look).copied().unwrap_or(0);
            let expected = if look == 0 { end } else { end.min(limit) };
            assert_eq!(len, expected, "look {look}");
        }
        // Found: no piece behind it is looked at.
        let wanted = limit.min(whole.len()) / 2;
        let (head, found) = self
            .queue
            .search(&self.arena, &mut self.scratch, limit, |bytes| {
                (bytes.len() > wanted).then_some(bytes.len())
            });
        let enough = ends.iter().find(|&&end| end > wanted);
        if let (Some(&enough), Some(found)) = (enough, found) {
            assert_eq!(
                (head.len(), found),
                (enough.min(limit.max(ends[0])), head.len())
            );
            assert_eq!(head, &whole[..head.len()]);
        }
    }

    fn check(&self) {
        assert_eq!(self.queue.consumed(), self.consumed);
        assert_eq!(self.queue.readable(), self.readable);
        assert_eq!(self.queue.available(), self.readable - self.consumed);
        for (frame, bytes) in &self.kept {
            assert_eq!(frame.data(), bytes, "a shared frame has changed");
        }
        assert!(self.pool.out() <= self.arena.used() + self.kept.len());
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Insert {
                from,
                len,
                header,
                padding,
                shared,
            } => {
                let start = self.readable as i64 + from;
                let len = len.min(frames::LARGE as u32 - header - padding);
                // What lies before byte 0 has been cut off before it comes to the queue.
                let before = (-start).clamp(0, i64::from(len)) as u32;
                if before < len {
                    let start = start.max(0) as u64;
                    let said = self.insert(start, len - before, header, padding, shared);
                    assert_ne!(said, Insert::TooMany);
                }
            }
            Op::Deliver { share } => {
                let more = self.in_order() - self.readable;
                self.deliver(self.readable + (more * share).div_ceil(8));
            }
            Op::Skip { most } => {
                let n = most.min(self.readable - self.consumed);
                self.queue.skip(&mut self.arena, n);
                self.consumed += n;
            }
            Op::Take { most, keep } => {
                let taken = self.queue.take(&mut self.arena, most);
                let possible = most.min(self.readable - self.consumed);
                assert_eq!(taken.is_some(), possible > 0);
                if let Some((frame, offset, len)) = taken {
                    assert!(len > 0 && u64::from(len) <= possible);
                    let end = self.consumed + u64::from(len);
                    let bytes = &frame.data()[offset as usize..(offset + len) as usize];
                    assert_eq!(bytes, self.expected(self.consumed, end));
                    self.consumed = end;
                    if keep {
                        let bytes = frame.data().to_vec();
                        self.kept.push((frame, bytes));
                    }
                }
            }
            Op::Look { skip, limit } => self.look(skip, limit),
            Op::LetGo => self.kept.clear(),
            Op::Reset => {
                self.queue.reset(&mut self.arena);
                self.stream.clear();
                (self.consumed, self.readable) = (0, 0);
                assert_eq!(self.arena.used(), 0);
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn readable_bytes_are_the_first_received(ops in ops()) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.run(op);
        }
        // Whatever is in order can be read to the last byte.
        let end = bench.in_order();
        bench.deliver(end);
        bench.look(0, 100_000);
        bench.queue.reset(&mut bench.arena);
        bench.kept.clear();
        prop_assert_eq!(bench.arena.used(), 0);
        prop_assert_eq!(bench.pool.out(), 0);
    }
}

#[test]
fn single_bytes_share_a_frame() {
    let mut bench = Bench::new();
    for at in 0..1900 {
        assert_eq!(bench.insert(at, 1, 54, 0, false), Insert::Held);
        bench.deliver(at + 1);
    }
    assert_eq!((bench.arena.used(), bench.pool.out()), (1, 1));
    // Also behind a hole.
    for at in 3000..4900 {
        assert_eq!(bench.insert(at, 1, 54, 0, false), Insert::Held);
    }
    assert_eq!((bench.arena.used(), bench.pool.out()), (2, 2));
    bench.look(0, 100_000);
}

#[test]
fn larger_segments_stay_where_they_are() {
    let mut bench = Bench::new();
    for at in [0, 513] {
        assert_eq!(bench.insert(at, 513, 54, 0, false), Insert::Held);
    }
    assert_eq!(bench.pool.out(), 2);
}

#[test]
fn the_window_cuts_a_segment() {
    let mut bench = Bench::new();
    assert_eq!(bench.insert(WINDOW - 10, 20, 54, 0, false), Insert::Held);
    assert_eq!(bench.insert(WINDOW, 5, 54, 0, false), Insert::OutsideWindow);
    assert_eq!(bench.insert(0, 1000, 54, 0, false), Insert::Held);
    for at in (1000..WINDOW - 10).step_by(1000) {
        let _ = bench.insert(at, 1000, 54, 0, false);
    }
    assert_eq!(bench.in_order(), WINDOW);
    bench.deliver(WINDOW);
    bench.look(0, 100_000);
    // What was behind the window was not kept.
    bench.queue.skip(&mut bench.arena, WINDOW);
    assert_eq!((bench.arena.used(), bench.pool.out()), (0, 0));
}

/// A peer that sends every other byte.
fn full_of_holes() -> Bench {
    let mut bench = Bench::new();
    bench.pool = HeapPool::new(2 * MAX_SPANS + 10, 1);
    for n in 0..MAX_SPANS as u64 {
        assert_eq!(bench.insert(1 + 2 * n, 1, 54, 0, false), Insert::Held);
    }
    assert_eq!(bench.arena.used(), MAX_SPANS);
    bench
}

#[test]
fn holes_do_not_pin_frames_without_end() {
    let mut bench = full_of_holes();
    for n in 0..2 * MAX_SPANS as u64 {
        let said = bench.insert(5001 + 2 * n, 1, 54, 0, false);
        assert_eq!(said, Insert::TooMany);
    }
    assert!(bench.pool.out() <= MAX_SPANS);
}

/// Also in order: a reader that is slow must not cost more frames than holes do.
#[test]
fn shared_frames_are_not_pinned_without_end() {
    let mut bench = Bench::new();
    bench.pool = HeapPool::new(MAX_SPANS + 10, 1);
    for at in 0..MAX_SPANS as u64 {
        assert_eq!(bench.insert(at, 1, 54, 0, true), Insert::Held);
        bench.deliver(at + 1);
    }
    let at = MAX_SPANS as u64;
    assert_eq!(bench.insert(at, 1, 54, 0, false), Insert::TooMany);
    bench.queue.skip(&mut bench.arena, 1);
    bench.consumed += 1;
    assert_eq!(bench.insert(at, 1, 54, 0, false), Insert::Held);
}

/// The last small segment that fits does, the next goes into a frame of its own.
#[test]
fn compaction_ends_with_the_room() {
    let mut bench = Bench::new();
    let full = (frames::SMALL - 54) as u64;
    for len in [full - 500, 490, 10, 2, 1] {
        let at = bench.readable;
        assert_eq!(bench.insert(at, len as u32, 54, 0, false), Insert::Held);
        bench.deliver(at + len);
        let frames = if at < full { 1 } else { 2 };
        assert_eq!(bench.pool.out(), frames);
    }
    let at = bench.readable;
    let len = frames::SMALL as u32 - 56;
    assert_eq!(bench.insert(at, len, 0, 0, false), Insert::Held);
    bench.deliver(at + u64::from(len));
    let at = bench.readable;
    assert_eq!(bench.insert(at, 57, 0, 0, false), Insert::Held);
    bench.deliver(at + 57);
    assert_eq!(bench.pool.out(), 4, "one byte more than there is room");
    bench.look(0, 100_000);
}

#[test]
fn a_queue_full_of_holes_is_not_stuck() {
    let mut bench = full_of_holes();
    // The peer sends again what is missing first: refusing that would be refusing for ever.
    assert_eq!(bench.insert(0, 100, 54, 0, false), Insert::Held);
    assert_eq!(bench.in_order(), 100);
    bench.deliver(100);
    bench.look(0, 100_000);
    for at in (100..2048).step_by(100) {
        assert_eq!(bench.insert(at, 100, 54, 0, false), Insert::Held);
        let end = bench.in_order();
        bench.deliver(end);
    }
    bench.look(0, 100_000);
    assert!(bench.arena.used() <= 2 * MAX_SPANS + 1);
    assert!(bench.pool.out() <= 2 * MAX_SPANS);
    let available = bench.queue.available();
    bench.queue.skip(&mut bench.arena, available);
    assert_eq!((bench.arena.used(), bench.pool.out()), (0, 0));
}

/// A segment in several frames comes to the queue frame by frame.
#[test]
fn the_second_frame_of_a_segment_fills_holes_too() {
    let mut bench = full_of_holes();
    assert_eq!(bench.insert(0, 50, 54, 0, false), Insert::Held);
    assert_eq!(bench.insert(50, 50, 0, 0, false), Insert::Held);
    assert_eq!(bench.insert(101, 50, 0, 0, false), Insert::TooMany);
    assert_eq!(bench.in_order(), 100);
}

#[test]
fn what_is_held_is_held_also_when_the_queue_is_full() {
    let mut bench = full_of_holes();
    assert_eq!(bench.insert(0, 100, 54, 0, false), Insert::Held);
    // TCP forgot that it has them; the peer sends them once more.
    assert_eq!(bench.insert(0, 100, 54, 0, false), Insert::Held);
}

#[test]
fn a_pool_can_be_exhausted() {
    let mut pool = HeapPool::new(1, 0);
    let frame = pool.alloc(FrameClass::Small).unwrap();
    assert!(pool.alloc(FrameClass::Small).is_none());
    drop(frame.clone());
    assert_eq!(pool.out(), 1);
    drop(frame);
    assert_eq!(pool.out(), 0);
}
