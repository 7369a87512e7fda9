//! What the simulator's tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use dataplane::mover::{AnyMover, MemMover, ZeroCopy};
use dataplane::sim::client::{Answer, Exchange, Method, Plan};
use dataplane::sim::host::Host;
use dataplane::sim::{Rng, SimFrame, World};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpPacket, TcpRepr,
};
use std::net::Ipv4Addr;

pub type AnyWorld = World<AnyMover<SimFrame>>;

/// One second of virtual time.
pub const SECOND: u64 = 1_000_000;

/// Both movers of the engine.
pub fn movers() -> [AnyMover<SimFrame>; 2] {
    [
        AnyMover::Mem(MemMover::default()),
        AnyMover::ZeroCopy(ZeroCopy),
    ]
}

/// One of both.
pub fn mover(zero_copy: bool) -> AnyMover<SimFrame> {
    let [mem, zero] = movers();
    if zero_copy { zero } else { mem }
}

/// A plan with these exchanges.
pub fn plan(exchanges: Vec<Exchange>) -> Plan {
    Plan {
        exchanges,
        ..Plan::default()
    }
}

/// An exchange of a random kind with bodies of up to `most` bytes.
pub fn any_exchange(rng: &mut Rng, most: u64) -> Exchange {
    // Small bodies are as likely as large ones.
    let size = |rng: &mut Rng| {
        let most = 1 + rng.below(most + 1);
        match rng.below(3) {
            0 => rng.below(most.min(2000)),
            _ => rng.below(most),
        }
    };
    let len = size(rng);
    let answer = match rng.below(8) {
        0..4 => Answer::Length(len),
        4..7 => Answer::Chunked(len),
        _ => Answer::Close(len),
    };
    let method = match rng.below(8) {
        0..5 => Method::Get,
        5 => Method::Head,
        _ => Method::Post {
            len: size(rng),
            chunked: rng.chance(500_000),
        },
    };
    Exchange {
        method,
        answer,
        tag: rng.below(1000),
        close: false,
    }
}

/// Panics unless every connection of every client got all it asked for, and no origin complained.
pub fn assert_whole(world: &AnyWorld, what: &str) {
    for (i, outcome) in world.outcomes().enumerate() {
        assert!(
            outcome.whole(),
            "{what}: connection {i}: {outcome:?} at {} µs; {:?}; {:#?}",
            world.clock.now(),
            world.worker.counters(),
            world.hosts.iter().map(Host::standing).collect::<Vec<_>>()
        );
    }
    for origin in world.origins() {
        assert!(
            origin.complaints.is_empty(),
            "{what}: {:?}",
            origin.complaints
        );
    }
}

/// Lets everything end and panics when the worker kept something.
pub fn assert_settles(world: &mut AnyWorld, what: &str) {
    if let Err(kept) = world.settle() {
        panic!("{what}: {kept}; {:?}", world.worker.counters());
    }
}

/// A packet of one segment from `source`, which has no host, to the worker on the clients' side.
pub fn packet(source: Ipv4Addr, tcp: &TcpRepr<'_>) -> Vec<u8> {
    let target = Ipv4Addr::new(10, 0, 0, 1);
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: target,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 99, 99]),
        dst_addr: EthernetAddress([2, 0, 0, 0, 0, 1]),
        ethertype: EthernetProtocol::Ipv4,
    };
    let sums = ChecksumCapabilities::default();
    let mut bytes = vec![0; 14 + 20 + tcp.buffer_len()];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &sums);
    let mut segment = TcpPacket::new_unchecked(&mut bytes[34..]);
    tcp.emit(&mut segment, &source.into(), &target.into(), &sums);
    bytes
}
