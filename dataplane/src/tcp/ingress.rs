//! A segment meets its connection: payload into the receive queue, headers and filler to smoltcp.

use super::congestion::{DEFAULT_MSS, announced_mss};
use super::phantom::strip_payload;
use super::stack::{ACK_DELAY, Stack};
use crate::classify::{ETHERNET, Segment, TcpFlags};
use crate::conn::Conn;
use crate::counters::Drop;
use crate::payload::{Insert, SpanArena};
use crate::port::Frame;
use smoltcp::socket::tcp;
use smoltcp::time::Duration;

impl Stack {
    /// Processes a segment for `conn`. `frames` are the packet's frames; without `room` its payload
    /// is refused as if it had been lost, and only its acknowledgement counts. Returns why payload
    /// was refused.
    pub fn deliver<F: Frame>(
        &mut self,
        conn: &mut Conn,
        arena: &mut SpanArena<F>,
        segment: &Segment,
        frames: &[F],
        room: bool,
        now: u64,
    ) -> Option<Drop> {
        if segment.flags.has(TcpFlags::SYN)
            && matches!(
                conn.socket().state(),
                tcp::State::Listen | tcp::State::SynSent
            )
        {
            // Not for good in SYN-SENT: smoltcp may refuse this one, and the right one comes later.
            conn.remote_isn = Some(segment.seq);
            let tcp = &frames[0].data()[ETHERNET + usize::from(segment.l3_len)..];
            let tcp = &tcp[..usize::from(segment.l4_len)];
            let ours = self.mss(segment.ipv6) as u16;
            let mss = announced_mss(tcp).map_or(DEFAULT_MSS, |theirs| theirs.min(ours));
            conn.congestion.begin(mss, now);
        }
        let ack = judge_ack(conn, segment);
        let acked_before = conn.send.acked();
        let in_flight = conn.send.told() - acked_before;
        let window_before = conn.last_window;
        let mut refused = None;
        if segment.payload_len > 0 && !segment.flags.has(TcpFlags::SYN | TcpFlags::RST) {
            refused = if ack == Ack::Unacceptable {
                Some(Drop::TcpBadAck)
            } else if room {
                store(conn, arena, segment, frames)
            } else {
                Some(Drop::TcpPoolLow)
            };
        }
        let ip = &frames[0].data()[ETHERNET..ETHERNET + segment.header_len()];
        self.heed_ack(conn, arena, segment, ack, ip, now);
        let payload_len = if refused.is_some() {
            0
        } else {
            segment.payload_len
        };
        let shown = self.device.offer(ip, payload_len);
        if refused.is_some() {
            strip_payload(shown, segment);
        }
        freshen_ack(conn, segment, ack, shown);
        // One acknowledgement a turn for bulk; for a single small segment wait whether an answer
        // takes it along (RFC 9293 section 3.8.6.3).
        let delay = if segment.payload_len > self.mss(segment.ipv6) {
            Duration::ZERO
        } else {
            ACK_DELAY
        };
        conn.socket_mut().set_ack_delay(Some(delay));
        self.ingress(now, Some(&mut conn.set));

        if conn.socket().state() == tcp::State::Established {
            conn.recovery.on_established(now);
        }
        let socket = conn.socket();
        let (queued, unacked) = (socket.recv_queue() as u64, socket.send_queue() as u64);
        conn.recv.set_available(queued - conn.withheld);
        let acked = conn.send.told() - unacked;
        conn.send.ack(arena, acked);
        conn.on_acked(acked_before, in_flight, now);
        let duplicate = ack == Ack::Current
            && segment.payload_len == 0
            && segment.window == window_before
            && !segment
                .flags
                .has(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        if !self.device.has_emitted() {
            self.recover(conn, acked_before, duplicate, now);
        }
        refused
    }

    /// With a closed receive window smoltcp refuses every segment but one without payload at
    /// exactly the next sequence number, and its acknowledgement with it; RFC 9293 section
    /// 3.10.7.4 wants acknowledgements heeded all the same. A peer that probes the window sends
    /// from beyond it ever after: were its acknowledgements not heeded, two peers that wait for
    /// each other's window would wait for ever. The same happens when both have lost segments and
    /// have gone back: what each sends is old to the other. So smoltcp is shown the acknowledgement
    /// of such a segment alone first.
    fn heed_ack<F: Frame>(
        &mut self,
        conn: &mut Conn,
        arena: &mut SpanArena<F>,
        segment: &Segment,
        ack: Ack,
        ip: &[u8],
        now: u64,
    ) {
        let socket = conn.socket();
        // Fewer bytes than the window's unit may be announced as none (RFC 7323 section 2.3).
        let closed = socket.recv_capacity() - socket.recv_queue() < 256;
        let Some(isn) = conn.remote_isn else {
            return;
        };
        if ack == Ack::Unacceptable || segment.flags.has(TcpFlags::SYN | TcpFlags::RST) {
            return;
        }
        let expected = isn
            .wrapping_add(1)
            .wrapping_add(conn.recv.readable() as u32);
        // Negative for a segment from before the next byte.
        let beyond = i64::from(segment.seq.wrapping_sub(expected) as i32);
        let near = beyond.unsigned_abs() <= socket.recv_capacity() as u64;
        let refused = match beyond {
            0 => closed && segment.payload_len > 0,
            1.. => closed,
            _ => beyond + i64::from(segment.payload_len) <= 0,
        };
        if !near || !refused {
            return;
        }
        let shown = self.device.offer(ip, 0);
        strip_payload(shown, segment);
        freshen_ack(conn, segment, ack, shown);
        let tcp = usize::from(segment.l3_len);
        shown[tcp + 4..tcp + 8].copy_from_slice(&expected.to_be_bytes());
        self.ingress(now, Some(&mut conn.set));
        // An answer to this would only be said again for the whole segment, which is shown next.
        let _ = self.device.take_emitted();
        let acked = conn.send.told() - conn.socket().send_queue() as u64;
        conn.send.ack(arena, acked);
    }
}

/// Keeps the payload of a segment where the stream offset says.
fn store<F: Frame>(
    conn: &mut Conn,
    arena: &mut SpanArena<F>,
    segment: &Segment,
    frames: &[F],
) -> Option<Drop> {
    let isn = conn.remote_isn?;
    let readable = conn.recv.readable();
    let expected = isn.wrapping_add(1).wrapping_add(readable as u32);
    // Distance from what is expected next, in sequence space (RFC 9293 section 3.4).
    let distance = i64::from(segment.seq.wrapping_sub(expected) as i32);
    let window_end = conn.recv.consumed() - conn.withheld + conn.socket().recv_capacity() as u64;
    let mut start = readable as i64 + distance;
    let mut offset = segment.payload_offset();
    let mut left = segment.payload_len;
    for frame in frames {
        let held = (frame.data().len() as u32).saturating_sub(offset);
        let len = held.min(left);
        if len > 0 {
            let skip = (-start).clamp(0, i64::from(len)) as u32;
            if skip < len {
                match conn.recv.insert(
                    arena,
                    frame,
                    offset + skip,
                    len - skip,
                    (start + i64::from(skip)) as u64,
                    window_end,
                ) {
                    // A segment that brings nothing new is still shown whole: its sender must hear
                    // that.
                    Insert::Held | Insert::OutsideWindow => {}
                    Insert::TooMany => return Some(Drop::TcpTooManyHoles),
                }
            }
            start += i64::from(len);
            left -= len;
        }
        offset = offset.saturating_sub(frame.data().len() as u32);
    }
    None
}

/// What a segment's acknowledgement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    /// smoltcp takes it as it is.
    Current,
    /// Older than the newest one, `newest`, but not by more than can have been in flight.
    Old { newest: u32 },
    /// None that the peer could have sent: none at all, or of something never sent, or from long
    /// ago, or not exactly of our SYN while that is what the peer has to prove it has seen.
    Unacceptable,
}

/// Which segments may bring payload: those that smoltcp will not refuse for their acknowledgement
/// (RFC 9293 section 3.10.7.4, RFC 5961 section 5.2). Without this, whoever guesses a number in the
/// window could place bytes in the stream, because payload is kept before smoltcp has its say.
fn judge_ack(conn: &Conn, segment: &Segment) -> Ack {
    let (Some(isn), true) = (conn.local_isn, segment.flags.has(TcpFlags::ACK)) else {
        return Ack::Unacceptable;
    };
    let socket = conn.socket();
    let state = socket.state();
    let end_acked = matches!(state, tcp::State::FinWait2 | tcp::State::TimeWait);
    let end_unacked = matches!(
        state,
        tcp::State::FinWait1 | tcp::State::LastAck | tcp::State::Closing
    );
    let newest = isn
        .wrapping_add(1)
        .wrapping_add(conn.send.acked() as u32)
        .wrapping_add(u32::from(end_acked));
    let ahead = i64::from(segment.ack.wrapping_sub(newest) as i32);
    let unacked = (conn.send.told() - conn.send.acked()) as i64 + i64::from(end_unacked);
    match state {
        tcp::State::Closed | tcp::State::Listen | tcp::State::SynSent => Ack::Unacceptable,
        tcp::State::SynReceived if ahead != 0 => Ack::Unacceptable,
        _ if ahead > unacked || ahead < -(socket.send_capacity() as i64) => Ack::Unacceptable,
        _ if ahead < 0 => Ack::Old { newest },
        _ => Ack::Current,
    }
}

/// smoltcp drops a segment whose acknowledgement is older than the newest it has seen, payload and
/// all; RFC 9293 section 3.10.7.4 wants only the acknowledgement ignored. So an old one is
/// replaced by the newest, together with the window that came with it.
fn freshen_ack(conn: &mut Conn, segment: &Segment, ack: Ack, shown: &mut [u8]) {
    let tcp = usize::from(segment.l3_len);
    match ack {
        Ack::Old { newest } if segment.payload_len > 0 => {
            shown[tcp + 8..tcp + 12].copy_from_slice(&newest.to_be_bytes());
            shown[tcp + 14..tcp + 16].copy_from_slice(&conn.last_window.to_be_bytes());
        }
        Ack::Current => conn.last_window = segment.window,
        Ack::Unacceptable if segment.flags.has(TcpFlags::SYN) => conn.last_window = segment.window,
        Ack::Old { .. } | Ack::Unacceptable => {}
    }
}
