//! Connections in TIME-WAIT: nobody needs them any more but a peer that has missed our last
//! acknowledgement.
//!
//! They wait for ten seconds, each in a slot of the table. When there is no other slot, the one that
//! has waited longest is forgotten: a worker then serves as many short connections as it has time for,
//! and not a tenth of its slots each second. A peer whose FIN comes again after that is answered with
//! RST; it has had everything we sent, or we would not be in TIME-WAIT.

use smoltcp::socket::tcp;

use crate::counters::Counter;
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::proxy::{ClientState, Role};
use crate::worker::{Worker, session_timer};

/// No connection.
const NONE: u32 = u32::MAX;
/// Longer than TCP keeps back an acknowledgement (`tcp::stack::ACK_DELAY`), in ms, and far less than it
/// stays in TIME-WAIT: what is due later is the end of the wait.
const LAST_ACK: u64 = 1_000;

/// Where a connection stands in the queue. One that is not in it has itself behind it.
#[derive(Clone, Copy, Debug)]
struct Place {
    older: u32,
    younger: u32,
}

/// The queue of connections in TIME-WAIT, the oldest first. Any of them leaves it at the same cost; all
/// memory is taken at construction.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    places: Box<[Place]>,
    oldest: u32,
    youngest: u32,
}

impl TimeWaits {
    /// An empty queue for connections with ids below `most`.
    pub fn new(most: usize) -> Self {
        let outside = |id| Place {
            older: id,
            younger: id,
        };
        Self {
            places: (0..most as u32).map(outside).collect(),
            oldest: NONE,
            youngest: NONE,
        }
    }

    /// Whether a connection is in the queue.
    pub fn contains(&self, id: ConnId) -> bool {
        self.places[id.0 as usize].younger != id.0
    }

    /// The connection that has waited longest.
    pub fn oldest(&self) -> Option<ConnId> {
        (self.oldest != NONE).then_some(ConnId(self.oldest))
    }

    /// Puts a connection at the end, unless it is in the queue.
    pub fn push(&mut self, id: ConnId) {
        if self.contains(id) {
            return;
        }
        self.places[id.0 as usize] = Place {
            older: self.youngest,
            younger: NONE,
        };
        match self.youngest {
            NONE => self.oldest = id.0,
            youngest => self.places[youngest as usize].younger = id.0,
        }
        self.youngest = id.0;
    }

    /// Takes a connection out, if it is in the queue.
    pub fn remove(&mut self, id: ConnId) {
        if !self.contains(id) {
            return;
        }
        let Place { older, younger } = self.places[id.0 as usize];
        match older {
            NONE => self.oldest = younger,
            older => self.places[older as usize].younger = younger,
        }
        match younger {
            NONE => self.youngest = older,
            younger => self.places[younger as usize].older = older,
        }
        self.places[id.0 as usize] = Place {
            older: id.0,
            younger: id.0,
        };
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// A slot for a new connection: a free one, or else that of the connection that has been in
    /// TIME-WAIT for longest.
    pub(super) fn take_slot(&mut self) -> Option<ConnId> {
        let free = self.conns.take(|| self.rings.pair());
        if free.is_some() {
            return free;
        }
        let oldest = self.time_waits.oldest()?;
        self.evict(oldest);
        self.conns.take(|| None)
    }

    /// Forgets a connection in TIME-WAIT before its time.
    pub(super) fn evict(&mut self, id: ConnId) {
        debug_assert_eq!(self.conns[id].socket().state(), tcp::State::TimeWait);
        self.counters[Counter::TimeWaitsEvicted] += 1;
        self.end_connection(id);
    }

    /// Notes that a connection is in TIME-WAIT; TCP wants nothing of it before `due`, in ms. One that an
    /// exchange still reads from is needed; of any other the session ends here.
    pub(super) fn enter_time_wait(&mut self, id: ConnId, due: Option<u64>) {
        let needed = match &self.conns[id].role {
            Role::Free => false,
            Role::Client(client) => !matches!(client.state, ClientState::Lingering),
            Role::Upstream(upstream) => upstream.client.is_some(),
            Role::LoadClient(client) => !client.is_closing(),
            Role::LoadOrigin(origin) => !origin.is_lingering(),
        };
        // The peer's FIN may not be acknowledged yet.
        let owes = due.is_some_and(|at| at <= self.now + LAST_ACK);
        if needed || owes || self.time_waits.contains(id) {
            return;
        }
        let unread = self.conns[id].recv.available();
        if unread > 0 {
            self.discard(id, unread);
        }
        self.session_ended(id);
        self.conns[id].role = Role::Free;
        self.timers.disarm(session_timer(id));
        self.time_waits.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain list.
    #[test]
    fn the_oldest_comes_first_whoever_leaves_meanwhile() {
        const MOST: u64 = 8;
        let mut rng = crate::sim::Rng::new(1);
        let mut queue = TimeWaits::new(MOST as usize);
        let mut model: Vec<ConnId> = Vec::new();
        for _ in 0..10_000 {
            let id = ConnId(rng.below(MOST) as u32);
            match rng.below(3) {
                0 => {
                    queue.push(id);
                    if !model.contains(&id) {
                        model.push(id);
                    }
                }
                1 => {
                    queue.remove(id);
                    model.retain(|&other| other != id);
                }
                _ => {
                    if let Some(oldest) = queue.oldest() {
                        queue.remove(oldest);
                        assert_eq!(model.remove(0), oldest);
                    }
                }
            }
            assert_eq!(queue.oldest(), model.first().copied());
            assert_eq!(queue.contains(id), model.contains(&id));
        }
    }

    /// Whatever a connection takes comes back, evicted or not: slot, flow, timers, place.
    #[test]
    fn nothing_is_kept_of_those_that_are_gone() {
        use crate::sim::client::{Exchange, Plan};
        use crate::sim::{Setup, World};
        use crate::timer_wheel::TimerId;

        const MOST: u32 = 48;
        let mut setup = Setup {
            max_idle: 0,
            ..Setup::default()
        };
        setup.settings.limits.max_connections = MOST;
        let mut world = World::new(setup, crate::mover::ZeroCopy);
        let plans = (0..1000).map(|i| Plan {
            start_us: i * 2_000,
            exchanges: vec![Exchange {
                close: true,
                ..Exchange::get(100)
            }],
            ..Plan::default()
        });
        let _ = world.add_client(4096, plans.collect());
        world.run_for(1_900_000);
        assert!(world.worker.counters()[Counter::TimeWaitsEvicted] > 1500);
        assert_eq!(world.worker.conns.open(), MOST as usize);
        assert_eq!(world.worker.flows.len(), MOST as usize);
        world.run_for(12_000_000);
        assert!(world.outcomes().all(|outcome| outcome.whole()));
        let worker = &world.worker;
        assert_eq!(worker.conns.open(), 0);
        assert!(worker.flows.is_empty());
        // TIME-WAIT ends in silence.
        assert_eq!(worker.counters()[Counter::ResetsSent], 0);
        assert_eq!(worker.time_waits.oldest(), None);
        assert!((0..2 * MOST).all(|timer| worker.timers.deadline(TimerId(timer)).is_none()));
    }
}
