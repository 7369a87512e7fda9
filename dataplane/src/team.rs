//! What a worker knows of the others: who it is, how each port spreads packets, and everybody's
//! mailboxes. Nothing else is shared.

use std::sync::Arc;

use crate::flow_table::FlowKey;
use crate::mailbox::Mailbox;
use crate::steering::{Steering, WorkerId};

/// Packets that may wait for a worker, for each port. A worker takes them every turn.
pub const PARCELS: usize = 256;

/// A port, as the workers share it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// How the port spreads packets.
    pub steering: Arc<Steering>,
    /// The mailbox of each worker.
    mailboxes: Arc<[Mailbox]>,
}

impl Seat {
    /// The worker that a received packet belongs to.
    pub fn owner(&self, flow: &FlowKey) -> WorkerId {
        self.steering.owner(flow)
    }

    /// The mailbox of a worker; `None` when there is only one worker.
    #[inline]
    pub fn mailbox(&self, worker: WorkerId) -> Option<&Mailbox> {
        self.mailboxes.get(usize::from(worker.0))
    }

    /// The mailboxes of all workers but this one.
    pub fn others(&self, me: WorkerId) -> impl Iterator<Item = &Mailbox> {
        let mailboxes = self.mailboxes.iter().enumerate();
        mailboxes
            .filter_map(move |(worker, mailbox)| (worker != usize::from(me.0)).then_some(mailbox))
    }
}

/// A worker's place among the others. May be sent to the worker's thread.
#[derive(Clone, Debug)]
pub struct Team {
    /// Who this worker is.
    pub me: WorkerId,
    /// For each port, in the order of the configuration.
    pub seats: Vec<Seat>,
}

impl Team {
    /// The place of a worker that is the only one, over so many ports.
    pub fn alone(ports: usize) -> Self {
        let seat = Seat {
            steering: Arc::new(Steering::Single),
            mailboxes: Arc::new([]),
        };
        Self {
            me: WorkerId(0),
            seats: vec![seat; ports],
        }
    }

    /// The places of `workers` workers over ports that are steered so, each port with mailboxes of
    /// `parcels` parcels.
    pub fn of(workers: u16, steerings: Vec<Steering>, parcels: usize) -> Vec<Self> {
        if workers <= 1 {
            return vec![Self::alone(steerings.len())];
        }
        let seats: Vec<Seat> = steerings
            .into_iter()
            .map(|steering| Seat {
                steering: Arc::new(steering),
                mailboxes: (0..workers).map(|_| Mailbox::new(parcels)).collect(),
            })
            .collect();
        let workers = (0..workers).map(WorkerId);
        workers
            .map(|me| Self {
                me,
                seats: seats.clone(),
            })
            .collect()
    }
}
