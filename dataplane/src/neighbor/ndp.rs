//! Neighbour solicitations and advertisements: RFC 4861 sections 4.3, 4.4, 7.1 and 7.2.

use std::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol, IPV6_HEADER_LEN,
    Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags as Flags, NdiscRepr, RawHardwareAddress,
};

use super::cache::{Evidence, Mac};
use super::{ALL_NODES, Neighbors, Outcome, ethernet, multicast_mac, solicited_node};
use crate::counters::Drop;

/// Ethernet, IPv6, ICMPv6 with its target address, and one link-layer address option.
pub(super) const FRAME: usize = ETHERNET_HEADER_LEN + IPV6_HEADER_LEN + 24 + 8;

/// No router forwards a packet with it, so it comes from this link (RFC 4861 section 7.1.1).
const HOP_LIMIT: u8 = 255;

/// A valid solicitation or advertisement.
struct Message<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// The Ethernet source: who to answer when he does not say.
    from: Mac,
    ndp: NdiscRepr<'a>,
}

impl Neighbors {
    /// Handles a neighbour solicitation or advertisement, from its Ethernet header on. `reply` is
    /// called with at most one whole frame to send. Other ICMPv6 messages are refused
    /// with [`Drop::RxUnknownProtocol`], router messages and redirects among them.
    pub fn handle_ndp(
        &mut self,
        frame: &[u8],
        now_ms: u64,
        mut reply: impl FnMut(&[u8]),
    ) -> Outcome {
        let message = match parse(frame) {
            Ok(message) => message,
            Err(reason) => return Outcome::Refused(reason),
        };
        match message.ndp {
            NdiscRepr::NeighborSolicit {
                target_addr,
                lladdr,
            } => self.solicited(&message, target_addr, lladdr, now_ms, &mut reply),
            NdiscRepr::NeighborAdvert {
                flags,
                target_addr,
                lladdr,
            } => self.advertised(&message, flags, target_addr, lladdr, now_ms),
            _ => Outcome::Refused(Drop::RxUnknownProtocol),
        }
    }

    fn solicited(
        &mut self,
        message: &Message<'_>,
        target: Ipv6Addr,
        lladdr: Option<RawHardwareAddress>,
        now: u64,
        reply: &mut impl FnMut(&[u8]),
    ) -> Outcome {
        let group = solicited_node(target);
        if !self.owns(target.into()) {
            // Several addresses share a group; only the target says who is meant.
            return Outcome::Refused(Drop::RxNotOurs);
        }
        if message.destination != group && !self.owns(message.destination.into()) {
            return Outcome::Refused(Drop::NeighborRefused);
        }
        if message.source.is_unspecified() {
            // Somebody is about to take this address for himself (RFC 4862 section 5.4). The
            // answer to everybody stops him.
            if message.destination != group || lladdr.is_some() {
                return Outcome::Refused(Drop::NeighborRefused);
            }
            if message.from == self.mac {
                return Outcome::Handled;
            }
            reply(&advertisement(self.mac, target, None));
            return Outcome::Conflict {
                address: target.into(),
                mac: message.from,
            };
        }
        let Some(mac) = lladdr.map_or(Some(message.from), mac) else {
            return Outcome::Refused(Drop::RxMalformed);
        };
        if !self.credible(message.source.into(), mac) {
            return Outcome::Refused(Drop::NeighborRefused);
        }
        reply(&advertisement(
            self.mac,
            target,
            Some((message.source, mac)),
        ));
        if lladdr.is_none() {
            return Outcome::Handled;
        }
        self.learn(message.source.into(), mac, Evidence::Request, now)
    }

    fn advertised(
        &mut self,
        message: &Message<'_>,
        flags: Flags,
        target: Ipv6Addr,
        lladdr: Option<RawHardwareAddress>,
        now: u64,
    ) -> Outcome {
        let solicited = flags.contains(Flags::SOLICITED);
        let replace = flags.contains(Flags::OVERRIDE);
        let to_all = message.destination == ALL_NODES;
        if !to_all && !self.owns(message.destination.into()) {
            return Outcome::Refused(Drop::RxNotOurs);
        }
        if to_all && solicited {
            return Outcome::Refused(Drop::NeighborRefused);
        }
        // Section 4.4: the option may be left out only in an answer to a unicast solicitation, and
        // whoever received that has the MAC it was sent to, which is where the answer comes from.
        let Some(mac) = lladdr.map_or(solicited.then_some(message.from), mac) else {
            return Outcome::Refused(Drop::NeighborRefused);
        };
        if mac == self.mac {
            return Outcome::Refused(Drop::NeighborRefused);
        }
        if self.owns(target.into()) {
            return Outcome::Conflict {
                address: target.into(),
                mac,
            };
        }
        let evidence = if solicited {
            Evidence::Answer { replace }
        } else {
            Evidence::Announcement { replace }
        };
        self.learn(target.into(), mac, evidence, now)
    }
}

/// The checks of sections 7.1.1 and 7.1.2 that need no knowledge of the port.
fn parse(frame: &[u8]) -> Result<Message<'_>, Drop> {
    let ethernet = EthernetFrame::new_checked(frame).map_err(|_| Drop::RxShort)?;
    let ip = Ipv6Packet::new_checked(ethernet.payload()).map_err(|_| Drop::RxShort)?;
    if ip.version() != 6 {
        return Err(Drop::RxMalformed);
    }
    // A header in between would be a fragment (forbidden by RFC 6980) or something nobody sends.
    if ip.next_header() != IpProtocol::Icmpv6 {
        return Err(Drop::RxUnknownProtocol);
    }
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    let icmp = Icmpv6Packet::new_checked(ip.payload()).map_err(|_| Drop::RxShort)?;
    if !icmp.verify_checksum(&source, &destination) {
        return Err(Drop::RxBadChecksum);
    }
    if !matches!(
        icmp.msg_type(),
        Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert
    ) {
        return Err(Drop::RxUnknownProtocol);
    }
    if ip.hop_limit() != HOP_LIMIT || icmp.msg_code() != 0 {
        return Err(Drop::NeighborRefused);
    }
    if source.is_multicast() {
        return Err(Drop::RxMalformed);
    }
    let ndp = NdiscRepr::parse(&icmp).map_err(|_| Drop::RxMalformed)?;
    Ok(Message {
        source,
        destination,
        from: ethernet.src_addr().0,
        ndp,
    })
}

fn mac(address: RawHardwareAddress) -> Option<Mac> {
    address.as_bytes().try_into().ok()
}

/// Who has `target`? Asks one neighbour or everybody in the target's group.
pub(super) fn solicitation(
    mac: Mac,
    own: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<Mac>,
) -> [u8; FRAME] {
    let (destination, to) = match to {
        Some(mac) => (target, mac),
        None => (
            solicited_node(target),
            multicast_mac(solicited_node(target)),
        ),
    };
    let lladdr = Some(EthernetAddress(mac).into());
    let ndp = NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr,
    };
    packet((mac, own), (to, destination), ndp)
}

/// `own` is here: the answer to one who asked, or said to everybody.
pub(super) fn advertisement(mac: Mac, own: Ipv6Addr, to: Option<(Ipv6Addr, Mac)>) -> [u8; FRAME] {
    let (flags, destination, to) = match to {
        Some((address, mac)) => (Flags::OVERRIDE | Flags::SOLICITED, address, mac),
        None => (Flags::OVERRIDE, ALL_NODES, multicast_mac(ALL_NODES)),
    };
    let lladdr = Some(EthernetAddress(mac).into());
    let ndp = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: own,
        lladdr,
    };
    packet((mac, own), (to, destination), ndp)
}

fn packet(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), ndp: NdiscRepr<'_>) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let room = ethernet(&mut frame, from.0, to.0, EthernetProtocol::Ipv6);
    let icmp = Icmpv6Repr::Ndisc(ndp);
    let ip = Ipv6Repr {
        src_addr: from.1,
        dst_addr: to.1,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut *room));
    let mut payload = Icmpv6Packet::new_unchecked(&mut room[IPV6_HEADER_LEN..]);
    icmp.emit(
        &from.1,
        &to.1,
        &mut payload,
        &ChecksumCapabilities::default(),
    );
    frame
}
