//! The core reads no payload byte, in the whole engine: a worker proxies bodies in both directions whose
//! bytes lie in memory that it cannot reach. Ports and model have a mapping of their own. Packets are
//! received so that everything up to the end of the TCP header, and of an HTTP head if there is one, is
//! readable, and the rest is not; what is copied is hidden as soon as it is the mover's. Who touches a hidden
//! byte ends the process with an exit code of its own.
//!
//! What the engine may touch by its rules, and what the sizes here avoid: runs of 256 bytes and less
//! (`proxy::pump`), segments of 512 bytes and less that are put together (`payload::recv_queue`), the
//! framing of chunked bodies.
//!
//! That the tests notice is shown by the cases in which something is left to the CPU. Others that were tried
//! by hand and ended in a touched byte: heads looked for in all that is readable rather than in its first
//! piece (as the engine once did), jobs of less than 4 KiB left to the CPU, runs of up to 2 KiB carried by
//! `proxy::pump` itself, segments of up to 2 KiB put together.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod unseen;

use dataplane::sim::Faults;
use unseen::guard::{self, TOUCHED};
use unseen::lab::{Lab, Options};
use unseen::port::Layout;

/// The cases: what is different, and the exit code.
const CASES: [(&str, i32); 7] = [
    ("behind the headers", 0),
    ("in frames of its own", 0),
    ("device cuts segments", 0),
    ("packets lost, doubled, overtaken", 0),
    ("checksums verified by the engine", TOUCHED),
    ("checksums made by the engine", TOUCHED),
    ("copies of less than 1 GiB by the CPU", TOUCHED),
];

fn options(case: &str) -> Options {
    let mut options = Options::default();
    match case {
        "behind the headers" => {}
        "in frames of its own" => options.layout = Layout::Apart,
        "device cuts segments" => options.cuts = true,
        "packets lost, doubled, overtaken" => {
            options.faults = Faults {
                loss: 10_000,
                duplicate: 10_000,
                reorder: 30_000,
                reorder_us: 500,
                ..options.faults
            };
        }
        "checksums verified by the engine" => options.verifies = false,
        "checksums made by the engine" => options.completes = false,
        "copies of less than 1 GiB by the CPU" => options.movers.threshold = 1 << 30,
        _ => unreachable!("{case}"),
    }
    options
}

/// Does nothing but in the processes that the tests below start.
#[test]
fn a_case() {
    let Some(case) = guard::case() else { return };
    for seed in 0..4 {
        let mut lab = Lab::new(seed, options(&case));
        let bytes = lab.run();
        let (mover, gate, engine) = lab.seen();
        let context = format!("seed {seed}: {mover:?} {gate:?} {engine:?}");
        assert!(bytes > 1_000_000, "{context}");
        // Every byte of every body went by the accelerator, once, and nothing else did.
        assert_eq!((mover.bytes, engine.bytes), (bytes, bytes), "{context}");
        assert_eq!(mover.by_cpu.iter().sum::<u64>(), 0, "{context}");
        let trouble = (mover.redone, mover.timeouts, mover.faults, mover.lost);
        assert_eq!(trouble, (0, 0, 0, 0), "{context}");
        assert!(mover.batches > 20, "{context}");
        assert_eq!(engine.copies, mover.copies, "{context}");
        assert_eq!(engine.refused + gate.wrong_instruction, 0, "{context}");
    }
}

#[test]
fn the_engine_reads_no_payload_and_would_be_caught_if_it_did() {
    for (case, code) in CASES {
        let ended = guard::child("a_case", case);
        assert_eq!(
            ended.status.code(),
            Some(code),
            "{case}: {}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}
