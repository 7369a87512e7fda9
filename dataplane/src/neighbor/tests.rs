mod arp;
mod cache;
mod claims;
mod lifetime;
mod ndp;

use proptest::prelude::*;

use super::cache::*;
use super::*;

const US: Mac = [0x02, 0, 0, 0, 0, 0x01];
const PEER: Mac = [0x02, 0, 0, 0, 0, 0x02];
const OTHER: Mac = [0x02, 0, 0, 0, 0, 0x03];
const ALL: Mac = [0xff; 6];

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn v6(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

/// 10.0.0.1/24 and fd00::1/64, each with a gateway, and 10.0.0.9 and fd00::9 configured.
fn settings() -> PortSettings {
    PortSettings {
        name: "test".into(),
        addresses: vec![(ip("10.0.0.1"), 24), (ip("fd00::1"), 64)],
        gateways: vec![ip("10.0.0.254"), ip("fe80::fe")],
        ranges: Vec::new(),
        neighbors: vec![
            (ip("10.0.0.9"), [2, 0, 0, 0, 0, 9]),
            (ip("fd00::9"), [2, 0, 0, 0, 0, 9]),
        ],
    }
}

/// A link on which nothing is being asked.
fn quiet() -> Neighbors {
    Neighbors::new(
        US,
        &PortSettings {
            gateways: vec![],
            ..settings()
        },
        1,
        0,
    )
}

fn polled(link: &mut Neighbors, now: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    link.poll(now, |frame| frames.push(frame.to_vec()));
    frames
}

/// Feeds a frame of either protocol. Returns the outcome and the replies.
fn fed(link: &mut Neighbors, frame: &[u8], now: u64) -> (Outcome, Vec<Vec<u8>>) {
    let mut replies = Vec::new();
    let reply = |frame: &[u8]| replies.push(frame.to_vec());
    let outcome = match frame[12..14] {
        [0x08, 0x06] => link.handle_arp(frame, now, reply),
        _ => link.handle_ndp(frame, now, reply),
    };
    (outcome, replies)
}

/// An ARP frame, written byte by byte: `operation`, Ethernet destination, sender, target.
fn arp(operation: u8, to: Mac, sender: (Mac, &str), target: (Mac, &str)) -> Vec<u8> {
    let octets = |s: &str| s.parse::<Ipv4Addr>().unwrap().octets();
    [
        &to[..],
        &sender.0,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation],
        &sender.0,
        &octets(sender.1),
        &target.0,
        &octets(target.1),
    ]
    .concat()
}

/// A neighbour message to take apart and get wrong in tests.
#[derive(Clone)]
struct Ndp {
    kind: u8,
    flags: u8,
    to: (Mac, Ipv6Addr),
    from: (Mac, Ipv6Addr),
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
    hop_limit: u8,
    code: u8,
}

const SOLICIT: u8 = 135;
const ADVERT: u8 = 136;
const S: u8 = 0x40;
const O: u8 = 0x20;

impl Ndp {
    fn solicit(source: &str, target: &str) -> Self {
        let group = solicited_node(v6(target));
        Self {
            kind: SOLICIT,
            flags: 0,
            to: (multicast_mac(group), group),
            from: (PEER, v6(source)),
            target: v6(target),
            option: Some((1, PEER)),
            hop_limit: 255,
            code: 0,
        }
    }

    fn advert(flags: u8, target: &str, mac: Mac) -> Self {
        Self {
            kind: ADVERT,
            flags,
            to: (US, v6("fd00::1")),
            from: (mac, v6(target)),
            target: v6(target),
            option: Some((2, mac)),
            hop_limit: 255,
            code: 0,
        }
    }

    fn announced(mut self) -> Self {
        self.to = ([0x33, 0x33, 0, 0, 0, 1], v6("ff02::1"));
        self
    }

    /// Written byte by byte, with the checksum of RFC 4443 section 2.3 in its plainest form.
    fn frame(&self) -> Vec<u8> {
        let mut icmp = vec![self.kind, self.code, 0, 0, self.flags, 0, 0, 0];
        icmp.extend(self.target.octets());
        if let Some((kind, mac)) = self.option {
            icmp.extend([kind, 1]);
            icmp.extend(mac);
        }
        let (from, to) = (self.from.1.octets(), self.to.1.octets());
        let pseudo = [
            &from[..],
            &to,
            &[0, 0, 0, icmp.len() as u8, 0, 0, 0, 58],
            &icmp,
        ]
        .concat();
        let sum: u32 = pseudo
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let ip = [0x60, 0, 0, 0, 0, icmp.len() as u8, 58, self.hop_limit];
        [
            &self.to.0[..],
            &self.from.0,
            &[0x86, 0xdd],
            &ip,
            &from,
            &to,
            &icmp,
        ]
        .concat()
    }
}

const REFUSED: Outcome = Outcome::Refused(Drop::NeighborRefused);

#[test]
fn next_hops() {
    let link = Neighbors::new(US, &settings(), 1, 0);
    for (destination, hop) in [
        ("10.0.0.7", Some("10.0.0.7")),
        ("10.0.0.254", Some("10.0.0.254")),
        ("10.0.1.7", Some("10.0.0.254")),
        ("192.0.2.1", Some("10.0.0.254")),
        ("10.0.0.1", None),
        ("10.0.0.0", None),
        ("10.0.0.255", None),
        ("255.255.255.255", None),
        ("0.0.0.0", None),
        ("127.0.0.1", None),
        ("224.0.0.1", None),
        ("fd00::7", Some("fd00::7")),
        ("fd00:0:0:1::7", Some("fe80::fe")),
        ("2001:db8::1", Some("fe80::fe")),
        ("fe80::77", Some("fe80::77")),
        ("fd00::1", None),
        ("fe80::ff:fe00:1", None),
        ("ff02::1", None),
        ("::", None),
        ("::1", None),
    ] {
        assert_eq!(link.next_hop(ip(destination)), hop.map(ip), "{destination}");
    }
    let link = quiet();
    assert_eq!(link.next_hop(ip("192.0.2.1")), None);
    assert_eq!(link.next_hop(ip("2001:db8::1")), None);
    // A gateway outside every prefix, and prefixes without network and broadcast address.
    let odd = PortSettings {
        addresses: vec![(ip("192.0.2.5"), 32), (ip("10.1.0.1"), 31)],
        gateways: vec![ip("172.16.0.1")],
        ..PortSettings::default()
    };
    let link = Neighbors::new(US, &odd, 1, 0);
    assert_eq!(link.next_hop(ip("8.8.8.8")), Some(ip("172.16.0.1")));
    assert_eq!(link.next_hop(ip("172.16.0.1")), Some(ip("172.16.0.1")));
    assert_eq!(link.next_hop(ip("10.1.0.0")), Some(ip("10.1.0.0")));
    let all = PortSettings {
        addresses: vec![(ip("192.0.2.5"), 0)],
        ..PortSettings::default()
    };
    assert_eq!(
        Neighbors::new(US, &all, 1, 0).next_hop(ip("8.8.8.8")),
        Some(ip("8.8.8.8"))
    );
}

#[test]
fn frames_for_us() {
    let link = Neighbors::new(US, &settings(), 1, 0);
    for (destination, ours) in [
        (US, true),
        (ALL, true),
        ([0x33, 0x33, 0, 0, 0, 1], true),
        ([0x33, 0x33, 0xff, 0, 0, 1], true), // of fd00::1 and of the link-local address
        ([0x33, 0x33, 0xff, 0, 0, 2], false),
        ([0x33, 0x33, 0, 0, 0, 2], false), // all routers
        ([0x01, 0, 0x5e, 0, 0, 1], false),
        (PEER, false),
        ([0; 6], false),
    ] {
        assert_eq!(link.is_for_us(destination), ours, "{destination:02x?}");
    }
    assert_eq!(link.link_local(), v6("fe80::ff:fe00:1"));
    assert!(
        link.owns(ip("fe80::ff:fe00:1")) && link.owns(ip("10.0.0.1")) && !link.owns(ip("10.0.0.2"))
    );
}

/// A link on which 10.0.0.2 and fd00::2 have answered at time 0.
fn acquainted() -> Neighbors {
    let mut link = quiet();
    link.want(ip("10.0.0.2"), 0);
    link.want(ip("fd00::2"), 0);
    assert_eq!(polled(&mut link, 0).len(), 2);
    let _ = fed(
        &mut link,
        &arp(2, US, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
        0,
    );
    let _ = fed(&mut link, &Ndp::advert(S | O, "fd00::2", PEER).frame(), 0);
    link
}

#[test]
fn the_start_is_announced() {
    let link = Neighbors::new(US, &settings(), 1, 0);
    let mut frames = Vec::new();
    link.announce(|frame| frames.push(frame.to_vec()));
    let expected = [
        arp(1, ALL, (US, "10.0.0.1"), ([0; 6], "10.0.0.1")),
        Ndp::advert(O, "fd00::1", US).announced().frame(),
        Ndp::advert(O, "fe80::ff:fe00:1", US).announced().frame(),
    ];
    assert_eq!(frames, expected);
}

proptest! {
    #[test]
    fn no_frame_does_harm(mut frame in prop::collection::vec(any::<u8>(), 0..120), protocol in 0..3u8) {
        if frame.len() >= 14 {
            let kind = [[0x08, 0x06], [0x86, 0xdd], [0x08, 0x00]][protocol as usize];
            frame[12..14].copy_from_slice(&kind);
        }
        let mut link = acquainted();
        let _ = link.handle_arp(&frame, 1, |_| ());
        let _ = link.handle_ndp(&frame, 1, |_| ());
        prop_assert_eq!(link.lookup(ip("10.0.0.2")), Some(PEER));
    }

    /// Options of any shape, behind a right checksum.
    #[test]
    fn no_options_do_harm(kind in 133..138u8, body in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut link = acquainted();
        let mut frame = Ndp { kind, option: None, ..Ndp::solicit("fd00::2", "fd00::1") }.frame();
        frame.extend(&body);
        let length = (24 + body.len()) as u8;
        frame[19] = length;
        let (source, target) = (v6("fd00::2"), solicited_node(v6("fd00::1")));
        smoltcp::wire::Icmpv6Packet::new_unchecked(&mut frame[54..]).fill_checksum(&source, &target);
        let outcome = link.handle_ndp(&frame, 1, |_| ());
        prop_assert_ne!(outcome, Outcome::Refused(Drop::RxBadChecksum));
        // Router messages and redirects, whatever they say.
        if !(135..=136).contains(&kind) {
            let ignored = [Drop::RxUnknownProtocol, Drop::RxShort].map(Outcome::Refused);
            prop_assert!(ignored.contains(&outcome), "{:?}", outcome);
        }
    }
}
