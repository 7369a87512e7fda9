//! Loss recovery beyond smoltcp's.
//!
//! smoltcp resends one segment after three duplicate acknowledgements and then waits for its
//! retransmission timer, which is never under a second: every further hole in the same window, and
//! every loss at the end of a burst, costs that second. Here two cases are told apart that need not
//! wait: an acknowledgement that ends in the middle of what was in flight when a loss was noticed
//! (RFC 6582 section 3.2: the next hole begins there), and silence for a few round trips with bytes
//! in flight (the tail loss probe of RFC 8985 section 7). In both smoltcp is *nudged*: it is shown
//! three duplicate acknowledgements, and does what it does then. For the peer it is an ordinary
//! retransmission.

use super::stack::Stack;
use crate::checksum::Sum;
use crate::classify::TcpFlags;
use crate::conn::Conn;
use smoltcp::socket::tcp;
use std::net::SocketAddr;

/// Least silence before a probe, in ms, with several segments in flight, of which a peer
/// acknowledges every second at once (RFC 9293 section 3.8.6.3).
const LEAST_PROBE: u64 = 50;
/// The same with a single segment in flight: longer than peers delay its acknowledgement, Linux by
/// 200 ms at most.
const LEAST_PROBE_ALONE: u64 = 250;
/// How often a closed window is probed that smoltcp has lost sight of, in ms.
const PERSIST: u64 = 1_000;
/// Probes without any progress; after them the retransmission timer has the word.
const MOST_PROBES: u8 = 4;
/// Up to so many bytes are taken for a single segment.
const ALONE: u64 = 1460;

/// What a connection's send side has seen of loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// Duplicates of the newest acknowledgement, as smoltcp counts them.
    duplicates: u8,
    /// The next retransmission is a single segment, not the begin of going back.
    single: bool,
    /// A loss was noticed with everything up to this stream offset in flight.
    point: Option<u64>,
    /// A byte whose acknowledgement is timed: stream offset behind it, and when it was sent, in µs.
    timed: Option<(u64, u64)>,
    /// When our SYN was sent, in µs, while its acknowledgement is timed.
    opened: Option<u64>,
    /// It was sent more than once.
    reopened: bool,
    /// Smoothed round trip (RFC 6298 section 2), in µs; 0 while unknown.
    rtt_us: u64,
    /// When an acknowledgement last got on, the first byte after none were in flight was sent, or
    /// the last probe was.
    progress: u64,
    /// Probes since then; each waits twice as long as the one before.
    probes: u8,
    /// smoltcp has bytes to send and will not ask for a turn by itself; when it is to be asked, in ms.
    stalled: Option<u64>,
}

/// Why bytes are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resent {
    /// To break a silence, which need not be a loss.
    Probe,
    /// There is a hole.
    Hole,
    /// The retransmission timer went off: everything in flight is sent again.
    TimedOut,
}

impl Recovery {
    /// Takes note of a segment with the stream bytes from `start` to `end`; before it, bytes up to
    /// `sent` had been sent and up to `acked` acknowledged. Says why, when it was sent before.
    pub fn on_sent(
        &mut self,
        (start, end): (u64, u64),
        sent: u64,
        acked: u64,
        now_us: u64,
    ) -> Option<Resent> {
        if start < sent {
            // What is sent twice cannot be timed (Karn's algorithm, RFC 6298 section 3).
            self.timed = None;
            let single = std::mem::take(&mut self.single);
            self.point = single.then_some(sent);
            return Some(match single {
                true if self.probes > 0 => Resent::Probe,
                true => Resent::Hole,
                false => Resent::TimedOut,
            });
        }
        if acked == sent {
            self.progress = now_us / 1000;
            self.probes = 0;
        }
        if self.timed.is_none() {
            self.timed = Some((end, now_us));
        }
        None
    }

    /// The smoothed round trip, in µs; 0 while unknown.
    pub fn rtt_us(&self) -> u64 {
        self.rtt_us
    }

    /// Takes note that our SYN was sent.
    pub fn on_syn(&mut self, now_us: u64) {
        self.reopened |= self.opened.is_some();
        self.opened = Some(now_us);
    }

    /// Takes note that the peer has acknowledged our SYN: the first round trip there is to measure. Without it
    /// the first bytes that are sent far away would be probed for long before they can be acknowledged.
    pub fn on_established(&mut self, now: u64) {
        if let Some(at) = self.opened.take()
            && !self.reopened
        {
            self.rtt_us = (now * 1000).saturating_sub(at).max(1);
        }
    }

    /// Takes note of an acknowledgement. True when smoltcp should be nudged.
    fn on_ack(&mut self, before: u64, acked: u64, sent: u64, duplicate: bool, now: u64) -> bool {
        if acked == before {
            if duplicate && acked < sent {
                self.duplicates = self.duplicates.saturating_add(1);
                self.single |= self.duplicates == 3;
            }
            return false;
        }
        self.duplicates = 0;
        self.probes = 0;
        self.progress = now;
        if let Some((end, at)) = self.timed
            && end <= acked
        {
            // Milliseconds are all that is known of the present time here.
            let sample = (now * 1000).saturating_sub(at).max(1);
            self.rtt_us = match self.rtt_us {
                0 => sample,
                rtt => rtt - rtt / 8 + sample / 8,
            };
            self.timed = None;
        }
        match self.point {
            Some(point) if acked < point && acked < sent => true,
            _ => {
                self.point = None;
                false
            }
        }
    }

    /// When silence becomes a reason to probe, in ms, with bytes from `acked` to `sent` in flight.
    pub fn probe_at(&self, acked: u64, sent: u64) -> Option<u64> {
        let least = if sent - acked <= ALONE {
            LEAST_PROBE_ALONE
        } else {
            LEAST_PROBE
        };
        (acked < sent && self.probes < MOST_PROBES)
            .then(|| self.progress + (least.max(self.rtt_us * 3 / 1000) << self.probes))
    }
}

impl Stack {
    /// Looks at what an acknowledgement has changed, and nudges smoltcp where a hole is known.
    pub(super) fn recover(&mut self, conn: &mut Conn, before: u64, duplicate: bool, now: u64) {
        let (acked, sent) = (conn.send.acked(), conn.send.sent());
        if conn.recovery.on_ack(before, acked, sent, duplicate, now) {
            self.nudge(conn, now);
        }
    }

    /// Nudges smoltcp when a connection has been silent for too long.
    pub fn probe(&mut self, conn: &mut Conn, now: u64) {
        let (acked, sent) = (conn.send.acked(), conn.send.sent());
        if conn
            .recovery
            .probe_at(acked, sent)
            .is_some_and(|at| at <= now)
        {
            conn.recovery.probes += 1;
            conn.recovery.progress = now;
            // The retransmission timer may be next.
            conn.brake(acked + 1);
            self.nudge(conn, now);
        }
        if conn.recovery.stalled.is_some_and(|at| at <= now) {
            conn.recovery.stalled = None;
            let _ = self.show_acknowledgements(conn, now, [1]);
        }
    }

    /// When a connection wants to be asked for a packet again, in ms; `now` or before is at once.
    /// `deadline` is what [`Stack::deadline`] says of it.
    ///
    /// smoltcp probes a window that is closed when its last segment is acknowledged. When it closes
    /// while bytes are in flight and the retransmission timer finds it closed, smoltcp 0.14 stops all
    /// timers. Then the window is probed from here: smoltcp is shown one that is a unit wide.
    pub fn wake_at(&mut self, conn: &mut Conn, deadline: Option<u64>, now: u64) -> Option<u64> {
        let (acked, sent) = (conn.send.acked(), conn.send.sent());
        let probe = conn.recovery.probe_at(acked, sent);
        if deadline.is_none() && conn.send.told() > acked {
            let _ = conn.recovery.stalled.get_or_insert(now + PERSIST);
        } else {
            conn.recovery.stalled = None;
        }
        [deadline, probe, conn.recovery.stalled]
            .into_iter()
            .flatten()
            .min()
    }

    /// Shows smoltcp three duplicates of the newest acknowledgement.
    fn nudge(&mut self, conn: &mut Conn, now: u64) {
        let window = conn.last_window;
        if window == 0 {
            return;
        }
        // smoltcp acts on the third duplicate, not on later ones. Where it has counted some already,
        // an update of the window and back makes it count anew.
        let updates = [window ^ 1, window];
        let updates = updates.into_iter().take(match conn.recovery.duplicates {
            0 => 0,
            _ => 2,
        });
        if self.show_acknowledgements(conn, now, updates.chain([window; 3])) {
            conn.recovery.single = true;
            conn.recovery.duplicates = 3;
        }
    }

    /// Shows smoltcp the newest acknowledgement again, with each of `windows`. False, and nothing done,
    /// when the connection is in no state to send.
    fn show_acknowledgements(
        &mut self,
        conn: &mut Conn,
        now: u64,
        windows: impl IntoIterator<Item = u16>,
    ) -> bool {
        let sending = matches!(
            conn.socket().state(),
            tcp::State::Established
                | tcp::State::CloseWait
                | tcp::State::FinWait1
                | tcp::State::Closing
                | tcp::State::LastAck
        );
        let (Some(local_isn), Some(remote_isn), Some(key)) =
            (conn.local_isn, conn.remote_isn, conn.key)
        else {
            return false;
        };
        if !sending {
            return false;
        }
        let seq = remote_isn
            .wrapping_add(1)
            .wrapping_add(conn.recv.readable() as u32)
            .wrapping_add(u32::from(conn.peer_closed()));
        let ack = local_isn
            .wrapping_add(1)
            .wrapping_add(conn.send.acked() as u32);
        for window in windows {
            let mut bytes = [0; 60];
            let len = acknowledgement(&mut bytes, key.remote(), key.local(), (seq, ack), window);
            let _ = self.device.offer(&bytes[..len], 0);
            self.ingress(now, Some(&mut conn.set));
            let _ = self.device.take_emitted();
        }
        true
    }
}

/// Writes the IP and TCP header of a bare acknowledgement and returns their length. The TCP
/// checksum is left out: smoltcp does not look at it.
fn acknowledgement(
    bytes: &mut [u8; 60],
    from: SocketAddr,
    to: SocketAddr,
    (seq, ack): (u32, u32),
    window: u16,
) -> usize {
    let l3_len = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            bytes[0] = 0x45;
            bytes[3] = 40;
            bytes[8..10].copy_from_slice(&[64, 6]);
            bytes[12..16].copy_from_slice(&from.ip().octets());
            bytes[16..20].copy_from_slice(&to.ip().octets());
            let mut sum = Sum::default();
            sum.add(&bytes[..20]);
            bytes[10..12].copy_from_slice(&(!sum.folded()).to_be_bytes());
            20
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            bytes[0] = 0x60;
            bytes[5..8].copy_from_slice(&[20, 6, 64]);
            bytes[8..24].copy_from_slice(&from.ip().octets());
            bytes[24..40].copy_from_slice(&to.ip().octets());
            40
        }
        _ => return 0,
    };
    let tcp = &mut bytes[l3_len..l3_len + 20];
    tcp[0..2].copy_from_slice(&from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = 0x50;
    tcp[13] = TcpFlags::ACK;
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
    l3_len + 20
}
