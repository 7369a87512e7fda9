//! When senders may send more: windows open in strokes, and only as many at once as feed a turn.
//!
//! A window that opened with every byte consumed would be filled by as many small packets, and every
//! connection would have a window's worth of bytes waiting in the device at all times. The core that
//! cannot keep up makes their round trip long; a sender that measures it (BBR does) takes the path
//! for slow, paces itself and sends smaller packets still, which cost the core more: a hundred
//! downloads stayed at a tenth of the rate that one had. So TCP hears of consumed bytes only when
//! they are worth a whole packet, and the connections that wait for that are served in turn, a
//! few at a time: those few get quick answers and send at full speed.

use std::collections::VecDeque;

use crate::conn::ConnRef;
use crate::counters::Counter;
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::worker::Worker;

/// Bytes that a turn takes in or asks for before the next window has to wait for the next turn.
/// Measured with a hundred downloads of 12 MiB: 128 KiB leaves the core idle between turns, from
/// 512 KiB on nothing changes.
const FEED: u64 = 1 << 20;

/// Bytes of the largest packet that hosts send when their device cuts it into segments, less
/// headers.
const SUPER_SEGMENT: u32 = 65_000;

/// How many bytes a window opens by: what fills the largest packet of full segments (`mss` bytes
/// each) to the last byte, so that no small one follows it; in a small window half of it.
pub(crate) fn stroke(mss: u32, window: usize) -> u64 {
    u64::from(SUPER_SEGMENT / mss * mss).min(window as u64 / 2)
}

/// The connections whose window is to open, in the order in which they get their turn.
#[derive(Debug)]
pub(crate) struct Openings {
    waiting: VecDeque<ConnRef>,
    /// Bytes received in this turn, and asked for.
    fed: u64,
    /// None has been opened in this turn.
    fresh: bool,
    /// See [`Self::sated`].
    sated: bool,
}

impl Openings {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(1024),
            fed: 0,
            fresh: true,
            sated: false,
        }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.fed = 0;
        self.fresh = true;
        self.sated = false;
    }

    /// Whether a connection waits for its window to open.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes note of bytes that came or will come.
    pub fn feed(&mut self, bytes: u64) {
        self.fed += bytes;
    }

    /// Takes note that more packets wait than a turn takes: nobody needs to be asked for any.
    pub fn sated(&mut self) {
        self.fed = self.fed.max(FEED);
        self.sated = true;
    }

    /// Whether more packets may be waiting than this turn took.
    pub fn is_sated(&self) -> bool {
        self.sated
    }

    /// The next connection to open in this turn. There is one in every turn, whatever else comes in:
    /// nobody waits for ever.
    fn next(&mut self) -> Option<ConnRef> {
        if self.fed >= FEED && !self.fresh {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.fresh = false;
        Some(next)
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Takes note that the session has consumed `n` received bytes of a connection.
    pub(crate) fn consumed(&mut self, id: ConnId, n: u64) {
        let conn = &mut self.conns[id];
        conn.withheld += n;
        if conn.withheld >= self.stroke(id) && !self.conns[id].opening_listed {
            self.conns[id].opening_listed = true;
            self.openings.waiting.push_back(self.conns.reference(id));
        }
        self.list_egress(id);
    }

    /// The peer's message has come to its end, and it sends nothing before it is sent something: its
    /// window opens all the way without making it send now. Else connections that carry small messages
    /// would run dry one after the other and wait in line, some for long.
    pub(crate) fn restore_window(&mut self, id: ConnId) {
        self.conns[id].open_window(u64::MAX);
    }

    fn stroke(&self, id: ConnId) -> u64 {
        let conn = &self.conns[id];
        let ipv6 = conn.key.is_some_and(|key| key.remote().is_ipv6());
        let mss = self.lanes[usize::from(conn.port.0)].stack.mss(ipv6);
        stroke(mss, conn.socket().recv_capacity())
    }

    /// Opens windows, each by a stroke.
    pub(super) fn open_windows(&mut self) {
        if self.openings.waiting.is_empty() {
            return;
        }
        self.found();
        while let Some(next) = self.openings.next() {
            // One that has ended meanwhile needs nothing.
            if self.conns.resolve(next).is_none() {
                continue;
            }
            let stroke = self.stroke(next.id);
            let conn = &mut self.conns[next.id];
            if conn.withheld < stroke {
                // Opened meanwhile: its peer's message came to an end.
                conn.opening_listed = false;
                continue;
            }
            conn.open_window(stroke);
            conn.opening_listed = conn.withheld >= stroke;
            if conn.opening_listed {
                self.openings.waiting.push_back(next);
            }
            self.openings.feed(stroke);
            self.counters[Counter::WindowsOpened] += 1;
            self.list_egress(next.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stroke_is_whole_segments_that_fill_one_packet() {
        for (mss, window, bytes) in [
            (1460, 262_144, 44 * 1460),
            (8960, 262_144, 7 * 8960),
            (1440, 262_144, 45 * 1440),
            (1460, 65_536, 32_768),
            (1460, 4096, 2048),
        ] {
            assert_eq!(stroke(mss, window), bytes, "mss {mss}, window {window}");
        }
    }

    fn openings(waiting: u32) -> Openings {
        let mut openings = Openings::new();
        openings.waiting.extend((0..waiting).map(|id| ConnRef {
            id: ConnId(id),
            generation: 0,
        }));
        openings
    }

    /// How many windows open in a turn that has received `received` bytes.
    fn opened(openings: &mut Openings, received: u64) -> usize {
        openings.begin();
        openings.feed(received);
        std::iter::from_fn(|| {
            let next = openings.next();
            openings.feed(64_000);
            next
        })
        .count()
    }

    #[test]
    fn a_turn_opens_what_feeds_it_and_never_none() {
        let mut openings = openings(100);
        assert_eq!(opened(&mut openings, 0), 17);
        assert_eq!(opened(&mut openings, FEED / 2), 9);
        assert_eq!(opened(&mut openings, FEED), 1);
        assert_eq!(opened(&mut openings, u64::MAX / 2), 1);
        openings.begin();
        openings.sated();
        assert!(openings.next().is_some() && openings.next().is_none());
        // In order: the next one to open is the one that has waited longest.
        openings.begin();
        assert_eq!(openings.next().map(|conn| conn.id), Some(ConnId(29)));
    }
}
