//! A worker: one core's share of everything, and the whole path of a byte on one screen.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::conn::ConnTable;
use crate::counters::{Counter, Counters, Stage};
use crate::flow_table::{ConnId, FlowTable};
use crate::load::Load;
use crate::mover::{CopyBatch, Done, Mover};
use crate::neighbor::Neighbors;
use crate::payload::SpanArena;
use crate::port::{FramePool, Port, PortCaps, RxBurst};
use crate::proxy::Proxy;
use crate::settings::Settings;
use crate::steering::WorkerId;
use crate::tcp::{RingSource, Stack};
use crate::team::{Seat, Team};
use crate::timer_wheel::{TimerId, TimerWheel};
use account::Account;
use ahead::Ahead;
use open::OwnPorts;
use time_wait::TimeWaits;

mod account;
mod ahead;
mod egress;
mod handover;
mod maintain;
mod neighbors;
mod open;
mod receive;
mod time_wait;
mod windows;

pub use account::Ticks;
pub(crate) use receive::{session_timer, tcp_timer};
pub(crate) use windows::Openings;

/// Timers that fire in one turn at most; the rest fire in the next.
const TIMERS_PER_TURN: usize = 256;

/// Connections that may wait for room in a port's transmit queue before new requests from there wait
/// instead. With one response of 16 KiB each, these are 4 MiB.
const BACKLOG: usize = 256;

/// What one turn found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// True when packets came or went, or anything else moved: the turn was not idle.
    pub busy: bool,
    /// Packets received.
    pub packets: u32,
    /// Whether a port had as many packets as a turn takes: more may be waiting.
    pub more: bool,
    /// Exchanges under way at its end.
    pub exchanges: u32,
    /// Up to where its time was charged to stages, in ticks: its beginning if it was idle. What comes
    /// after is for whoever called.
    pub charged: u64,
}

/// A port and what the worker keeps for it.
#[derive(Debug)]
pub(crate) struct Lane<P: Port> {
    pub port: P,
    pub stack: Stack,
    pub neighbors: Neighbors,
    pub burst: RxBurst<P::Frame>,
    /// Connections that wait for the Ethernet address of their next hop.
    pub waiting: Vec<ConnId>,
    /// Connections that may have something to send.
    pub egress: VecDeque<ConnId>,
    /// Room that there must be in the transmit queue before a connection is asked for a segment, in
    /// packets: for any segment, and for the answers to a burst. Else two engines on one wire could fill
    /// each other's queues with data, and neither would take any in.
    pub send_room: usize,
    /// Since when (in ms) nothing is received because answers would find no room, and how much there is.
    pub shut: Option<(u64, usize)>,
    /// Whether the link was told about the port's addresses.
    pub announced: bool,
    /// How the port spreads packets, and the workers' mailboxes.
    pub seat: Seat,
    /// Packets the port should have brought to another worker.
    pub strays: u64,
    /// Packets passed on to all workers since mailboxes were last looked into.
    pub relayed: u32,
}

impl<P: Port> Lane<P> {
    /// Whether many connections wait for room in the transmit queue: more payload would only wait too.
    pub fn is_backlogged(&self) -> bool {
        self.egress.len() > BACKLOG
    }

    /// Whether a connection may be asked for a segment.
    pub fn has_room(&mut self) -> bool {
        self.port.tx_room() >= self.send_room
    }
}

/// Pieces that the largest segment has at most: smaller runs are put together
/// (`proxy::pump::SMALL_RUN`).
const MOST_PIECES: usize = 65_536 / 256;

/// [`Lane::send_room`] of a port whose transmit queue holds `queue` packets. A segment of more pieces
/// than the port takes in a packet takes several. A short queue is used up to its end: what does not
/// fit even then is sent again by TCP, and counted.
fn send_room(queue: usize, caps: &PortCaps) -> usize {
    let answers = caps.max_burst.min(queue.saturating_sub(caps.max_burst));
    let segment = 1 + MOST_PIECES / caps.max_pieces.max(1);
    (segment + answers).min(queue)
}

/// One worker. It owns its ports' queues, its frames, its connections; it shares nothing.
pub struct Worker<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> {
    pub(crate) settings: Arc<Settings>,
    pub(crate) me: WorkerId,
    pub(crate) lanes: Vec<Lane<P>>,
    pub(crate) pool: L,
    pub(crate) mover: M,
    pub(crate) batch: CopyBatch<P::Frame>,
    pub(crate) done: Vec<Done<P::Frame>>,
    pub(crate) arena: SpanArena<P::Frame>,
    pub(crate) conns: ConnTable,
    pub(crate) flows: FlowTable,
    pub(crate) timers: TimerWheel,
    /// Connections that only wait out TIME-WAIT.
    time_waits: TimeWaits,
    pub(crate) rings: Box<dyn RingSource>,
    /// Where connections of its own begin.
    own_ports: OwnPorts,
    pub(crate) proxy: Proxy,
    /// The load client and the load origin, if it is one.
    pub(crate) load: Load<P::Frame>,
    /// Connections whose session has something to look at.
    pub(crate) sessions: Vec<ConnId>,
    /// The memory of that list while it is worked off.
    pub(crate) spare: Vec<ConnId>,
    /// Connections whose payload waits for free frames.
    pub(crate) starved: Vec<ConnId>,
    /// Timers that have fired in this turn.
    pub(crate) fired: Vec<TimerId>,
    /// Connections of the burst that is being received.
    ahead: Ahead,
    /// The frames of the packet that is being received.
    pub(crate) packet: Vec<P::Frame>,
    /// Senders that wait until they may send more.
    pub(crate) openings: Openings,
    pub(crate) half_open: u32,
    /// Payload frames are scarce: no new payload is taken in.
    pub(crate) pool_low: bool,
    /// Few frames are left: requests wait until responses have left.
    pub(crate) crowded: bool,
    /// Frames set aside for what is being written.
    pub(crate) reserved: Vec<P::Frame>,
    /// Exchanges under way.
    pub(crate) exchanges: u32,
    /// Of these, those whose request waits for a connection.
    pub(crate) pending: u32,
    /// Open client connections.
    pub(crate) clients: u64,
    /// Open connections to endpoints.
    pub(crate) upstreams: u64,
    /// Of these, idle ones.
    pub(crate) idle: u64,
    /// When the end begins to be forced, once shutdown was asked for.
    pub(crate) draining: Option<u64>,
    drain_expired: bool,
    /// When `maintain` last ran.
    maintained: u64,
    account: Account,
    pub(crate) counters: Counters,
    /// Time of this turn in ms.
    pub(crate) now: u64,
    /// Time of this turn in µs.
    pub(crate) now_us: u64,
}

/// What a worker is made of.
pub struct Parts<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> {
    /// What to do; the same for all workers.
    pub settings: Arc<Settings>,
    /// One queue pair of each port, in the order of [`Settings::ports`].
    pub ports: Vec<P>,
    /// Frames to write into.
    pub pool: L,
    /// How payload moves.
    pub mover: M,
    /// Ring buffers for sockets.
    pub rings: Box<dyn RingSource>,
    /// Its place among the workers; [`Team::alone`] for a single one.
    pub team: Team,
    /// What the time of stages is measured with.
    pub ticks: Ticks,
    /// Decides sequence numbers, ephemeral ports and hashes; random and secret outside of tests.
    pub seed: u64,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> std::fmt::Debug
    for Worker<P, L, M>
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("connections", &self.conns.open())
            .finish_non_exhaustive()
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// A worker at time `now_us`, with no connection.
    pub fn new(parts: Parts<P, L, M>, now_us: u64) -> Self {
        let now = now_us / 1000;
        let settings = parts.settings;
        let most = settings.limits.max_connections as usize;
        let me = parts.team.me;
        let lanes: Vec<Lane<P>> = parts
            .ports
            .into_iter()
            .zip(&settings.ports)
            .zip(parts.team.seats)
            .enumerate()
            .map(|(index, ((mut port, config), seat))| {
                let queue = port.tx_room();
                let caps = port.caps();
                let seed = parts.seed.rotate_left(index as u32 + 1) ^ index as u64;
                Lane {
                    stack: Stack::new(config, caps, seed, now),
                    neighbors: Neighbors::new(caps.mac, config, seed, now),
                    burst: RxBurst::with_capacity(caps.max_burst),
                    waiting: Vec::with_capacity(64),
                    egress: VecDeque::with_capacity(most),
                    send_room: send_room(queue, caps),
                    shut: None,
                    // Once is enough: the first worker does it.
                    announced: me != WorkerId(0),
                    seat,
                    strays: 0,
                    relayed: 0,
                    port,
                }
            })
            .collect();
        let bursts = lanes.iter().map(|lane| lane.port.caps().max_burst);
        let burst = bursts.max().unwrap_or(0);
        Self {
            own_ports: OwnPorts::new(parts.seed),
            proxy: Proxy::new(&settings),
            load: Load::new(&settings),
            me,
            lanes,
            pool: parts.pool,
            mover: parts.mover,
            batch: CopyBatch::default(),
            done: Vec::with_capacity(256),
            arena: SpanArena::with_capacity(4096),
            conns: ConnTable::new(most),
            flows: FlowTable::new(most, parts.seed),
            timers: TimerWheel::new(most * 2, now),
            time_waits: TimeWaits::new(most),
            rings: parts.rings,
            sessions: Vec::with_capacity(most),
            spare: Vec::with_capacity(most),
            starved: Vec::with_capacity(64),
            fired: Vec::with_capacity(TIMERS_PER_TURN),
            ahead: Ahead::with_capacity(burst),
            packet: Vec::with_capacity(64),
            openings: Openings::new(),
            half_open: 0,
            pool_low: false,
            crowded: false,
            reserved: Vec::with_capacity(64),
            exchanges: 0,
            pending: 0,
            clients: 0,
            upstreams: 0,
            idle: 0,
            draining: None,
            drain_expired: false,
            maintained: u64::MAX,
            account: Account::new(parts.ticks),
            counters: Counters::default(),
            now,
            now_us,
            settings,
        }
    }

    /// One turn: the whole path. Its work is bounded by the burst sizes of the ports and by the
    /// room in their transmit queues; what does not fit waits for the next turn.
    ///
    /// `now_us` is the time in microseconds from any fixed point; it must not go back. `ticks` is
    /// what [`Parts::ticks`] said at that time.
    pub fn turn(&mut self, now_us: u64, ticks: u64) -> Turn {
        self.now_us = now_us;
        self.now = now_us / 1000;
        self.account.begin(ticks);
        self.mover.begin_turn(now_us);
        self.mover.note_load(self.exchanges);

        self.harvest(); //                   copies finished since the last turn → send queues
        let mut packets = self.receive(); // packets → connections
        packets += self.take_over(); //      packets that other workers received → connections
        self.run_load(); //                  requests that are due, if it is a load client
        self.run_sessions(); //              connections that changed → HTTP, copy jobs
        self.admit(); //                     requests that waited → connections that are free now
        self.submit(); //                    this turn's copy jobs → mover
        self.harvest(); //                   a CPU mover is done at once
        self.open_windows(); //              senders that may send more
        self.expire(); //                    timers due
        self.send(); //                      connections that changed → packets
        self.maintain(); //                  neighbours, pool level, drain

        let (busy, charged) = self.account.end();
        self.counters[Counter::Turns] += 1;
        self.counters[Counter::BusyTurns] += u64::from(busy);
        Turn {
            busy,
            packets,
            more: self.openings.is_sated(),
            exchanges: self.exchanges,
            charged,
        }
    }

    /// There is something to do: the turn is busy, and what came before was looking for it.
    pub(crate) fn found(&mut self) {
        self.account.found(&mut self.counters);
    }

    /// The time since the last border between stages was `stage`.
    pub(crate) fn close(&mut self, stage: Stage) {
        self.account.close(stage, &mut self.counters);
    }

    /// Hands the copy jobs of this turn to the mover, all at once.
    fn submit(&mut self) {
        if !self.batch.is_empty() {
            self.mover.submit(&mut self.batch);
        }
    }

    /// Puts copied frames where they belong. Frames of connections that have ended go back to
    /// their pool.
    fn harvest(&mut self) {
        self.mover.harvest(&mut self.done);
        if !self.done.is_empty() {
            self.account.open();
        }
        let mut done = std::mem::take(&mut self.done);
        for Done { frame, tag } in done.drain(..) {
            if let Some(conn) = self.conns.resolve(tag.conn) {
                conn.send.complete(&mut self.arena, tag.span, frame);
                self.list_egress(tag.conn.id);
            }
        }
        self.done = done;
        self.close(Stage::Mover);
    }

    /// Notes that the session of a connection has something to look at.
    pub(crate) fn list_session(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if !conn.session_listed {
            conn.session_listed = true;
            self.sessions.push(id);
        }
    }

    /// Notes that a connection may have something to send.
    pub(crate) fn list_egress(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if !conn.egress_listed {
            conn.egress_listed = true;
            self.lanes[usize::from(conn.port.0)].egress.push_back(id);
        }
    }

    /// Notes that the payload of a connection waits for free frames.
    pub(crate) fn list_starved(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if !conn.starved {
            conn.starved = true;
            self.starved.push(id);
        }
    }

    /// Tells the worker the time of day, in seconds since 1970: its own replies, and responses that
    /// come without, get it as their `Date` (RFC 9110 section 6.6.1). For its owner to call before
    /// the first turn and whenever a new second may have begun.
    pub fn set_time_of_day(&mut self, unix_seconds: u64) {
        self.proxy.date.set(unix_seconds);
    }

    /// The worker's counters, for its owner to add what only it knows.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The worker's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The worker's frame pool.
    pub fn pool(&self) -> &L {
        &self.pool
    }
}
