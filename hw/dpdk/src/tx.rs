//! Building packets to send: a header mbuf of the queue's own, chained to an indirect mbuf for each
//! piece of a frame; and what the device is told to do to them.

use std::ffi::CStr;
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

use dataplane::port::{Frame, Piece, TxHeader, TxOffload};
use dpdk_sys as sys;
use dpdk_sys::rte_mbuf;

use crate::eal::Eal;
use crate::error::DpdkError;
use crate::mbuf::{Mbuf, data_pointer};
use crate::mempool::{Mempool, Stash};

/// Packets' first segments taken from their pool at once: also the most `tx_room` promises.
pub(crate) type HeaderStash = Stash<256>;
/// Indirect mbufs taken from their pool at once.
pub(crate) type PieceStash = Stash<64>;

/// Most pieces of a packet. 64 KiB in segments of 1460 bytes as they were received are 45.
const MOST_PIECES: usize = 63;
/// Indirect mbufs reckoned for a transmit descriptor. virtio puts a chain of up to 8 segments into
/// one descriptor, others take one for each segment.
const PIECES_PER_DESCRIPTOR: u32 = 8;
/// A piece up to this long that follows the headers directly is copied behind them: that costs less
/// than a segment of its own does here and in the device.
const COPY_UP_TO: u32 = 128;
const ETHERNET: usize = 14;
/// Where the checksum stands in a TCP header (RFC 9293 section 3.1) and an IPv4 header (RFC 791).
const TCP_CHECKSUM: usize = 16;
const IPV4_CHECKSUM: usize = 10;

/// What the device wants of packets to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TxTraits {
    /// Packets may be chains.
    multi_segment: bool,
    /// Cuts TCP packets into segments.
    pub(crate) tso: bool,
    /// Completes the IPv4 header checksum.
    ipv4_checksum: bool,
    /// Wants the length in the pseudo-header sum of a packet to be cut, too.
    tso_sum_with_length: bool,
    pub(crate) max_pieces: usize,
    /// Most segments of a packet that is not to be cut.
    max_segments_uncut: u16,
}

impl TxTraits {
    pub(crate) fn new(info: &sys::rte_eth_dev_info, offloads: u64) -> Self {
        let has = |flag: u32| offloads & u64::from(flag) != 0;
        let vhost = driver(info) == Some(c"net_vhost");
        let limit = |segments: u16| if segments == 0 { u16::MAX } else { segments };
        let most = usize::from(limit(info.tx_desc_lim.nb_seg_max)) - 1;
        Self {
            multi_segment: has(sys::RTE_ETH_TX_OFFLOAD_MULTI_SEGS),
            // vhost does not list TSO, but does it when it was created with `tso=1`.
            tso: has(sys::RTE_ETH_TX_OFFLOAD_TCP_TSO) || vhost && arguments(info).contains("tso=1"),
            ipv4_checksum: has(sys::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM),
            // vhost hands the packet on as virtio defines it: with the length.
            tso_sum_with_length: vhost,
            max_pieces: most.min(MOST_PIECES),
            max_segments_uncut: limit(info.tx_desc_lim.nb_mtu_seg_max),
        }
    }
}

/// The name of the device's driver.
pub(crate) fn driver(info: &sys::rte_eth_dev_info) -> Option<&CStr> {
    if info.driver_name.is_null() {
        return None;
    }
    // SAFETY: a driver's name is a terminated string that stays as long as the driver.
    Some(unsafe { CStr::from_ptr(info.driver_name) })
}

/// The arguments the device was created with (`--vdev name,…`).
fn arguments(info: &sys::rte_eth_dev_info) -> String {
    // SAFETY: the device exists; its arguments, if any, are a terminated string owned by it. The
    // union's two members are names for the same pointer.
    unsafe {
        if info.device.is_null() {
            return String::new();
        }
        let devargs = sys::rte_dev_devargs(info.device);
        if devargs.is_null() || (*devargs).__bindgen_anon_1.args.is_null() {
            return String::new();
        }
        CStr::from_ptr((*devargs).__bindgen_anon_1.args)
            .to_string_lossy()
            .into_owned()
    }
}

/// The pools of a queue's headers and pieces, large enough that a device which sits on all its
/// descriptors leaves some: virtio frees what it sent only when more is sent.
pub(crate) fn pools(
    eal: &Eal,
    id: u16,
    queue: u16,
    socket: u32,
    descriptors: u16,
    pending: usize,
    packet: u32,
) -> Result<(Mempool, Mempool), DpdkError> {
    let descriptors = u32::from(descriptors);
    let pending = u32::try_from(pending).expect("a small number");
    // Twice 256 more for the stash and the lcore's cache.
    let headers = descriptors + pending + 512;
    let pieces = (descriptors + pending) * PIECES_PER_DESCRIPTOR + 512;
    // A whole packet fits, for devices that do not take chains, or not such long ones.
    let room = (packet.next_multiple_of(64) + sys::RTE_PKTMBUF_HEADROOM).max(384);
    let room = u16::try_from(room).unwrap_or(u16::MAX);
    let name = |what| format!("tx{id}.{queue}-{what}");
    Ok((
        Mempool::new(eal, &name("headers"), socket, headers, 128, room)?,
        Mempool::new(eal, &name("pieces"), socket, pieces, 256, 0)?,
    ))
}

/// Where a packet's mbufs come from.
pub(crate) struct Source<'a> {
    pub(crate) headers: &'a mut HeaderStash,
    pub(crate) pieces: &'a mut PieceStash,
    pub(crate) header_pool: &'a Mempool,
    pub(crate) piece_pool: &'a Mempool,
}

/// Why there is no packet.
#[derive(Debug)]
pub(crate) enum Unbuilt {
    /// No mbuf: later.
    Empty,
    /// The device cannot send such a packet.
    TooLong,
}

/// A chain of mbufs, freed when dropped.
pub(crate) struct Packet {
    head: NonNull<rte_mbuf>,
    tail: NonNull<rte_mbuf>,
}

impl Packet {
    /// Puts headers and pieces into a chain, with what is left to the device.
    #[inline]
    pub(crate) fn build<'f>(
        source: &mut Source<'_>,
        traits: &TxTraits,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, Mbuf>>,
    ) -> Result<Self, Unbuilt> {
        let head = source
            .headers
            .take(source.header_pool)
            .ok_or(Unbuilt::Empty)?;
        let mut packet = Self { head, tail: head };
        packet.copy(header.bytes)?;
        for piece in payload {
            debug_assert!(piece.offset as usize + piece.len as usize <= piece.frame.data().len());
            let first = packet.tail == packet.head;
            if !traits.multi_segment
                || first && piece.len <= COPY_UP_TO && packet.tailroom() >= piece.len
            {
                let (from, to) = (piece.offset as usize, (piece.offset + piece.len) as usize);
                packet.copy(&piece.frame.data()[from..to])?;
            } else if piece.len > 0 {
                packet.attach(source, &piece)?;
            }
        }
        if header.offload.segment_size == 0 && packet.segments() > traits.max_segments_uncut {
            packet.linearise()?;
        }
        packet.leave_to_device(&header.offload, traits);
        Ok(packet)
    }

    /// The chain, which the caller now owns.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut rte_mbuf {
        let raw = self.head.as_ptr();
        std::mem::forget(self);
        raw
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        // SAFETY: the head is ours.
        unsafe { (*self.head.as_ptr()).pkt_len }
    }

    #[inline]
    fn segments(&self) -> u16 {
        // SAFETY: the head is ours.
        unsafe { (*self.head.as_ptr()).nb_segs }
    }

    /// Bytes free at the end of the first segment.
    #[inline]
    fn tailroom(&self) -> u32 {
        let head = self.head.as_ptr();
        // SAFETY: the head is ours, and data lies within its buffer.
        unsafe { u32::from((*head).buf_len - (*head).data_off - (*head).data_len) }
    }

    /// Appends bytes to the first segment, which must be the only one.
    #[inline]
    fn copy(&mut self, bytes: &[u8]) -> Result<(), Unbuilt> {
        if bytes.len() > self.tailroom() as usize {
            return Err(Unbuilt::TooLong);
        }
        let head = self.head.as_ptr();
        // SAFETY: the head and its buffer are ours alone, and the bytes fit behind the data, as was
        // just checked; they lie in another buffer.
        unsafe {
            let at = data_pointer(head).add(usize::from((*head).data_len));
            copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            (*head).data_len += bytes.len() as u16;
            (*head).pkt_len += bytes.len() as u32;
        }
        Ok(())
    }

    /// Appends a segment that points into a frame, of which it is one more owner until the device
    /// has freed it.
    #[inline]
    fn attach(&mut self, source: &mut Source<'_>, piece: &Piece<'_, Mbuf>) -> Result<(), Unbuilt> {
        let segment = source
            .pieces
            .take(source.piece_pool)
            .ok_or(Unbuilt::Empty)?;
        let raw = segment.as_ptr();
        let head = self.head.as_ptr();
        // A frame's data is at most 64 KiB long, so offset and length are 16-bit numbers.
        let (offset, len) = (piece.offset as u16, piece.len as u16);
        // SAFETY: the segment is fresh and ours, the frame is live. Attaching copies the frame's
        // place and offset; what is added stays within the frame's data.
        unsafe {
            sys::rte_pktmbuf_attach(raw, piece.frame.raw());
            (*raw).data_off += offset;
            (*raw).data_len = len;
            (*raw).pkt_len = u32::from(len);
            (*self.tail.as_ptr()).next = raw;
            (*head).nb_segs += 1;
            (*head).pkt_len += u32::from(len);
        }
        self.tail = segment;
        Ok(())
    }

    /// Copies all segments into the first.
    #[cold]
    fn linearise(&mut self) -> Result<(), Unbuilt> {
        let head = self.head.as_ptr();
        // SAFETY: the chain is ours and ends with a null pointer.
        let mut segment = unsafe { (*head).next };
        let mut copied = 0;
        while !segment.is_null() {
            // SAFETY: a live segment of our chain, whose data nobody writes to.
            let (bytes, next) = unsafe {
                let len = usize::from((*segment).data_len);
                (
                    std::slice::from_raw_parts(data_pointer(segment), len),
                    (*segment).next,
                )
            };
            self.copy(bytes)?;
            copied += bytes.len() as u32;
            segment = next;
        }
        // SAFETY: the segments behind the head are copied; the head alone remains. `copy` counted
        // their bytes a second time.
        unsafe {
            sys::rte_pktmbuf_free((*head).next);
            (*head).next = null_mut();
            (*head).nb_segs = 1;
            (*head).pkt_len -= copied;
        }
        self.tail = self.head;
        Ok(())
    }

    /// Sets the flags and lengths that tell the device what to complete (rte_mbuf_core.h).
    #[inline]
    fn leave_to_device(&mut self, offload: &TxOffload, traits: &TxTraits) {
        let cut = offload.segment_size > 0;
        if !offload.tcp_checksum && !cut {
            return;
        }
        let mut flags = sys::RTE_MBUF_F_TX_TCP_CKSUM;
        flags |= if offload.ipv6 {
            sys::RTE_MBUF_F_TX_IPV6
        } else {
            sys::RTE_MBUF_F_TX_IPV4
        };
        let (l3, l4) = (usize::from(offload.l3_len), usize::from(offload.l4_len));
        if cut {
            flags |= sys::RTE_MBUF_F_TX_TCP_SEG;
            if !traits.tso_sum_with_length {
                // The engine's sum holds the length of the whole; the API wants it without.
                let tcp_len = self.len() - (ETHERNET + l3) as u32;
                self.edit(ETHERNET + l3 + TCP_CHECKSUM, |sum| {
                    without_length(sum, tcp_len)
                });
            }
            if traits.ipv4_checksum && !offload.ipv6 {
                // Each segment gets its own, which begins from 0.
                flags |= sys::RTE_MBUF_F_TX_IP_CKSUM;
                self.edit(ETHERNET + IPV4_CHECKSUM, |_| 0);
            }
        }
        let lengths = (ETHERNET as u64) << sys::RTE_MBUF_L2_LEN_OFS
            | (l3 as u64) << sys::RTE_MBUF_L3_LEN_OFS
            | (l4 as u64) << sys::RTE_MBUF_L4_LEN_OFS
            | u64::from(offload.segment_size) << sys::RTE_MBUF_TSO_SEGSZ_OFS;
        let head = self.head.as_ptr();
        // SAFETY: the head is ours.
        unsafe {
            (*head).ol_flags |= flags;
            (*head).__bindgen_anon_3.tx_offload = lengths;
        }
    }

    /// Changes the 16-bit number at byte `at` of the headers.
    #[inline]
    fn edit(&mut self, at: usize, change: impl FnOnce(u16) -> u16) {
        let head = self.head.as_ptr();
        // SAFETY: the head is ours.
        let len = usize::from(unsafe { (*head).data_len });
        // SAFETY: the head's data is initialised and ours alone.
        let data = unsafe { std::slice::from_raw_parts_mut(data_pointer(head), len) };
        if let Some(field) = data.get_mut(at..at + 2) {
            let value = change(u16::from_be_bytes([field[0], field[1]]));
            field.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the chain is ours.
        unsafe { sys::rte_pktmbuf_free(self.head.as_ptr()) };
    }
}

/// Takes a length out of a ones' complement sum (RFC 1624): adds its complement.
fn without_length(sum: u16, len: u32) -> u16 {
    let mut result = u32::from(sum) + u32::from(!(len as u16)) + u32::from(!((len >> 16) as u16));
    while result > 0xffff {
        result = (result & 0xffff) + (result >> 16);
    }
    result as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(sum: u16, len: u32) -> u16 {
        let mut result = u32::from(sum) + (len & 0xffff) + (len >> 16);
        while result > 0xffff {
            result = (result & 0xffff) + (result >> 16);
        }
        result as u16
    }

    #[test]
    fn length_in_and_out() {
        for sum in [1u16, 0x1234, 0x8000, 0xfffe] {
            for len in [20u32, 1480, 0xffff, 0x1_0020] {
                let back = without_length(with_length(sum, len), len);
                // 0 and 0xffff are the same number in ones' complement.
                assert_eq!(
                    u32::from(back) % 0xffff,
                    u32::from(sum) % 0xffff,
                    "{sum} {len}"
                );
            }
        }
    }

    #[test]
    fn bits_of_the_lengths() {
        // rte_mbuf_core.h: l2_len:7, l3_len:9, l4_len:8, tso_segsz:16.
        let offsets = [
            sys::RTE_MBUF_L2_LEN_OFS,
            sys::RTE_MBUF_L3_LEN_OFS,
            sys::RTE_MBUF_L4_LEN_OFS,
            sys::RTE_MBUF_TSO_SEGSZ_OFS,
        ];
        assert_eq!(offsets, [0, 7, 16, 24]);
    }
}
