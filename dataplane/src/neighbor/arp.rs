//! ARP over Ethernet: RFC 826, with the announcements and conflicts of RFC 5227.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame,
    EthernetProtocol,
};

use super::cache::{Evidence, Mac};
use super::{Neighbors, Outcome, ethernet};
use crate::counters::Drop;

/// Ethernet header and the 28 bytes of ARP for IPv4. Shorter than the least Ethernet frame: the
/// device pads it.
pub(super) const FRAME: usize = ETHERNET_HEADER_LEN + 28;

const BROADCAST: Mac = [0xff; 6];

impl Neighbors {
    /// Handles an ARP frame, from its Ethernet header on. `reply` is called with at most one whole
    /// frame to send.
    pub fn handle_arp(
        &mut self,
        frame: &[u8],
        now_ms: u64,
        mut reply: impl FnMut(&[u8]),
    ) -> Outcome {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return Outcome::Refused(Drop::RxShort);
        };
        let destination = ethernet.dst_addr();
        if destination.0 != self.mac && destination.0 != BROADCAST {
            return Outcome::Refused(Drop::RxNotOurs);
        }
        let Ok(packet) = ArpPacket::new_checked(ethernet.payload()) else {
            return Outcome::Refused(Drop::RxShort);
        };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(mac),
            source_protocol_addr: sender,
            target_protocol_addr: target,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return Outcome::Refused(Drop::RxMalformed);
        };
        if mac == self.mac || !super::is_unicast_mac(mac) {
            // An own frame that came back, or nobody to talk to.
            return Outcome::Refused(Drop::NeighborRefused);
        }
        if self.owns(sender.into()) {
            // RFC 5227 section 2.4 (b): say once that the address is taken, and keep it.
            if self.may_defend(now_ms) {
                reply(&announcement(self.mac, sender));
            }
            return Outcome::Conflict {
                address: sender.into(),
                mac,
            };
        }
        let to_us = self.owns(target.into());
        match operation {
            ArpOperation::Request if to_us => {
                reply(&answer(self.mac, target, mac, sender));
                if sender.is_unspecified() {
                    // A probe (RFC 5227 section 1.1): whoever sends it has no address yet.
                    return Outcome::Handled;
                }
                self.learn(sender.into(), mac, Evidence::Request, now_ms)
            }
            ArpOperation::Reply if to_us && destination.0 == self.mac => self.learn(
                sender.into(),
                mac,
                Evidence::Answer { replace: true },
                now_ms,
            ),
            // A gratuitous request or reply. Of no interest unless it is about a neighbour of ours.
            ArpOperation::Request | ArpOperation::Reply if sender == target => {
                let evidence = Evidence::Announcement { replace: true };
                self.learn(sender.into(), mac, evidence, now_ms)
            }
            // The usual noise of a link: others asking for others.
            ArpOperation::Request => Outcome::Handled,
            _ => Outcome::Refused(Drop::NeighborRefused),
        }
    }
}

/// Who has `target`? Asks one neighbour (RFC 1122 section 2.3.2.1, unicast poll) or everybody.
pub(super) fn request(mac: Mac, own: Ipv4Addr, target: Ipv4Addr, to: Option<Mac>) -> [u8; FRAME] {
    let to = to.unwrap_or(BROADCAST);
    packet(ArpOperation::Request, (mac, own), ([0; 6], target), to)
}

/// The gratuitous request of RFC 5227 section 3.
pub(super) fn announcement(mac: Mac, own: Ipv4Addr) -> [u8; FRAME] {
    packet(ArpOperation::Request, (mac, own), ([0; 6], own), BROADCAST)
}

fn answer(mac: Mac, own: Ipv4Addr, to: Mac, sender: Ipv4Addr) -> [u8; FRAME] {
    packet(ArpOperation::Reply, (mac, own), (to, sender), to)
}

fn packet(
    operation: ArpOperation,
    source: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
    to: Mac,
) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let room = ethernet(&mut frame, source.0, to, EthernetProtocol::Arp);
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(source.0),
        source_protocol_addr: source.1,
        target_hardware_addr: EthernetAddress(target.0),
        target_protocol_addr: target.1,
    }
    .emit(&mut ArpPacket::new_unchecked(room));
    frame
}
