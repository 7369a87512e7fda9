//! Several workers on the queues of the same two devices: whatever the devices do with packets, every
//! exchange is whole, every frame comes back, and mailboxes carry what went astray.

mod sim_common;

use std::net::{IpAddr, Ipv4Addr};

use dataplane::counters::{Counter, Drop};
use dataplane::rss::{MICROSOFT_KEY, Rss};
use dataplane::settings::PortId;
use dataplane::sim::client::{Exchange, Plan};
use dataplane::sim::world::{CLIENTS, LISTEN};
use dataplane::sim::{End, Faults, Rng, Setup, Spread, World};
use dataplane::steering::Steering;
use sim_common::{AnyWorld, SECOND, any_exchange, assert_settles, assert_whole, mover, plan};

fn toeplitz(workers: u16) -> Steering {
    let table: Vec<u16> = (0..128).map(|i| i % workers).collect();
    let rss = Rss::new(&MICROSOFT_KEY, &table).unwrap();
    Steering::toeplitz(rss, true, true, workers).unwrap()
}

/// A world with so many workers.
fn world(workers: u16, setup: Setup, zero_copy: bool) -> AnyWorld {
    World::with_workers(setup, (0..workers).map(|_| mover(zero_copy)).collect())
}

/// Hosts with connections, each with a few exchanges.
fn add_clients(world: &mut AnyWorld, seed: u64, hosts: u64, connections: u64, most: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..hosts {
        let plans: Vec<Plan> = (0..connections)
            .map(|_| {
                let exchanges = 1 + rng.below(4);
                plan(
                    (0..exchanges)
                        .map(|_| any_exchange(&mut rng, most))
                        .collect(),
                )
            })
            .collect();
        let _ = world.add_client(32 * 1024, plans);
    }
}

fn sum(world: &AnyWorld, counter: Counter) -> u64 {
    world
        .workers()
        .map(|worker| worker.counters()[counter])
        .sum()
}

fn dropped(world: &AnyWorld, reason: Drop) -> u64 {
    world
        .workers()
        .map(|worker| worker.counters()[reason])
        .sum()
}

/// Runs to the end and checks that all is whole, that everybody has served, that nobody's
/// connection is another's, and that what one handed over another took.
fn run(world: &mut AnyWorld, what: &str) {
    let _ = world.run_until(300 * SECOND, World::finished);
    assert_whole(world, what);
    for (index, worker) in world.workers().enumerate() {
        let counters = worker.counters();
        assert!(
            counters[Counter::Accepted] > 0 && counters[Counter::Connected] > 0,
            "{what}: worker {index} served nobody: {counters:?}"
        );
    }
    let accepted: usize = world.origins().map(|origin| origin.accepted as usize).sum();
    assert_eq!(sum(world, Counter::Connected), accepted as u64, "{what}");
    assert_settles(world, what);
    assert_eq!(
        sum(world, Counter::HandedOver),
        sum(world, Counter::TakenOver),
        "{what}"
    );
}

#[test]
fn a_device_that_steers_right_leaves_mailboxes_empty() {
    for workers in [2, 3] {
        for (steering, name) in [
            (Steering::Fanout { workers }, "fanout"),
            (toeplitz(workers), "toeplitz"),
        ] {
            for (ipv6, zero_copy) in [(false, false), (false, true), (true, false)] {
                let what = format!("{workers} workers, {name}, ipv6 {ipv6}, zero-copy {zero_copy}");
                let setup = Setup {
                    ipv6,
                    spread: Spread::Right(steering.clone()),
                    steering: steering.clone(),
                    ..Setup::default()
                };
                let mut world = world(workers, setup, zero_copy);
                add_clients(&mut world, 7, 4, 12, 40_000);
                run(&mut world, &what);
                assert_eq!(sum(&world, Counter::HandedOver), 0, "{what}");
                for worker in world.workers() {
                    assert_eq!(worker.strays(PortId(0)) + worker.strays(PortId(1)), 0);
                }
                assert_eq!(dropped(&world, Drop::TcpUnknownFlow), 0, "{what}");
            }
        }
    }
}

#[test]
fn packets_in_wrong_queues_arrive_all_the_same() {
    for workers in [2, 3] {
        let software = Steering::Software { workers };
        for (spread, name) in [
            (Spread::Wrong(software.clone()), "wrong"),
            (Spread::Random, "random"),
            (Spread::First, "first"),
        ] {
            for (ipv6, zero_copy) in [(false, true), (true, false)] {
                let what = format!("{workers} workers, {name}, ipv6 {ipv6}, zero-copy {zero_copy}");
                let setup = Setup {
                    ipv6,
                    spread: spread.clone(),
                    steering: software.clone(),
                    ..Setup::default()
                };
                let mut world = world(workers, setup, zero_copy);
                add_clients(&mut world, 11, 4, 10, 60_000);
                run(&mut world, &what);
                assert!(sum(&world, Counter::HandedOver) > 500, "{what}");
                if name != "random" {
                    // Mailboxes keep the order: nothing looks lost to TCP.
                    assert_eq!(sum(&world, Counter::Retransmissions), 0, "{what}");
                }
                for worker in world.workers() {
                    assert_eq!(worker.strays(PortId(0)), 0, "nothing else is expected");
                }
            }
        }
    }
}

#[test]
fn the_same_on_bad_links() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let workers = 2 + (seed % 2) as u16;
        let faults = Faults {
            loss: rng.below(30_000) as u32,
            duplicate: rng.below(20_000) as u32,
            reorder: rng.below(50_000) as u32,
            damage: rng.below(5_000) as u32,
            delay_us: 100,
            jitter_us: 200,
            reorder_us: 2_000,
            ..Faults::default()
        };
        let steering = match seed % 3 {
            0 => toeplitz(workers),
            1 => Steering::Fanout { workers },
            _ => Steering::Software { workers },
        };
        let spread = match seed % 4 {
            0 => Spread::Right(steering.clone()),
            1 => Spread::Random,
            2 => Spread::Wrong(steering.clone()),
            _ => Spread::First,
        };
        let what = format!("seed {seed}, {workers} workers, {spread:?}");
        let setup = Setup {
            seed,
            ipv6: seed % 2 == 1,
            client_faults: faults,
            origin_faults: faults,
            steering,
            spread,
            ..Setup::default()
        };
        let mut world = world(workers, setup, seed % 2 == 0);
        add_clients(&mut world, seed, 3, 8, 50_000);
        let _ = world.run_until(600 * SECOND, World::finished);
        assert_whole(&world, &what);
        assert_settles(&mut world, &what);
    }
}

/// The steering that is believed is not what the device does: nothing breaks, and it shows.
#[test]
fn a_device_that_does_not_do_what_it_says_is_found_out() {
    let setup = Setup {
        steering: toeplitz(2),
        spread: Spread::Right(Steering::Fanout { workers: 2 }),
        ..Setup::default()
    };
    let mut world = world(2, setup, false);
    add_clients(&mut world, 3, 4, 10, 20_000);
    run(&mut world, "another function");
    let strays: u64 = world
        .workers()
        .map(|worker| worker.strays(PortId(0)) + worker.strays(PortId(1)))
        .sum();
    assert!(strays > 0);
    assert_eq!(strays, sum(&world, Counter::HandedOver));
}

#[test]
fn a_full_mailbox_costs_packets_and_no_more() {
    let mut setup = Setup {
        steering: Steering::Software { workers: 2 },
        spread: Spread::Wrong(Steering::Software { workers: 2 }),
        parcels: 2,
        ..Setup::default()
    };
    // What a segment lost three times takes.
    setup.settings.timeouts.request_head = 120_000;
    setup.settings.timeouts.connect = 120_000;
    let mut world = world(2, setup, false);
    add_clients(&mut world, 5, 3, 6, 60_000);
    run(&mut world, "two parcels");
    assert!(dropped(&world, Drop::MailboxFull) > 10);
}

/// Workers with few frames each: what they cannot copy in is lost on the way, and sent again.
#[test]
fn a_worker_without_frames_takes_nothing_over() {
    let setup = Setup {
        steering: Steering::Software { workers: 2 },
        spread: Spread::First,
        small: 160,
        large: 48,
        ..Setup::default()
    };
    let mut world = world(2, setup, true);
    add_clients(&mut world, 9, 3, 8, 200_000);
    run(&mut world, "few frames");
}

/// Super-segments cross whole.
#[test]
fn long_packets_are_handed_over() {
    let mut setup = Setup {
        steering: Steering::Software { workers: 2 },
        spread: Spread::Wrong(Steering::Software { workers: 2 }),
        host_mtu: 60_000,
        origin_buffer: 256 * 1024,
        ..Setup::default()
    };
    setup.settings.limits.session_buffer = 256 * 1024;
    setup.port.mtu = 60_000;
    let mut world = world(2, setup, true);
    let get = || plan(vec![Exchange::get(1_000_000); 2]);
    let _ = world.add_client(256 * 1024, (0..6).map(|_| get()).collect());
    run(&mut world, "long packets");
    assert_eq!(sum(&world, Counter::Retransmissions), 0);
    let packets = sum(&world, Counter::HandedOver);
    assert!(
        packets < 12_000_000 / 8_000,
        "{packets} packets: they were not long"
    );
}

fn arp_request(target: Ipv4Addr) -> Vec<u8> {
    let mac = [2, 9, 9, 9, 9, 9];
    let mut packet = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    packet.extend_from_slice(&mac);
    packet.extend_from_slice(&[10, 0, 7, 7]);
    packet.extend_from_slice(&[0; 6]);
    packet.extend_from_slice(&target.octets());
    packet.resize(60, 0);
    packet
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    (!((sum >> 16) + (sum & 0xffff)) as u16).to_be_bytes()
}

fn ping(target: Ipv4Addr) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 7, 7];
    ip.extend_from_slice(&target.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut icmp = vec![8, 0, 0, 0, 1, 2, 0, 1];
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 9, 9, 9, 9, 9, 8, 0];
    let mut packet = [&ethernet[..], &ip, &icmp].concat();
    packet.resize(60, 0);
    packet
}

/// A segment of no connection, to which the answer is a reset.
fn stray_ack(target: Ipv4Addr, source_port: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 7, 7];
    ip.extend_from_slice(&target.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut tcp = [source_port.to_be_bytes(), LISTEN.to_be_bytes()].concat();
    tcp.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&ip[12..], &[0, 6, 0, 20], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum);
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 9, 9, 9, 9, 9, 8, 0];
    let mut packet = [&ethernet[..], &ip, &tcp].concat();
    packet.resize(60, 0);
    packet
}

/// Parcels are taken only as far as their answers can be sent: else the answers would be lost.
#[test]
fn a_slow_device_makes_parcels_wait() {
    let mut setup = Setup {
        steering: Steering::Software { workers: 2 },
        spread: Spread::Wrong(Steering::Software { workers: 2 }),
        ..Setup::default()
    };
    setup.port.max_burst = 16;
    setup.port.tx_queue = 16;
    setup.port.tx_per_flush = 1;
    let mut world = world(2, setup, false);
    world.run_for(100_000);
    let IpAddr::V4(target) = world.target.ip() else {
        panic!("IPv4");
    };
    let before = world.wires[CLIENTS].stats(End::Port).sent;
    for port in 0..200 {
        let packet = stray_ack(target, 30_000 + port);
        world.wires[CLIENTS].send(End::Hosts, world.clock.now(), packet);
    }
    world.run_for(SECOND);
    assert_eq!(world.wires[CLIENTS].stats(End::Port).sent - before, 200);
    assert_eq!(sum(&world, Counter::TakenOver), 200);
    assert_eq!(dropped(&world, Drop::TxPortError), 0);
}

/// However many workers there are, a host on the link sees one.
#[test]
fn questions_are_answered_once() {
    let setup = Setup {
        steering: Steering::Fanout { workers: 3 },
        spread: Spread::Right(Steering::Fanout { workers: 3 }),
        ..Setup::default()
    };
    let mut world = world(3, setup, false);
    world.run_for(100_000);
    let IpAddr::V4(target) = world.target.ip() else {
        panic!("IPv4");
    };
    let sent = |world: &AnyWorld| world.wires[CLIENTS].stats(End::Port).sent;
    // The first worker alone has announced the port's three addresses.
    assert_eq!(sent(&world), 3);
    for (question, packet) in [("arp", arp_request(target)), ("ping", ping(target))] {
        let before = sent(&world);
        world.wires[CLIENTS].send(End::Hosts, world.clock.now(), packet);
        world.run_for(100_000);
        assert_eq!(sent(&world) - before, 1, "{question}");
    }
}

/// The answer comes to one worker; the others hear of it, and need not ask for themselves.
#[test]
fn neighbours_are_made_known_to_all() {
    let setup = Setup {
        steering: Steering::Fanout { workers: 3 },
        spread: Spread::Right(Steering::Fanout { workers: 3 }),
        ..Setup::default()
    };
    let mut world = world(3, setup, false);
    let get = || plan(vec![Exchange::get(100)]);
    let _ = world.add_client(8_000, (0..24).map(|_| get()).collect());
    let start = world.clock.now();
    assert!(world.run_until(10 * SECOND, World::finished));
    assert_whole(&world, "neighbours");
    for worker in world.workers() {
        assert!(worker.counters()[Counter::Connected] > 0);
        assert_eq!(worker.counters()[Drop::MacUnresolved], 0);
    }
    let took = world.clock.now() - start;
    // A question whose answer was lost would be asked again after 100 ms at the earliest.
    assert!(took < 50_000, "{took} µs");
}

/// A flood of neighbour discovery is not passed on without bound: connections still get parcels.
#[test]
fn a_flood_of_questions_leaves_room_for_connections() {
    let setup = Setup {
        steering: Steering::Software { workers: 2 },
        spread: Spread::First,
        parcels: 64,
        ..Setup::default()
    };
    let mut world = world(2, setup, false);
    add_clients(&mut world, 21, 2, 6, 30_000);
    let IpAddr::V4(target) = world.target.ip() else {
        panic!("IPv4");
    };
    for _ in 0..100 {
        for _ in 0..50 {
            world.wires[CLIENTS].send(End::Hosts, world.clock.now(), arp_request(target));
        }
        world.run_for(100);
    }
    run(&mut world, "flood");
    // A turn brings more questions than are passed on.
    assert!(dropped(&world, Drop::MailboxFull) > 1_000);
}
