//! How a packet gets from the worker that received it to another.
//!
//! Frames never leave their worker: they are not `Send`, and a pool that others draw on would have
//! a level that says nothing. What crosses is a copy of the packet's bytes, in a [`Parcel`] whose
//! buffer exists since the start and returns to the mailbox when its content was taken in. So
//! nothing is allocated, nobody waits, and a worker that falls behind costs others nothing but the
//! packets they cannot hand over. Where NIC or kernel steer as they should, mailboxes are empty.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::port::RxChecksum;

/// Bytes of the longest packet: Ethernet header and 64 KiB of IP. Devices and kernels merge segments
/// up to that. Pages of a buffer that no packet reached are never touched.
pub const LONGEST: usize = 14 + 65_535;

/// What lies in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TCP packet that belongs to the receiver.
    Segment {
        /// What is known about its TCP checksum.
        checksum: RxChecksum,
    },
    /// An ARP packet that every worker is to learn from. It was answered already.
    Arp,
    /// A packet of neighbour discovery, likewise.
    Ndp,
}

/// The bytes of a packet on their way between two workers.
#[derive(Debug)]
pub struct Parcel {
    content: Content,
    len: usize,
    buffer: Box<[u8]>,
}

impl Parcel {
    /// What kind of packet it is.
    pub fn content(&self) -> Content {
        self.content
    }

    /// The packet, from its Ethernet header on.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// No parcel was free, or the packet is longer than a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Queues {
    waiting: ArrayQueue<Parcel>,
    empty: ArrayQueue<Parcel>,
}

/// The mailbox of one worker for one port: all others put into it, the worker takes out. A clone is
/// another handle of the same mailbox.
#[derive(Clone, Debug)]
pub struct Mailbox(Arc<Queues>);

impl Mailbox {
    /// A mailbox with so many parcels, at least one.
    pub fn new(parcels: usize) -> Self {
        let queues = Queues {
            waiting: ArrayQueue::new(parcels.max(1)),
            empty: ArrayQueue::new(parcels.max(1)),
        };
        for _ in 0..parcels.max(1) {
            let parcel = Parcel {
                content: Content::Arp,
                len: 0,
                buffer: vec![0; LONGEST].into(),
            };
            let kept = queues.empty.push(parcel);
            debug_assert!(kept.is_ok());
        }
        Self(Arc::new(queues))
    }

    /// Puts in a copy of the packet that `pieces` are, in order.
    ///
    /// # Errors
    /// [`Full`]: nothing was put in.
    pub fn put<'a>(
        &self,
        content: Content,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Full> {
        let mut parcel = self.0.empty.pop().ok_or(Full)?;
        parcel.content = content;
        parcel.len = 0;
        for piece in pieces {
            let Some(room) = parcel.buffer[parcel.len..].get_mut(..piece.len()) else {
                self.give_back(parcel);
                return Err(Full);
            };
            room.copy_from_slice(piece);
            parcel.len += piece.len();
        }
        // There is a place for every parcel.
        self.0.waiting.push(parcel).map_err(|_| Full)
    }

    /// The parcel that has waited longest. It is to be given back when it has been read.
    #[inline]
    pub fn take(&self) -> Option<Parcel> {
        self.0.waiting.pop()
    }

    /// Makes a parcel that was taken free for others.
    pub fn give_back(&self, parcel: Parcel) {
        let kept = self.0.empty.push(parcel);
        debug_assert!(kept.is_ok(), "a parcel of another mailbox");
    }

    /// Parcels that wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Content = Content::Segment {
        checksum: RxChecksum::Good,
    };

    /// What senders and the receiver write, the ends of both queues, lies on lines of its own: no other
    /// mailbox and no handle's count begins or ends on one.
    #[test]
    fn mailboxes_share_no_cache_line() {
        assert_eq!(align_of::<Queues>() % 128, 0);
        assert_eq!(size_of::<Queues>() % 128, 0);
        let mailboxes = [Mailbox::new(1), Mailbox::new(1)];
        for Mailbox(queues) in &mailboxes {
            assert_eq!(std::ptr::from_ref(&**queues).addr() % 128, 0);
        }
    }

    #[test]
    fn a_packet_comes_out_whole_and_in_order() {
        let mailbox = Mailbox::new(3);
        let pieces: [&[u8]; 3] = [b"ab", b"", b"cde"];
        mailbox.put(SEGMENT, pieces.into_iter()).unwrap();
        mailbox.put(Content::Arp, [&b"x"[..]].into_iter()).unwrap();
        assert_eq!(mailbox.waiting(), 2);
        let first = mailbox.take().unwrap();
        assert_eq!((first.content(), first.bytes()), (SEGMENT, &b"abcde"[..]));
        let second = mailbox.take().unwrap();
        assert_eq!(
            (second.content(), second.bytes()),
            (Content::Arp, &b"x"[..])
        );
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn a_full_mailbox_refuses_until_a_parcel_is_given_back() {
        let mailbox = Mailbox::new(2);
        let put = |byte: u8| mailbox.put(SEGMENT, [&[byte][..]].into_iter());
        assert_eq!((put(1), put(2), put(3)), (Ok(()), Ok(()), Err(Full)));
        let parcel = mailbox.take().unwrap();
        assert_eq!(put(4), Err(Full), "taken, but not given back");
        mailbox.give_back(parcel);
        assert_eq!(put(5), Ok(()));
        let seen: Vec<u8> = std::iter::from_fn(|| mailbox.take())
            .map(|parcel| parcel.bytes()[0])
            .collect();
        assert_eq!(seen, [2, 5]);
    }

    #[test]
    fn a_packet_that_is_too_long_costs_no_parcel() {
        let mailbox = Mailbox::new(1);
        let long = vec![7; LONGEST];
        let extra: [&[u8]; 2] = [&long, b"!"];
        assert_eq!(mailbox.put(SEGMENT, extra.into_iter()), Err(Full));
        assert_eq!(mailbox.waiting(), 0);
        assert_eq!(mailbox.put(SEGMENT, [&long[..]].into_iter()), Ok(()));
        assert_eq!(mailbox.take().unwrap().bytes(), long);
    }

    /// Several threads put, one takes: nothing is lost, torn or repeated, and all parcels are there in
    /// the end.
    #[test]
    fn workers_on_threads() {
        let mailbox = Mailbox::new(8);
        const EACH: u32 = if cfg!(miri) { 100 } else { 20_000 };
        let mut next = [0u32; 3];
        std::thread::scope(|scope| {
            for sender in 0..3u8 {
                let mailbox = mailbox.clone();
                let _handle = scope.spawn(move || {
                    for number in 0..EACH {
                        let number = number.to_le_bytes();
                        let pieces: [&[u8]; 3] = [&[sender], &number, &number];
                        while mailbox.put(SEGMENT, pieces.into_iter()).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            while next.iter().any(|&seen| seen < EACH) {
                let Some(parcel) = mailbox.take() else {
                    std::thread::yield_now();
                    continue;
                };
                let (sender, number) = parcel.bytes().split_at(1);
                let (number, again) = number.split_at(4);
                assert_eq!(number, again);
                let expected = &mut next[usize::from(sender[0])];
                assert_eq!(number, expected.to_le_bytes());
                *expected += 1;
                mailbox.give_back(parcel);
            }
        });
        assert_eq!(mailbox.waiting(), 0);
        assert_eq!(mailbox.0.empty.len(), 8);
    }
}
