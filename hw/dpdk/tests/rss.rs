//! RSS of a device, read back and computed: `net_null` keeps a key and a table, and needs no wire.

mod common;

use std::net::SocketAddr;

use common::*;
use dataplane::flow_table::FlowKey;
use dataplane::settings::PortId;
use dataplane::steering::{Steering, WorkerId};
use dpdk::{ClassConfig, DeviceConfig, DpdkDevice, MbufPool, PoolConfig, Rss};

/// The hash by its definition (Microsoft, "RSS Hashing Functions"): for each bit of the input that is
/// set, the 32 leftmost bits of the key, which moves left by one bit after each.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (7 - i % 8) & 1;
    (0..input.len() * 8)
        .filter(|i| bit(input, *i) != 0)
        .fold(0, |hash, i| {
            hash ^ (i..i + 32).fold(0, |window, k| window << 1 | u32::from(bit(key, k)))
        })
}

fn expected(rss: &Rss, remote: SocketAddr, local: SocketAddr) -> WorkerId {
    let octets = |address: SocketAddr| match address {
        SocketAddr::V4(a) => a.ip().octets().to_vec(),
        SocketAddr::V6(a) => a.ip().octets().to_vec(),
    };
    let ports = [remote.port().to_be_bytes(), local.port().to_be_bytes()].concat();
    let hash = toeplitz(&rss.key, &[octets(remote), octets(local), ports].concat());
    WorkerId(rss.table[hash as usize % rss.table.len()])
}

#[test]
fn the_engine_computes_what_the_device_says_it_does() {
    let eal = eal("rss", &["-l", "0", "--vdev", "net_null0,size=64"]);
    let class = |count, room| ClassConfig { count, room };
    let config = PoolConfig {
        small: class(2_047, 2_048),
        large: class(127, 16_384),
        cache: 64,
    };
    let pools: Vec<MbufPool> = (0..3)
        .map(|n| MbufPool::new(&eal, &format!("test{n}"), 0, &config).unwrap())
        .collect();
    let device = DpdkDevice::open(&eal, "net_null0", &DeviceConfig::default(), &pools).unwrap();
    let rss = device.rss().expect("it has RSS").clone();
    assert_eq!((rss.key.len(), rss.table.len()), (40, 128));
    // Its table is all zeros until somebody writes it.
    for queue in 0..3 {
        let entries = rss.table.iter().filter(|&&entry| entry == queue).count();
        assert!((42..=43).contains(&entries), "queue {queue}: {entries}");
    }
    let steering = device.steering();
    assert!(
        matches!(
            steering,
            Steering::Toeplitz {
                v4: true,
                v6: true,
                workers: 3,
                ..
            }
        ),
        "{steering:?}"
    );
    for i in 0..2_000u16 {
        for (local, remote) in [("10.0.0.1", "10.0.1.7"), ("fd00::1", "fd01::7:9")] {
            let port = 10_000 + i * 17;
            let local = SocketAddr::new(local.parse().unwrap(), port);
            let remote = SocketAddr::new(remote.parse().unwrap(), 8080);
            let flow = FlowKey::new(PortId(0), local, remote).unwrap();
            let expected = expected(&rss, remote, local);
            assert_eq!(steering.owner(&flow), expected);
            assert_eq!(steering.replies(local.ip(), remote).owner(port), expected);
        }
    }

    // What cannot be computed is not claimed.
    let keyless = Rss {
        key: Vec::new(),
        ..rss.clone()
    };
    let tableless = Rss {
        table: Vec::new(),
        ..rss.clone()
    };
    let other = Rss {
        tcp_v4: false,
        tcp_v6: false,
        ..rss.clone()
    };
    for lacking in [keyless, tableless, other] {
        assert!(lacking.steering(3).is_none(), "{lacking:?}");
    }
    assert!(rss.steering(4).is_none(), "no entry leads to the fourth");

    // Each queue receives into the pool of its worker.
    for (queue, pool) in (0u16..).zip(&pools) {
        let mut port = device.queue(queue).unwrap();
        let got = receive(&mut port, 10, std::time::Duration::from_secs(1), |_| true);
        assert!(got.len() >= 10);
        assert!(out(pool) > 0);
        drop(got);
    }
    drop(device);
    for pool in &pools {
        assert_eq!(out(pool), 0);
    }
    drop((pools, eal));
    assert_eq!(leaks(), 0);
}
