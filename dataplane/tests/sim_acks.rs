//! Acknowledgements that travel with data cost no packet.

mod sim_common;

use dataplane::sim::client::Exchange;
use dataplane::sim::world::CLIENTS;
use dataplane::sim::{Faults, Setup, World, wire::End};
use sim_common::{SECOND, assert_whole, mover, plan};

/// Packets to the client for ten small exchanges with an origin at a distance of `us` one way.
fn packets(us: u64) -> u64 {
    let setup = Setup {
        origin_faults: Faults {
            delay_us: us,
            ..Faults::default()
        },
        ..Setup::default()
    };
    let mut world = World::new(setup, mover(true));
    let exchanges = (0..10).map(|_| Exchange::get(1000)).collect();
    let _ = world.add_client(65_000, vec![plan(exchanges)]);
    let deadline = world.clock.now() + 60 * SECOND;
    assert!(world.run_until(deadline, World::finished));
    assert_whole(&world, &format!("{us} µs"));
    world.wires[CLIENTS].stats(End::Port).sent
}

/// smoltcp by itself acknowledges after 40 ms; an origin that needs 44 costs no packet.
#[test]
fn a_request_is_acknowledged_with_its_response() {
    // The first request waits for ARP and the connection too: 132 ms.
    assert_eq!(packets(22_000), packets(1_000) + 1);
}

/// 120 ms are too long to wait: each request is acknowledged alone first.
#[test]
fn not_longer_than_a_client_waits() {
    let (far, near) = (packets(60_000), packets(1_000));
    assert!((9..=11).contains(&(far - near)), "{far} and {near}");
}
