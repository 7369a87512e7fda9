//! Networks that lose, repeat, delay, reorder and damage packets, each from a seed.
//!
//! `SIM_SEEDS=5000` runs as many, `SIM_SEED=17` runs that one.

mod sim_common;

use dataplane::sim::client::{Exchange, Plan};
use dataplane::sim::{Faults, PortOptions, Rng, Setup, Split, World};
use sim_common::{SECOND, any_exchange, assert_settles, assert_whole, mover};

/// A link with a bit of everything.
fn any_faults(rng: &mut Rng) -> Faults {
    let some = |rng: &mut Rng, most: u64| {
        if rng.chance(300_000) {
            0
        } else {
            rng.below(most) as u32
        }
    };
    Faults {
        loss: some(rng, 50_000),
        duplicate: some(rng, 20_000),
        reorder: some(rng, 50_000),
        damage: some(rng, 5_000),
        delay_us: rng.between(10, 20_000),
        jitter_us: rng.below(3_000),
        reorder_us: rng.between(100, 10_000),
        bandwidth: match rng.below(3) {
            0 => 0,
            1 => 1_000_000_000,
            _ => rng.between(20_000_000, 200_000_000),
        },
    }
}

fn any_port(rng: &mut Rng) -> PortOptions {
    let tx_tcp_checksum = rng.chance(500_000);
    PortOptions {
        tx_tcp_checksum,
        tso_v4: (tx_tcp_checksum && rng.chance(500_000)).then_some(65_535),
        cut: rng.chance(500_000),
        split: match rng.below(4) {
            0 => Split::Whole,
            1 => Split::Small,
            2 => Split::First(rng.between(128, 400) as usize),
            _ => Split::Pieces(rng.between(128, 600) as usize),
        },
        verifies: rng.chance(500_000),
        tx_queue: rng.between(40, 300) as usize,
        tx_per_flush: if rng.chance(200_000) {
            rng.between(2, 40) as usize
        } else {
            usize::MAX
        },
        tx_hold_us: rng.below(300),
        ..PortOptions::default()
    }
}

fn any_plan(rng: &mut Rng) -> Plan {
    let count = rng.between(1, 6);
    let exchanges = (0..count)
        .map(|_| Exchange {
            close: rng.chance(100_000),
            ..any_exchange(rng, 200_000)
        })
        .collect();
    Plan {
        start_us: rng.below(500_000),
        exchanges,
        pipeline: rng.chance(200_000),
        ..Plan::default()
    }
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut setup = Setup {
        seed: rng.next_u64(),
        ipv6: rng.chance(300_000),
        port: any_port(&mut rng),
        client_faults: any_faults(&mut rng),
        origin_faults: any_faults(&mut rng),
        origins: rng.between(1, 3) as usize,
        host_mtu: rng.between(1280, 1500) as usize,
        ..Setup::default()
    };
    setup.settings.limits.session_buffer = 1 << rng.between(14, 16);
    // Long round trips with losses take their time; nothing here is about patience.
    for timeout in [
        &mut setup.settings.timeouts.connect,
        &mut setup.settings.timeouts.request_head,
        &mut setup.settings.timeouts.idle,
        &mut setup.settings.timeouts.stream,
        &mut setup.settings.timeouts.response,
    ] {
        *timeout = 600_000;
    }
    let mut world = World::new(setup, mover(rng.chance(500_000)));
    for _ in 0..rng.between(1, 3) {
        let plans = (0..rng.between(1, 4)).map(|_| any_plan(&mut rng)).collect();
        let _ = world.add_client(rng.between(4_000, 65_536) as usize, plans);
    }
    let _ = world.run_until(600 * SECOND, World::finished);
    let what = format!("SIM_SEED={seed}");
    assert_whole(&world, &what);
    assert_settles(&mut world, &what);
}

/// Seeds that have found mistakes.
const ONCE_FAILED: [u64; 12] = [
    106, 544, 595, 860, 1032, 1072, 1140, 1195, 1265, 1483, 1644, 1781,
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn bodies_arrive_whole_whatever_the_network_does() {
    if let Some(seed) = number("SIM_SEED") {
        return run(seed);
    }
    let seeds = number("SIM_SEEDS").unwrap_or(200);
    let failed: Vec<u64> = (0..seeds)
        .chain(ONCE_FAILED)
        .filter(|seed| std::panic::catch_unwind(|| run(*seed)).is_err())
        .collect();
    assert!(failed.is_empty(), "of {seeds} seeds failed {failed:?}");
}
