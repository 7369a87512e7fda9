//! One queue pair of a device as the engine's [`Port`].

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use dataplane::port::{
    Piece, Port, PortCaps, PortStats, RxBurst, RxChecksum, RxPacket, TxError, TxHeader,
};
use dpdk_sys as sys;
use dpdk_sys::rte_mbuf;

use crate::device::{Queue, Started};
use crate::mbuf::{Mbuf, data_pointer};
use crate::tx::{HeaderStash, Packet, PieceStash, Source, Unbuilt};

/// Most packets of one receive burst.
pub const BURST: usize = 64;
/// Flushes with nothing to send after which the device is asked to free what it has sent.
const IDLE_FLUSHES: u32 = 256;

/// One queue pair, owned by one worker. It may be moved to that worker's thread; its device stays
/// open as long as it lives.
#[derive(Debug)]
pub struct DpdkPort {
    device: Arc<Started>,
    queue: u16,
    received: [*mut rte_mbuf; BURST],
    headers: HeaderStash,
    pieces: PieceStash,
    /// Packets that wait for the device, in order; `prepared` of them went through
    /// `rte_eth_tx_prepare`. As much as the queue may hold back is allocated once.
    pending: Vec<*mut rte_mbuf>,
    prepared: usize,
    idle_flushes: u32,
    counted: PortStats,
}

// SAFETY: what the port holds are packets and spare mbufs of its own. Moving it moves their
// reference counts to another thread; those are atomic, here and in DPDK, and pools may be used
// from any thread. A queue may be used by one thread at a time, and the port is not Sync.
unsafe impl Send for DpdkPort {}

impl DpdkPort {
    pub(crate) fn new(device: Arc<Started>, queue: u16) -> Self {
        Self {
            pending: Vec::with_capacity(device.tx_pending),
            device,
            queue,
            received: [null_mut(); BURST],
            headers: HeaderStash::new(),
            pieces: PieceStash::new(),
            prepared: 0,
            idle_flushes: 0,
            counted: PortStats::default(),
        }
    }

    #[inline]
    fn memory(&self) -> &Queue {
        &self.device.queues[usize::from(self.queue)]
    }

    /// Lets the device check and complete the headers of what it has not seen yet. A packet it
    /// refuses would be in the way of all others for ever: it is dropped, and counted.
    fn prepare(&mut self) {
        while self.prepared < self.pending.len() {
            let waiting = &mut self.pending[self.prepared..];
            let count = waiting.len();
            // SAFETY: `count` packets that are ours, on a queue that is ours.
            let good = unsafe {
                sys::rte_eth_tx_prepare(
                    self.device.port_id,
                    self.queue,
                    waiting.as_mut_ptr(),
                    count as u16,
                )
            };
            self.prepared += usize::from(good);
            if usize::from(good) < count {
                let refused = self.pending.remove(self.prepared);
                // SAFETY: a packet of ours that nobody else has.
                unsafe { sys::rte_pktmbuf_free(refused) };
                self.counted.tx_errors += 1;
            }
        }
    }

    /// Every so often asks an idle device to let go of the frames it has sent, which drivers else do
    /// when there is more to send. Some cannot (virtio): what they keep stays in `frames_held`.
    fn reclaim(&mut self) {
        self.idle_flushes += 1;
        if self.idle_flushes >= IDLE_FLUSHES {
            self.idle_flushes = 0;
            // SAFETY: a queue that is ours; 0 means all.
            let _ = unsafe { sys::rte_eth_tx_done_cleanup(self.device.port_id, self.queue, 0) };
        }
    }
}

impl Port for DpdkPort {
    type Frame = Mbuf;

    fn caps(&self) -> &PortCaps {
        &self.device.caps
    }

    /// Asks the driver without waiting. Some make a system call for it: not for every turn.
    fn link_up(&self) -> bool {
        // SAFETY: a link is numbers, for which zeros are a value; the call fills it in.
        let (link, got) = unsafe {
            let mut link: sys::rte_eth_link = std::mem::zeroed();
            let got = sys::rte_eth_link_get_nowait(self.device.port_id, &mut link);
            (link, got)
        };
        got == 0 && u32::from(link.link_status()) == sys::RTE_ETH_LINK_UP
    }

    #[inline]
    fn rx_burst(&mut self, burst: &mut RxBurst<Mbuf>) -> usize {
        let most = self.device.caps.max_burst;
        let mut count = 0;
        // Drivers may give less than there is: virtio looks at 64 descriptors at a time, and a packet may
        // take a dozen.
        while count < most {
            let room = &mut self.received[count..most];
            // SAFETY: a queue that is ours, and room for as many packets.
            let got = usize::from(unsafe {
                sys::rte_eth_rx_burst(
                    self.device.port_id,
                    self.queue,
                    room.as_mut_ptr(),
                    room.len() as u16,
                )
            });
            if got == 0 {
                break;
            }
            count += got;
        }
        for &head in &self.received[..count] {
            // SAFETY: a received packet belongs to us.
            let (len, flags) = unsafe {
                cache::prefetch_line(data_pointer(head));
                ((*head).pkt_len, (*head).ol_flags)
            };
            self.counted.rx_bytes += u64::from(len);
            // SAFETY: as above.
            let frames = unsafe { take_apart(head, &mut burst.frames) };
            burst.packets.push(RxPacket {
                len,
                frames,
                checksum: checksum(flags),
            });
        }
        self.counted.rx_packets += count as u64;
        count
    }

    #[inline]
    fn tx_room(&mut self) -> usize {
        let room = self.device.tx_pending - self.pending.len();
        // As many headers are laid in as promised, so that a push does not fail for want of one.
        let queue = &self.device.queues[usize::from(self.queue)];
        if !self.headers.fill(&queue.headers, room) {
            let _ = self.headers.fill(&queue.headers, 1);
        }
        room.min(self.headers.len())
    }

    #[inline]
    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, Mbuf>>,
    ) -> Result<(), TxError>
    where
        Mbuf: 'f,
    {
        if self.pending.len() >= self.device.tx_pending {
            return Err(TxError::Full);
        }
        let queue = &self.device.queues[usize::from(self.queue)];
        let mut source = Source {
            headers: &mut self.headers,
            pieces: &mut self.pieces,
            header_pool: &queue.headers,
            piece_pool: &queue.pieces,
        };
        match Packet::build(&mut source, &self.device.tx_traits, header, payload) {
            Ok(packet) => {
                self.counted.tx_bytes += u64::from(packet.len());
                self.pending.push(packet.into_raw());
                Ok(())
            }
            Err(Unbuilt::Empty) => Err(TxError::Full),
            Err(Unbuilt::TooLong) => {
                debug_assert!(
                    false,
                    "a packet longer than the device takes: MTU {}",
                    self.device.caps.mtu
                );
                // Offered again it would fail again.
                self.counted.tx_errors += 1;
                Ok(())
            }
        }
    }

    #[inline]
    fn tx_flush(&mut self) {
        if self.pending.is_empty() {
            self.reclaim();
            return;
        }
        self.idle_flushes = 0;
        self.prepare();
        let mut sent = 0;
        // Some drivers take no more than a few dozen packets in a call.
        while sent < self.prepared {
            let waiting = &mut self.pending[sent..self.prepared];
            // SAFETY: prepared packets of ours, on a queue that is ours. Those it takes are its.
            let taken = unsafe {
                sys::rte_eth_tx_burst(
                    self.device.port_id,
                    self.queue,
                    waiting.as_mut_ptr(),
                    waiting.len() as u16,
                )
            };
            if taken == 0 {
                break;
            }
            sent += usize::from(taken);
        }
        self.counted.tx_packets += sent as u64;
        drop(self.pending.drain(..sent));
        self.prepared -= sent;
    }

    /// Packets and bytes are this queue's. What was lost is counted by the device for all queues
    /// together and told by the port of queue 0, so that sums over ports are right.
    fn stats(&mut self) -> PortStats {
        let mut stats = self.counted;
        if self.queue == 0 {
            // SAFETY: counters are numbers, for which zeros are a value; the call fills them in.
            let device = unsafe {
                let mut device: sys::rte_eth_stats = std::mem::zeroed();
                let _ = sys::rte_eth_stats_get(self.device.port_id, &mut device);
                device
            };
            stats.rx_missed = device.imissed;
            stats.rx_no_frame = device.rx_nombuf;
            stats.rx_errors = device.ierrors;
            stats.tx_errors += device.oerrors;
        }
        stats
    }

    fn tx_waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A frame of which several pieces are on their way counts once for each.
    fn frames_held(&self) -> usize {
        let queue = self.memory();
        let pieces = queue.pieces.in_use() as usize;
        queue.rx_posted as usize + pieces.saturating_sub(self.pieces.len())
    }
}

impl Drop for DpdkPort {
    fn drop(&mut self) {
        for packet in self.pending.drain(..) {
            // SAFETY: a packet of ours that the device was not given.
            unsafe { sys::rte_pktmbuf_free(packet) };
        }
        self.headers.clear();
        self.pieces.clear();
    }
}

/// Makes a frame of each segment of a chain, leaving out empty ones behind the first. Returns how
/// many there are.
///
/// # Safety
/// The chain is the caller's, who gives it up.
#[inline]
unsafe fn take_apart(head: *mut rte_mbuf, frames: &mut Vec<Mbuf>) -> u16 {
    let mut segment = head;
    let mut count = 0;
    while let Some(live) = NonNull::new(segment) {
        // SAFETY: a live segment of the chain; a lone mbuf has no next one, one segment, and its
        // own length as the packet's.
        let frame = unsafe {
            segment = (*live.as_ptr()).next;
            (*live.as_ptr()).next = null_mut();
            (*live.as_ptr()).nb_segs = 1;
            (*live.as_ptr()).pkt_len = u32::from((*live.as_ptr()).data_len);
            Mbuf::from_raw(live)
        };
        // SAFETY: the frame is ours.
        if count == 0 || unsafe { (*live.as_ptr()).data_len } > 0 {
            frames.push(frame);
            count += 1;
        }
    }
    count
}

/// What the device says about the L4 checksum. "None" means that there is none in the packet, whose
/// bytes are nevertheless known to be right: they came from memory of this machine.
#[inline]
fn checksum(flags: u64) -> RxChecksum {
    const GOOD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64;
    const NONE: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_NONE as u64;
    const BAD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_BAD as u64;
    match flags & sys::RTE_MBUF_F_RX_L4_CKSUM_MASK as u64 {
        GOOD | NONE => RxChecksum::Good,
        BAD => RxChecksum::Bad,
        _ => RxChecksum::Unverified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_flags() {
        assert_eq!(checksum(0), RxChecksum::Unverified);
        assert_eq!(checksum(1 << 8), RxChecksum::Good);
        assert_eq!(checksum(1 << 8 | 1 << 3), RxChecksum::Good);
        assert_eq!(checksum(1 << 3), RxChecksum::Bad);
        assert_eq!(checksum(1 << 3 | 1 << 4), RxChecksum::Bad);
    }
}
