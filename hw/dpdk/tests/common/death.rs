//! A mover outlives its device.

use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{AcceleratorStats, CopyBatch, CopyPiece, CpuReason, JobTag, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::Frame;
use dpdk::{Mbuf, MbufPool};

use super::{frame, out};

/// Microseconds until the CPU does what is under way.
pub const DEADLINE: u64 = 300;

/// Submits a job of 1000 bytes, all `fill`.
fn job(pool: &mut MbufPool, mover: &mut impl Mover<Mbuf>, fill: u8) {
    let mut arena = SpanArena::<Mbuf>::with_capacity(1);
    let (mut queue, mut batch) = (SendQueue::default(), CopyBatch::default());
    batch.add_piece(CopyPiece {
        source: frame(pool, &[fill; 1000]),
        source_offset: 0,
        target_offset: 0,
        len: 1000,
    });
    let target = frame(pool, &[0; 1000]);
    let conn = ConnRef {
        id: ConnId(u32::from(fill)),
        generation: 0,
    };
    let span = queue.push_pending(&mut arena, 1000);
    batch.finish_job(target, 1000, JobTag { conn, span });
    mover.submit(&mut batch);
}

/// Gives `mover`, whose device never reports anything and whose deadline is [`DEADLINE`], ten jobs, ten more
/// when it has found out, and one when it has lost hope. Everything is done, by the CPU; what the device may still read or write is
/// nobody else's ever after, and is given up with it. Twenty frames of `pool` are.
pub fn outlive(pool: &mut MbufPool, mut mover: impl Mover<Mbuf>) -> AcceleratorStats {
    for fill in 0..10 {
        job(pool, &mut mover, fill);
    }
    let mut done = Vec::new();
    mover.begin_turn(DEADLINE - 1);
    mover.harvest(&mut done);
    assert_eq!((done.len(), mover.quarantined()), (0, 0));
    mover.begin_turn(DEADLINE);
    mover.harvest(&mut done);
    for fill in 10..20 {
        job(pool, &mut mover, fill);
    }
    for later in 2..100 {
        mover.begin_turn(DEADLINE * later);
        mover.harvest(&mut done);
        assert_eq!(mover.accelerator().lost, 0);
    }
    mover.begin_turn(DEADLINE * 100);
    mover.harvest(&mut done);
    assert_eq!(mover.accelerator().lost, 1);
    job(pool, &mut mover, 20);
    mover.harvest(&mut done);
    assert_eq!(done.len(), 21, "each job comes once");
    for done in done.drain(..) {
        let fill = done.tag.conn.id.0 as u8;
        assert_eq!(done.frame.data(), [fill; 1000]);
    }
    let stats = mover.accelerator();
    assert_eq!(stats.by_cpu[CpuReason::Suspended as usize], 10);
    // Ten sources and ten targets.
    assert_eq!(stats.by_cpu[CpuReason::Lost as usize], 1);
    let owned = (mover.quarantined(), mover.in_flight(), out(pool));
    assert_eq!(owned, (20, 0, 20));
    drop(mover);
    assert_eq!(out(pool), 20);
    stats
}
