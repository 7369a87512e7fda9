//! Reception: packets scattered by the kernel straight into posted pool frames.
//!
//! Each message of the `recvmmsg` array owns a virtio-net header, one `Small` frame and as many
//! `Large` frames as the largest packet needs, in that order. A packet's headers thus lie in its
//! first frame, a small packet costs a small frame, and a super-segment flows on into large ones.
//! Frames that a message did not use stay posted; only used ones are replaced, at the beginning of
//! the next burst, when the frames of the last one may already be back in the pool and in cache.

use std::cell::Cell;
use std::io;

use dataplane::port::{Frame, FrameClass, FramePool, PortStats, RxBurst, RxPacket};

use crate::socket::{PacketSocket, empty_message, iovec, large_frames};
use crate::vnet::{self, VnetHeader};

/// What came of one attempt to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// This many packets were appended to the burst; 0 when there was nothing.
    Packets {
        /// How many.
        count: usize,
    },
    /// No frame to receive into: the packets stay in the kernel.
    NoFrames,
    /// The interface is down or gone.
    LinkDown,
}

/// The posted frames of a port.
#[derive(Debug)]
pub(crate) struct RxRing<F> {
    /// `large + 1` places for each message: the `Small` frame, then the `Large` ones, of which
    /// those present come first.
    frames: Vec<Option<F>>,
    /// Where the kernel writes the virtio-net headers.
    headers: Vec<Cell<[u8; vnet::LEN]>>,
    /// `large + 2` for each message: the header, then its frames.
    iovecs: Vec<Cell<libc::iovec>>,
    messages: Vec<libc::mmsghdr>,
    /// `Large` frames a fully posted message has.
    large: usize,
    /// Messages, from the first, that have their `Small` frame, except those below `used`.
    ready: usize,
    /// Messages, from the first, that the last burst may have taken frames from.
    used: usize,
    /// Messages, from the first, that may lack `Large` frames.
    short: usize,
    /// Frames present.
    posted: usize,
}

impl<F: Frame> RxRing<F> {
    /// A ring of `messages` messages with room for packets of `largest` bytes each, frames not yet
    /// posted. Takes one frame of each class to learn their sizes; `None` if there is none.
    pub(crate) fn new<P>(messages: usize, largest: usize, pool: &mut P) -> Option<Self>
    where
        P: FramePool<Frame = F>,
    {
        let small_room = pool.alloc(FrameClass::Small)?.capacity();
        let large_room = pool.alloc(FrameClass::Large)?.capacity();
        let large = large_frames(largest, small_room, large_room);
        let mut ring = Self {
            frames: (0..messages * (large + 1)).map(|_| None).collect(),
            headers: vec![Cell::new([0; vnet::LEN]); messages],
            iovecs: vec![Cell::new(iovec(std::ptr::null_mut(), 0)); messages * (large + 2)],
            messages: vec![empty_message(); messages],
            large,
            ready: 0,
            used: 0,
            short: messages,
            posted: 0,
        };
        let iovecs = ring.iovecs.as_ptr();
        for (i, message) in ring.messages.iter_mut().enumerate() {
            let first = i * (large + 2);
            ring.iovecs[first].set(iovec(ring.headers[i].as_ptr().cast(), vnet::LEN));
            message.msg_hdr.msg_iov = iovecs.wrapping_add(first).cast_mut().cast();
        }
        Some(ring)
    }

    /// Frames posted.
    pub(crate) fn frames_held(&self) -> usize {
        self.posted
    }

    /// Receives at most one packet for each message, without waiting.
    pub(crate) fn receive<P>(
        &mut self,
        socket: &PacketSocket,
        pool: &mut P,
        burst: &mut RxBurst<F>,
        stats: &mut PortStats,
    ) -> Received
    where
        P: FramePool<Frame = F>,
    {
        if self.used > 0 || self.ready < self.messages.len() {
            self.refill_small(pool);
        }
        if self.short > 0 {
            self.refill_large(pool);
        }
        if self.ready == 0 {
            return Received::NoFrames;
        }
        // SAFETY: `msg_iov` points at this message's part of `iovecs`, and `msg_iovlen`, set with
        // the frames, covers only entries that were filled. The vectors are never resized, so all
        // this stays in place. The first entry points into `headers`. Headers and iovecs are cells,
        // which may be written through shared references. The others are the rooms of frames of which this ring is the
        // only owner (`room_mut` said so, and a posted frame is lent to nobody) and which it does
        // not touch until the kernel has filled them: see `post` and `take`.
        let received = unsafe { socket.receive(&mut self.messages[..self.ready]) };
        match received {
            Ok(count) => {
                self.used = count;
                let before = burst.packets.len();
                for i in 0..count {
                    self.accept(i, burst, stats);
                }
                Received::Packets {
                    count: burst.packets.len() - before,
                }
            }
            Err(e) => Self::refused(&e, stats),
        }
    }

    fn refused(error: &io::Error, stats: &mut PortStats) -> Received {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {}
            Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => return Received::LinkDown,
            // The kernel threw away one packet that it could not describe by a virtio-net header.
            _ => {
                stats.rx_errors += 1;
                if stats.rx_errors.is_power_of_two() {
                    log::debug!("receive: {error}; {} errors so far", stats.rx_errors);
                }
            }
        }
        Received::Packets { count: 0 }
    }

    /// Moves the packet of message `i` into `burst`, or counts why not and leaves its frames
    /// posted.
    fn accept(&mut self, i: usize, burst: &mut RxBurst<F>, stats: &mut PortStats) {
        let message = &self.messages[i];
        let bytes = message.msg_len as usize;
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            if message.msg_hdr.msg_iovlen == self.large + 2 {
                stats.rx_errors += 1;
            } else {
                stats.rx_no_frame += 1;
            }
            return;
        }
        if bytes < vnet::LEN + vnet::ETHERNET {
            stats.rx_errors += 1;
            return;
        }
        let header = VnetHeader::decode(&self.headers[i].get());
        let len = bytes - vnet::LEN;
        let mut left = len;
        let mut place = 0;
        while left > 0 {
            let Some(mut frame) = self.take(i, place) else {
                // Not reached: the kernel filled no more than was posted.
                break;
            };
            let filled = left.min(frame.capacity());
            frame.set_len(filled);
            burst.frames.push(frame);
            left -= filled;
            place += 1;
        }
        if place > 1 {
            self.short = self.short.max(i + 1);
        }
        burst.packets.push(RxPacket {
            len: (len - left) as u32,
            frames: place as u16,
            checksum: header.rx_checksum(),
        });
        stats.rx_packets += 1;
        stats.rx_bytes += len as u64;
    }

    /// Gives every message of the last burst its `Small` frame again, and then those that have been
    /// without for longer. When the pool runs dry, the last messages give theirs to the first, so
    /// that the messages with frames are always the first `ready`.
    fn refill_small<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        let mut dry = false;
        for i in 0..self.used {
            if self.frames[self.place(i, 0)].is_some() {
                continue;
            }
            let fresh = if dry {
                None
            } else {
                pool.alloc(FrameClass::Small)
            };
            let frame = match fresh {
                Some(frame) => frame,
                None => {
                    dry = true;
                    match self.last_small(i) {
                        Some(frame) => frame,
                        None => {
                            self.ready = i;
                            self.used = 0;
                            return;
                        }
                    }
                }
            };
            self.post(i, 0, frame);
        }
        self.used = 0;
        while !dry && self.ready < self.messages.len() {
            if self.frames[self.place(self.ready, 0)].is_none() {
                match pool.alloc(FrameClass::Small) {
                    Some(frame) => self.post(self.ready, 0, frame),
                    None => return,
                }
            }
            self.ready += 1;
        }
    }

    /// Takes the `Small` frame of the last message after `i` that has one.
    fn last_small(&mut self, i: usize) -> Option<F> {
        while self.ready > i + 1 {
            self.ready -= 1;
            if let Some(frame) = self.take(self.ready, 0) {
                return Some(frame);
            }
        }
        None
    }

    /// Posts `Large` frames where they lack. When the pool is dry, those that a message has left
    /// move up to stand first, and the message takes shorter packets for the time being.
    fn refill_large<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        let mut dry = false;
        for i in 0..self.short {
            let mut present = 0;
            while present < self.large {
                if self.frames[self.place(i, present + 1)].is_none() {
                    let fresh = if dry {
                        None
                    } else {
                        pool.alloc(FrameClass::Large)
                    };
                    dry |= fresh.is_none();
                    let later = |ring: &mut Self| {
                        (present + 2..=ring.large)
                            .rev()
                            .find_map(|k| ring.take(i, k))
                    };
                    match fresh.or_else(|| later(self)) {
                        Some(frame) => self.post(i, present + 1, frame),
                        None => break,
                    }
                }
                present += 1;
            }
            self.messages[i].msg_hdr.msg_iovlen = 2 + present;
        }
        if !dry {
            self.short = 0;
        }
    }

    /// Index in `frames` of place `k` of message `i`.
    fn place(&self, i: usize, k: usize) -> usize {
        i * (self.large + 1) + k
    }

    /// Posts `frame` in place `k` of message `i`, and its room in the iovec that goes with it.
    fn post(&mut self, i: usize, k: usize, frame: F) {
        let place = self.place(i, k);
        let frame = self.frames[place].insert(frame);
        self.posted += 1;
        // A frame fresh from the pool has one owner. Should a pool break that promise, nothing is
        // received into the frame.
        let room = frame.room_mut().unwrap_or(&mut []);
        self.iovecs[i * (self.large + 2) + 1 + k].set(iovec(room.as_mut_ptr(), room.len()));
    }

    /// Takes the frame from place `k` of message `i`.
    fn take(&mut self, i: usize, k: usize) -> Option<F> {
        let place = self.place(i, k);
        let frame = self.frames[place].take();
        self.posted -= usize::from(frame.is_some());
        frame
    }
}
