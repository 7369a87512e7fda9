//! What lies between the hosts of several beds when nobody steers packets.
//!
//! Without steering a connection's packets come in at one worker, whichever that is, while another may
//! own it. Here a host stands behind the port of one bed and receives its packets there, and half of the
//! connections belong to the worker of another bed: that one sends to the host through this network.

use std::sync::Arc;

use crossbeam::queue::SegQueue;

use super::port::Sent;

/// A packet on its way to the hosts of another bed.
#[derive(Debug)]
pub(super) struct Passing {
    /// The port it was sent on.
    pub side: usize,
    pub packet: Sent,
    pub payload: Vec<u8>,
}

/// The network of some beds. A clone is another handle on it, to be sent to another bed's thread.
#[derive(Clone, Debug)]
pub struct Network(Arc<[SegQueue<Passing>]>);

impl Network {
    /// A network of so many beds.
    pub fn new(beds: usize) -> Self {
        Self((0..beds).map(|_| SegQueue::new()).collect())
    }

    /// The bed whose hosts a packet is for that a worker sent: that of the client's address, and that
    /// of the worker's own TCP port for the origin, which has nothing to do with who owns the
    /// connection.
    pub(super) fn bed_of(&self, side: usize, packet: &Sent) -> usize {
        let ip = &packet.header[14..];
        match side {
            0 => usize::from(ip[18]) - 1,
            _ => usize::from(ip[21]) % self.0.len(),
        }
    }

    /// Third octet of the addresses of a bed's clients.
    pub(super) fn octet(bed: usize) -> u8 {
        bed as u8 + 1
    }

    pub(super) fn pass(&self, bed: usize, passing: Passing) {
        self.0[bed].push(passing);
    }

    pub(super) fn take(&self, bed: usize) -> Option<Passing> {
        self.0[bed].pop()
    }
}
