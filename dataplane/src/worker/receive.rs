//! Packets in: burst, classify, find the connection, let TCP see the segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::socket::tcp;

use crate::checksum::{Sum, pseudo_header};
use crate::classify::{ETHERNET, Packet, Segment, TcpFlags};
use crate::conn::Ending;
use crate::counters::{Counter, Drop, Stage};
use crate::flow_table::ConnId;
use crate::load::LoadOrigin;
use crate::mover::Mover;
use crate::port::{Frame, FrameClass, FramePool, Port, RxChecksum, RxPacket};
use crate::proxy::{Client, Role};
use crate::settings::PortId;
use crate::worker::Worker;

/// After so many ms in which the device has sent nothing, packets are received whether their answers find
/// room or not. The other end may be an engine that waits in the same way, and an answer that is lost
/// costs less.
const STUCK: u64 = 2;

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From the port.
    Port,
    /// From another worker, which found that it belongs here: it stays.
    Mailbox,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Takes one burst from every port. Returns how many packets came.
    pub(super) fn receive(&mut self) -> u32 {
        let mut received = 0;
        self.openings.begin();
        for lane in 0..self.lanes.len() {
            // Every packet may be answered at once. Without room for that many answers nothing is
            // taken: the packets wait in the device, and their senders slow down.
            let now = self.now;
            let here = &mut self.lanes[lane];
            if here.port.tx_room() < here.port.caps().max_burst {
                // A look at the device that is part of receiving: it is seldom.
                here.port.tx_flush();
                let room = here.port.tx_room();
                if room < here.port.caps().max_burst {
                    let (since, before) = *here.shut.get_or_insert((now, room));
                    if room > before {
                        here.shut = Some((now, room));
                    }
                    if room > before || now < since + STUCK {
                        continue;
                    }
                }
            }
            here.shut = None;
            let mut burst = std::mem::replace(
                &mut here.burst,
                crate::port::RxBurst {
                    packets: Vec::new(),
                    frames: Vec::new(),
                },
            );
            if here.port.rx_burst(&mut burst) >= here.port.caps().max_burst {
                // More wait in the device.
                self.openings.sated();
            }
            let any = !burst.packets.is_empty();
            if any {
                self.account.open();
            }
            self.close(Stage::Rx);
            received += burst.packets.len() as u32;
            let port = PortId(lane as u8);
            self.look_ahead(port, &burst);
            let mut frames = burst.frames.drain(..);
            for (index, packet) in burst.packets.drain(..).enumerate() {
                self.openings.feed(u64::from(packet.len));
                let mut whole = std::mem::take(&mut self.packet);
                whole.extend(frames.by_ref().take(usize::from(packet.frames)));
                let kind = self.ahead.kind(index);
                let taken = self.receive_packet(port, &packet, kind, &whole, Source::Port);
                if let Err(reason) = taken {
                    self.counters[reason] += 1;
                }
                whole.clear();
                self.packet = whole;
            }
            drop(frames);
            self.lanes[lane].burst = burst;
            if any {
                self.close(Stage::Ingress);
            }
        }
        received
    }

    pub(super) fn receive_packet(
        &mut self,
        port: PortId,
        packet: &RxPacket,
        kind: Packet,
        frames: &[P::Frame],
        source: Source,
    ) -> Result<(), Drop> {
        let lane = &mut self.lanes[usize::from(port.0)];
        let head = frames.first().ok_or(Drop::RxShort)?.data();
        if head.len() < ETHERNET {
            return Err(Drop::RxShort);
        }
        if !lane
            .neighbors
            .is_for_us([head[0], head[1], head[2], head[3], head[4], head[5]])
        {
            return Err(Drop::RxNotOurs);
        }
        match kind {
            Packet::Tcp(segment) => {
                match packet.checksum {
                    RxChecksum::Good => {}
                    RxChecksum::Bad => return Err(Drop::RxBadChecksum),
                    RxChecksum::Unverified => verify_tcp(&segment, frames)?,
                }
                self.receive_segment(port, &segment, frames, source)
            }
            Packet::Arp => self.receive_neighbor(port, frames, true),
            Packet::Ndp => self.receive_neighbor(port, frames, false),
            Packet::Ip { len } => self.receive_control(port, len, frames),
            Packet::Ignore(reason) => Err(reason),
        }
    }

    fn receive_segment(
        &mut self,
        port: PortId,
        segment: &Segment,
        frames: &[P::Frame],
        source: Source,
    ) -> Result<(), Drop> {
        let mut found = self.flows.get(&segment.key);
        if found.is_none() && source == Source::Port {
            let owner = self.lanes[usize::from(port.0)].seat.owner(&segment.key);
            if owner != self.me {
                return self.hand_over(port, owner, segment.ipv6, frames);
            }
        }
        if let Some(id) = found
            && segment.flags.opens()
            && self.retires(id, segment)
        {
            self.end_connection(id);
            found = None;
        }
        let id = match found {
            Some(id) => id,
            None if self.is_foreign(port, segment.key.local().ip()) => return Err(Drop::RxNotOurs),
            None if segment.flags.opens() => match self.accept(port, segment)? {
                Some(id) => id,
                None => return self.refuse(port, segment, frames),
            },
            None => {
                self.counters[Drop::TcpUnknownFlow] += 1;
                return self.refuse(port, segment, frames);
            }
        };

        let lane = &mut self.lanes[usize::from(port.0)];
        let conn = &mut self.conns[id];
        conn.peer_mac = Some(segment.source_mac);
        if segment.payload_len > 0 || segment.flags.has(TcpFlags::FIN | TcpFlags::SYN) {
            conn.ack_by = None;
        }
        // While frames are scarce only the acknowledgement counts. What a closing connection still
        // sends is kept like any other, until its session runs and throws it away.
        let refused = lane.stack.deliver(
            conn,
            &mut self.arena,
            segment,
            frames,
            !self.pool_low,
            self.now,
        );
        self.emit(port, Some(id), segment.source_mac);
        self.list_session(id);
        self.list_egress(id);
        match refused {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Whether a SYN ends the connection it finds under its 4-tuple: one that is only waiting out
    /// TIME-WAIT, when the SYN's number is beyond everything the old one has seen (RFC 9293
    /// section 3.10.7.4, RFC 1122 section 4.2.2.13).
    fn retires(&self, id: ConnId, segment: &Segment) -> bool {
        let conn = &self.conns[id];
        match conn.socket().state() {
            tcp::State::Closed => true,
            tcp::State::TimeWait => conn.remote_isn.is_some_and(|isn| {
                let next = isn
                    .wrapping_add(2)
                    .wrapping_add(conn.recv.readable() as u32);
                segment.seq.wrapping_sub(next) as i32 >= 0
            }),
            _ => false,
        }
    }

    /// A fresh connection for a SYN to a listener; `None` when nobody listens there.
    fn accept(&mut self, port: PortId, segment: &Segment) -> Result<Option<ConnId>, Drop> {
        let local = segment.key.local();
        let role = match self.proxy.listener_for(port, local) {
            Some(listener) => Role::Client(Client::new(listener)),
            None if self.load.is_origin(port, local) => Role::LoadOrigin(LoadOrigin::new()),
            None => return Ok(None),
        };
        if self.draining.is_some() {
            return Ok(None);
        }
        if self.half_open >= self.settings.limits.max_half_open {
            return Err(Drop::TcpHalfOpenFull);
        }
        if self.pool_low {
            return Err(Drop::TcpPoolLow);
        }
        let id = self.take_slot().ok_or(Drop::TcpNoConnectionSlot)?;
        if self.flows.insert(segment.key, id).is_err() {
            self.conns.give_back(id);
            return Err(Drop::TcpNoConnectionSlot);
        }
        let conn = &mut self.conns[id];
        conn.reset(&mut self.arena);
        conn.key = Some(segment.key);
        conn.move_to(port);
        conn.half_open = true;
        conn.role = role;
        let listening = conn.socket_mut().listen(segment.key.local());
        debug_assert!(listening.is_ok());
        self.half_open += 1;
        self.arm_session(id, self.settings.timeouts.request_head);
        Ok(Some(id))
    }

    /// Whether a packet for `address` is for somebody else. Without ranges of addresses that is TCP/IP's to
    /// find out.
    fn is_foreign(&self, port: PortId, address: IpAddr) -> bool {
        let neighbors = &self.lanes[usize::from(port.0)].neighbors;
        neighbors.has_ranges() && !neighbors.owns(address)
    }

    /// Takes note that a handshake is over, in whichever way. False when it was before, or is not yet.
    pub(crate) fn leaves_half_open(&mut self, id: ConnId) -> bool {
        let conn = &mut self.conns[id];
        let state = conn.socket().state();
        let over =
            conn.half_open && state != tcp::State::SynReceived && state != tcp::State::Listen;
        if over {
            conn.half_open = false;
            self.half_open -= 1;
        }
        over
    }

    /// Answers a segment that no connection takes with RST, as smoltcp sees fit.
    fn refuse(&mut self, port: PortId, segment: &Segment, frames: &[P::Frame]) -> Result<(), Drop> {
        if segment.flags.has(TcpFlags::RST) {
            return Ok(());
        }
        let stack = &mut self.lanes[usize::from(port.0)].stack;
        let headers = &frames[0].data()[ETHERNET..ETHERNET + segment.header_len()];
        let _ = stack.device.offer(headers, segment.payload_len);
        stack.ingress(self.now, None);
        self.counters[Counter::ResetsSent] += 1;
        self.emit(port, None, segment.source_mac);
        Ok(())
    }

    /// ICMP and whatever else smoltcp answers by itself. The packet is shown as it is.
    fn receive_control(&mut self, port: PortId, len: u32, frames: &[P::Frame]) -> Result<(), Drop> {
        if destination(frames[0].data()).is_some_and(|address| self.is_foreign(port, address)) {
            return Err(Drop::RxNotOurs);
        }
        let lane = &mut self.lanes[usize::from(port.0)];
        let mut skip = ETHERNET;
        let mut left = len as usize;
        lane.stack.device.offer_control(frames.iter().map(|frame| {
            let bytes = frame.data();
            let from = skip.min(bytes.len());
            let take = left.min(bytes.len() - from);
            skip -= from;
            left -= take;
            &bytes[from..from + take]
        }));
        lane.stack.ingress(self.now, None);
        let mut source = [0; 6];
        source.copy_from_slice(&frames[0].data()[6..12]);
        self.emit(port, None, source);
        Ok(())
    }

    /// Sends what smoltcp has emitted for a connection, or for nobody.
    pub(super) fn emit(&mut self, port: PortId, id: Option<ConnId>, target: [u8; 6]) {
        let lane = &mut self.lanes[usize::from(port.0)];
        let Some(emitted) = lane.stack.device.take_emitted() else {
            return;
        };
        let packet = lane.stack.device.emitted_bytes(emitted.len);
        let source = lane.port.caps().mac;
        let headers = crate::emit::Headers::new(packet, source, target);
        let payload_len = emitted.len - headers.ip_len();
        let sent = if !headers.is_tcp() {
            // The body behind the IP header travels in a frame of its own.
            match self.pool.alloc(FrameClass::Small) {
                Some(mut frame) if frame.capacity() >= payload_len => {
                    let body = &packet[headers.ip_len()..];
                    if let Some(room) = frame.room_mut() {
                        room[..body.len()].copy_from_slice(body);
                    }
                    frame.set_len(body.len());
                    headers.send_control(&mut lane.port, Some(&frame))
                }
                _ => {
                    self.counters[Drop::NoFrame] += 1;
                    return;
                }
            }
        } else if let Some(id) = id {
            let conn = &mut self.conns[id];
            if headers.syn() {
                let isn = headers.seq();
                if conn
                    .least_isn
                    .is_some_and(|least| (isn.wrapping_sub(least) as i32) < 0)
                {
                    // It is not sent; TCP draws another one when it is next asked.
                    return lane.stack.start_over(conn);
                }
                conn.local_isn = Some(isn);
                conn.recovery.on_syn(self.now_us);
            }
            if payload_len == 0 {
                headers.send(&mut lane.port, emitted, std::iter::empty())
            } else {
                let acked = conn.send.acked();
                let isn = conn.local_isn.unwrap_or_default();
                let base = isn.wrapping_add(1).wrapping_add(acked as u32);
                let start = acked + u64::from(headers.seq().wrapping_sub(base));
                let end = start + payload_len as u64;
                let sent = conn.send.sent();
                let resent = conn
                    .recovery
                    .on_sent((start, end), sent, acked, self.now_us);
                if let Some(why) = resent {
                    self.counters[Counter::Retransmissions] += 1;
                    conn.on_resent(why, sent);
                }
                let pieces = conn
                    .send
                    .pieces(&self.arena, start, start + payload_len as u64);
                headers.send(&mut lane.port, emitted, pieces)
            }
        } else {
            headers.send(&mut lane.port, emitted, std::iter::empty())
        };
        if sent.is_err() {
            self.counters[Drop::TxPortError] += 1;
        }
    }

    /// Forgets a connection: its flow, its timers, its frames.
    pub(crate) fn end_connection(&mut self, id: ConnId) {
        self.session_ended(id);
        self.time_waits.remove(id);
        let conn = &mut self.conns[id];
        if conn.half_open {
            self.half_open -= 1;
        }
        if let Some(key) = conn.key.take() {
            let _ = self.flows.remove(&key);
        }
        conn.reset(&mut self.arena);
        conn.ending = Ending::Open;
        self.timers.disarm(tcp_timer(id));
        self.timers.disarm(session_timer(id));
        self.conns.give_back(id);
    }
}

/// The unicast address that an IP packet is for.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    let ip = &packet[ETHERNET..];
    let address: IpAddr = if ip.first()? >> 4 == 6 {
        Ipv6Addr::from(*ip.get(24..40)?.first_chunk::<16>()?).into()
    } else {
        Ipv4Addr::from(*ip.get(16..20)?.first_chunk::<4>()?).into()
    };
    (!address.is_multicast()).then_some(address)
}

/// Queues a frame that is complete as it is: ARP or neighbour discovery.
pub(super) fn push_plain<P: Port>(port: &mut P, frame: &[u8]) {
    // Lost when there is no room: whoever asked asks again.
    let _ = port.tx_push(
        &crate::port::TxHeader {
            bytes: frame,
            offload: crate::port::TxOffload::default(),
        },
        std::iter::empty(),
    );
}

/// Verifies the TCP checksum over the true bytes (RFC 9293 section 3.1).
fn verify_tcp<F: Frame>(segment: &Segment, frames: &[F]) -> Result<(), Drop> {
    let l4_len = u32::from(segment.l4_len) + segment.payload_len;
    let mut sum: Sum = pseudo_header(&frames[0].data()[ETHERNET..], segment.ipv6, l4_len);
    let mut skip = ETHERNET + usize::from(segment.l3_len);
    let mut left = l4_len as usize;
    for frame in frames {
        let bytes = frame.data();
        let from = skip.min(bytes.len());
        let take = left.min(bytes.len() - from);
        sum.add(&bytes[from..from + take]);
        skip -= from;
        left -= take;
    }
    if left == 0 && sum.folded() == 0xffff {
        Ok(())
    } else {
        Err(Drop::RxBadChecksum)
    }
}

/// The timer of a connection's TCP state machine.
pub(crate) fn tcp_timer(id: ConnId) -> crate::timer_wheel::TimerId {
    crate::timer_wheel::TimerId(id.0 * 2)
}

/// The timer of a connection's session.
pub(crate) fn session_timer(id: ConnId) -> crate::timer_wheel::TimerId {
    crate::timer_wheel::TimerId(id.0 * 2 + 1)
}
