//! A device with several queues, and which of them it puts a packet into.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::rng::Rng;
use super::wire::{Clock, End, Wire};
use crate::classify::{Packet, classify};
use crate::settings::PortId;
use crate::steering::{Steering, WorkerId};

/// Received packets a queue holds; what comes in beyond is lost.
const RX_QUEUE: usize = 1024;

/// Where TCP packets are put. All others go to queue 0.
#[derive(Clone, Debug)]
pub enum Spread {
    /// Into the queue of the worker they belong to, as a NIC with RSS does.
    Right(Steering),
    /// Always into the next one, as a NIC does whose key is not the one it tells.
    Wrong(Steering),
    /// Into any, each packet by itself.
    Random,
    /// All into queue 0.
    First,
}

#[derive(Debug)]
struct Device {
    wire: Wire,
    end: End,
    clock: Clock,
    spread: Spread,
    rng: Rng,
    queues: Vec<VecDeque<Vec<u8>>>,
}

impl Device {
    fn queue_of(&mut self, packet: &[u8]) -> usize {
        let queues = self.queues.len();
        let Packet::Tcp(segment) = classify(PortId(0), packet, packet.len() as u32) else {
            return 0;
        };
        let owner = |steering: &Steering| {
            let WorkerId(worker) = steering.owner(&segment.key);
            usize::from(worker)
        };
        match &self.spread {
            Spread::Right(steering) => owner(steering) % queues,
            Spread::Wrong(steering) => (owner(steering) + 1) % queues,
            Spread::Random => self.rng.below(queues as u64) as usize,
            Spread::First => 0,
        }
    }
}

/// The queues of one device. A clone is another handle of the same device.
#[derive(Clone, Debug)]
pub struct Queues(Rc<RefCell<Device>>);

impl Queues {
    /// A device at this end of `wire` with so many queues.
    pub fn new(
        (wire, end): (Wire, End),
        clock: Clock,
        queues: usize,
        spread: Spread,
        seed: u64,
    ) -> Self {
        Self(Rc::new(RefCell::new(Device {
            wire,
            end,
            clock,
            spread,
            rng: Rng::new(seed),
            queues: vec![VecDeque::new(); queues],
        })))
    }

    /// Takes what has arrived from the wire. Returns how many packets were lost.
    pub fn advance(&self) -> u64 {
        let device = &mut *self.0.borrow_mut();
        let mut lost = 0;
        while let Some(packet) = device.wire.receive(device.end, device.clock.now()) {
            let queue = device.queue_of(&packet);
            if device.queues[queue].len() == RX_QUEUE {
                lost += 1;
            } else {
                device.queues[queue].push_back(packet);
            }
        }
        lost
    }

    /// The next packet of a queue.
    pub fn pop(&self, queue: usize) -> Option<Vec<u8>> {
        self.0.borrow_mut().queues[queue].pop_front()
    }
}
