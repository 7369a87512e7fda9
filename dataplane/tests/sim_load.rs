//! The load's two ends, against each other and with the proxy between them, all of them engines.

use dataplane::counters::Counter;
use dataplane::load::{Failure, Outcome, Sample};
use dataplane::mover::{MemMover, ZeroCopy};
use dataplane::sim::chain::{ChainSetup, get};
use dataplane::sim::{Chain, Faults, SimFrame};

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
