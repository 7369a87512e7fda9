//! The load's two ends, against each other and with the proxy between them, all of them engines.

use dataplane::counters::{Counter, Drop};
use dataplane::load::schedule::{End, Pace};
use dataplane::load::{Failure, LoadPlan, Outcome, Sample};
use dataplane::mover::{MemMover, ZeroCopy};
use dataplane::settings::PortId;
use dataplane::sim::chain::{ChainSetup, get};
use dataplane::sim::world::{ORIGIN, ORIGINS};
use dataplane::sim::{Chain, Faults, Setup, SimFrame, World};

const SECOND: u64 = 1_000_000;

/// Every exchange has ended well, with so many bytes.
fn all_right(samples: &[Sample], bytes: u64) {
    for sample in samples {
        assert_eq!(sample.outcome, Outcome::Status(200), "{sample:?}");
        assert_eq!(sample.body_bytes, bytes, "{sample:?}");
        assert!(sample.due_us <= sample.started_us && sample.started_us < sample.ended_us);
    }
}

type Mem = MemMover<SimFrame>;

#[test]
fn every_request_is_one_sample_over_one_socket_each_connection() {
    for (path, bytes) in [
        ("/0", 0),
        ("/1", 1),
        ("/1000", 1000),
        ("/16k", 16_384),
        ("/x?size=300k", 300 * 1024),
    ] {
        let setup = ChainSetup::new(&get(path), 20, Some(100));
        let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
        let done = chain.run_until(60 * SECOND, |chain| chain.samples.len() == 100);
        assert!(done, "{path}: {}", chain.samples.len());
        all_right(&chain.samples, bytes);
        assert_eq!(chain.origin().counters()[Counter::Requests], 100);
        assert_eq!(chain.client().load_status().sockets, 20);
        chain
            .settle()
            .unwrap_or_else(|kept| panic!("{path}: {kept}"));
        assert_eq!(chain.samples.len(), 100);
    }
}

#[test]
fn both_ends_in_one_engine() {
    let setup = ChainSetup::new(&get("/40k"), 10, Some(50));
    let mut chain = Chain::direct(&setup, ZeroCopy);
    assert!(chain.run_until(60 * SECOND, |chain| chain.samples.len() == 50));
    all_right(&chain.samples, 40 * 1024);
    chain.settle().unwrap();
}

#[test]
fn a_bad_wire_costs_time_and_nothing_else() {
    for seed in 0..8 {
        let mut setup = ChainSetup::new(&get("/20k"), 30, Some(150));
        setup.seed = seed;
        // A SYN may be lost three times.
        setup.settings.timeouts.connect = 60_000;
        setup.faults = Faults {
            loss: 20_000,
            duplicate: 10_000,
            reorder: 20_000,
            damage: 5_000,
            delay_us: 200,
            jitter_us: 100,
            reorder_us: 2_000,
            ..Faults::default()
        };
        let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
        let done = chain.run_until(600 * SECOND, |chain| chain.samples.len() == 150);
        assert!(done, "seed {seed}: {}", chain.samples.len());
        all_right(&chain.samples, 20 * 1024);
        // A proxy may ask again, but not for less.
        assert!(chain.origin().counters()[Counter::Requests] >= 150);
        chain
            .settle()
            .unwrap_or_else(|kept| panic!("seed {seed}: {kept}"));
    }
}

/// How many connections are open when the first request begins.
fn open_at_first(setup: &ChainSetup) -> u32 {
    let mut chain = Chain::<Mem>::proxied(setup, Mem::default);
    while chain.client().load_status().begun == 0 {
        assert!(
            chain
                .samples
                .iter()
                .all(|s| s.outcome != Outcome::Status(200))
        );
        chain.run_for(1);
    }
    let open = chain.client().load_status().open;
    assert!(chain.run_until(60 * SECOND, |chain| chain.samples.len() >= 400));
    chain.settle().unwrap();
    open
}

#[test]
fn connections_come_first() {
    let mut setup = ChainSetup::new(&get("/100"), 40, Some(400));
    setup.plan.most_connecting = 5;
    assert_eq!(open_at_first(&setup), 40);
    // Not all of them can be opened: here for want of slots.
    setup.settings.limits.max_connections = 25;
    assert_eq!(open_at_first(&setup), 25);
    // Without keep-alive none is open for long.
    setup.settings.limits.max_connections = 1024;
    setup.plan.keep_alive = false;
    let open = open_at_first(&setup);
    assert!((1..=5).contains(&open), "{open}");
}

#[test]
fn a_connection_for_each_request() {
    let head = "GET /5000 HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n";
    let mut setup = ChainSetup::new(head, 10, Some(200));
    setup.plan.keep_alive = false;
    let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
    assert!(chain.run_until(60 * SECOND, |chain| chain.samples.len() == 200));
    all_right(&chain.samples, 5000);
    let sockets = chain.client().load_status().sockets;
    assert!((200..=210).contains(&sockets), "{sockets}");
    chain.settle().unwrap();
}

#[test]
fn nobody_listens() {
    let mut setup = ChainSetup::new(&get("/1"), 5, None);
    setup.listens = false;
    let mut chain = Chain::direct(&setup, ZeroCopy);
    chain.run_for(SECOND);
    let failed = chain.samples.len();
    // Each of five tries again every 10 ms or a little later.
    assert!((300..=500).contains(&failed), "{failed}");
    for sample in &chain.samples {
        assert_eq!(sample.outcome, Outcome::Failed(Failure::Connect));
    }
    chain.settle().unwrap();
}

/// Each engine's device takes packets only as fast as the other end receives: as over vhost-user, where
/// the two share one queue. Neither may wait for the other to take something in first.
#[test]
fn engines_do_not_wait_for_each_other() {
    for queue in [96, 256] {
        let mut setup = ChainSetup::new(&get("/16k"), 1000, Some(3000));
        setup.settings.limits.max_connections = 4096;
        setup.plan.most_connecting = 1000;
        setup.port.wire_holds = 64;
        setup.port.tx_queue = queue;
        let mut chain = Chain::proxied(&setup, || ZeroCopy);
        let done = chain.run_until(60 * SECOND, |chain| chain.samples.len() == 3000);
        assert!(done, "queue {queue}: {}", chain.samples.len());
        all_right(&chain.samples, 16 * 1024);
        chain.settle().unwrap();
    }
}

#[test]
fn requests_of_other_kinds() {
    let post = "POST /3000 HTTP/1.1\r\nHost: sim\r\nContent-Length: 200000\r\n\r\n";
    for (head, body, status, bytes) in [
        ("HEAD /1000 HTTP/1.1\r\nHost: sim\r\n\r\n", 0, 200, 0),
        ("GET /nothing HTTP/1.1\r\nHost: sim\r\n\r\n", 0, 404, 0),
        (post, 200_000, 200, 3000),
        (
            "PUT /7 HTTP/1.1\r\nHost: sim\r\nContent-Length: 10\r\n\r\n0123456789",
            0,
            200,
            7,
        ),
        (
            "GET /8 HTTP/1.0\r\nHost: sim\r\nConnection: close\r\n\r\n",
            0,
            200,
            8,
        ),
    ] {
        let mut setup = ChainSetup::new(head, 5, Some(20));
        setup.plan.body = body;
        let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
        let done = chain.run_until(60 * SECOND, |chain| chain.samples.len() == 20);
        assert!(done, "{head}: {}", chain.samples.len());
        for sample in &chain.samples {
            assert_eq!(sample.outcome, Outcome::Status(status), "{head}");
            assert_eq!(sample.body_bytes, bytes, "{head}");
        }
        chain
            .settle()
            .unwrap_or_else(|kept| panic!("{head}: {kept}"));
    }
}

/// A request that no connection is free for keeps its time.
#[test]
fn a_fixed_rate_counts_from_when_requests_were_due() {
    let mut setup = ChainSetup::new(&get("/1k"), 4, None);
    setup.plan.pace = Pace::new(1000.0, 4, End::AfterUs(3 * SECOND));
    let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
    chain.run_for(SECOND);
    let start = chain.client().load_status().start_us.unwrap();
    // Four connections of 100 ms each make 40 requests a second.
    let slow = Faults {
        delay_us: 25_000,
        ..setup.faults
    };
    chain.wires.iter().for_each(|wire| wire.set_faults(slow));
    chain.run_for(SECOND);
    let missed = chain.client().load_status().missed;
    assert!((900..1000).contains(&missed), "{missed}");
    chain
        .wires
        .iter()
        .for_each(|wire| wire.set_faults(setup.faults));
    assert!(chain.run_until(60 * SECOND, |chain| {
        let status = chain.client().load_status();
        status.over && status.in_flight == 0
    }));
    let mut due: Vec<u64> = chain
        .samples
        .iter()
        .map(|sample| sample.due_us - start)
        .collect();
    due.sort_unstable();
    let right: Vec<u64> = (0..due.len() as u64).map(|n| n * 1000).collect();
    assert_eq!(due, right);
    let longest = chain.samples.iter().map(Sample::latency_us).max().unwrap();
    assert!(
        (SECOND * 8 / 10..2 * SECOND).contains(&longest),
        "{longest}"
    );
    let service = chain.samples.iter().map(Sample::service_us).max().unwrap();
    assert!(service < SECOND / 4, "{service}");
    chain.settle().unwrap();
}

#[test]
fn silence_is_a_time_out_and_ends() {
    let mut setup = ChainSetup::new(&get("/1k"), 10, None);
    setup.plan.timeout = 2000;
    let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
    chain.run_for(SECOND);
    let dead = Faults {
        loss: 1_000_000,
        ..setup.faults
    };
    chain.wires[0].set_faults(dead);
    chain.run_for(100_000);
    let before = chain.samples.len();
    chain.run_for(3 * SECOND);
    let failed: Vec<&Sample> = chain.samples[before..].iter().collect();
    assert_eq!(failed.len(), 10);
    for sample in failed {
        assert_eq!(sample.outcome, Outcome::Failed(Failure::Timeout));
        assert!((2 * SECOND..2 * SECOND + 10_000).contains(&sample.service_us()));
    }
    chain.wires[0].set_faults(setup.faults);
    chain.run_for(10 * SECOND);
    let status = chain.client().load_status();
    assert_eq!((status.open, status.connecting), (10, 0));
    let last = chain.samples.last().unwrap();
    assert_eq!(last.outcome, Outcome::Status(200));
    chain.settle().unwrap();
}

/// A thousand connections from as many addresses, of which the client's TCP/IP knows one.
#[test]
fn many_addresses() {
    let mut setup = ChainSetup::new(&get("/100"), 1000, Some(8000));
    setup.settings.limits.max_connections = 4096;
    setup.sources = 1000;
    let mut chain = Chain::<Mem>::proxied(&setup, Mem::default);
    let foreign = |chain: &Chain<Mem>| chain.client().counters()[Drop::RxNotOurs];
    assert!(chain.run_until(60 * SECOND, |chain| chain.samples.len() == 8000));
    all_right(&chain.samples, 100);
    assert_eq!(chain.client().load_status().sockets, 1000);
    assert_eq!(foreign(&chain), 0);
    // A SYN to 10.0.131.232, the first address behind the last.
    let resets = chain.client().counters()[Counter::ResetsSent];
    let now = chain.clock.now();
    for (last, refused, answered) in [(0xe8, 1, 0), (0xe7, 1, 1)] {
        chain.wires[0].send(dataplane::sim::End::Hosts, now, syn([10, 0, 131, last]));
        chain.run_for(10_000);
        let counters = chain.client().counters();
        assert_eq!(foreign(&chain), refused);
        assert_eq!(counters[Counter::ResetsSent] - resets, answered);
    }
    chain.settle().unwrap();
}

/// A SYN to TCP port 9 of `target`, from the proxy's address on the client's wire.
fn syn(target: [u8; 4]) -> Vec<u8> {
    let sum = |parts: &[&[u8]]| {
        let bytes: Vec<u8> = parts.concat();
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    };
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2];
    ip.extend_from_slice(&target);
    let checksum = sum(&[&ip]);
    ip[10..12].copy_from_slice(&checksum);
    let mut tcp = vec![
        0x77, 0x77, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0,
    ];
    let checksum = sum(&[&ip[12..], &[0, 6, 0, 20], &tcp]);
    tcp[16..18].copy_from_slice(&checksum);
    let ethernet = [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0];
    let mut packet = [&ethernet[..], &ip, &tcp].concat();
    packet.resize(60, 0);
    packet
}

/// Against an origin of another make, whose bodies are not the pattern, in every framing.
#[test]
fn an_independent_origin() {
    let right = Outcome::Status(200);
    let corrupt = Outcome::Failed(Failure::Corrupt);
    let closed = Outcome::Failed(Failure::Closed);
    let timeout = Outcome::Failed(Failure::Timeout);
    for (path, unverified, verified) in [
        ("/length/5000/0/0/x", right, corrupt),
        ("/length/200000/0/0/x", right, corrupt),
        ("/length/0/0/0/x", right, right),
        ("/chunked/5000/0/0/x", right, corrupt),
        ("/chunked/70000/0/0/x", right, corrupt),
        ("/close/5000/0/0/x", right, corrupt),
        ("/abort/5000/0/0/x", closed, closed),
        ("/silence/0/0/0/x", timeout, timeout),
    ] {
        for (verify, expected) in [(false, unverified), (true, verified)] {
            let mut setup = ChainSetup::new(&get(path), 5, Some(30));
            setup.plan.verify = verify;
            setup.plan.timeout = 1000;
            let samples = against_sim_origin(&setup);
            assert_eq!(samples.len(), 30, "{path}");
            for sample in samples {
                assert_eq!(sample.outcome, expected, "{path}, verify {verify}");
                if expected == right {
                    let bytes: u64 = path.split('/').nth(2).unwrap().parse().unwrap();
                    assert_eq!(sample.body_bytes, bytes, "{path}");
                }
            }
        }
    }
}

fn against_sim_origin(setup: &ChainSetup) -> Vec<Sample> {
    let mut settings = setup.settings.clone();
    settings.load = Some(LoadPlan {
        port: PortId(ORIGINS as u8),
        target: format!("10.1.0.2:{ORIGIN}").parse().unwrap(),
        ..setup.plan.clone()
    });
    let setup = Setup {
        settings,
        ..Setup::default()
    };
    let mut world = World::new(setup, ZeroCopy);
    let done = world.run_until(60 * SECOND, |world| {
        let status = world.worker.load_status();
        status.over && status.in_flight == 0
    });
    assert!(done);
    world.worker.stop_load();
    world.settle().unwrap();
    std::mem::take(world.worker.samples_mut())
}
