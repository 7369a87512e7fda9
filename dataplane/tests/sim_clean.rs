//! A network without faults: every combination of device and mover carries every kind of exchange.

mod sim_common;

use dataplane::sim::client::{Answer, Exchange, Method};
use dataplane::sim::{PortOptions, Setup, Split, World};
use sim_common::{SECOND, assert_settles, assert_whole, mover, movers, plan};

fn exchanges() -> Vec<Exchange> {
    let get = |answer, tag| Exchange {
        answer,
        tag,
        ..Exchange::get(0)
    };
    let post = |len, chunked| Exchange {
        method: Method::Post { len, chunked },
        ..Exchange::get(5_000)
    };
    vec![
        get(Answer::Length(1_000), 1),
        get(Answer::Length(0), 2),
        get(Answer::Length(150_000), 3),
        get(Answer::Chunked(80_000), 4),
        Exchange {
            method: Method::Head,
            ..Exchange::get(1234)
        },
        post(0, false),
        post(70_000, false),
        post(50_000, true),
        get(Answer::Chunked(0), 5),
        get(Answer::Close(30_000), 6),
    ]
}

#[test]
fn three_requests_on_one_connection() {
    for ipv6 in [false, true] {
        for mover in movers() {
            let what = format!("ipv6 {ipv6}, {mover:?}");
            let mut world = World::new(
                Setup {
                    ipv6,
                    ..Setup::default()
                },
                mover,
            );
            let _ = world.add_client(64 * 1024, vec![plan(vec![Exchange::get(1000); 3])]);
            let _ = world.run_until(10 * SECOND, World::finished);
            assert_whole(&world, &what);
            assert_settles(&mut world, &what);
            assert_eq!(world.origins().next().unwrap().accepted, 1, "{what}");
        }
    }
}

#[test]
fn every_device_carries_every_kind_of_exchange() {
    let splits = [
        Split::Whole,
        Split::Small,
        Split::First(128),
        Split::Pieces(200),
    ];
    for ipv6 in [false, true] {
        for (checksum, tso, cut) in [
            (false, None, true),
            (true, None, true),
            (true, Some(65_535), true),
            (true, Some(65_535), false),
        ] {
            for split in splits {
                for verifies in [false, true] {
                    for mover in movers() {
                        let what = format!(
                            "ipv6 {ipv6}, checksum {checksum}, tso {tso:?}, cut {cut}, {split:?}, \
                             verifies {verifies}, {mover:?}"
                        );
                        let setup = Setup {
                            ipv6,
                            port: PortOptions {
                                tx_tcp_checksum: checksum,
                                tso_v4: tso,
                                cut,
                                split,
                                verifies,
                                ..PortOptions::default()
                            },
                            ..Setup::default()
                        };
                        let mut world = World::new(setup, mover);
                        let _ = world.add_client(64 * 1024, vec![plan(exchanges())]);
                        let _ = world.run_until(20 * SECOND, World::finished);
                        assert_whole(&world, &what);
                        assert_settles(&mut world, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for mover in movers() {
        let mut world = World::new(Setup::default(), mover);
        let mut plan = plan(exchanges());
        plan.pipeline = true;
        let _ = world.add_client(64 * 1024, vec![plan]);
        let _ = world.run_until(20 * SECOND, World::finished);
        assert_whole(&world, "pipelined");
        assert_settles(&mut world, "pipelined");
    }
}

/// The number of exchanges under way decides whether the launch side waits for more packets.
#[test]
fn exchanges_are_counted_up_and_down() {
    let mut world = World::new(Setup::default(), mover(false));
    let gets = || plan(vec![Exchange::get(10_000), Exchange::get(0)]);
    let _ = world.add_client(8_000, (0..5).map(|_| gets()).collect());
    let mut most = 0;
    while !world.finished() {
        world.run_for(200);
        most = most.max(world.worker.exchanges());
    }
    assert!((1..=5).contains(&most), "{most}");
    assert_eq!(world.worker.exchanges(), 0);
}
