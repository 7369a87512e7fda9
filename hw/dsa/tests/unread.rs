//! The mover reads no payload byte: source and target frames are unreadable to the core, the model has a
//! mapping of its own of the same memory. A stray read ends the process; that it would, a second case shows
//! with a mover that copies with the CPU. `tests/unread_worker.rs` shows the same of the whole engine.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;
mod unseen;

use common::eager;
use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, MemMover, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use dsa::mover::DsaMover;
use dsa_model::{Config, Model, ModelPortal};
use unseen::guard::{self, TOUCHED};
use unseen::{Pool, Unseen};

fn frame(pool: &mut Pool) -> Unseen {
    pool.alloc(FrameClass::Large).expect("a frame")
}

/// Moves frames that the core cannot read, and looks at what came of it with the device's eyes.
fn move_unseen(pool: &mut Pool, mover: &mut impl Mover<Unseen>, step: impl Fn()) {
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<Unseen>::with_capacity(64);
    for round in 0..20_u8 {
        let mut batch = CopyBatch::default();
        for job in 0..8_u8 {
            let mut at = 0;
            for piece in 0..3 {
                let mut source = frame(pool);
                source.seen_by_device()[..2000].fill(round ^ job ^ piece);
                source.set_len(2000);
                batch.add_piece(CopyPiece {
                    source,
                    source_offset: 100,
                    target_offset: at,
                    len: 1460,
                });
                at += 1460;
            }
            let conn = ConnRef {
                id: ConnId(u32::from(job)),
                generation: 0,
            };
            let span = queue.push_pending(&mut arena, at);
            batch.finish_job(frame(pool), at, JobTag { conn, span });
        }
        mover.begin_turn(u64::from(round));
        mover.submit(&mut batch);
        step();
        let mut done = Vec::new();
        mover.harvest(&mut done);
        assert_eq!(done.len(), 8);
        for mut done in done {
            let bytes = done.frame.seen_by_device();
            for piece in 0..3 {
                let expected = round ^ done.tag.conn.id.0 as u8 ^ piece as u8;
                let run = &bytes[1460 * piece..1460 * (piece + 1)];
                assert!(run.iter().all(|&byte| byte == expected));
            }
        }
    }
    assert_eq!(pool.out(), 0);
}

/// Does nothing but in the processes that the test below starts.
#[test]
fn a_case() {
    let Some(case) = guard::case() else { return };
    let mut pool = Pool::new(0, 64);
    if case == "cpu" {
        return move_unseen(&mut pool, &mut MemMover::default(), || {});
    }
    let model = Model::new(Config::default(), pool.for_device());
    let mut mover = DsaMover::new(ModelPortal::queue(&model, "wq0.0"), eager());
    move_unseen(&mut pool, &mut mover, || while model.step() {});
    let stats = mover.accelerator();
    assert_eq!((stats.jobs, stats.copies, stats.redone), (160, 480, 0));
}

#[test]
fn the_accelerators_mover_reads_no_payload_and_another_would_be_noticed() {
    for (case, code) in [("accelerator", 0), ("cpu", TOUCHED)] {
        let ended = guard::child("a_case", case);
        assert_eq!(ended.status.code(), Some(code), "{case}: {ended:?}");
    }
}
