//! Receive windows open in strokes, and everybody's does in the end.

mod sim_common;

use dataplane::counters::Counter;
use dataplane::mover::AnyMover;
use dataplane::sim::client::Exchange;
use dataplane::sim::{Setup, SimFrame, World};
use sim_common::{SECOND, assert_whole, mover, plan};

fn world(window: u32) -> World<AnyMover<SimFrame>> {
    let mut setup = Setup::default();
    setup.settings.limits.session_buffer = window;
    World::new(setup, mover(true))
}

#[test]
fn a_window_opens_by_a_large_packets_worth() {
    const BODY: u64 = 4_000_000;
    for (window, stroke) in [(262_144, 44 * 1460), (65_536, 32_768), (4096, 2048)] {
        let mut world = world(window);
        let _ = world.add_client(262_144, vec![plan(vec![Exchange::get(BODY)])]);
        let deadline = world.clock.now() + 300 * SECOND;
        assert!(world.run_until(deadline, World::finished));
        assert_whole(&world, &format!("window {window}"));
        let opened = world.worker.counters()[Counter::WindowsOpened];
        let most = (BODY + 1000) / stroke;
        assert!(
            (most - 1..=most).contains(&opened),
            "{window}: {opened} of {most}"
        );
    }
}

/// More bytes come in than windows are opened for in a turn: everybody waits, and everybody gets
/// there.
#[test]
fn nobody_waits_for_ever() {
    let mut world = world(65_536);
    for _ in 0..100 {
        let _ = world.add_client(262_144, vec![plan(vec![Exchange::get(1_000_000)])]);
    }
    let deadline = world.clock.now() + 300 * SECOND;
    assert!(world.run_until(deadline, World::finished));
    assert_whole(&world, "100 at once");
}

#[test]
fn connections_with_small_messages_never_wait_for_their_window() {
    let mut world = world(131_072);
    let _ = world.add_client(64 * 1024, vec![plan(vec![Exchange::get(16_384); 40])]);
    let deadline = world.clock.now() + 60 * SECOND;
    assert!(world.run_until(deadline, World::finished));
    assert_whole(&world, "small messages");
    // Five times its window has gone over each connection: it was open again after every message.
    assert_eq!(world.worker.counters()[Counter::WindowsOpened], 0);
}
