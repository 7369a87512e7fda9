//! The device smoltcp believes it has.
//!
//! A received segment is shown as its true headers followed by as many zero bytes as it has
//! payload; a segment to send is taken as headers and a length. smoltcp copies those zeros into and
//! out of its ring buffers, which is why the scratch memory here stays hot in the cache and must
//! never hold anything but zeros behind the headers: the rings of all sockets share their pages on
//! the strength of that.

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    TxToken,
};
use smoltcp::time::Instant;

use crate::classify::Segment;

/// Room for the longest headers, IPv6 and TCP with all options, before the filler.
const HEADERS: usize = 128;
/// Longest IP packet.
const LONGEST: usize = 65_535;

/// A packet smoltcp has sent.
#[derive(Clone, Copy, Debug)]
pub struct Emitted {
    /// Bytes of the whole IP packet.
    pub len: usize,
    /// Payload bytes of the segments it is to be cut into; 0: not to be cut.
    pub segment_size: u16,
}

/// One packet in, one packet out.
#[derive(Debug)]
pub struct PhantomDevice {
    caps: DeviceCapabilities,
    /// Headers end at byte `HEADERS`; behind it nothing but zeros.
    rx: Vec<u8>,
    rx_from: usize,
    rx_len: usize,
    /// Whole control packets (ICMP), which are shown as they are.
    control: Vec<u8>,
    rx_control: bool,
    tx: Vec<u8>,
    emitted: Option<Emitted>,
}

impl PhantomDevice {
    /// A device for IP packets up to `mtu` bytes; `tso_v4` is the longest IPv4 packet that the port
    /// cuts by itself.
    pub fn new(mtu: u16, tso_v4: Option<u32>) -> Self {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = usize::from(mtu);
        caps.segmentation.tcpv4 =
            tso_v4.and_then(|max| std::num::NonZeroUsize::new((max as usize).min(LONGEST)));
        // TCP checksums are over true payload, which is not here: `receive` verifies them and
        // `emit` fills them in. IP and ICMP checksums are smoltcp's.
        let mut checksum = ChecksumCapabilities::default();
        checksum.tcp = Checksum::None;
        caps.checksum = checksum;
        Self {
            caps,
            rx: vec![0; HEADERS + LONGEST],
            rx_from: 0,
            rx_len: 0,
            control: Vec::with_capacity(LONGEST),
            rx_control: false,
            tx: vec![0; LONGEST],
            emitted: None,
        }
    }

    /// Puts a segment in the receive slot: its IP and TCP header, and `payload_len` bytes of filler
    /// that stand for its payload.
    pub fn offer(&mut self, headers: &[u8], payload_len: u32) -> &mut [u8] {
        self.rx_from = HEADERS - headers.len();
        self.rx_len = headers.len() + payload_len as usize;
        self.rx_control = false;
        let shown = &mut self.rx[self.rx_from..HEADERS];
        shown.copy_from_slice(headers);
        shown
    }

    /// Puts a whole IP packet in the receive slot.
    pub fn offer_control<'a>(&mut self, packet: impl Iterator<Item = &'a [u8]>) {
        self.control.clear();
        for bytes in packet {
            self.control.extend_from_slice(bytes);
        }
        self.rx_from = 0;
        self.rx_len = self.control.len();
        self.rx_control = true;
    }

    /// Whether smoltcp has sent a packet that was not taken yet.
    pub fn has_emitted(&self) -> bool {
        self.emitted.is_some()
    }

    /// Takes the packet smoltcp has sent since the last call, if any.
    pub fn take_emitted(&mut self) -> Option<Emitted> {
        self.emitted.take()
    }

    /// The first `len` bytes of the packet that was last sent.
    pub fn emitted_bytes(&self, len: usize) -> &[u8] {
        &self.tx[..len]
    }
}

/// Cuts payload and FIN off a segment's headers, so that only its acknowledgement counts.
pub fn strip_payload(headers: &mut [u8], segment: &Segment) {
    let total = segment.header_len() as u16;
    if segment.ipv6 {
        headers[4..6].copy_from_slice(&(total - 40).to_be_bytes());
    } else {
        headers[2..4].copy_from_slice(&total.to_be_bytes());
        headers[10..12].copy_from_slice(&[0, 0]);
        let mut sum = crate::checksum::Sum::default();
        sum.add(&headers[..usize::from(segment.l3_len)]);
        headers[10..12].copy_from_slice(&(!sum.folded()).to_be_bytes());
    }
    headers[usize::from(segment.l3_len) + 13] &= !crate::classify::TcpFlags::FIN;
}

/// smoltcp's view of the packet in the receive slot.
#[derive(Debug)]
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// smoltcp's view of the send slot.
#[derive(Debug)]
pub struct Transmit<'a> {
    tx: &'a mut [u8],
    emitted: &'a mut Option<Emitted>,
    meta: PacketMeta,
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.tx[..len]);
        *self.emitted = Some(Emitted {
            len,
            segment_size: self
                .meta
                .segmentation_offload_size
                .map_or(0, std::num::NonZeroU16::get),
        });
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl Device for PhantomDevice {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Transmit<'_>)> {
        if self.rx_len == 0 || self.emitted.is_some() {
            return None;
        }
        let len = std::mem::take(&mut self.rx_len);
        let from = if self.rx_control {
            &self.control[..]
        } else {
            &self.rx[self.rx_from..]
        };
        Some((
            Received(&from[..len]),
            Transmit {
                tx: &mut self.tx,
                emitted: &mut self.emitted,
                meta: PacketMeta::default(),
            },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        if self.emitted.is_some() {
            return None;
        }
        Some(Transmit {
            tx: &mut self.tx,
            emitted: &mut self.emitted,
            meta: PacketMeta::default(),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.caps.clone()
    }
}

#[cfg(test)]
#[path = "phantom_tests.rs"]
mod tests;
