//! A [`DpdkPort`] as the device of a smoltcp interface.
//!
//! smoltcp writes a packet into one flat buffer; here its headers go into the port's header block
//! and its payload into frames of the pool. TCP checksums are left to the port in both directions
//! (the bytes never leave this machine's memory), and what smoltcp sends above the MSS is cut by the
//! port: both as on the NIC of a cloud machine.
//!
//! A device may have several queues. The queue that a packet is sent on is the one it is received on at
//! the other side, so this side does what a NIC with receive side scaling would do, or the contrary.

use std::collections::HashMap;

use dataplane::checksum::pseudo_header;
use dataplane::port::{
    Frame, FrameClass, FramePool, MAX_HEADER, Piece, Port, RxBurst, RxChecksum, TxHeader, TxOffload,
};
use dataplane::steering::{WorkerId, by_ports};
use dpdk::{DpdkPort, Mbuf, MbufPool};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::time::Instant;

const ETHERNET: usize = 14;
/// Place of the checksum in a TCP header (RFC 9293 section 3.1).
const TCP_CHECKSUM: usize = 16;
/// Large frames one packet of 64 KiB takes, and one to spare.
const FRAMES_PER_PACKET: usize = 5;

/// The device of one host.
pub struct WireDevice {
    received: Received,
    sender: Sender,
}

/// Packets received and not yet read.
struct Received {
    burst: RxBurst<Mbuf>,
    /// The next packet and its first frame in `burst`.
    packet: usize,
    frame: usize,
    /// The packet being read, in one piece.
    bytes: Vec<u8>,
    bad: u64,
    streams: Streams,
}

/// What sending takes.
struct Sender {
    /// A port for each queue.
    ports: Vec<DpdkPort>,
    steer: Steer,
    pool: MbufPool,
    /// The packet being written, in one piece.
    bytes: Vec<u8>,
    frames: Vec<Mbuf>,
    /// Packets that were lost because the port did not take them.
    lost: u64,
    /// Packets given to the port to be cut into segments.
    cut: u64,
    streams: Streams,
}

/// On which queue a packet of TCP is sent; all others go to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Steer {
    /// On that of the worker it belongs to.
    Right,
    /// On the one after that.
    Wrong,
}

/// How far the streams of one direction have got, by the proxy's TCP port and the peer's: on a wire
/// that loses nothing no byte is sent twice, but for the one of a window probe.
#[derive(Default)]
struct Streams {
    /// Sequence number after the last byte seen, and whether that came alone.
    next: HashMap<[u8; 4], (u32, bool)>,
    /// Segments with bytes that were seen before.
    again: u64,
}

impl Streams {
    /// Looks at the TCP segment between `start` and `end` of a packet.
    fn see(&mut self, packet: &[u8], start: usize, end: usize) {
        let tcp = &packet[start..end];
        let number = |at: usize| tcp[at..at + 4].try_into().expect("four bytes");
        let seq = u32::from_be_bytes(number(4));
        let payload = (tcp.len() - usize::from(tcp[12] >> 4) * 4) as u32;
        let ports: [u8; 4] = number(0);
        if tcp[13] & 0x02 != 0 {
            // SYN: the payload begins behind it (RFC 9293 section 3.4).
            let _ = self.next.insert(ports, (seq.wrapping_add(1), false));
        } else if payload > 0 {
            let end = seq.wrapping_add(payload);
            let (next, alone) = self.next.entry(ports).or_insert((seq, false));
            let probed = *alone && seq.wrapping_add(1) == *next;
            if seq != *next && !probed {
                self.again += 1;
            }
            if end.wrapping_sub(*next) as i32 > 0 {
                (*next, *alone) = (end, payload == 1);
            }
        }
    }
}

impl WireDevice {
    /// A device over the ports of all its queues, at least one, which sends from `pool`.
    pub fn new(ports: Vec<DpdkPort>, steer: Steer, pool: MbufPool) -> Self {
        Self {
            received: Received {
                burst: RxBurst::with_capacity(64),
                packet: 0,
                frame: 0,
                bytes: Vec::with_capacity(1 << 16),
                bad: 0,
                streams: Streams::default(),
            },
            sender: Sender {
                ports,
                steer,
                pool,
                bytes: Vec::with_capacity(1 << 16),
                frames: Vec::with_capacity(FRAMES_PER_PACKET),
                lost: 0,
                cut: 0,
                streams: Streams::default(),
            },
        }
    }

    /// The port's Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.sender.ports[0].caps().mac
    }

    /// Whether the other side is there.
    pub fn link_up(&self) -> bool {
        self.sender.ports[0].link_up()
    }

    /// Hands the port what was written.
    pub fn flush(&mut self) {
        self.sender.ports.iter_mut().for_each(Port::tx_flush);
    }

    /// Packets with a wrong checksum, and packets the port did not take: there should be none.
    pub fn faults(&self) -> u64 {
        self.received.bad + self.sender.lost
    }

    /// Segments that were sent again, by either side, or came out of order.
    pub fn again(&self) -> u64 {
        self.received.streams.again + self.sender.streams.again
    }

    /// Packets the port was given to cut into segments.
    pub fn cut(&self) -> u64 {
        self.sender.cut
    }
}

impl Device for WireDevice {
    type RxToken<'a> = Packet<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Packet<'_>, Room<'_>)> {
        // Whatever a packet leads to can be sent, or it stays where it is.
        if !self.sender.has_room() || !self.received.next(&mut self.sender.ports) {
            return None;
        }
        let room = Room {
            sender: &mut self.sender,
            meta: PacketMeta::default(),
        };
        Some((Packet(&self.received.bytes), room))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        self.sender.has_room().then_some(Room {
            sender: &mut self.sender,
            meta: PacketMeta::default(),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let port = self.sender.ports[0].caps();
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = usize::from(port.mtu) + ETHERNET;
        caps.checksum.tcp = Checksum::None;
        caps.segmentation.tcpv4 = port
            .tso_v4
            .and_then(|most| std::num::NonZeroUsize::new(most as usize + ETHERNET));
        caps
    }
}

impl Received {
    /// Reads the next packet that is not broken into `bytes`. False: there is none.
    fn next(&mut self, ports: &mut [DpdkPort]) -> bool {
        loop {
            if self.packet == self.burst.packets.len() {
                self.burst.packets.clear();
                self.burst.frames.clear();
                (self.packet, self.frame) = (0, 0);
                let mut bursts = ports.iter_mut().map(|port| port.rx_burst(&mut self.burst));
                if bursts.all(|packets| packets == 0) {
                    return false;
                }
            }
            let packet = self.burst.packets[self.packet];
            let end = self.frame + usize::from(packet.frames);
            self.bytes.clear();
            for frame in &self.burst.frames[self.frame..end] {
                self.bytes.extend_from_slice(frame.data());
            }
            self.packet += 1;
            self.frame = end;
            let right = match packet.checksum {
                RxChecksum::Good => true,
                RxChecksum::Bad => false,
                RxChecksum::Unverified => checksum_right(&self.bytes),
            };
            if right {
                if let Some((start, end)) = tcp(&self.bytes) {
                    self.streams.see(&self.bytes, start, end);
                }
                return true;
            }
            self.bad += 1;
        }
    }
}

/// Where a TCP packet over IPv4 has its TCP header, and its end (frames may be padded). `None` for
/// all else.
fn tcp(packet: &[u8]) -> Option<(usize, usize)> {
    let ip = packet.get(ETHERNET..ETHERNET + 20)?;
    if packet[12..14] != [0x08, 0x00] || ip[9] != 6 {
        return None;
    }
    let start = ETHERNET + usize::from(ip[0] & 0xf) * 4;
    let end = ETHERNET + usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    (start + 20 <= end && end <= packet.len()).then_some((start, end))
}

/// Whether the TCP checksum is right; true for packets that have none.
fn checksum_right(packet: &[u8]) -> bool {
    let Some((start, end)) = tcp(packet) else {
        return true;
    };
    let mut sum = pseudo_header(&packet[ETHERNET..start], false, (end - start) as u32);
    sum.add(&packet[start..end]);
    sum.folded() == 0xffff
}

impl Sender {
    /// Whether a packet of any length can be sent.
    fn has_room(&mut self) -> bool {
        let ready = self.ports.iter_mut().all(|port| {
            if port.tx_room() == 0 {
                port.tx_flush();
            }
            port.tx_room() > 0
        });
        ready && self.pool.level(FrameClass::Large).free as usize > FRAMES_PER_PACKET
    }

    /// The queue of the packet in `bytes`, whose TCP header is at `start`.
    fn queue_of(&self, start: usize) -> usize {
        let port = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        let queues = self.ports.len();
        let WorkerId(owner) = by_ports(port(start), port(start + 2), queues as u16);
        match self.steer {
            Steer::Right => owner.into(),
            Steer::Wrong => (usize::from(owner) + 1) % queues,
        }
    }

    /// Sends what is in `bytes`.
    fn send(&mut self, meta: PacketMeta) {
        let mut offload = TxOffload::default();
        let mut headers = self.bytes.len().min(MAX_HEADER);
        let mut queue = 0;
        if let Some((start, end)) = tcp(&self.bytes) {
            self.streams.see(&self.bytes, start, end);
            let l4_len = usize::from(self.bytes[start + 12] >> 4) * 4;
            headers = start + l4_len;
            queue = self.queue_of(start);
            offload = TxOffload {
                tcp_checksum: true,
                segment_size: meta.segmentation_offload_size.map_or(0, |size| size.get()),
                ipv6: false,
                l3_len: (start - ETHERNET) as u8,
                l4_len: l4_len as u8,
            };
            let ip = &self.bytes[ETHERNET..start];
            let sum = pseudo_header(ip, false, (end - start) as u32).folded();
            let at = start + TCP_CHECKSUM;
            self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            self.cut += u64::from(offload.segment_size > 0);
        }
        let (headers, payload) = self.bytes.split_at(headers);
        let mut rest = payload;
        while !rest.is_empty() {
            let Some(mut frame) = self.pool.alloc(FrameClass::Large) else {
                self.lost += 1;
                break;
            };
            let len = rest.len().min(frame.capacity());
            let (now, later) = rest.split_at(len);
            let room = frame.room_mut().expect("a new frame has one owner");
            room[..len].copy_from_slice(now);
            frame.set_len(len);
            self.frames.push(frame);
            rest = later;
        }
        if rest.is_empty() {
            let header = TxHeader {
                bytes: headers,
                offload,
            };
            let pieces = self.frames.iter().map(|frame| Piece {
                frame,
                offset: 0,
                len: frame.data().len() as u32,
            });
            if self.ports[queue].tx_push(&header, pieces).is_err() {
                self.lost += 1;
            }
        }
        self.frames.clear();
    }
}

/// A packet received.
pub struct Packet<'a>(&'a [u8]);

impl RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Leave to send one packet.
pub struct Room<'a> {
    sender: &'a mut Sender,
    meta: PacketMeta,
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.sender.bytes.clear();
        self.sender.bytes.resize(len, 0);
        let result = f(&mut self.sender.bytes);
        self.sender.send(self.meta);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the segments (sequence number, flags, payload) count as sent again.
    fn again(segments: &[(u32, u8, usize)]) -> u64 {
        let mut streams = Streams::default();
        for &(seq, flags, payload) in segments {
            let mut tcp = vec![0; 20 + payload];
            tcp[4..8].copy_from_slice(&seq.to_be_bytes());
            (tcp[12], tcp[13]) = (5 << 4, flags);
            streams.see(&tcp, 0, tcp.len());
        }
        streams.again
    }

    #[test]
    fn segments_sent_again_are_noticed() {
        const SYN: (u32, u8, usize) = (u32::MAX - 1, 2, 0);
        let first = (u32::MAX, 0, 100);
        assert_eq!(again(&[SYN, first, (99, 0, 50), (149, 0, 0)]), 0);
        assert_eq!(again(&[SYN, first, first]), 1);
        assert_eq!(again(&[SYN, first, (98, 0, 50)]), 1);
        // A hole: what should have come was lost.
        assert_eq!(again(&[SYN, first, (100, 0, 50)]), 1);
        // A window probe, and its byte once more when there is a window.
        assert_eq!(again(&[SYN, first, (99, 0, 1), (99, 0, 50)]), 0);
        // The next connection on the same ports.
        assert_eq!(again(&[SYN, first, SYN, first]), 0);
    }
}
