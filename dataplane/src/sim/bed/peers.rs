//! Clients and an origin that never lose a packet: as little TCP as that takes.

use std::collections::{HashMap, VecDeque};

use crate::port::{Frame, FrameClass, FramePool};

use super::frames::{LARGE, SMALL, filled};
use super::network::{Network, Passing};
use super::port::{Device, Sent};

const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Ethernet, IPv4 and TCP header without options.
const HEADERS: usize = 54;
/// Bytes of a full segment.
const MSS: usize = 1460;

/// Address and TCP port.
pub type Address = ([u8; 4], u16);

/// One connection, as its far end sees it. Far ends are always ahead in nothing: all numbers are exact.
#[derive(Debug)]
struct Flow {
    here: Address,
    there: Address,
    /// The next number sent, and the next expected.
    send: u32,
    expect: u32,
    /// The worker's window: its scale, and the number it ends at.
    scale: u8,
    edge: u32,
    /// Bytes of the response that are still to be sent.
    left: usize,
    /// Bytes of the response that are still missing; `None` before its head.
    missing: Option<usize>,
    /// Something came that is not acknowledged yet.
    owes: bool,
}

fn is_ipv4(packet: &Sent) -> bool {
    packet.header[12..14] == [8, 0]
}

/// The hosts at one port of the worker.
#[derive(Debug)]
pub struct Hosts {
    mac: [u8; 6],
    port_mac: [u8; 6],
    flows: Vec<Flow>,
    by_here: HashMap<(Address, Address), usize>,
    /// Flows that owe an acknowledgement.
    owing: Vec<usize>,
    /// Bytes of a response, head and all.
    response: Vec<u8>,
    /// Packets arrive merged, not segment by segment.
    merged: bool,
    /// Clients: connections without an exchange.
    pub idle: VecDeque<usize>,
    /// Clients: responses received whole.
    pub done: u64,
    /// Segments that had come before.
    pub repeats: u64,
}

impl Hosts {
    /// Hosts whose origin answers with `response`.
    pub fn new(mac: [u8; 6], port_mac: [u8; 6], response: Vec<u8>, merged: bool) -> Self {
        Self {
            mac,
            port_mac,
            flows: Vec::new(),
            by_here: HashMap::new(),
            owing: Vec::new(),
            response,
            merged,
            idle: VecDeque::new(),
            done: 0,
            repeats: 0,
        }
    }

    /// Opens a connection.
    pub fn connect<L: FramePool>(
        &mut self,
        here: Address,
        there: Address,
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        let flow = self.add(here, there);
        self.segment(flow, SYN, &[], device, pool);
        self.flows[flow].send += 1;
    }

    /// Sends a request over an idle connection.
    pub fn request<L: FramePool>(
        &mut self,
        flow: usize,
        bytes: &[u8],
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        self.flows[flow].missing = None;
        self.segment(flow, ACK | PSH, bytes, device, pool);
    }

    /// Sends a bare acknowledgement over a connection.
    pub fn acknowledge<L: FramePool>(
        &mut self,
        flow: usize,
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        self.segment(flow, ACK, &[], device, pool);
    }

    fn add(&mut self, here: Address, there: Address) -> usize {
        let flow = self.flows.len();
        self.flows.push(Flow {
            here,
            there,
            send: 1000 + flow as u32,
            expect: 0,
            scale: 0,
            edge: 0,
            left: 0,
            missing: None,
            owes: false,
        });
        let _ = self.by_here.insert((here, there), flow);
        flow
    }

    /// Exchanges that have not come to their end, for whoever wonders why.
    pub fn unfinished(&self) -> Vec<String> {
        let all = self.flows.iter().filter(|flow| flow.missing != Some(0));
        all.map(|flow| format!("{flow:?}")).collect()
    }

    /// Takes in everything the worker has sent, and answers. With `elsewhere`, which bed of the network
    /// this is and which port, what is for the hosts of other beds goes there.
    pub fn answer<L: FramePool>(
        &mut self,
        elsewhere: Option<(&Network, usize, usize)>,
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        let sent = std::mem::take(&mut device.sent);
        let mut frames = std::mem::take(&mut device.frames);
        let mut pieces = frames.drain(..);
        for packet in &sent {
            let payload: Vec<_> = pieces.by_ref().take(packet.pieces).collect();
            let bytes = || {
                let mut bytes = Vec::with_capacity(packet.payload);
                for (frame, offset, len) in &payload {
                    bytes.extend_from_slice(&frame.data()[*offset..offset + len]);
                }
                bytes
            };
            if let Some((network, me, side)) = elsewhere
                && is_ipv4(packet)
                && network.bed_of(side, packet) != me
            {
                let passing = Passing {
                    side,
                    packet: *packet,
                    payload: bytes(),
                };
                network.pass(network.bed_of(side, packet), passing);
                continue;
            }
            self.take(packet, bytes, device, pool);
        }
        drop(pieces);
        device.frames = frames;
        device.sent = sent;
        device.sent.clear();
        self.acknowledge_all(device, pool);
    }

    /// Acknowledges what came.
    fn acknowledge_all<L: FramePool>(&mut self, device: &mut Device<L::Frame>, pool: &mut L) {
        for flow in std::mem::take(&mut self.owing) {
            if std::mem::take(&mut self.flows[flow].owes) {
                self.segment(flow, ACK, &[], device, pool);
            }
        }
    }

    /// Takes in a packet that the worker of another bed sent.
    pub(super) fn arrive<L: FramePool>(
        &mut self,
        passing: &Passing,
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        self.take(&passing.packet, || passing.payload.clone(), device, pool);
        self.acknowledge_all(device, pool);
    }

    fn take<L: FramePool>(
        &mut self,
        packet: &Sent,
        bytes: impl Fn() -> Vec<u8>,
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        if !is_ipv4(packet) {
            return; // It says where it is, by ARP.
        }
        let ip = &packet.header[14..];
        assert_eq!((ip[0], ip[9]), (0x45, 6), "IPv4 and TCP");
        let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).expect("four bytes");
        let seq = u32::from_be_bytes(address(24));
        let flags = ip[33];
        let (there, here) = ((address(12), word(20)), (address(16), word(22)));
        let known = self.by_here.get(&(here, there)).copied();
        let flow = match known {
            Some(flow) => flow,
            None => {
                assert_eq!(flags & (SYN | ACK), SYN, "a connection begins with SYN");
                self.add(here, there)
            }
        };
        let window = u32::from(word(34));
        if flags & SYN != 0 {
            let options = ip[40..].windows(3).find(|option| option[..2] == [3, 3]);
            self.flows[flow].scale = options.map_or(0, |option| option[2]);
            self.flows[flow].expect = seq.wrapping_add(1);
            if flags & ACK != 0 {
                self.segment(flow, ACK, &[], device, pool);
                self.idle.push_back(flow);
            } else {
                self.segment(flow, SYN | ACK, &[], device, pool);
                self.flows[flow].send += 1;
            }
            return;
        }
        let acked = u32::from_be_bytes(address(28));
        self.flows[flow].edge = acked.wrapping_add(window << self.flows[flow].scale);
        if packet.payload == 0 {
            return self.send_on(flow, device, pool);
        }
        let behind = self.flows[flow].expect.wrapping_sub(seq);
        assert!(behind < 1 << 31, "nothing is lost");
        if behind > 0 {
            // A worker that nobody answered for long sends again.
            self.repeats += 1;
            return;
        }
        self.flows[flow].expect = seq.wrapping_add(packet.payload as u32);
        if !self.response.is_empty() {
            assert!(bytes().ends_with(b"\r\n\r\n"), "a request comes whole");
            self.flows[flow].left = self.response.len();
            return self.send_on(flow, device, pool);
        }
        if !std::mem::replace(&mut self.flows[flow].owes, true) {
            self.owing.push(flow);
        }
        let missing = self.flows[flow].missing.unwrap_or_else(|| {
            let bytes = bytes();
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let head = head.expect("a head comes whole") + 4;
            let text = str::from_utf8(&bytes[..head]).expect("heads are text");
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            head + length
                .expect("a length")
                .parse::<usize>()
                .expect("a number")
        });
        let missing = missing
            .checked_sub(packet.payload)
            .expect("no byte too many");
        self.flows[flow].missing = Some(missing);
        if missing == 0 {
            self.done += 1;
            self.idle.push_back(flow);
        }
    }

    /// Sends what is left of a response, as far as the window goes.
    fn send_on<L: FramePool>(&mut self, flow: usize, device: &mut Device<L::Frame>, pool: &mut L) {
        let most = if self.merged { 65_000 } else { MSS };
        let response = std::mem::take(&mut self.response);
        while self.flows[flow].left > 0 {
            let Flow {
                left, edge, send, ..
            } = self.flows[flow];
            let now = left.min(most).min(edge.wrapping_sub(send) as usize);
            if now < left.min(MSS) {
                break;
            }
            let from = response.len() - left;
            let flags = if now == left { ACK | PSH } else { ACK };
            self.segment(flow, flags, &response[from..from + now], device, pool);
            self.flows[flow].left -= now;
        }
        self.response = response;
    }

    /// Sends `payload` in a packet.
    fn segment<L: FramePool>(
        &mut self,
        flow: usize,
        flags: u8,
        payload: &[u8],
        device: &mut Device<L::Frame>,
        pool: &mut L,
    ) {
        let bytes = self.packet(flow, flags, payload);
        self.flows[flow].send = self.flows[flow].send.wrapping_add(payload.len() as u32);
        let mut frames = device.spare.pop().unwrap_or_default();
        let (first, others) = bytes.split_at(bytes.len().min(SMALL));
        frames.push(filled(pool, FrameClass::Small, first));
        let others = others.chunks(LARGE);
        frames.extend(others.map(|part| filled(pool, FrameClass::Large, part)));
        device.arrived.push_back(frames);
        // What is sent acknowledges what came.
        self.flows[flow].owes = false;
    }

    /// Makes the packets of a response, or of a request that is `bytes`, and throws them away: what a
    /// host does, without a worker.
    pub fn waste<L: FramePool>(&self, bytes: &[u8], pool: &mut L) {
        let bytes = if self.response.is_empty() {
            bytes
        } else {
            &self.response
        };
        for payload in bytes.chunks(MSS) {
            let packet = self.packet(0, ACK, payload);
            drop(filled(pool, FrameClass::Small, &packet));
        }
    }

    fn packet(&self, flow: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let flow = &self.flows[flow];
        // Segments of 1460 bytes, windows in units of 128 bytes.
        let options: &[u8] = if flags & SYN != 0 {
            &[2, 4, 5, 180, 3, 3, 7, 1]
        } else {
            &[]
        };
        let mut bytes = Vec::with_capacity(HEADERS + options.len() + payload.len());
        bytes.extend_from_slice(&self.port_mac);
        bytes.extend_from_slice(&self.mac);
        bytes.extend_from_slice(&[8, 0]);
        let total = (HEADERS - 14 + options.len() + payload.len()) as u16;
        let [high, low] = total.to_be_bytes();
        bytes.extend_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend_from_slice(&flow.here.0);
        bytes.extend_from_slice(&flow.there.0);
        let sum: u32 = bytes[14..34]
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(&flow.here.1.to_be_bytes());
        bytes.extend_from_slice(&flow.there.1.to_be_bytes());
        bytes.extend_from_slice(&flow.send.to_be_bytes());
        let ack = if flags & ACK != 0 { flow.expect } else { 0 };
        bytes.extend_from_slice(&ack.to_be_bytes());
        bytes.extend_from_slice(&[
            ((20 + options.len()) * 4) as u8,
            flags,
            0xff,
            0xff,
            0,
            0,
            0,
            0,
        ]);
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(payload);
        bytes
    }
}
