//! ARP and neighbour discovery: each comes to one worker only, which answers, and passes it on to the
//! others. Each worker keeps a cache of its own and learns as if it had received the packet.

use crate::counters::Drop;
use crate::mailbox::Content;
use crate::mover::Mover;
use crate::neighbor::Outcome;
use crate::port::{Frame, FramePool, Port};
use crate::settings::PortId;
use crate::worker::Worker;
use crate::worker::receive::{Source, push_plain};

/// Packets passed on in a turn and port, so that a flood of them does not take the mailboxes from
/// connections.
const RELAYS_PER_TURN: u32 = 16;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// ARP and neighbour discovery: answered here, and passed on to the other workers, which learn
    /// from it too.
    pub(super) fn receive_neighbor(
        &mut self,
        port: PortId,
        frames: &[P::Frame],
        arp: bool,
    ) -> Result<(), Drop> {
        let frame = frames[0].data();
        let learned = self.learn_neighbor(port, frame, arp, Source::Port);
        // Another worker may have asked what nobody asked here. What is malformed helps nobody.
        if matches!(learned, Ok(()) | Err(Drop::NeighborRefused)) {
            let content = if arp { Content::Arp } else { Content::Ndp };
            self.relay(port, content, frame);
        }
        learned
    }

    /// Learns from ARP and neighbour discovery, and answers it if it came from the port. Connections
    /// that waited for what is now known may send.
    pub(super) fn learn_neighbor(
        &mut self,
        port: PortId,
        frame: &[u8],
        arp: bool,
        source: Source,
    ) -> Result<(), Drop> {
        let lane = &mut self.lanes[usize::from(port.0)];
        let (neighbors, device) = (&mut lane.neighbors, &mut lane.port);
        let reply = |reply: &[u8]| {
            if source == Source::Port {
                push_plain(device, reply);
            }
        };
        let outcome = if arp {
            neighbors.handle_arp(frame, self.now, reply)
        } else {
            neighbors.handle_ndp(frame, self.now, reply)
        };
        match outcome {
            Outcome::Handled => Ok(()),
            Outcome::Refused(reason) => Err(reason),
            Outcome::Conflict { address, mac } => {
                if source == Source::Port {
                    log::warn!("port {}: {address} is also used by {mac:02x?}", port.0);
                }
                Ok(())
            }
            Outcome::Known(_) => {
                let mut waiting = std::mem::take(&mut lane.waiting);
                for id in waiting.drain(..) {
                    if self.conns[id].key.is_some() {
                        self.list_egress(id);
                    }
                }
                self.lanes[usize::from(port.0)].waiting = waiting;
                Ok(())
            }
        }
    }

    /// Passes a packet of ARP or neighbour discovery on to all other workers.
    fn relay(&mut self, port: PortId, content: Content, frame: &[u8]) {
        let me = self.me;
        let lane = &mut self.lanes[usize::from(port.0)];
        let refused = lane.relayed >= RELAYS_PER_TURN;
        lane.relayed += 1;
        for mailbox in lane.seat.others(me) {
            if refused || mailbox.put(content, std::iter::once(frame)).is_err() {
                self.counters[Drop::MailboxFull] += 1;
            }
        }
    }
}
