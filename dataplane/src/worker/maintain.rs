//! What a worker does besides packets: neighbours, the pool's level, and its own end.

use crate::counters::{Counter, Gauge, PortValue, Stage, Timeout};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FrameClass, FramePool, Port};
use crate::proxy::{ClientState, Role};
use crate::settings::PortId;
use crate::worker::Worker;
use crate::worker::receive::push_plain;

/// Of each class of frames, one part in so many is kept from new payload, so that what is already
/// inside can still get out.
const RESERVE: u32 = 8;
/// With fewer free than one part in so many, requests wait rather than bring new payload.
const CROWDED: u32 = 4;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    pub(super) fn maintain(&mut self) {
        self.keep_house();
        self.close(Stage::Rest);
    }

    fn keep_house(&mut self) {
        // Every turn: between two looks a few bursts could take the whole reserve.
        self.pool_low = self.is_short_of_frames() || self.pool.is_low(FrameClass::Large, RESERVE);
        self.crowded = self.pool.is_low(FrameClass::Small, CROWDED)
            || self.pool.is_low(FrameClass::Large, CROWDED);
        if self.now == self.maintained {
            return;
        }
        self.maintained = self.now;
        let now = self.now;
        for lane in &mut self.lanes {
            let (neighbors, port) = (&mut lane.neighbors, &mut lane.port);
            if !lane.announced {
                lane.announced = true;
                neighbors.announce(|frame| push_plain(port, frame));
            }
            neighbors.poll(now, |frame| push_plain(port, frame));
        }
        if let Some(deadline) = self.draining
            && now >= deadline
            && !self.drain_expired
        {
            self.drain_expired = true;
            self.counters[Timeout::Drain] += self.clients;
            self.abort_all();
        }
    }

    /// Whether the small frames that are left are for what is received.
    pub(crate) fn is_short_of_frames(&self) -> bool {
        self.pool.is_low(FrameClass::Small, RESERVE)
    }

    /// Writes the gauges and the ports' own counters. Not for every turn: devices may be slow to
    /// tell.
    pub fn sample(&mut self) {
        let small = self.pool.level(FrameClass::Small);
        let large = self.pool.level(FrameClass::Large);
        let c = &mut self.counters;
        c[Gauge::ClientConnections] = self.clients;
        c[Gauge::UpstreamConnections] = self.upstreams;
        c[Gauge::UpstreamIdle] = self.idle;
        c[Gauge::Pending] = u64::from(self.pending);
        c[Gauge::HalfOpen] = u64::from(self.half_open);
        c[Gauge::SmallFrames] = u64::from(small.total);
        c[Gauge::SmallFramesFree] = u64::from(small.free);
        c[Gauge::LargeFrames] = u64::from(large.total);
        c[Gauge::LargeFramesFree] = u64::from(large.free);
        c[Counter::MoverBatches] = self.mover.stats().batches;
        self.mover.accelerator().write(c);
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let port = PortId(index as u8);
            let stats = lane.port.stats();
            c[PortValue::RxPackets.of(port)] = stats.rx_packets;
            c[PortValue::RxBytes.of(port)] = stats.rx_bytes;
            c[PortValue::TxPackets.of(port)] = stats.tx_packets;
            c[PortValue::TxBytes.of(port)] = stats.tx_bytes;
            c[PortValue::RxMissed.of(port)] = stats.rx_missed;
            c[PortValue::RxNoFrame.of(port)] = stats.rx_no_frame;
            c[PortValue::RxErrors.of(port)] = stats.rx_errors;
            c[PortValue::TxErrors.of(port)] = stats.tx_errors;
        }
    }

    /// When there is something to do even if no packet comes, in ms of the clock that turns are told: not
    /// before now if at once, `None` if never. For an owner that wants to sleep after a turn in which
    /// there was nothing to do. Parcels of other workers are like packets: nothing here tells of them.
    ///
    /// Never too late, and sometimes too early. Costs the same however many connections there are.
    pub fn next_deadline(&self) -> Option<u64> {
        let waiting = !self.sessions.is_empty()
            || self.lanes.iter().any(|lane| !lane.egress.is_empty())
            || !self.starved.is_empty()
            || self.openings.waits()
            || self.pool_low
            || self.draining.is_some()
            || self.mover.in_flight() + self.mover.quarantined() > 0
            || self
                .lanes
                .iter()
                .any(|lane| lane.port.tx_waits() || !lane.announced);
        if waiting {
            return Some(self.now);
        }
        let neighbors = self.lanes.iter().map(|lane| lane.neighbors.next_poll());
        let lines = [self.next_admission()];
        let deadlines = neighbors.chain([self.timers.next_visit()]).chain(lines);
        deadlines.flatten().min()
    }

    /// Begins to end: no new connections, no new requests; what is under way may finish until the
    /// drain time-out, then it is reset.
    pub fn start_drain(&mut self) {
        if self.draining.is_some() {
            return;
        }
        // A time-out of 0 waits for ever.
        self.draining = Some(match self.settings.timeouts.drain {
            0 => u64::MAX,
            after => self.now + u64::from(after),
        });
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            match &self.conns[id].role {
                Role::Client(client) if matches!(client.state, ClientState::Head { .. }) => {
                    self.list_session(id);
                }
                Role::Upstream(upstream) if upstream.client.is_none() => {
                    self.close_upstream(id);
                }
                Role::LoadClient(_) => self.drain_load_client(id),
                Role::LoadOrigin(origin) if origin.is_idle() => self.list_session(id),
                _ => {}
            }
        }
    }

    /// True when a drain has come to its end: no connection is left but such as only wait out
    /// TIME-WAIT.
    pub fn drained(&self) -> bool {
        self.draining.is_some() && self.conns.ids().all(|id| self.is_over(id))
    }

    /// Resets every connection.
    pub fn abort_all(&mut self) {
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            if !self.is_over(id) {
                self.abort(id);
            }
        }
    }

    /// Connections, on both sides, TIME-WAIT included.
    pub fn connections(&self) -> usize {
        self.conns.open()
    }

    /// Exchanges under way.
    pub fn exchanges(&self) -> u32 {
        self.exchanges
    }

    /// Frames kept as long as the worker lives, for what a load client or origin sends again and again.
    pub fn load_frames(&self) -> usize {
        self.load.frames()
    }

    /// Runs of payload that the worker holds.
    pub fn spans(&self) -> usize {
        self.arena.used()
    }
}
