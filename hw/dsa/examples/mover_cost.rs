//! What a copy job costs, by size: with the CPU, and with the accelerator's driver.
//!
//! `cargo run --release -p dsa --example mover_cost`
//!
//! Turns of 32 jobs of one piece each. Times are the core's, for a job, the best of several runs:
//!
//! - `mem`: the CPU copies;
//! - `driver`: what the core spends on making descriptors, submitting and harvesting, with a device
//!   that is done at once and copies nothing. It says from which size on an accelerator could spare
//!   the core work; how fast a device copies it does not say;
//! - `model`: elapsed time until a turn's jobs are back from the software model on a thread of its
//!   own, which is for correctness and no claim about hardware.
//!
//! *Hot*: the same 64 frames again and again. *Cold*: frames out of 256 MiB, more than caches hold.
//! *Aligned*: source and target begin at multiples of 64; else at 3 and 7 bytes behind.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // A program that measures time.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, MemMover, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::Frame;
use dsa::mover::{DsaMover, Settings};
use dsa::portal::{Portal, Submitted};
use dsa::queue::WorkQueue;
use dsa::{Descriptor, Opcode, Status};
use dsa_model::{Config, Memory, Model, ModelPortal, Runner};

const JOBS: usize = 32;
const RUNS: usize = 7;
const LARGEST: usize = 64 * 1024;
const COLD: usize = 256 << 20;

/// A frame with room for the largest job, at a multiple of 64.
#[derive(Clone)]
struct Heap(Rc<Buffer>);

struct Buffer {
    first: *mut u8,
    len: Cell<usize>,
}

const ROOM: usize = LARGEST + 64;

impl Buffer {
    const LAYOUT: Layout = match Layout::from_size_align(ROOM, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };
}

impl Heap {
    fn new() -> Self {
        // SAFETY: the size is not zero.
        let first = unsafe { alloc_zeroed(Buffer::LAYOUT) };
        assert!(!first.is_null());
        // SAFETY: just allocated. Touched, so that its pages are there.
        unsafe { first.write_bytes(1, ROOM) };
        Self(Rc::new(Buffer {
            first,
            len: Cell::new(ROOM),
        }))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.first, Self::LAYOUT) };
    }
}

impl Frame for Heap {
    fn data(&self) -> &[u8] {
        // SAFETY: initialised at the start, and not written while there are readers.
        unsafe { std::slice::from_raw_parts(self.0.first, self.0.len.get()) }
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        let buffer = Rc::get_mut(&mut self.0)?;
        // SAFETY: the only owner.
        Some(unsafe { std::slice::from_raw_parts_mut(buffer.first, ROOM) })
    }

    fn set_len(&mut self, len: usize) {
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        ROOM
    }
}

/// A device that is done at once.
struct Instantly;

impl Portal for Instantly {
    fn takes_batches(&self) -> bool {
        true
    }

    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted {
        for descriptor in descriptors {
            debug_assert_ne!(descriptor.opcode(), Opcode::Drain as u8);
            let status = std::ptr::with_exposed_provenance_mut::<u8>(descriptor.record as usize);
            // SAFETY: the mover's record, whose first byte is an atomic.
            unsafe { status.write(Status::Success.bits()) };
        }
        Submitted {
            taken: descriptors.len(),
            retries: 0,
        }
    }

    fn close(&mut self) {}
}

struct Case {
    size: usize,
    aligned: bool,
    hot: bool,
}

/// Nanoseconds for a job.
fn measure(case: &Case, mover: &mut impl Mover<Heap>) -> f64 {
    let count = if case.hot { 2 * JOBS } else { COLD / ROOM };
    let mut frames: Vec<Heap> = (0..count).map(|_| Heap::new()).collect();
    let (from, to) = if case.aligned { (0, 0) } else { (3, 7) };
    let turns = (if case.hot {
        20_000_000 / (case.size + 2000)
    } else {
        count
    }) / JOBS
        / 2
        + 4;
    let (mut batch, mut done) = (CopyBatch::default(), Vec::new());
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<Heap>::with_capacity(64);
    let mut best = f64::MAX;
    let mut next = 0;
    for _ in 0..RUNS {
        let mut spent = 0.0;
        for _ in 0..turns {
            for _ in 0..JOBS {
                next = (next + 2) % (frames.len() & !1).max(2);
                let mut source = frames[next].clone();
                source.set_len(ROOM);
                let target = std::mem::replace(&mut frames[next + 1], source.clone());
                batch.add_piece(CopyPiece {
                    source,
                    source_offset: from,
                    target_offset: to,
                    len: case.size as u32,
                });
                let conn = ConnRef {
                    id: ConnId((next + 1) as u32),
                    generation: 0,
                };
                let len = case.size as u32 + to;
                let span = queue.push_pending(&mut arena, len);
                batch.finish_job(target, len, JobTag { conn, span });
            }
            let start = Instant::now();
            mover.begin_turn(0);
            mover.submit(&mut batch);
            while mover.in_flight() > 0 {
                mover.harvest(&mut done);
            }
            spent += start.elapsed().as_nanos() as f64;
            for job in done.drain(..) {
                frames[job.tag.conn.id.0 as usize] = job.frame;
            }
            queue.reset(&mut arena);
        }
        best = best.min(spent / (turns * JOBS) as f64);
    }
    best
}

fn main() {
    let settings = Settings {
        threshold: 0,
        deadline_us: u64::MAX / 2,
        ..Settings::default()
    };
    let sizes: Vec<usize> = (8..=16).map(|power| 1 << power).collect();
    let mut plot = Vec::new();
    println!("ns a job            mem   driver    model");
    for (hot, aligned) in [(true, true), (true, false), (false, true), (false, false)] {
        for &size in &sizes {
            let case = Case { size, aligned, hot };
            let mem = measure(&case, &mut MemMover::default());
            let queue = WorkQueue::new(Instantly, Config::default().info("wq0.0"));
            let driver = measure(&case, &mut DsaMover::new(queue, settings));
            let config = Config {
                latency: 0,
                ..Config::default()
            };
            let model = Model::new(config, Memory::direct());
            let _runner = Runner::start(&model).expect("a thread");
            let queue = ModelPortal::queue(&model, "wq0.0");
            let modelled = measure(&case, &mut DsaMover::new(queue, settings));
            let name = format!(
                "{:<4} {:<9}",
                if hot { "hot" } else { "cold" },
                if aligned { "aligned" } else { "unaligned" }
            );
            println!("{name} {size:>6} {mem:>8.0} {driver:>8.0} {modelled:>8.0}");
            if aligned {
                plot.push((name, size, mem, driver));
            }
        }
    }
    println!("\nns a job, each dot twice the one before, from 8 on: m mem, d driver");
    for (name, size, mem, driver) in plot {
        let place = |ns: f64| (4.0 * ns.max(8.0).log2()) as usize - 12;
        let mut line = vec![b' '; 48];
        line[place(mem).min(47)] = b'm';
        line[place(driver).min(47)] = b'd';
        for column in (0..48)
            .step_by(4)
            .filter(|&at| line[at] == b' ')
            .collect::<Vec<_>>()
        {
            line[column] = b'.';
        }
        println!("{name} {size:>6} |{}|", String::from_utf8_lossy(&line));
    }
}
