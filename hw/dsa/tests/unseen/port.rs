//! A port whose device writes and reads frames through its own mapping, and knows where a head ends.

use std::collections::VecDeque;

use dataplane::port::{
    MAX_HEADER, Piece, Port, PortCaps, PortStats, RxBurst, RxChecksum, RxPacket, TxError, TxHeader,
    TxOffload,
};
use dataplane::sim::segment;
use dataplane::sim::{Clock, End, Wire};

use super::{Pool, Unseen};

/// Segments up to this many bytes are put together by the engine, which touches them.
const COMPACTED: usize = 512;

/// How long the device holds the frames of a packet it has sent, in µs.
const HOLDS: u64 = 20;

/// Packets the transmit queue holds.
const QUEUE: usize = 256;

/// Where the payload of a packet without HTTP head lies. With a head it always has frames of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In the same frame, behind the headers, which end with the last byte of a page.
    Behind,
    /// In frames of its own.
    Apart,
}

/// What the device does.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pub layout: Layout,
    /// It verifies checksums of what it receives.
    pub verifies: bool,
    /// It completes checksums of what it sends.
    pub completes: bool,
    /// It cuts what it sends into segments.
    pub cuts: bool,
}

struct Queued {
    header: Vec<u8>,
    offload: TxOffload,
    pieces: Vec<(Unseen, usize, usize)>,
}

/// One port.
pub struct UnseenPort {
    device: Device,
    caps: PortCaps,
    wire: Wire,
    clock: Clock,
    pool: Pool,
    queue: VecDeque<Queued>,
    held: VecDeque<(u64, Vec<Unseen>)>,
}

impl UnseenPort {
    pub fn new(
        name: &str,
        mac: [u8; 6],
        device: Device,
        wire: Wire,
        clock: Clock,
        pool: Pool,
    ) -> Self {
        let caps = PortCaps {
            name: name.into(),
            mac,
            mtu: 1500,
            tx_tcp_checksum: device.completes,
            tso_v4: device.cuts.then_some(65_535),
            max_pieces: 40,
            max_burst: 32,
        };
        Self {
            device,
            caps,
            wire,
            clock,
            pool,
            queue: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// Puts a packet into frames: how many.
    fn place(&mut self, packet: &[u8], frames: &mut Vec<Unseen>) -> u16 {
        let (open, head) = readable(packet);
        let (open, hidden) = packet.split_at(open);
        if !hidden.is_empty() {
            assert!(
                hidden.len() > COMPACTED,
                "a segment of {} bytes: {}",
                hidden.len(),
                String::from_utf8_lossy(&open[54..])
            );
        }
        let apart = !hidden.is_empty() && (head || self.device.layout == Layout::Apart);
        if apart {
            frames.extend(self.pool.received(open, &[]));
            frames.push(self.pool.received(&[], hidden).expect("a frame"));
            return 2;
        }
        frames.push(self.pool.received(open, hidden).expect("a frame"));
        1
    }

    fn transmit(&mut self, packet: Queued) {
        let now = self.clock.now();
        let mut bytes = packet.header;
        for (frame, offset, len) in &packet.pieces {
            frame.gather(*offset, *len, &mut bytes);
        }
        let frames = packet.pieces.into_iter().map(|(frame, ..)| frame).collect();
        self.held.push_back((now + HOLDS, frames));
        let mut out = Vec::new();
        segment::finish(bytes, &packet.offload, true, &mut out);
        for mut frame in out {
            // Shorter Ethernet frames are padded (IEEE 802.3).
            frame.resize(frame.len().max(60), 0);
            self.wire.send(End::Port, now, frame);
        }
    }
}

/// How many bytes of a packet the engine may read: all up to its TCP payload, or up to the end of the
/// HTTP head that this begins with. The second says whether there is such a head.
fn readable(packet: &[u8]) -> (usize, bool) {
    let tcp = packet.len() > 34 && packet[12..14] == [8, 0] && packet[23] == 6;
    if !tcp {
        return (packet.len(), false);
    }
    let headers = 34 + usize::from(packet[46] >> 4) * 4;
    let end = 14 + usize::from(u16::from_be_bytes([packet[16], packet[17]]));
    if headers >= end {
        return (packet.len(), false);
    }
    let payload = &packet[headers..end];
    let begins = |text: &[u8]| payload.starts_with(text);
    if begins(b"HTTP/1.1 ") || begins(b"GET /") || begins(b"POST /") {
        let blank = payload.windows(4).position(|four| four == b"\r\n\r\n");
        return (headers + blank.expect("a whole head") + 4, true);
    }
    (headers, false)
}

impl Port for UnseenPort {
    type Frame = Unseen;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn rx_burst(&mut self, burst: &mut RxBurst<Unseen>) -> usize {
        let now = self.clock.now();
        let before = burst.packets.len();
        while burst.packets.len() - before < self.caps.max_burst {
            let Some(bytes) = self.wire.receive(End::Port, now) else {
                break;
            };
            let right = segment::tcp_checksum_ok(&bytes).unwrap_or(true);
            assert!(right, "nothing damages packets here");
            let frames = self.place(&bytes, &mut burst.frames);
            burst.packets.push(RxPacket {
                len: bytes.len() as u32,
                frames,
                checksum: if self.device.verifies {
                    RxChecksum::Good
                } else {
                    RxChecksum::Unverified
                },
            });
        }
        burst.packets.len() - before
    }

    fn tx_room(&mut self) -> usize {
        QUEUE - self.queue.len()
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, Unseen>>,
    ) -> Result<(), TxError>
    where
        Unseen: 'f,
    {
        if self.tx_room() == 0 {
            return Err(TxError::Full);
        }
        assert!(header.bytes.len() <= MAX_HEADER);
        let pieces = payload.map(|piece| {
            let (offset, len) = (piece.offset as usize, piece.len as usize);
            (piece.frame.clone(), offset, len)
        });
        self.queue.push_back(Queued {
            header: header.bytes.to_vec(),
            offload: header.offload,
            pieces: pieces.collect(),
        });
        Ok(())
    }

    fn tx_flush(&mut self) {
        let now = self.clock.now();
        while self.held.front().is_some_and(|(until, _)| *until <= now) {
            let _sent = self.held.pop_front();
        }
        while let Some(packet) = self.queue.pop_front() {
            self.transmit(packet);
        }
    }

    fn stats(&mut self) -> PortStats {
        PortStats::default()
    }

    fn frames_held(&self) -> usize {
        let queued: usize = self.queue.iter().map(|packet| packet.pieces.len()).sum();
        let held: usize = self.held.iter().map(|(_, frames)| frames.len()).sum();
        queued + held
    }
}
