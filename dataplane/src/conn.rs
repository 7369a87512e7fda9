//! Connections: smoltcp's socket, the frames behind its two streams, and whose it is.
//!
//! A connection's slot is never freed: its socket and the filler rings inside it are used again for
//! the next connection, so that opening and closing cost no allocation.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use crate::flow_table::{ConnId, FlowKey};
use crate::payload::{RecvQueue, SendQueue, SpanArena};
use crate::port::Frame;
use crate::proxy::Role;
use crate::settings::PortId;
use crate::tcp::{Congestion, Recovery, Resent};

/// How long an acknowledgement waits for data to travel with once the peer has sent everything, in ms.
/// RFC 9293 section 3.8.6.3 allows 500; hosts send a single segment again after 200 at the earliest.
/// (Several they may send again as soon as two round trips are over: this is not for them.)
const ACK_PATIENCE: u64 = 100;

/// A connection that may have ended meanwhile: the slot and how often it had been used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnRef {
    /// The slot.
    pub id: ConnId,
    /// Which of its uses.
    pub generation: u32,
}

/// How the end of a connection is under way, beyond what TCP knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not at all.
    Open,
    /// FIN is to follow the last queued byte.
    AfterFlush,
    /// FIN was given to TCP; what still arrives is discarded.
    Closed,
}

/// One TCP connection.
pub struct Conn {
    /// Exactly one socket.
    pub set: SocketSet<'static>,
    /// That socket.
    pub handle: SocketHandle,
    /// The port it runs over.
    pub port: PortId,
    /// Its 4-tuple; `None` while the slot is free.
    pub key: Option<FlowKey>,
    /// Where its frames go; `None` until the next hop is known.
    pub peer_mac: Option<[u8; 6]>,
    /// The peer's initial sequence number, once its SYN was seen.
    pub remote_isn: Option<u32>,
    /// Our initial sequence number, once our SYN was sent.
    pub local_isn: Option<u32>,
    /// The least initial sequence number of ours that will do, while our SYN is to be sent over the port of
    /// a connection that was in TIME-WAIT.
    pub least_isn: Option<u32>,
    /// The window field of the newest acknowledgement.
    pub last_window: u16,
    /// What the peer has sent.
    pub recv: RecvQueue,
    /// What the peer is sent.
    pub send: SendQueue,
    /// What was seen of loss on the way to the peer.
    pub recovery: Recovery,
    /// How much of it may be in flight.
    pub congestion: Congestion,
    /// Received bytes that are consumed, of which TCP does not know yet: its window is closed by as
    /// much. See `worker::windows`.
    pub withheld: u64,
    /// On the worker's list of connections whose window is to open.
    pub opening_listed: bool,
    /// Until when, in ms, an acknowledgement alone waits for something to travel with: everything the
    /// peer was to send has come. See [`Conn::holds_ack`].
    pub ack_by: Option<u64>,
    /// How its end is under way.
    pub ending: Ending,
    /// Whose it is.
    pub role: Role,
    /// Counts the uses of the slot.
    pub generation: u32,
    /// Counted as half open.
    pub half_open: bool,
    /// On the worker's list of connections whose session is to run.
    pub session_listed: bool,
    /// On the worker's list of connections with something to send.
    pub egress_listed: bool,
    /// Whether one direction of its payload waits for a free frame.
    pub starved: bool,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("key", &self.key)
            .field("state", &self.socket().state())
            .field("recv", &self.recv)
            .field("send", &self.send)
            .field("ending", &self.ending)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Conn {
    /// A free slot around a socket with the given rings.
    pub fn new(rx_ring: &'static mut [u8], tx_ring: &'static mut [u8]) -> Self {
        let socket = tcp::Socket::new(
            tcp::SocketBuffer::new(rx_ring),
            tcp::SocketBuffer::new(tx_ring),
        );
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self {
            set,
            handle,
            port: PortId(0),
            key: None,
            peer_mac: None,
            remote_isn: None,
            local_isn: None,
            least_isn: None,
            last_window: 0,
            recv: RecvQueue::default(),
            send: SendQueue::default(),
            recovery: Recovery::default(),
            congestion: Congestion::default(),
            withheld: 0,
            opening_listed: false,
            ack_by: None,
            ending: Ending::Open,
            role: Role::Free,
            generation: 0,
            half_open: false,
            session_listed: false,
            egress_listed: false,
            starved: false,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Makes the socket as good as new, and gives back every frame.
    pub fn reset<F: Frame>(&mut self, arena: &mut SpanArena<F>) {
        self.recv.reset(arena);
        self.send.reset(arena);
        // Taking the socket out and putting it back forgets what its set knows about neighbours.
        let smoltcp::socket::Socket::Tcp(mut socket) = self.set.remove(self.handle);
        socket.abort();
        // Ours is [`Conn::congestion`].
        socket.set_congestion_control(tcp::CongestionControl::None);
        socket.set_nagle_enabled(false);
        socket.set_timeout(None);
        socket.set_keep_alive(None);
        self.handle = self.set.add(socket);
        self.key = None;
        self.peer_mac = None;
        self.remote_isn = None;
        self.local_isn = None;
        self.least_isn = None;
        self.last_window = 0;
        self.recovery = Recovery::default();
        self.congestion = Congestion::default();
        self.withheld = 0;
        self.opening_listed = false;
        self.ack_by = None;
        self.ending = Ending::Open;
        self.role = Role::Free;
        self.generation = self.generation.wrapping_add(1);
        self.half_open = false;
        self.starved = false;
    }

    /// The slot is used over this port from now on.
    pub fn move_to(&mut self, port: PortId) {
        if self.port != port {
            self.port = port;
            // It may still stand on the other port's list: there it is passed over.
            self.egress_listed = false;
        }
    }

    /// Tells TCP of every byte that is in place, as far as it has room and the congestion window lets it, and
    /// of the end when that is next.
    pub fn tell(&mut self, now: u64) {
        let in_flight = self.send.told() - self.send.acked();
        let mut left = match self.send.untold() {
            0 => 0,
            untold => {
                let rtt = self.recovery.rtt_us();
                self.congestion.allowance(untold, in_flight, rtt, now)
            }
        };
        while left > 0 {
            // The ring is contiguous up to where it wraps: two rounds reach all of it.
            let told = self
                .socket_mut()
                .send(|ring| {
                    let told = ring.len().min(left as usize);
                    (told, told)
                })
                .unwrap_or(0);
            if told == 0 {
                break;
            }
            self.send.tell(told as u64);
            left -= told as u64;
        }
        if self.ending == Ending::AfterFlush && self.send.all_told() {
            self.socket_mut().close();
            self.ending = Ending::Closed;
        }
    }

    /// Takes note that bytes are sent again, with everything up to `sent` in flight.
    pub fn on_resent(&mut self, why: Resent, sent: u64) {
        let acked = self.send.acked();
        match why {
            Resent::Probe => {}
            Resent::Hole => self.congestion.on_loss(acked, sent),
            Resent::TimedOut => {
                self.congestion.on_timeout(acked, sent);
                self.brake(sent);
            }
        }
    }

    /// Takes note of an acknowledgement: `before` it, everything up to that stream offset was acknowledged,
    /// and `in_flight` bytes were on their way.
    pub fn on_acked(&mut self, before: u64, in_flight: u64, now: u64) {
        let acked = self.send.acked();
        if acked == before {
            return;
        }
        let rtt = self.recovery.rtt_us();
        self.congestion
            .on_ack(acked, acked - before, in_flight, rtt, now);
        if self.congestion.releases(acked) {
            self.socket_mut()
                .set_congestion_control(tcp::CongestionControl::None);
        }
    }

    /// Puts smoltcp's own congestion window on, until the peer has acknowledged everything up to `until`.
    pub fn brake(&mut self, until: u64) {
        if self.congestion.brake(until) {
            self.socket_mut()
                .set_congestion_control(tcp::CongestionControl::Cubic);
        }
    }

    /// Lets acknowledgements wait: the peer has sent its message to the end, and what it is sent next
    /// will take them along.
    pub fn ack_with_next(&mut self, now: u64) {
        let _ = self.ack_by.get_or_insert(now + ACK_PATIENCE);
    }

    /// Until when, in ms, there is nothing to send: nothing but an acknowledgement that may wait. Whoever
    /// waits for one to send more (a segment came since) or has something unacknowledged gets it at
    /// once, as does everybody when time is up.
    pub fn holds_ack(&self, now: u64) -> Option<u64> {
        let idle = self.send.outstanding() == 0
            && self.ending == Ending::Open
            && self.socket().state() == tcp::State::Established;
        self.ack_by.filter(|&by| idle && now < by)
    }

    /// Tells TCP of up to `most` of the received bytes that are consumed: its window opens by as much.
    pub fn open_window(&mut self, most: u64) {
        let mut left = self.withheld.min(most) as usize;
        self.withheld -= left as u64;
        while left > 0 {
            let taken = self
                .socket_mut()
                .recv(|ring| {
                    let taken = ring.len().min(left);
                    (taken, taken)
                })
                .unwrap_or(0);
            if taken == 0 {
                debug_assert!(false, "TCP has {left} bytes fewer than its queue");
                break;
            }
            left -= taken;
        }
    }

    /// True once no more bytes will come from the peer.
    pub fn peer_closed(&self) -> bool {
        matches!(
            self.socket().state(),
            tcp::State::CloseWait
                | tcp::State::LastAck
                | tcp::State::Closing
                | tcp::State::TimeWait
                | tcp::State::Closed
        )
    }

    /// True once the peer has closed its side and everything it sent has been consumed.
    pub fn peer_finished(&self) -> bool {
        self.recv.available() == 0 && self.peer_closed()
    }
}

/// All connections of a worker.
#[derive(Debug)]
pub struct ConnTable {
    conns: Vec<Conn>,
    free: Vec<ConnId>,
    most: usize,
}

impl ConnTable {
    /// A table for up to `most` connections.
    pub fn new(most: usize) -> Self {
        Self {
            conns: Vec::with_capacity(most.min(1 << 20)),
            free: Vec::with_capacity(most.min(1 << 20)),
            most,
        }
    }

    /// A free slot; `rings` makes the ring buffers of one that has never been used.
    pub fn take(
        &mut self,
        rings: impl FnOnce() -> Option<(&'static mut [u8], &'static mut [u8])>,
    ) -> Option<ConnId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.conns.len() >= self.most {
            return None;
        }
        let (rx, tx) = rings()?;
        self.conns.push(Conn::new(rx, tx));
        Some(ConnId(self.conns.len() as u32 - 1))
    }

    /// Gives a slot back, after [`Conn::reset`].
    pub fn give_back(&mut self, id: ConnId) {
        debug_assert!(self[id].key.is_none());
        self.free.push(id);
    }

    /// Connections in use.
    pub fn open(&self) -> usize {
        self.conns.len() - self.free.len()
    }

    /// A connection that may have ended.
    pub fn resolve(&mut self, conn: ConnRef) -> Option<&mut Conn> {
        self.conns
            .get_mut(conn.id.0 as usize)
            .filter(|c| c.generation == conn.generation && c.key.is_some())
    }

    /// The reference to a connection as it is now.
    pub fn reference(&self, id: ConnId) -> ConnRef {
        ConnRef {
            id,
            generation: self[id].generation,
        }
    }

    /// Two different connections at once.
    pub fn pair(&mut self, a: ConnId, b: ConnId) -> (&mut Conn, &mut Conn) {
        let [a, b] = self
            .conns
            .get_disjoint_mut([a.0 as usize, b.0 as usize])
            .expect("two different connections of this table");
        (a, b)
    }

    /// The ids of all connections in use.
    pub fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.conns
            .iter()
            .enumerate()
            .filter(|(_, conn)| conn.key.is_some())
            .map(|(index, _)| ConnId(index as u32))
    }
}

impl std::ops::Index<ConnId> for ConnTable {
    type Output = Conn;
    fn index(&self, id: ConnId) -> &Conn {
        &self.conns[id.0 as usize]
    }
}

impl std::ops::IndexMut<ConnId> for ConnTable {
    fn index_mut(&mut self, id: ConnId) -> &mut Conn {
        &mut self.conns[id.0 as usize]
    }
}
