//! What filler rings cost: `cargo run --release -p hugepage --example filler_cost -- 10000 huge`.
//!
//! Prints the time of a pair, what the process's memory is made of afterwards, and the time of a
//! 16 KiB copy into the rings of 1000 pairs in turn, which is what smoltcp does with filler.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::time::Instant;

use hugepage::FillerRings;

const RING: usize = 256 * 1024;
const COPY: usize = 16 * 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let pairs: usize = arguments
        .next()
        .map_or(10_000, |n| n.parse().expect("a number of pairs"));
    let huge = arguments.next().as_deref() == Some("huge");

    // SAFETY: only zeros are copied into the rings below.
    let mut rings = unsafe { FillerRings::new(RING, huge) }.expect("filler rings");
    let start = Instant::now();
    let mut all: Vec<_> = (0..pairs)
        .map(|_| rings.pair().expect("a pair").0)
        .collect();
    println!(
        "{pairs} pairs, huge {}, {} a mapping: {} ns each",
        rings.is_huge(),
        rings.pairs_per_mapping(),
        start.elapsed().as_nanos() / pairs as u128
    );
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    for line in status.lines() {
        if ["VmPTE", "VmRSS", "RssAnon", "RssShmem", "HugetlbPages"]
            .iter()
            .any(|f| line.starts_with(f))
        {
            println!("  {line}");
        }
    }

    let source = vec![0u8; COPY];
    for rounds in [16, 160] {
        let start = Instant::now();
        let mut copies = 0u128;
        for round in 0..rounds {
            for (i, ring) in all.iter_mut().take(1000).enumerate() {
                let at = (round + 7 * i) * COPY % RING;
                ring[at..at + COPY].copy_from_slice(&source);
                copies += 1;
            }
        }
        println!(
            "  16 KiB into 1000 rings in turn: {} ns",
            start.elapsed().as_nanos() / copies
        );
    }
}
