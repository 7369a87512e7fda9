//! How fast a stream to a client becomes fast, and what a path that is gone gets.

mod sim_common;

use dataplane::counters::{Counter, PortValue};
use dataplane::settings::PortId;
use dataplane::sim::client::Exchange;
use dataplane::sim::{Faults, Setup, World};
use sim_common::{AnyWorld, SECOND, assert_settles, assert_whole, mover, movers, plan};

const RTT: u64 = 100_000;

/// Clients are far away; nothing but the congestion window is in the way.
fn far(session_buffer: u32) -> Setup {
    let mut setup = Setup::default();
    setup.client_faults.delay_us = RTT / 2;
    setup.origin_faults.delay_us = 10;
    setup.settings.limits.session_buffer = session_buffer;
    setup
}

/// Bytes sent to clients.
fn sent(world: &mut AnyWorld) -> u64 {
    world.worker.sample();
    world.worker.counters()[PortValue::TxBytes.of(PortId(0))]
}

/// Ten segments, and then twice as much in each round trip (RFC 6928, RFC 5681 section 3.1).
#[test]
fn a_new_connection_needs_few_round_trips() {
    // One for the handshake, one for the request and ten segments, one for the end; every further one brings
    // twice as much as the one before.
    for (body, trips) in [
        (1_000, 3),
        (14_000, 3),
        (16_384, 4),
        (38_000, 4),
        (88_000, 5),
        (190_000, 6),
    ] {
        for mover in movers() {
            let what = format!("{body} bytes, {mover:?}");
            let mut world = World::new(far(512 * 1024), mover);
            let _ = world.add_client(512 * 1024, vec![plan(vec![Exchange::get(body)])]);
            assert!(world.run_until(10 * SECOND, World::finished), "{what}");
            assert_whole(&world, &what);
            let took = world.clock.now();
            let expected = trips * RTT;
            assert!(
                (expected..expected + RTT / 2).contains(&took),
                "{what}: {took} µs instead of {trips} round trips"
            );
            assert_settles(&mut world, &what);
        }
    }
}

/// When the path is gone, little is sent into it again and again: one segment when the retransmission timer
/// goes off, not all that was in flight (RFC 5681 section 3.1). And when it is back, the stream goes on.
#[test]
fn a_path_that_is_gone_gets_little() {
    let mut world = World::new(far(512 * 1024), mover(false));
    let _ = world.add_client(512 * 1024, vec![plan(vec![Exchange::get(4_000_000)])]);
    let _ = world.run_until(10 * SECOND, |world| world.clock.now() > 8 * RTT);
    let faults = Faults {
        loss: 1_000_000,
        delay_us: RTT / 2,
        ..Faults::default()
    };
    world.wires[0].set_faults(faults);
    // What is in flight already, and its acknowledgements.
    world.run_for(RTT);
    let (bytes, times) = (
        sent(&mut world),
        world.worker.counters()[Counter::Retransmissions],
    );
    world.run_for(20 * SECOND);
    let again = sent(&mut world) - bytes;
    let times = world.worker.counters()[Counter::Retransmissions] - times;
    assert!((4..20).contains(&times), "sent again {times} times");
    assert!(
        again < 64 * 1024,
        "{again} bytes in {times} packets into nothing"
    );
    world.wires[0].set_faults(Faults { loss: 0, ..faults });
    assert!(world.run_until(120 * SECOND, World::finished));
    assert_whole(&world, "after the path is back");
    assert_settles(&mut world, "after the path is back");
}
