//! The device between a wire and a worker.

use std::collections::VecDeque;

use super::pool::{LARGE, SMALL, SimFrame, SimPool};
use super::segment;
use super::spread::{Queues, Spread};
use super::wire::{Clock, End, Wire};
use crate::port::{
    Frame, FrameClass, FramePool, MAX_HEADER, Piece, Port, PortCaps, PortStats, RxBurst,
    RxChecksum, RxPacket, TxError, TxHeader, TxOffload,
};

/// The shortest Ethernet frame without its checksum: shorter ones are padded (IEEE 802.3).
const SHORTEST: usize = 60;

/// Over how many frames of which size a received packet is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// One large frame each, like a device with large buffers.
    Whole,
    /// As many small frames as it takes, like a device that scatters.
    Small,
    /// The first bytes in a small frame, the others in large ones, like a device that splits
    /// headers from payload. At least 128, so that the headers fit.
    First(usize),
    /// Small frames filled with that many bytes only, at least 128.
    Pieces(usize),
}

/// What kind of device it is.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// Name in [`PortCaps`].
    pub name: String,
    /// The end of the wire that it is at.
    pub end: End,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u16,
    /// Completes TCP checksums.
    pub tx_tcp_checksum: bool,
    /// Largest IPv4 packet it cuts; `None`: it does not.
    pub tso_v4: Option<u32>,
    /// Whether packets to be cut are really cut, or reach the other end whole.
    pub cut: bool,
    /// How received packets are spread over frames.
    pub split: Split,
    /// Says what it found out about checksums, or nothing.
    pub verifies: bool,
    /// Most packets of a burst.
    pub max_burst: usize,
    /// Most pieces of a packet beside its headers.
    pub max_pieces: usize,
    /// Packets that the wire takes before the other end has received some; it then receives only what it
    /// asks for.
    pub wire_holds: usize,
    /// Packets the transmit queue holds.
    pub tx_queue: usize,
    /// Most packets the device takes at one flush.
    pub tx_per_flush: usize,
    /// Frames of each class that the device keeps posted for receiving, beside the worker's pool:
    /// it takes from them when that is empty.
    pub rx_ring: u32,
    /// How long the device holds on to the frames of a packet it has sent, in µs.
    pub tx_hold_us: u64,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self {
            name: "sim".into(),
            end: End::Port,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            tx_tcp_checksum: false,
            tso_v4: None,
            cut: true,
            split: Split::Whole,
            verifies: false,
            max_burst: 32,
            max_pieces: 40,
            wire_holds: usize::MAX,
            tx_queue: 256,
            tx_per_flush: usize::MAX,
            rx_ring: 32,
            tx_hold_us: 20,
        }
    }
}

/// A packet in the transmit queue.
#[derive(Debug)]
struct Queued {
    header: Vec<u8>,
    offload: TxOffload,
    pieces: Vec<(SimFrame, usize, usize)>,
}

/// A simulated port.
#[derive(Debug)]
pub struct SimPort {
    options: PortOptions,
    caps: PortCaps,
    wire: Wire,
    clock: Clock,
    pool: SimPool,
    posted: SimPool,
    arrived: Queues,
    /// Which of the device's queues it is.
    number: usize,
    queue: VecDeque<Queued>,
    /// Frames of packets that are sent, and until when the device holds them.
    held: VecDeque<(u64, Vec<SimFrame>)>,
    stats: PortStats,
}

impl SimPort {
    /// A port at one end of `wire` that receives into frames of `pool`.
    pub fn new(options: PortOptions, wire: Wire, clock: Clock, pool: SimPool) -> Self {
        let arrived = Queues::new(
            (wire.clone(), options.end),
            clock.clone(),
            1,
            Spread::First,
            0,
        );
        Self::queue(options, wire, clock, pool, arrived, 0)
    }

    /// Queue `number` of a device of several.
    pub fn queue(
        options: PortOptions,
        wire: Wire,
        clock: Clock,
        pool: SimPool,
        arrived: Queues,
        number: usize,
    ) -> Self {
        let caps = PortCaps {
            name: options.name.clone(),
            mac: options.mac,
            mtu: options.mtu,
            tx_tcp_checksum: options.tx_tcp_checksum,
            tso_v4: options.tso_v4,
            max_pieces: options.max_pieces,
            max_burst: options.max_burst,
        };
        let posted = SimPool::new(options.rx_ring, options.rx_ring);
        Self {
            options,
            caps,
            wire,
            clock,
            pool,
            posted,
            arrived,
            number,
            queue: VecDeque::new(),
            held: VecDeque::new(),
            stats: PortStats::default(),
        }
    }

    /// Takes what has arrived from the wire, and lets go of frames of packets long sent.
    fn advance(&mut self, receives: bool) {
        let now = self.clock.now();
        while self.held.front().is_some_and(|(until, _)| *until <= now) {
            let _ = self.held.pop_front();
        }
        if receives || self.options.wire_holds == usize::MAX {
            self.stats.rx_missed += self.arrived.advance();
        }
    }

    /// Spreads a packet over frames; false when the pool has none left.
    fn spread(&mut self, bytes: &[u8], frames: &mut Vec<SimFrame>) -> Option<u16> {
        let start = frames.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let first = frames.len() == start;
            let (class, most) = match self.options.split {
                Split::Whole => (FrameClass::Large, LARGE),
                Split::Small => (FrameClass::Small, SMALL),
                Split::First(n) if first => (FrameClass::Small, n.clamp(128, SMALL)),
                Split::First(_) => (FrameClass::Large, LARGE),
                Split::Pieces(n) => (FrameClass::Small, n.clamp(128, SMALL)),
            };
            let frame = self.pool.alloc(class).or_else(|| self.posted.alloc(class));
            let Some(mut frame) = frame else {
                frames.truncate(start);
                return None;
            };
            let (now, later) = rest.split_at(rest.len().min(most));
            frame.room_mut().expect("a new frame has one owner")[..now.len()].copy_from_slice(now);
            frame.set_len(now.len());
            frames.push(frame);
            rest = later;
        }
        Some((frames.len() - start) as u16)
    }

    fn checksum(&self, bytes: &[u8]) -> RxChecksum {
        if !self.options.verifies {
            return RxChecksum::Unverified;
        }
        match segment::tcp_checksum_ok(bytes) {
            Some(true) => RxChecksum::Good,
            Some(false) => RxChecksum::Bad,
            None => RxChecksum::Unverified,
        }
    }

    fn transmit(&mut self, packet: Queued) {
        let now = self.clock.now();
        let mut bytes = packet.header;
        let mut frames = Vec::with_capacity(packet.pieces.len());
        for (frame, offset, len) in packet.pieces {
            bytes.extend_from_slice(&frame.data()[offset..offset + len]);
            frames.push(frame);
        }
        self.held.push_back((now + self.options.tx_hold_us, frames));
        self.stats.tx_packets += 1;
        self.stats.tx_bytes += bytes.len() as u64;
        let mut out = Vec::new();
        segment::finish(bytes, &packet.offload, self.options.cut, &mut out);
        for mut frame in out {
            if frame.len() < SHORTEST {
                frame.resize(SHORTEST, 0);
            }
            self.wire.send(self.options.end, now, frame);
        }
    }

    /// The frames posted for receiving.
    pub fn posted(&self) -> SimPool {
        self.posted.clone()
    }

    /// Packets in the transmit queue.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

impl Port for SimPort {
    type Frame = SimFrame;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn rx_burst(&mut self, burst: &mut RxBurst<SimFrame>) -> usize {
        self.advance(true);
        let mut count = 0;
        while count < self.options.max_burst {
            let Some(bytes) = self.arrived.pop(self.number) else {
                break;
            };
            let Some(frames) = self.spread(&bytes, &mut burst.frames) else {
                self.stats.rx_no_frame += 1;
                continue;
            };
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += bytes.len() as u64;
            burst.packets.push(RxPacket {
                len: bytes.len() as u32,
                frames,
                checksum: self.checksum(&bytes),
            });
            count += 1;
        }
        count
    }

    fn tx_room(&mut self) -> usize {
        self.options.tx_queue - self.queue.len()
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, SimFrame>>,
    ) -> Result<(), TxError>
    where
        SimFrame: 'f,
    {
        if self.tx_room() == 0 {
            return Err(TxError::Full);
        }
        let offload = header.offload;
        assert!(header.bytes.len() <= MAX_HEADER, "the header is too long");
        assert!(
            self.options.tx_tcp_checksum || !offload.tcp_checksum,
            "the device does not do checksums"
        );
        let pieces: Vec<_> = payload
            .map(|piece| {
                let (offset, len) = (piece.offset as usize, piece.len as usize);
                assert!(
                    offset + len <= piece.frame.data().len(),
                    "a piece beyond its frame"
                );
                assert_ne!(len, 0, "an empty piece");
                (piece.frame.clone(), offset, len)
            })
            .collect();
        assert!(pieces.len() <= self.caps.max_pieces, "too many pieces");
        let len: usize = pieces.iter().map(|(_, _, len)| len).sum();
        let ip_len = header.bytes.len() + len - segment::ETHERNET;
        let most = match self.options.tso_v4 {
            Some(most) if offload.segment_size != 0 => {
                assert!(!offload.ipv6, "the device cuts IPv4 only");
                most as usize
            }
            _ => {
                assert_eq!(offload.segment_size, 0, "the device does not cut");
                usize::from(self.options.mtu)
            }
        };
        assert!(ip_len <= most, "an IP packet of {ip_len} bytes");
        self.queue.push_back(Queued {
            header: header.bytes.to_vec(),
            offload,
            pieces,
        });
        Ok(())
    }

    fn tx_flush(&mut self) {
        self.advance(false);
        for _ in 0..self.options.tx_per_flush {
            if self.wire.flying(self.options.end) >= self.options.wire_holds {
                break;
            }
            let Some(packet) = self.queue.pop_front() else {
                break;
            };
            self.transmit(packet);
        }
    }

    fn tx_waits(&self) -> bool {
        !self.queue.is_empty()
    }

    fn stats(&mut self) -> PortStats {
        self.stats
    }

    fn frames_held(&self) -> usize {
        let queued: usize = self.queue.iter().map(|packet| packet.pieces.len()).sum();
        let held: usize = self.held.iter().map(|(_, frames)| frames.len()).sum();
        queued + held
    }
}
