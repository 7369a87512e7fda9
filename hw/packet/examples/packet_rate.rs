//! What a packet costs on this machine: two ports on the ends of a veth pair, one on each of two
//! cores, one way and both ways, for several sizes and batch sizes. Needs root; makes a network
//! namespace of its own, which ends with it.
//!
//! `cargo run --release -p packet --example packet_rate`
//!
//! On veth the receiving end's kernel work (softirq) runs inside the sender's system call: `send`
//! contains it, `receive` is only the copy out of the socket.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // A program that measures time.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::lab::{Lab, PEER, PORT};
use common::pool::{HeapFrame, HeapPool, LARGE};
use common::wire;
use dataplane::port::{Piece, Port, RxBurst, TxHeader};
use packet::{Options, PacketPort, PacketSocket};

const RUN: Duration = Duration::from_millis(700);

/// The time stamp counter: cycles at the nominal frequency.
fn cycles() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    #[cfg(target_arch = "x86_64")]
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    compile_error!("no cycle counter known");
}

fn pin(core: usize) {
    // SAFETY: `cpu_set_t` is plain data; the calls get a live set and its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        let result = libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        assert_eq!(result, 0, "needs two cores");
    }
}

#[derive(Default)]
struct Side {
    sent: u64,
    received: u64,
    missed: u64,
    send_cycles: u64,
    receive_cycles: u64,
    idle: u64,
    idle_cycles: u64,
}

fn push(port: &mut PacketPort<HeapPool>, frame: &HeapFrame, peer: [u8; 6], len: usize) {
    let payload = len.saturating_sub(54);
    let mut headers = wire::tcp_v4(1, payload);
    headers[..6].copy_from_slice(&peer);
    let header = TxHeader {
        bytes: &headers,
        offload: wire::offload(1448, false),
    };
    let piece = Piece {
        frame,
        offset: 0,
        len: payload as u32,
    };
    // Building the headers is the test's own expense; it is inside the measured time.
    port.tx_push(&header, [piece].into_iter())
        .expect("room was asked for");
}

fn side(
    socket: PacketSocket,
    peer: [u8; 6],
    len: usize,
    sends: bool,
    start: &Barrier,
    core: usize,
) -> Side {
    pin(core);
    let batch = socket.options().send_batch;
    let mut pool = HeapPool::new(2_048, 2_048);
    let frame = wire::spread(&mut pool, &wire::pattern(LARGE)).remove(0);
    let mut port = PacketPort::new(socket, pool).expect("frames");
    let mut burst = RxBurst::with_capacity(batch);
    let mut side = Side::default();
    let _ = port.rx_burst(&mut burst);
    let _ = start.wait();
    let end = Instant::now() + RUN;
    while Instant::now() < end {
        if sends {
            let from = cycles();
            for _ in 0..batch.min(port.tx_room()) {
                push(&mut port, &frame, peer, len);
            }
            port.tx_flush();
            side.send_cycles += cycles() - from;
        }
        let from = cycles();
        let count = port.rx_burst(&mut burst);
        burst.packets.clear();
        burst.frames.clear();
        let spent = cycles() - from;
        if count > 0 {
            side.receive_cycles += spent;
        } else {
            side.idle += 1;
            side.idle_cycles += spent;
        }
    }
    let stats = port.stats();
    side.sent = stats.tx_packets;
    side.received = stats.rx_packets;
    side.missed = stats.rx_missed;
    side
}

fn per(total: u64, count: u64) -> u64 {
    total.checked_div(count).unwrap_or(0)
}

fn main() {
    let _lab = Lab::new(1500).expect("run as root");
    println!("            |          |  Mpps   |      cycles a packet      | cycles an | lost");
    println!("bytes batch | ways     |  each   |  send   receive  (both)   | idle poll | %");
    for len in [64, 1514, 16 * 1024] {
        for both in [false, true] {
            for batch in [16, 32, 64, 128] {
                let options = Options {
                    receive_batch: batch,
                    send_batch: batch,
                    ..Options::default()
                };
                let open = |end| {
                    PacketSocket::open(end, 1, &options)
                        .expect("opens")
                        .remove(0)
                };
                let (a, b) = (open(PORT), open(PEER));
                let (a_mac, b_mac) = (a.link().mac, b.link().mac);
                let start = Barrier::new(2);
                let (a, b) = thread::scope(|scope| {
                    let a = scope.spawn(|| side(a, b_mac, len, true, &start, 0));
                    let b = scope.spawn(|| side(b, a_mac, len, both, &start, 1));
                    (a.join().expect("ends"), b.join().expect("ends"))
                });
                let (sent, received) = (a.sent + b.sent, a.received + b.received);
                let ways = if both { 2.0 } else { 1.0 };
                let send = per(a.send_cycles + b.send_cycles, sent);
                let receive = per(a.receive_cycles + b.receive_cycles, received);
                println!(
                    "{len:>5} {batch:>5} | {} | {:>7.3} | {send:>6}  {receive:>7}  {:>7}   | {:>9} | {:.1}",
                    if both { "both ways" } else { "one way  " },
                    received as f64 / RUN.as_secs_f64() / 1e6 / ways,
                    send + receive,
                    per(a.idle_cycles + b.idle_cycles, a.idle + b.idle),
                    (a.missed + b.missed) as f64 * 100.0 / sent.max(1) as f64,
                );
            }
        }
    }
}
