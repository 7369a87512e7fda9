//! What a packet costs on a device that costs nothing: cycles of receiving and sending at 1500
//! bytes on `net_null`, and of the single steps.
//!
//! `cargo run --release -p dpdk --example cycles -- --in-memory -m 256` (EAL options; without any,
//! no hugepages).
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use dataplane::port::{FrameClass, FramePool, Piece, Port, RxBurst, TxHeader, TxOffload};
use dpdk::{ClassConfig, DeviceConfig, DpdkDevice, DpdkPort, Eal, Mbuf, MbufPool, PoolConfig};

const ROUNDS: u64 = 20_000;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        args.extend(["--no-huge", "-m", "256"].map(str::to_owned));
    }
    args.extend(["--no-pci", "--no-telemetry", "-l", "1"].map(str::to_owned));
    args.extend(["--vdev", "net_null0,size=1500", "--vdev", "net_ring0"].map(str::to_owned));
    let eal = Eal::init(&args).expect("EAL");
    let config = PoolConfig {
        small: ClassConfig {
            count: 8_191,
            room: 2_048,
        },
        large: ClassConfig {
            count: 1_023,
            room: 16_384,
        },
        cache: 256,
    };
    let mut pool = MbufPool::new(&eal, "cycles", 0, &config).expect("a pool");

    let each = measure(ROUNDS * 64, || drop(pool.alloc(FrameClass::Small)));
    println!("alloc and free: {each:.1} cycles");
    let frame = pool.alloc(FrameClass::Small).expect("a frame");
    let each = measure(ROUNDS * 64, || drop(std::hint::black_box(frame.clone())));
    println!("clone and drop: {each:.1} cycles");
    drop(frame);
    let each = measure(ROUNDS * 64, || {
        let _ = std::hint::black_box(pool.level(FrameClass::Small));
    });
    println!("pool level: {each:.1} cycles");

    let open = |name: &str| {
        let device = DpdkDevice::open(
            &eal,
            name,
            &DeviceConfig::default(),
            std::slice::from_ref(&pool),
        );
        device.expect("the device").queue(0).expect("its queue")
    };
    let mut null = open("net_null0");
    let mut burst = RxBurst::with_capacity(64);
    let each = measure(ROUNDS, || receive(&mut null, &mut burst)) / 64.0;
    println!("net_null rx and free: {each:.1} cycles a packet");
    let each = measure(ROUNDS, || forward(&mut null, &mut burst)) / 64.0;
    println!("net_null rx, tx (copied: it takes no chains): {each:.1} cycles a packet");
    let mut ring = open("net_ring0");
    let source = pool.alloc(FrameClass::Small).map(|mut frame| {
        dataplane::port::Frame::set_len(&mut frame, 1460);
        frame
    });
    let source = source.expect("a frame");
    let each = measure(ROUNDS, || {
        for _ in 0..64 {
            push(&mut ring, &source);
        }
        ring.tx_flush();
        receive(&mut ring, &mut burst);
    }) / 64.0;
    println!("net_ring tx (header and indirect), rx, free both: {each:.1} cycles a packet");
    assert_eq!(null.stats().tx_errors + ring.stats().tx_errors, 0);
}

fn receive(port: &mut DpdkPort, burst: &mut RxBurst<Mbuf>) {
    let _ = port.rx_burst(burst);
    burst.packets.clear();
    burst.frames.clear();
}

fn forward(port: &mut DpdkPort, burst: &mut RxBurst<Mbuf>) {
    let _ = port.rx_burst(burst);
    assert!(port.tx_room() >= burst.packets.len());
    for frame in &burst.frames {
        push(port, frame);
    }
    port.tx_flush();
    burst.packets.clear();
    burst.frames.clear();
}

fn push(port: &mut DpdkPort, frame: &Mbuf) {
    let header = TxHeader {
        bytes: &[0; 54],
        offload: TxOffload::default(),
    };
    let piece = Piece {
        frame,
        offset: 0,
        len: 1446,
    };
    port.tx_push(&header, std::iter::once(piece))
        .expect("room in the queue");
}

/// Cycles of the time stamp counter for each call, after a warm-up.
fn measure(rounds: u64, mut work: impl FnMut()) -> f64 {
    for _ in 0..rounds / 10 {
        work();
    }
    let start = cycles();
    for _ in 0..rounds {
        work();
    }
    (cycles() - start) as f64 / rounds as f64
}

fn cycles() -> u64 {
    // SAFETY: every x86-64 processor has this instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}
