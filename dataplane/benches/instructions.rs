//! How many instructions things take, counted by Valgrind: the same on every run, so that a
//! percent more is seen. `scripts/instructions.sh` runs this and compares it with what was recorded.
#![allow(missing_docs, reason = "a program; its macros make public functions")]

use std::hint::black_box;

use dataplane::flow_table::{ConnId, FlowKey, FlowTable};
use dataplane::http1::framing::BodyFraming;
use dataplane::http1::rewrite::{RequestRewrite, write_request};
use dataplane::http1::{Head, HeadLimits, HeadScan, MessageKind, RequestLine};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::{FrameClass, FramePool};
use dataplane::settings::{Forwarding, Limits, PortId};
use dataplane::sim::bed::{Bed, BedFrame, BedPool};
use dataplane::timer_wheel::{TimerId, TimerWheel};
use iai_callgrind::{
    Callgrind, EntryPoint, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

/// Exchanges counted in one run of the engine.
const EXCHANGES: u64 = 1_000;
/// How often a small thing is done.
const TIMES: u32 = 1_000;

const KIB16: usize = 16 * 1024;
const SMALL: usize = 128;

#[library_benchmark]
#[bench::mem_16k_x100(args = (100, KIB16, false, false), setup = Bed::alone)]
#[bench::mem_16k_x1000(args = (1_000, KIB16, false, false), setup = Bed::alone)]
#[bench::mem_16k_x10000(args = (10_000, KIB16, false, false), setup = Bed::alone)]
#[bench::mem_16k_x1000_merged(args = (1_000, KIB16, false, true), setup = Bed::alone)]
#[bench::zero_copy_16k_x1000(args = (1_000, KIB16, true, false), setup = Bed::alone)]
#[bench::zero_copy_16k_x10000(args = (10_000, KIB16, true, false), setup = Bed::alone)]
#[bench::mem_small_x100(args = (100, SMALL, false, false), setup = Bed::alone)]
#[bench::mem_small_x1000(args = (1_000, SMALL, false, false), setup = Bed::alone)]
#[bench::mem_small_x10000(args = (10_000, SMALL, false, false), setup = Bed::alone)]
#[bench::zero_copy_small_x1000(args = (1_000, SMALL, true, false), setup = Bed::alone)]
fn request(mut bed: Bed) {
    bed.exchanges(EXCHANGES);
    std::mem::forget(bed);
}

#[library_benchmark]
#[bench::x1000(args = (1_000, SMALL, false, false), setup = Bed::alone)]
fn segment_in(mut bed: Bed) {
    bed.acknowledgements(EXCHANGES as usize);
    std::mem::forget(bed);
}

#[library_benchmark]
#[bench::x1000(args = (1_000, SMALL, false, false), setup = Bed::alone)]
fn idle_turn(mut bed: Bed) {
    bed.idle_turns(EXCHANGES as usize);
    std::mem::forget(bed);
}

const HEAD: &[u8] = b"GET /static/app/index.html?version=20240517 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

fn unparsed() -> Head {
    Head::new(&limits())
}

fn parsed() -> (Head, RequestLine, Vec<u8>) {
    let mut head = unparsed();
    let line = head.parse_request(HEAD, &limits()).expect("it is valid");
    (head, line, Vec::with_capacity(4096))
}

#[library_benchmark]
#[bench::bytes_337(setup = unparsed)]
fn head_parse(mut head: Head) {
    let limits = limits();
    for _ in 0..TIMES {
        let mut scan = HeadScan::new(MessageKind::Request);
        let _ = black_box(scan.find_end(black_box(HEAD), &limits));
        let _ = black_box(head.parse_request(black_box(HEAD), &limits));
    }
}

#[library_benchmark]
#[bench::bytes_337(setup = parsed)]
fn head_rewrite((head, line, mut out): (Head, RequestLine, Vec<u8>)) {
    let forwarding = Forwarding::default();
    let how = RequestRewrite {
        forwarding: &forwarding,
        client: [192, 0, 2, 77].into(),
        scheme: "http",
        default_host: "192.0.2.1",
        body: BodyFraming::None,
        upgrade: false,
    };
    for _ in 0..TIMES {
        out.clear();
        write_request(&mut out, black_box(HEAD), &head, line, &how);
        let _ = black_box(out.len());
    }
}

fn flow(n: u32) -> FlowKey {
    let [_, high, middle, low] = n.to_be_bytes();
    let remote = ([10, high, middle, low], 40_000).into();
    FlowKey::new(PortId(0), ([10, 0, 0, 1], 80).into(), remote).expect("one family")
}

fn flows() -> FlowTable {
    let mut flows = FlowTable::new(100_000, 7);
    for n in 0..100_000 {
        flows.insert(flow(n), ConnId(n)).expect("there is room");
    }
    flows
}

#[library_benchmark]
#[bench::of_100000(setup = flows)]
fn flow_lookup(flows: FlowTable) -> FlowTable {
    for n in 0..TIMES {
        let _ = black_box(flows.get(black_box(&flow(n * 97))));
    }
    flows
}

fn timers() -> TimerWheel {
    let mut timers = TimerWheel::new(20_000, 0);
    for n in 0..20_000 {
        timers.arm(TimerId(n), 1_000 + u64::from(n));
    }
    timers
}

#[library_benchmark]
#[bench::later(setup = timers)]
fn timer_move(mut timers: TimerWheel) -> TimerWheel {
    for n in 0..TIMES {
        timers.arm(black_box(TimerId(n)), black_box(30_000));
    }
    timers
}

fn queue() -> (SendQueue, SpanArena<BedFrame>, Vec<BedFrame>) {
    let mut pool = BedPool::new(0, TIMES);
    let frames = (0..TIMES).map(|_| pool.alloc(FrameClass::Large).expect("enough"));
    (
        SendQueue::default(),
        SpanArena::with_capacity(4096),
        frames.collect(),
    )
}

// A frame in, told, sent in a segment, acknowledged.
#[library_benchmark]
#[bench::send(setup = queue)]
fn span_queue((mut queue, mut arena, frames): (SendQueue, SpanArena<BedFrame>, Vec<BedFrame>)) {
    for frame in frames {
        queue.push(&mut arena, frame, 0, 1460);
        queue.tell(1460);
        let pieces = queue.pieces(&arena, queue.acked(), queue.told());
        let _ = black_box(pieces.map(|piece| piece.len).sum::<u32>());
        queue.ack(&mut arena, queue.told());
    }
}

library_benchmark_group!(
    name = engine;
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("*::counted_turn*".to_owned())));
    benchmarks = request, segment_in, idle_turn
);
library_benchmark_group!(
    name = parts;
    benchmarks = head_parse, head_rewrite, flow_lookup, timer_move, span_queue
);
main!(library_benchmark_groups = engine, parts);
