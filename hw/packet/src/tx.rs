//! Transmission: a ring of waiting packets, gathered by the kernel from where their bytes lie.
//!
//! `tx_push` copies a packet's headers, led by its virtio-net header, into a slot and keeps a
//! reference to each frame of its payload. `flush` offers the waiting packets in batches of
//! `sendmmsg`, oldest first. AF_PACKET copies a packet before the call returns, so the frames of
//! what was taken are let go of at once; what was not taken waits in order.

use std::collections::VecDeque;
use std::io;

use dataplane::port::{Frame, MAX_HEADER, Piece, PortStats, TxError, TxHeader};

use crate::socket::{PacketSocket, empty_message, iovec};
use crate::vnet::{self, VnetHeader};

/// Most payload pieces of one packet: a super-segment of segments that arrived one to a frame. The
/// kernel takes up to `UIO_MAXIOV` (1024) iovecs a message.
pub(crate) const MAX_PIECES: usize = 64;

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing waits any more.
    All,
    /// Packets still wait.
    Waiting {
        /// Whether the kernel took any before it had enough.
        progress: bool,
        /// Whether it was the device that had enough (ENOBUFS), not the socket's send buffer.
        refused: bool,
    },
    /// The interface is down or gone. What waited is lost, as on a cable that was pulled out.
    LinkDown,
}

/// The headers of a waiting packet.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Slot {
    /// The virtio-net header and the packet's own headers.
    bytes: [u8; vnet::LEN + MAX_HEADER],
    /// How many of `bytes` there are.
    len: u8,
    /// How many of the waiting pieces are this packet's.
    pieces: u8,
}

/// A piece of a waiting packet's payload.
#[derive(Debug)]
struct Held<F> {
    frame: F,
    offset: usize,
    len: usize,
}

impl<F: Frame> Held<F> {
    fn bytes(&self) -> &[u8] {
        &self.frame.data()[self.offset..self.offset + self.len]
    }
}

/// Packets waiting to be sent.
#[derive(Debug)]
pub(crate) struct TxRing<F> {
    slots: Vec<Slot>,
    /// The oldest waiting packet.
    head: usize,
    /// How many packets wait.
    waiting: usize,
    /// The pieces of all waiting packets, in order.
    pieces: VecDeque<Held<F>>,
    /// Scratch of `flush`: one batch.
    messages: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

impl<F: Frame> TxRing<F> {
    /// A ring of `slots` packets, sent in batches of at most `batch`.
    pub(crate) fn new(slots: usize, batch: usize) -> Self {
        let slot = Slot {
            bytes: [0; vnet::LEN + MAX_HEADER],
            len: 0,
            pieces: 0,
        };
        Self {
            slots: vec![slot; slots],
            head: 0,
            waiting: 0,
            // Grows to what the traffic needs and stays there.
            pieces: VecDeque::with_capacity(slots * 4),
            messages: vec![empty_message(); batch],
            iovecs: vec![iovec(std::ptr::null_mut(), 0); batch * (1 + MAX_PIECES)],
        }
    }

    /// How many more packets fit.
    pub(crate) fn room(&self) -> usize {
        self.slots.len() - self.waiting
    }

    /// Whether no packet waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// References to frames held.
    pub(crate) fn frames_held(&self) -> usize {
        self.pieces.len()
    }

    /// Takes a packet. See [`dataplane::port::Port::tx_push`].
    ///
    /// # Panics
    /// When a piece reaches beyond its frame's data, or there are more header bytes or pieces than
    /// the port said it takes: the caller's error, and nothing that waiting would mend.
    pub(crate) fn push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, F>>,
    ) -> Result<(), TxError>
    where
        F: 'f,
    {
        if self.room() == 0 {
            return Err(TxError::Full);
        }
        let before = self.pieces.len();
        let mut packet_len = header.bytes.len();
        for piece in payload {
            let (offset, len) = (piece.offset as usize, piece.len as usize);
            let data = piece.frame.data();
            assert!(
                data.len() >= offset + len,
                "a piece ends at {} of a frame of {} bytes",
                offset + len,
                data.len()
            );
            packet_len += len;
            let here = self.pieces.len() > before;
            match self.pieces.back_mut().filter(|_| here) {
                Some(last)
                    if last.offset + last.len == offset
                        && std::ptr::eq(last.frame.data().as_ptr(), data.as_ptr()) =>
                {
                    last.len += len;
                }
                _ if len == 0 => {}
                _ => self.pieces.push_back(Held {
                    frame: piece.frame.clone(),
                    offset,
                    len,
                }),
            }
        }
        let pieces = self.pieces.len() - before;
        assert!(pieces <= MAX_PIECES, "a packet of {pieces} pieces");
        let vnet_header = VnetHeader::for_transmission(&header.offload, packet_len).encode();
        let index = (self.head + self.waiting) % self.slots.len();
        let slot = &mut self.slots[index];
        slot.bytes[..vnet::LEN].copy_from_slice(&vnet_header);
        slot.bytes[vnet::LEN..][..header.bytes.len()].copy_from_slice(header.bytes);
        slot.len = (vnet::LEN + header.bytes.len()) as u8;
        slot.pieces = pieces as u8;
        self.waiting += 1;
        Ok(())
    }

    /// Offers all waiting packets to `socket`.
    pub(crate) fn flush(&mut self, socket: &PacketSocket, stats: &mut PortStats) -> Flushed {
        self.flush_by(stats, |messages| {
            // SAFETY: `gather` has just pointed every message at iovecs of this ring, and those at
            // slots of this ring and at bytes of frames in `pieces`. None of the vectors is
            // resized, and no frame let go of, before its message was taken: `flush_by` drops only
            // the front, and pushes nothing.
            unsafe { socket.send(messages) }
        })
    }

    fn flush_by(
        &mut self,
        stats: &mut PortStats,
        mut send: impl FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>,
    ) -> Flushed {
        let mut progress = false;
        while self.waiting > 0 {
            let end = self.gather();
            let mut next = 0;
            while next < end {
                match send(&mut self.messages[next..end]) {
                    Ok(taken) => {
                        for i in next..next + taken {
                            stats.tx_packets += 1;
                            let bytes = self.messages[i].msg_len as usize;
                            stats.tx_bytes += bytes.saturating_sub(vnet::LEN) as u64;
                            self.let_go();
                        }
                        next += taken;
                        progress |= taken > 0;
                        // Never seen; the loop must not depend on it.
                        if taken == 0 {
                            return Flushed::Waiting {
                                progress,
                                refused: false,
                            };
                        }
                    }
                    Err(error) => match error.raw_os_error() {
                        Some(libc::EINTR) => {}
                        // EAGAIN: the send buffer is full. ENOBUFS: the device's queue is full and
                        // the packet was thrown away, which is as good as not sent.
                        Some(errno @ (libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => {
                            return Flushed::Waiting {
                                progress,
                                refused: errno == libc::ENOBUFS,
                            };
                        }
                        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                            self.lose_all(stats);
                            return Flushed::LinkDown;
                        }
                        _ => {
                            self.lose_first(stats, &error);
                            next += 1;
                        }
                    },
                }
            }
        }
        Flushed::All
    }

    /// Drops the oldest packet, which the kernel will never take.
    pub(crate) fn lose_first(&mut self, stats: &mut PortStats, error: &io::Error) {
        stats.tx_errors += 1;
        if stats.tx_errors.is_power_of_two() {
            let slot = &self.slots[self.head];
            log::debug!(
                "send: {error}; headers {:02x?}, {} pieces; {} errors so far",
                &slot.bytes[..usize::from(slot.len)],
                slot.pieces,
                stats.tx_errors
            );
        }
        self.let_go();
    }

    /// Drops everything that waits.
    pub(crate) fn lose_all(&mut self, stats: &mut PortStats) {
        stats.tx_errors += self.waiting as u64;
        self.pieces.clear();
        self.waiting = 0;
    }

    /// Ends the oldest packet.
    fn let_go(&mut self) {
        for _ in 0..self.slots[self.head].pieces {
            drop(self.pieces.pop_front());
        }
        self.head = (self.head + 1) % self.slots.len();
        self.waiting -= 1;
    }

    /// Writes the messages of the oldest packets, one batch at most. Returns how many.
    fn gather(&mut self) -> usize {
        let count = self.waiting.min(self.messages.len());
        let messages = &mut self.messages[..count];
        let mut pieces = self.pieces.iter();
        let mut iovecs = self.iovecs.iter_mut();
        let mut place = |bytes: &[u8]| {
            if let Some(place) = iovecs.next() {
                // `sendmmsg` only reads: the const is cast away because iovec has no other form.
                *place = iovec(bytes.as_ptr().cast_mut(), bytes.len());
            }
        };
        for (i, message) in messages.iter_mut().enumerate() {
            let slot = &self.slots[(self.head + i) % self.slots.len()];
            place(&slot.bytes[..usize::from(slot.len)]);
            for held in pieces.by_ref().take(usize::from(slot.pieces)) {
                place(held.bytes());
            }
            message.msg_hdr.msg_iovlen = 1 + usize::from(slot.pieces);
        }
        let mut next = self.iovecs.as_mut_ptr();
        for message in messages {
            message.msg_hdr.msg_iov = next;
            next = next.wrapping_add(message.msg_hdr.msg_iovlen);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{HeapFrame, HeapPool};
    use dataplane::port::{FrameClass, TxOffload};

    /// What a message would send, without its virtio-net header.
    fn bytes(message: &mut libc::mmsghdr) -> Vec<u8> {
        let header = &message.msg_hdr;
        // SAFETY: `gather` pointed the message at this many live iovecs.
        let iovecs = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
        let mut all = Vec::new();
        for iovec in iovecs {
            // SAFETY: and each iovec at this many live bytes.
            all.extend_from_slice(unsafe {
                std::slice::from_raw_parts(iovec.iov_base.cast::<u8>(), iovec.iov_len)
            });
        }
        message.msg_len = all.len() as u32;
        all.split_off(vnet::LEN)
    }

    fn push(ring: &mut TxRing<HeapFrame>, frame: &HeapFrame, number: u32) -> Result<(), TxError> {
        let mut header = [0; 54];
        header[..4].copy_from_slice(&number.to_be_bytes());
        // As many pieces as the number's last digit says, of one byte each, none adjacent.
        let pieces = (0..number % 10).map(|i| Piece {
            frame,
            offset: 2 * i,
            len: 1,
        });
        let header = TxHeader {
            bytes: &header,
            offload: TxOffload::default(),
        };
        ring.push(&header, pieces)
    }

    /// A kernel that takes some, has enough, refuses for good, as a seeded generator says: packets
    /// leave complete, in order, once; only what was refused is missing and counted.
    #[test]
    fn whatever_the_kernel_answers_the_order_stays() {
        for seed in 1..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 33) % below
            };
            let mut pool = HeapPool::new(1, 0);
            let frame = pool.filled(FrameClass::Small, &[7; 32]);
            let mut ring = TxRing::new(50, 8);
            let mut stats = PortStats::default();
            let (mut left, mut refused) = (Vec::new(), Vec::new());
            let mut next = 0;
            while next < 500 || !ring.is_empty() {
                for _ in 0..random(20) {
                    if next < 500 && push(&mut ring, &frame, next).is_ok() {
                        next += 1;
                    }
                }
                let flushed = ring.flush_by(&mut stats, |messages| {
                    let first = bytes(&mut messages[0]);
                    let errno = match random(12) {
                        0 => libc::EAGAIN,
                        1 => libc::ENOBUFS,
                        2 => libc::EINTR,
                        3 => {
                            refused.push(first);
                            libc::EINVAL
                        }
                        _ => {
                            let taken = 1 + random(messages.len() as u64) as usize;
                            left.extend(messages[..taken].iter_mut().map(bytes));
                            return Ok(taken);
                        }
                    };
                    Err(io::Error::from_raw_os_error(errno))
                });
                assert_eq!(flushed == Flushed::All, ring.is_empty());
            }
            let number = |packet: &Vec<u8>| {
                let number = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
                assert_eq!(packet.len(), 54 + number as usize % 10, "seed {seed}");
                number
            };
            assert!(left.iter().map(number).is_sorted(), "seed {seed}");
            let mut all: Vec<u32> = left.iter().chain(&refused).map(number).collect();
            all.sort_unstable();
            assert_eq!(all, (0..500).collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(stats.tx_packets, left.len() as u64);
            assert_eq!(stats.tx_errors, refused.len() as u64);
            let total: usize = left.iter().map(Vec::len).sum();
            assert_eq!(stats.tx_bytes, total as u64);
            assert_eq!(ring.frames_held(), 0);
        }
    }

    #[test]
    fn adjacent_pieces_join_within_a_packet_but_not_across() {
        let mut pool = HeapPool::new(2, 0);
        let counting: Vec<u8> = (0..32).collect();
        let frame = pool.filled(FrameClass::Small, &counting);
        let other = pool.filled(FrameClass::Small, &counting);
        let mut ring = TxRing::new(4, 8);
        let packets: [&[(&HeapFrame, u32)]; 3] = [
            &[(&frame, 0), (&frame, 4)],
            &[(&frame, 8), (&other, 12), (&frame, 16)],
            &[(&frame, 20)],
        ];
        for packet in packets {
            let pieces = packet.iter().map(|&(frame, offset)| Piece {
                frame,
                offset,
                len: 4,
            });
            let header = TxHeader {
                bytes: &[],
                offload: TxOffload::default(),
            };
            ring.push(&header, pieces).expect("room");
        }
        assert_eq!(ring.frames_held(), 1 + 3 + 1);
        let mut sent = Vec::new();
        let flushed = ring.flush_by(&mut PortStats::default(), |messages| {
            sent.extend(messages.iter_mut().map(bytes));
            Ok(messages.len())
        });
        assert_eq!(flushed, Flushed::All);
        assert_eq!(sent, [&counting[..8], &counting[8..20], &counting[20..24]]);
    }

    #[test]
    fn a_full_ring_refuses_and_a_lost_link_empties_it() {
        let mut pool = HeapPool::new(1, 0);
        let frame = pool.filled(FrameClass::Small, &[7; 32]);
        let mut ring = TxRing::new(4, 8);
        let mut stats = PortStats::default();
        for number in 0..4 {
            assert_eq!(push(&mut ring, &frame, number), Ok(()));
        }
        assert_eq!(ring.room(), 0);
        assert_eq!(push(&mut ring, &frame, 4), Err(TxError::Full));
        assert_eq!(ring.frames_held(), 1 + 2 + 3);
        let down = |_: &mut [libc::mmsghdr]| Err(io::Error::from_raw_os_error(libc::ENETDOWN));
        assert_eq!(ring.flush_by(&mut stats, down), Flushed::LinkDown);
        assert_eq!(
            (stats.tx_errors, ring.room(), ring.frames_held()),
            (4, 4, 0)
        );
        drop(frame);
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "a piece ends at 33")]
    fn a_piece_beyond_its_frame_is_the_callers_error() {
        let mut pool = HeapPool::new(1, 0);
        let frame = pool.filled(FrameClass::Small, &[7; 32]);
        let piece = Piece {
            frame: &frame,
            offset: 30,
            len: 3,
        };
        let header = TxHeader {
            bytes: &[0; 60],
            offload: TxOffload::default(),
        };
        let _ = TxRing::new(4, 8).push(&header, [piece].into_iter());
    }
}
