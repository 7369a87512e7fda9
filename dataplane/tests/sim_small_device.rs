//! Devices that take few pieces a packet and have short queues.

mod sim_common;

use dataplane::counters::{Counter, Drop};
use dataplane::sim::client::Exchange;
use dataplane::sim::{PortOptions, Setup, Split, World};
use sim_common::{SECOND, assert_settles, assert_whole, movers, plan};

/// A queue that could never hold a segment of the most pieces, each in a packet of its own, holds the
/// segments there are.
#[test]
fn a_short_queue_of_packets_of_one_piece_carries_bodies() {
    for (max_pieces, tx_queue) in [(1, 34), (1, 100), (2, 34), (4, 60)] {
        for mover in movers() {
            let what = format!("{max_pieces} pieces, {tx_queue} packets, {mover:?}");
            let setup = Setup {
                port: PortOptions {
                    max_pieces,
                    tx_queue,
                    split: Split::Pieces(700),
                    ..PortOptions::default()
                },
                ..Setup::default()
            };
            let mut world = World::new(setup, mover);
            let gets = || plan(vec![Exchange::get(100_000); 2]);
            let _ = world.add_client(64 * 1024, vec![gets(), gets()]);
            let _ = world.run_until(20 * SECOND, World::finished);
            assert_whole(&world, &what);
            let counters = world.worker.counters();
            assert_eq!(counters[Drop::TxPortError], 0, "{what}");
            assert_eq!(counters[Counter::Retransmissions], 0, "{what}");
            assert_settles(&mut world, &what);
        }
    }
}
