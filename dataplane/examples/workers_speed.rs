//! What several workers cost: steering a new connection, and handing a packet over.
//!
//!     cargo run --release -p dataplane --example workers_speed
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example that measures and prints"
)]

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use dataplane::flow_table::FlowKey;
use dataplane::mailbox::{Content, Mailbox};
use dataplane::port::RxChecksum;
use dataplane::rss::{MICROSOFT_KEY, Rss};
use dataplane::settings::PortId;
use dataplane::steering::Steering;

/// Packets handed over in a row, so that parcels are not all in the nearest cache.
const PARCELS: u32 = 64;

/// The best of several runs, in ns for each of `count` calls that do something `times` times.
fn best(name: &str, count: u32, times: u32, mut run: impl FnMut(u32)) {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for i in 0..count {
            run(i);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(count * times));
    }
    println!("{name:<44} {best:>8.1} ns");
}

fn main() {
    let table: Vec<u16> = (0..128).map(|i| i % 4).collect();
    let rss = Rss::new(&MICROSOFT_KEY, &table).expect("a key of 40 bytes");
    let toeplitz = Steering::toeplitz(rss, true, true, 4).expect("a table of 4 queues");
    let kinds = [
        ("one worker", Steering::Single),
        ("by ports", Steering::Fanout { workers: 4 }),
        ("Toeplitz", toeplitz),
    ];
    for (name, steering) in kinds {
        for (family, local, remote) in [
            ("IPv4", "10.0.0.1", "10.0.0.2:80"),
            ("IPv6", "fd00::1", "[fd00::2]:80"),
        ] {
            let local: IpAddr = local.parse().expect("an address");
            let remote: SocketAddr = remote.parse().expect("an address");
            let flow = |port| FlowKey::new(PortId(0), SocketAddr::new(local, port), remote);
            best(
                &format!("{name}, {family}: owner of a packet"),
                100_000,
                1,
                |i| {
                    let flow = flow(i as u16).expect("one family");
                    let _ = black_box(black_box(&steering).owner(&flow));
                },
            );
            let replies = steering.replies(local, remote);
            best(
                &format!("{name}, {family}: owner of replies"),
                100_000,
                1,
                |i| {
                    let _ = black_box(black_box(&replies).owner(i as u16));
                },
            );
        }
    }
    let mailbox = Mailbox::new(256);
    best("an empty mailbox", 1_000_000, 1, |_| {
        let _ = black_box(mailbox.take());
    });
    for len in [60, 1514, 16 * 1024, 64 * 1024] {
        let packet = vec![1; len];
        let content = Content::Segment {
            checksum: RxChecksum::Good,
        };
        best(
            &format!("put, take, give back: {len} bytes"),
            200,
            PARCELS,
            |_| {
                for _ in 0..PARCELS {
                    let _ = mailbox.put(content, std::iter::once(&packet[..]));
                }
                while let Some(parcel) = mailbox.take() {
                    let _ = black_box(parcel.bytes());
                    mailbox.give_back(parcel);
                }
            },
        );
    }
}
