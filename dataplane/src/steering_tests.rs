use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::rss::MICROSOFT_KEY;
use crate::settings::PortId;

fn rss(workers: u16) -> Rss {
    let table: Vec<u16> = (0..128).map(|i| i % workers).collect();
    Rss::new(&MICROSOFT_KEY, &table).unwrap()
}

/// All kinds of steering over so many workers.
fn kinds(workers: u16) -> Vec<Steering> {
    let toeplitz = |v4, v6| Steering::toeplitz(rss(workers), v4, v6, workers).unwrap();
    vec![
        Steering::Fanout { workers },
        Steering::Software { workers },
        toeplitz(true, true),
        toeplitz(true, false),
        toeplitz(false, true),
    ]
}

fn flow(local: SocketAddr, remote: SocketAddr) -> FlowKey {
    FlowKey::new(PortId(0), local, remote).unwrap()
}

/// The share of each worker of these flows, in percent.
fn shares(steering: &Steering, flows: impl Iterator<Item = FlowKey>) -> Vec<f64> {
    let mut counts = vec![0u32; usize::from(steering.workers())];
    for flow in flows {
        counts[usize::from(steering.owner(&flow).0)] += 1;
    }
    let all: u32 = counts.iter().sum();
    counts
        .iter()
        .map(|&count| 100.0 * f64::from(count) / f64::from(all))
        .collect()
}

#[test]
fn one_worker_owns_everything() {
    let (local, remote) = ("10.0.0.1:80", "10.0.0.2:12345");
    let steering = Steering::Single;
    let key = flow(local.parse().unwrap(), remote.parse().unwrap());
    assert_eq!(steering.owner(&key), WorkerId(0));
    let replies = steering.replies("10.0.0.1".parse().unwrap(), remote.parse().unwrap());
    assert_eq!(replies.owner(9), WorkerId(0));
    assert_eq!(steering.workers(), 1);
}

/// Linux hands out every second port, in runs.
#[test]
fn clients_with_ports_of_one_parity_are_spread() {
    let local: SocketAddr = "10.0.0.1:8080".parse().unwrap();
    for workers in [2, 3, 4, 7, 16] {
        for steering in kinds(workers) {
            for parity in [0, 1] {
                let ports = (32_768 + parity..60_000).step_by(2).take(2_000);
                let flows = ports.map(|port| flow(local, ([10, 0, 0, 2], port).into()));
                let fair = 100.0 / f64::from(workers);
                for share in shares(&steering, flows) {
                    assert!(
                        (fair * 0.75..fair * 1.25).contains(&share),
                        "{share} % instead of {fair} %: {steering:?}"
                    );
                }
            }
        }
    }
}

/// What `connect` builds on: for each endpoint every worker finds ports of its own, soon.
#[test]
fn ports_for_an_endpoint_are_divided_among_the_workers() {
    let local: IpAddr = "10.0.0.1".parse().unwrap();
    for workers in [2, 3, 5, 16] {
        for steering in kinds(workers) {
            for endpoint in ["10.0.0.2:80", "10.9.8.7:8080", "192.168.1.1:65535"] {
                let remote: SocketAddr = endpoint.parse().unwrap();
                let replies = steering.replies(local, remote);
                let mut longest = 0;
                for worker in 0..workers {
                    let mut gap = 0;
                    for port in 10_000..20_000 {
                        gap += 1;
                        if replies.owner(port) == WorkerId(worker) {
                            longest = longest.max(gap);
                            gap = 0;
                        }
                    }
                    longest = longest.max(gap);
                }
                assert!(
                    longest <= 32 * usize::from(workers),
                    "{longest} ports in a row without one of a worker: {steering:?}"
                );
            }
        }
    }
}

#[test]
fn a_table_that_does_not_serve_the_workers_is_no_steering() {
    let of = |table: &[u16], workers| {
        let rss = Rss::new(&MICROSOFT_KEY, table).unwrap();
        Steering::toeplitz(rss, true, true, workers).is_some()
    };
    assert!(of(&[0, 1, 0, 1], 2));
    assert!(!of(&[0, 0, 0, 0], 2), "worker 1 gets nothing");
    assert!(!of(&[0, 1, 2, 3], 2), "there is no worker 3");
    assert!(Steering::toeplitz(rss(2), false, false, 2).is_none());
}

#[test]
fn what_the_port_does_itself() {
    let of = |steering: &Steering| [false, true].map(|ipv6| steering.is_done_by_port(ipv6));
    let expected = [
        [true, true],
        [false, false],
        [true, true],
        [true, false],
        [false, true],
    ];
    for (steering, expected) in kinds(2).iter().zip(expected) {
        assert_eq!(of(steering), expected, "{steering:?}");
    }
    assert_eq!(of(&Steering::Single), [true, true]);
}

#[test]
fn workers_numbers_cover_the_whole_range() {
    for workers in [1u16, 2, 3, 128, u16::MAX] {
        let owners: HashSet<u16> = (0..=u16::MAX)
            .map(|port| by_ports(port, 0, workers).0)
            .collect();
        assert!(owners.iter().all(|&owner| owner < workers));
        if workers <= 128 {
            assert_eq!(owners.len(), usize::from(workers));
        }
    }
    assert!(by_ports(u16::MAX, u16::MAX, u16::MAX).0 < u16::MAX);
}

proptest! {
    /// The two uses agree: a reply to a chosen port belongs to the worker that chose it.
    #[test]
    fn replies_belong_to_whom_owner_says(
        a: [u8; 16], b: [u8; 16], local_port: u16, remote_port: u16, v6: bool, workers in 1u16..40,
    ) {
        let address = |bytes: [u8; 16]| match v6 {
            true => IpAddr::from(bytes),
            false => IpAddr::from(*bytes.first_chunk::<4>().unwrap()),
        };
        let (local, remote) = (address(a), SocketAddr::new(address(b), remote_port));
        for steering in kinds(workers) {
            let owner = steering.owner(&flow(SocketAddr::new(local, local_port), remote));
            prop_assert!(owner.0 < workers);
            prop_assert_eq!(steering.replies(local, remote).owner(local_port), owner);
        }
    }
}
