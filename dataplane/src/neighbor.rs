//! The Ethernet side of a port: which frames are for it, where to send a packet, and the ARP and
//! neighbour discovery by which the two ends of a link find each other.
//!
//! smoltcp runs on IP packets and never sees an Ethernet header. Its own neighbour cache would
//! lose the first packet to each neighbour and wake only one of many sets when an answer comes; here
//! the answer says which address became known ([`Outcome::Known`]), and the worker wakes whoever waits.
//!
//! Rules are from RFC 826 and RFC 5227 (ARP) and RFC 4861 (neighbour discovery). Not here: router
//! solicitations and advertisements (gateways are configured), redirects (ignored, as anybody could
//! send them), duplicate address detection (addresses are configured; conflicts are reported).

mod arp;
mod cache;
mod ndp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol};

use crate::counters::Drop;
use crate::settings::{AddressRange, PortSettings};
use cache::{Cache, Evidence, Learned, Mac};

/// Questions a port sends in a row before it is held to `QUESTIONS_PER_MS`.
const QUESTION_BURST: u64 = 128;
/// Questions a port sends per millisecond in the long run, so that a flood of invented neighbours
/// does not become a flood of broadcasts.
const QUESTIONS_PER_MS: u64 = 1;
/// Between two defences of an own address, in ms: DEFEND_INTERVAL of RFC 5227 section 1.1.
const DEFEND_INTERVAL: u64 = 10_000;

/// What [`Neighbors::handle_arp`] and [`Neighbors::handle_ndp`] made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, or nothing new in it.
    Handled,
    /// The Ethernet address of this neighbour became known, or became another: whoever waits for it
    /// or remembers it should look it up.
    Known(IpAddr),
    /// Somebody else uses an address of this port: worth a line in the log.
    Conflict {
        /// The address.
        address: IpAddr,
        /// Who says it is his.
        mac: [u8; 6],
    },
    /// Thrown away, for this reason.
    Refused(Drop),
}

/// The link of one port, as one worker sees it.
///
/// Each worker has its own, but a NIC gives an ARP or ICMPv6 frame to one queue only: the worker
/// that receives it should pass it on to the others, who handle it with a `reply` that does nothing.
pub struct Neighbors {
    mac: Mac,
    /// Further own addresses.
    ranges: Vec<AddressRange>,
    /// Own addresses with their prefix lengths. The last one is the link-local address that is
    /// made from the MAC.
    addresses: Vec<(IpAddr, u8)>,
    gateway_v4: Option<Ipv4Addr>,
    gateway_v6: Option<Ipv6Addr>,
    cache: Cache,
    /// Questions that may be sent now, and when that was last reckoned.
    allowance: (u64, u64),
    /// When an own address was last defended.
    defended: Option<u64>,
}

impl Neighbors {
    /// The link of a port with this MAC. Starts to ask for its gateways. `seed` must be unknown to
    /// peers; `now_ms` is the worker's time, as in all other calls.
    pub fn new(mac: [u8; 6], settings: &PortSettings, seed: u64, now_ms: u64) -> Self {
        let mut addresses = settings.addresses.clone();
        addresses.push((link_local(mac).into(), 64));
        let gateway_v4 = settings.gateways.iter().find_map(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(*gateway),
            IpAddr::V6(_) => None,
        });
        let gateway_v6 = settings.gateways.iter().find_map(|gateway| match gateway {
            IpAddr::V6(gateway) => Some(*gateway),
            IpAddr::V4(_) => None,
        });
        let mut cache = Cache::new(&settings.neighbors, seed, now_ms);
        for gateway in &settings.gateways {
            cache.want(*gateway, now_ms);
        }
        Self {
            mac,
            ranges: settings.ranges.clone(),
            addresses,
            gateway_v4,
            gateway_v6,
            cache,
            allowance: (QUESTION_BURST, now_ms),
            defended: None,
        }
    }

    /// The port's IPv6 address that is made from its MAC.
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }

    /// Whether an address is one of the port's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
            || self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether there are addresses beyond those that TCP/IP knows of.
    pub fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Whether a frame with this destination is for the port: its own MAC, broadcast, or the
    /// multicast groups that neighbour discovery needs (RFC 4291 section 2.8).
    #[inline]
    pub fn is_for_us(&self, destination: [u8; 6]) -> bool {
        destination == self.mac || (destination[0] & 1 != 0 && self.is_our_group(destination))
    }

    fn is_our_group(&self, destination: Mac) -> bool {
        destination == [0xff; 6]
            || destination == multicast_mac(ALL_NODES)
            || self
                .own_v6()
                .any(|own| destination == multicast_mac(solicited_node(own)))
            || self.ranges.iter().any(|range| solicits(range, destination))
    }

    /// The neighbour to whom a packet for `destination` is to be given: itself when it is on the
    /// link, else the gateway of its family. `None` when there is no gateway, and for addresses
    /// that no packet is sent to (own, multicast, broadcast, unspecified, loopback).
    pub fn next_hop(&self, destination: IpAddr) -> Option<IpAddr> {
        if self.on_link(destination) {
            return (!self.owns(destination)).then_some(destination);
        }
        match destination {
            IpAddr::V4(a) if is_unicast_v4(a) && !self.is_edge(a) => {
                self.gateway_v4.map(IpAddr::V4)
            }
            IpAddr::V6(a) if is_unicast_v6(a) => self.gateway_v6.map(IpAddr::V6),
            _ => None,
        }
    }

    /// The MAC of a next hop, if it is known. Counts as use: a neighbour that is used is
    /// asked again before its entry runs out.
    #[inline]
    pub fn lookup(&mut self, next_hop: IpAddr) -> Option<[u8; 6]> {
        self.cache.lookup(next_hop)
    }

    /// Asks for the MAC of a next hop, at the next [`Neighbors::poll`] and on for ten seconds.
    /// Whoever waits longer calls it again. Costs little when it was called before.
    pub fn want(&mut self, next_hop: IpAddr, now_ms: u64) {
        self.cache.want(next_hop, now_ms);
    }

    /// Takes the source of a packet that opens a connection as a hint who has that address,
    /// so that the reply needs no question first. Believed only for unicast addresses on the link
    /// of which nothing better is known, and checked as soon as it is used.
    pub fn hint(&mut self, address: IpAddr, mac: [u8; 6], now_ms: u64) {
        if self.credible(address, mac) {
            let _: Learned = self.cache.learn(address, mac, Evidence::Packet, now_ms);
        }
    }

    /// Sends the questions that are due, each a whole Ethernet frame. Cheap when there are none.
    pub fn poll(&mut self, now_ms: u64, mut emit: impl FnMut(&[u8])) {
        let (left, reckoned) = self.allowance;
        let now = now_ms.max(reckoned);
        let left = (now - reckoned)
            .saturating_mul(QUESTIONS_PER_MS)
            .saturating_add(left)
            .min(QUESTION_BURST);
        let (mac, addresses) = (self.mac, &self.addresses);
        let asked = self
            .cache
            .poll(now_ms, left as usize, |question| match question.address {
                IpAddr::V4(target) => {
                    if let Some(own) = source_v4(addresses, target) {
                        emit(&arp::request(mac, own, target, question.to));
                    }
                }
                IpAddr::V6(target) => {
                    let own = source_v6(addresses, target).unwrap_or(link_local(mac));
                    emit(&ndp::solicitation(mac, own, target, question.to));
                }
            });
        self.allowance = (left - asked as u64, now);
    }

    /// A time in ms before which [`Neighbors::poll`] has nothing to send; `None` while nobody is asked.
    pub fn next_poll(&self) -> Option<u64> {
        self.cache.next_visit()
    }

    /// Tells everybody on the link where the port's addresses are: gratuitous ARP (RFC 5227
    /// section 2.3) and unsolicited advertisements (RFC 4861 section 7.2.6). For the start, and for
    /// when the link comes back.
    pub fn announce(&self, mut emit: impl FnMut(&[u8])) {
        for (own, _) in &self.addresses {
            match *own {
                IpAddr::V4(own) => emit(&arp::announcement(self.mac, own)),
                IpAddr::V6(own) => emit(&ndp::advertisement(self.mac, own, None)),
            }
        }
    }

    fn own_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.addresses.iter().filter_map(|(own, _)| match own {
            IpAddr::V6(own) => Some(*own),
            IpAddr::V4(_) => None,
        })
    }

    /// Whether an address is a neighbour's, to be reached without a gateway.
    fn on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => {
                let covered = self.addresses.iter().any(|own| covers(own, address));
                is_unicast_v4(a) && (covered && !self.is_edge(a) || self.gateway_v4 == Some(a))
            }
            IpAddr::V6(a) => {
                let covered = self.addresses.iter().any(|own| covers(own, address));
                let local = a.is_unicast_link_local();
                is_unicast_v6(a) && (covered || local || self.gateway_v6 == Some(a))
            }
        }
    }

    /// Whether an address is the first or last of an own IPv4 prefix: the network's, and its
    /// broadcast. Prefixes of 31 and 32 bits have neither (RFC 3021).
    fn is_edge(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| {
            let host = u32::MAX.checked_shr(u32::from(own.1)).unwrap_or(0);
            let part = address.to_bits() & host;
            own.1 < 31 && covers(own, address.into()) && (part == 0 || part == host)
        })
    }

    /// Whether a neighbour with this address and MAC can exist.
    fn credible(&self, address: IpAddr, mac: Mac) -> bool {
        is_unicast_mac(mac) && mac != self.mac && self.on_link(address) && !self.owns(address)
    }

    /// Weighs the claim of a frame.
    fn learn(&mut self, address: IpAddr, mac: Mac, evidence: Evidence, now: u64) -> Outcome {
        if !self.credible(address, mac) {
            return Outcome::Refused(Drop::NeighborRefused);
        }
        match self.cache.learn(address, mac, evidence, now) {
            Learned::Known => Outcome::Known(address),
            Learned::Nothing => Outcome::Handled,
            Learned::Refused => Outcome::Refused(Drop::NeighborRefused),
        }
    }

    /// Whether an own address that somebody else claims is to be defended now.
    fn may_defend(&mut self, now: u64) -> bool {
        let may = self
            .defended
            .is_none_or(|last| now >= last + DEFEND_INTERVAL);
        if may {
            self.defended = Some(now);
        }
        may
    }
}

impl std::fmt::Debug for Neighbors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbors")
            .field("mac", &EthernetAddress(self.mac))
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Writes an Ethernet header and returns the room behind it.
fn ethernet(frame: &mut [u8], from: Mac, to: Mac, ethertype: EthernetProtocol) -> &mut [u8] {
    let mut header = EthernetFrame::new_unchecked(&mut *frame);
    header.set_src_addr(EthernetAddress(from));
    header.set_dst_addr(EthernetAddress(to));
    header.set_ethertype(ethertype);
    &mut frame[ETHERNET_HEADER_LEN..]
}

/// RFC 4291 appendix A: the interface identifier is the MAC with `ff:fe` in its middle and the
/// universal/local bit inverted.
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// RFC 4291 section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Whether a multicast group is that of an address in `range`.
fn solicits(range: &AddressRange, group: Mac) -> bool {
    let IpAddr::V6(first) = range.first else {
        return false;
    };
    let [a, b, c, low @ ..] = group;
    let low = low
        .into_iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(byte));
    // Of an address the last 24 bits are in the group's (RFC 4291 section 2.7.1).
    let distance = low.wrapping_sub(first.to_bits() as u32) & 0xff_ffff;
    [a, b, c] == [0x33, 0x33, 0xff] && distance < range.count
}

/// RFC 2464 section 7.
fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

fn is_unicast_mac(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

fn is_unicast_v4(address: Ipv4Addr) -> bool {
    // 240.0.0.0/4 is reserved and has the limited broadcast address at its end.
    let [first, ..] = address.octets();
    first != 0 && first < 240 && !address.is_multicast() && !address.is_loopback()
}

fn is_unicast_v6(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

/// Whether an address lies in the prefix of an own address.
fn covers(&(own, length): &(IpAddr, u8), address: IpAddr) -> bool {
    let length = u32::from(length);
    match (own, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            (a.to_bits() ^ b.to_bits()) & !host == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            (a.to_bits() ^ b.to_bits()) & !host == 0
        }
        _ => false,
    }
}

/// The own address to ask from: one in the target's prefix, or any.
fn source_v4(addresses: &[(IpAddr, u8)], target: Ipv4Addr) -> Option<Ipv4Addr> {
    let near = addresses.iter().find(|own| covers(own, target.into()));
    near.into_iter()
        .chain(addresses)
        .find_map(|(own, _)| match own {
            IpAddr::V4(own) => Some(*own),
            IpAddr::V6(_) => None,
        })
}

/// The own address to ask from: one in the target's prefix, if there is one.
fn source_v6(addresses: &[(IpAddr, u8)], target: Ipv6Addr) -> Option<Ipv6Addr> {
    addresses
        .iter()
        .find(|own| covers(own, target.into()))
        .and_then(|(own, _)| match own {
            IpAddr::V6(own) => Some(*own),
            IpAddr::V4(_) => None,
        })
}

#[cfg(test)]
mod tests;
