//! Packets that came to the wrong worker: a TCP packet of a flow that this worker does not have goes
//! to the one that owns it, as the port's steering says. How others hear of neighbours is in
//! `neighbors`. ICMP needs no passing on: whoever receives it answers it.

use crate::classify::classify;
use crate::counters::{Counter, Drop, Stage};
use crate::mailbox::{Content, Mailbox, Parcel};
use crate::mover::Mover;
use crate::port::{Frame, FrameClass, FramePool, Port, RxChecksum, RxPacket};
use crate::settings::PortId;
use crate::steering::WorkerId;
use crate::worker::Worker;
use crate::worker::receive::Source;

/// Parcels taken from one mailbox in a turn, at most.
const PARCELS_PER_TURN: usize = 64;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Takes in what other workers have received for this one. Returns how many packets that were.
    pub(super) fn take_over(&mut self) -> u32 {
        let mut taken = 0;
        for lane in 0..self.lanes.len() {
            let port = PortId(lane as u8);
            let here = &mut self.lanes[lane];
            here.relayed = 0;
            if here.seat.mailbox(self.me).is_none() {
                continue;
            }
            // As with what the port itself brings: each packet may be answered at once.
            let most = here.port.tx_room().min(PARCELS_PER_TURN);
            for _ in 0..most {
                let mailbox = self.lanes[lane].seat.mailbox(self.me);
                let Some(parcel) = mailbox.and_then(Mailbox::take) else {
                    break;
                };
                taken += 1;
                self.found();
                self.openings.feed(parcel.bytes().len() as u64);
                if let Err(reason) = self.unpack(port, &parcel) {
                    self.counters[reason] += 1;
                }
                if let Some(mailbox) = self.lanes[lane].seat.mailbox(self.me) {
                    mailbox.give_back(parcel);
                }
            }
            let mailbox = self.lanes[lane].seat.mailbox(self.me);
            if mailbox.is_some_and(|mailbox| mailbox.waiting() > 0) {
                self.openings.sated();
            }
        }
        if taken > 0 {
            self.close(Stage::Ingress);
        }
        taken
    }

    fn unpack(&mut self, port: PortId, parcel: &Parcel) -> Result<(), Drop> {
        match parcel.content() {
            Content::Segment { checksum } => {
                self.counters[Counter::TakenOver] += 1;
                self.take_segment(port, checksum, parcel.bytes())
            }
            // Whoever received it has counted and answered it.
            Content::Arp => {
                let _ = self.learn_neighbor(port, parcel.bytes(), true, Source::Mailbox);
                Ok(())
            }
            Content::Ndp => {
                let _ = self.learn_neighbor(port, parcel.bytes(), false, Source::Mailbox);
                Ok(())
            }
        }
    }

    /// Copies a packet into frames of this worker's own and receives it.
    fn take_segment(
        &mut self,
        port: PortId,
        checksum: RxChecksum,
        bytes: &[u8],
    ) -> Result<(), Drop> {
        let mut frames = std::mem::take(&mut self.packet);
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(mut frame) = self.frame_for(rest.len()) else {
                break;
            };
            let (now, later) = rest.split_at(rest.len().min(frame.capacity()));
            if let Some(room) = frame.room_mut() {
                room[..now.len()].copy_from_slice(now);
            }
            frame.set_len(now.len());
            frames.push(frame);
            rest = later;
        }
        let packet = RxPacket {
            len: bytes.len() as u32,
            frames: frames.len() as u16,
            checksum,
        };
        let kind = classify(
            port,
            frames.first().map_or(&[][..], Frame::data),
            packet.len,
        );
        let outcome = if rest.is_empty() {
            self.receive_packet(port, &packet, kind, &frames, Source::Mailbox)
        } else {
            Err(Drop::NoFrame)
        };
        frames.clear();
        self.packet = frames;
        outcome
    }

    /// A small frame if that holds it, else a large one, else whatever there is.
    fn frame_for(&mut self, len: usize) -> Option<P::Frame> {
        let small = self.pool.alloc(FrameClass::Small);
        if small.as_ref().is_some_and(|frame| frame.capacity() >= len) {
            return small;
        }
        self.pool.alloc(FrameClass::Large).or(small)
    }

    /// Puts a packet that belongs to `owner` into its mailbox.
    pub(super) fn hand_over(
        &mut self,
        port: PortId,
        owner: WorkerId,
        ipv6: bool,
        frames: &[P::Frame],
    ) -> Result<(), Drop> {
        let lane = &mut self.lanes[usize::from(port.0)];
        lane.strays += u64::from(lane.seat.steering.is_done_by_port(ipv6));
        let content = Content::Segment {
            checksum: RxChecksum::Good, // This worker has looked.
        };
        let mailbox = lane.seat.mailbox(owner).ok_or(Drop::MailboxFull)?;
        mailbox
            .put(content, frames.iter().map(Frame::data))
            .map_err(|_| Drop::MailboxFull)?;
        self.counters[Counter::HandedOver] += 1;
        Ok(())
    }

    /// TCP packets that a port brought to this worker although its steering, which the port itself is
    /// believed to do, says another. They were handed over; but each cost more than it should, and
    /// somebody should hear of it.
    pub fn strays(&self, port: PortId) -> u64 {
        self.lanes[usize::from(port.0)].strays
    }
}
