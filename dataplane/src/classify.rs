//! What a received packet is, from its first bytes.
//!
//! Everything the engine needs of the headers is read here, once, and bounds are checked here, once.
//! Payload is not touched: it may lie in other frames.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::counters::Drop;
use crate::flow_table::FlowKey;
use crate::settings::PortId;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// A received packet.
#[derive(Clone, Copy, Debug)]
pub enum Packet {
    /// A TCP segment.
    Tcp(Segment),
    /// An ARP packet (RFC 826).
    Arp,
    /// An ICMPv6 neighbour solicitation or advertisement (RFC 4861).
    Ndp,
    /// Any other IP packet, of `len` bytes behind the Ethernet header: ICMP, or a protocol to refuse.
    Ip {
        /// Bytes of the IP packet.
        len: u32,
    },
    /// Nothing for us.
    Ignore(Drop),
}

/// The headers of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Which connection it is for.
    pub key: FlowKey,
    /// Who sent the frame.
    pub source_mac: [u8; 6],
    /// True for IPv6.
    pub ipv6: bool,
    /// Bytes of the IP header.
    pub l3_len: u8,
    /// Bytes of the TCP header.
    pub l4_len: u8,
    /// Bytes of payload; they begin at [`Segment::payload_offset`] of the packet.
    pub payload_len: u32,
    /// Sequence number of the first byte (or of SYN).
    pub seq: u32,
    /// Acknowledgement number, meaningful when ACK is set.
    pub ack: u32,
    /// The flag bits of byte 13 (RFC 9293 section 3.1).
    pub flags: TcpFlags,
    /// The window field, unscaled.
    pub window: u16,
}

impl Segment {
    /// Bytes of all headers; where the payload begins.
    pub fn payload_offset(&self) -> u32 {
        ETHERNET as u32 + u32::from(self.l3_len) + u32::from(self.l4_len)
    }

    /// Bytes of the IP and TCP header.
    pub fn header_len(&self) -> usize {
        usize::from(self.l3_len) + usize::from(self.l4_len)
    }
}

/// The flag bits of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;

    /// Whether any bit of `mask` is set.
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask != 0
    }

    /// A SYN that opens a connection: no ACK, no RST, no FIN.
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads the headers of a packet received on `port`: `head` are the bytes of its first frame,
/// `len` the bytes of the whole packet.
pub fn classify(port: PortId, head: &[u8], len: u32) -> Packet {
    if head.len() < ETHERNET {
        return Packet::Ignore(Drop::RxShort);
    }
    match u16_at(head, 12) {
        0x0800 => classify_v4(port, head, len),
        0x86dd => classify_v6(port, head, len),
        0x0806 => Packet::Arp,
        0x8100 | 0x88a8 => Packet::Ignore(Drop::RxVlan),
        _ => Packet::Ignore(Drop::RxUnknownProtocol),
    }
}

/// RFC 791 section 3.1. Bytes behind the total length are Ethernet padding.
fn classify_v4(port: PortId, head: &[u8], len: u32) -> Packet {
    let ip = &head[ETHERNET..];
    if ip.len() < 20 {
        return Packet::Ignore(Drop::RxShort);
    }
    let l3_len = usize::from(ip[0] & 0x0f) * 4;
    let total = u32::from(u16_at(ip, 2));
    if ip[0] >> 4 != 4
        || l3_len < 20
        || total < l3_len as u32
        || total > len.saturating_sub(ETHERNET as u32)
        || ip.len() < l3_len
    {
        return Packet::Ignore(Drop::RxShort);
    }
    // A fragment: more to come, or not the first. TCP never asks for them, so nobody misses them.
    if u16_at(ip, 6) & 0x3fff != 0 {
        return Packet::Ignore(Drop::RxFragment);
    }
    if ip[9] != 6 {
        return Packet::Ip { len: total };
    }
    let remote = Ipv4Addr::from_bits(u32_at(ip, 12));
    let local = Ipv4Addr::from_bits(u32_at(ip, 16));
    let tcp = &ip[l3_len..];
    segment(
        head,
        tcp,
        l3_len,
        total,
        false,
        |local_port, remote_port| FlowKey::v4(port, (local, local_port), (remote, remote_port)),
    )
}

/// RFC 8200 section 3. Extension headers are not followed: TCP has no use for them, and what they
/// hide is refused.
fn classify_v6(port: PortId, head: &[u8], len: u32) -> Packet {
    let ip = &head[ETHERNET..];
    if ip.len() < 40 || ip[0] >> 4 != 6 {
        return Packet::Ignore(Drop::RxShort);
    }
    let total = 40 + u32::from(u16_at(ip, 4));
    if total > len.saturating_sub(ETHERNET as u32) {
        return Packet::Ignore(Drop::RxShort);
    }
    match ip[6] {
        6 => {
            let address = |at: usize| {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&ip[at..at + 16]);
                Ipv6Addr::from(bytes)
            };
            let (remote, local) = (address(8), address(24));
            segment(
                head,
                &ip[40..],
                40,
                total,
                true,
                |local_port, remote_port| {
                    FlowKey::v6(port, (local, local_port), (remote, remote_port))
                },
            )
        }
        44 => Packet::Ignore(Drop::RxFragment),
        58 if matches!(ip.get(40), Some(135 | 136)) => Packet::Ndp,
        58 => Packet::Ip { len: total },
        _ => Packet::Ignore(Drop::RxUnknownProtocol),
    }
}

/// RFC 9293 section 3.1.
fn segment(
    head: &[u8],
    tcp: &[u8],
    l3_len: usize,
    total: u32,
    ipv6: bool,
    key: impl FnOnce(u16, u16) -> FlowKey,
) -> Packet {
    if tcp.len() < 20 {
        return Packet::Ignore(Drop::RxShort);
    }
    let l4_len = usize::from(tcp[12] >> 4) * 4;
    let headers = (l3_len + l4_len) as u32;
    if l4_len < 20 || tcp.len() < l4_len || headers > total {
        return Packet::Ignore(Drop::RxShort);
    }
    let mut source_mac = [0; 6];
    source_mac.copy_from_slice(&head[6..12]);
    Packet::Tcp(Segment {
        key: key(u16_at(tcp, 2), u16_at(tcp, 0)),
        source_mac,
        ipv6,
        l3_len: l3_len as u8,
        l4_len: l4_len as u8,
        payload_len: total - headers,
        seq: u32_at(tcp, 4),
        ack: u32_at(tcp, 8),
        flags: TcpFlags(tcp[13]),
        window: u16_at(tcp, 14),
    })
}
