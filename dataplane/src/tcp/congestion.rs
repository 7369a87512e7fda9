//! How much may be in flight: slow start from ten segments, and CUBIC.
//!
//! smoltcp's own window begins at two segments of 1 KiB and grows by one for each acknowledgement,
//! however much that acknowledges; a peer that receives segments in batches acknowledges them in
//! batches, and a response of 16 KiB took a new connection several round trips. So smoltcp's is
//! off, and this one decides how much of what is queued TCP is told of ([`Conn::tell`]): in whole segments,
//! and in few large packets rather than many small ones.
//!
//! What TCP was told cannot be taken back. When its retransmission timer goes off it may send all of that
//! again at once; from the first silence on until all of it is acknowledged, smoltcp's own window is on as
//! a *brake*.
//!
//! [`Conn::tell`]: crate::conn::Conn::tell

/// Multiplicative decrease (RFC 9438 section 4.6).
const BETA: f32 = 0.7;
/// How fast the curve rises, in segments/s³ (RFC 9438 section 4.1.1).
const C: f32 = 0.4;
/// Additive increase that is as fair as Reno's with [`BETA`] (RFC 9438 section 4.3).
const ALPHA: f32 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// How long a window stays as it is without being used, in ms (RFC 7661 section 4.4: five minutes).
const VALID: u64 = 5 * 60 * 1000;
/// A flow waits until it may send so much of its window at once, or [`LARGE`] bytes: its packets are large
/// then, and still several are in flight.
const PART: u32 = 3;
/// Round trips for which that is worth while, in µs: longer ones are not to be left unused.
const NEAR: u64 = 2_000;
/// As much as goes into a packet that the device cuts.
const LARGE: u32 = 60_000;
/// The segment size while the peer has not said one (RFC 9293 section 3.7.1).
pub const DEFAULT_MSS: u16 = 536;

/// One direction's congestion window. All amounts are in bytes, all times in ms.
#[derive(Clone, Copy, Debug)]
pub struct Congestion {
    window: u32,
    /// Below it the window grows by what is acknowledged: slow start.
    threshold: u32,
    mss: u16,
    /// The window at the last loss; the curve is flat there. 0 before the first.
    plateau: u32,
    /// What the window would be with Reno's increase, since the curve began.
    reno: f32,
    /// How long the curve takes to its plateau, in s.
    k: f32,
    /// When the curve began.
    epoch: Option<u64>,
    /// When the newest acknowledgement came.
    seen: u64,
    /// A loss was noticed with everything up to this stream offset in flight: further ones before it are the
    /// same event.
    until: u64,
    /// smoltcp's window is on until this stream offset is acknowledged.
    brake: Option<u64>,
}

impl Default for Congestion {
    fn default() -> Self {
        let mut new = Self {
            window: 0,
            threshold: u32::MAX,
            mss: 0,
            plateau: 0,
            reno: 0.0,
            k: 0.0,
            epoch: None,
            seen: 0,
            until: 0,
            brake: None,
        };
        new.begin(DEFAULT_MSS, 0);
        new
    }
}

impl Congestion {
    /// Both sides' SYN were seen: segments have up to `mss` bytes of payload.
    pub fn begin(&mut self, mss: u16, now: u64) {
        self.mss = mss.max(1);
        self.window = self.initial();
        self.seen = now;
    }

    /// The initial window (RFC 6928 section 2).
    fn initial(&self) -> u32 {
        let mss = u32::from(self.mss);
        (10 * mss).min((2 * mss).max(14_600))
    }

    /// How many of `untold` bytes may be sent now, with `in_flight` on their way; `rtt_us` is the smoothed
    /// round trip.
    pub fn allowance(&mut self, untold: u64, in_flight: u64, rtt_us: u64, now: u64) -> u64 {
        if in_flight == 0 && now > self.seen + VALID {
            self.window = self.window.min(self.initial());
            self.seen = now;
        }
        let mss = u64::from(self.mss);
        let room = u64::from(self.window).saturating_sub(in_flight);
        if untold <= room {
            return untold;
        }
        // The rest follows when this is acknowledged: whole segments, and not few (RFC 1122 section
        // 4.2.3.4). With nothing in flight nothing would be acknowledged.
        let whole = room - room % mss;
        let worth = match rtt_us {
            0..NEAR => u64::from((self.window / PART).min(LARGE)),
            _ => mss,
        };
        if in_flight == 0 {
            whole.max(mss.min(untold))
        } else if room >= worth {
            whole
        } else {
            0
        }
    }

    /// Takes note that the peer has acknowledged everything up to `acked`, `new` bytes more than before,
    /// when `in_flight` were on their way; `rtt_us` is the smoothed round trip.
    pub fn on_ack(&mut self, acked: u64, new: u64, in_flight: u64, rtt_us: u64, now: u64) {
        let passed = now.saturating_sub(self.seen);
        self.seen = now;
        // A hole is being filled (RFC 6582 section 3.2). And a window that is not used is not tested (RFC 9438
        // section 5.8).
        let filling = acked <= self.until && self.window >= self.threshold;
        if filling || 2 * in_flight <= u64::from(self.window) {
            self.epoch = self.epoch.map(|epoch| epoch + passed);
            return;
        }
        // What had arrived before the retransmission timer went off says nothing of the path now (RFC 3465
        // section 2.3).
        let new = match acked <= self.until {
            true => new.min(u64::from(self.mss)) as u32,
            false => u32::try_from(new).unwrap_or(u32::MAX),
        };
        if self.window < self.threshold {
            self.window = self.window.saturating_add(new).min(self.threshold);
            return;
        }
        let (mss, window) = (f32::from(self.mss), self.window as f32);
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.plateau = self.plateau.max(self.window);
            self.k = ((self.plateau - self.window) as f32 / (C * mss)).cbrt();
            self.reno = window;
            now
        });
        let t = now.saturating_sub(epoch) as f32 / 1e3 - self.k;
        let curve = |t: f32| C * mss * t * t * t + self.plateau as f32;
        let alpha = if self.reno < self.plateau as f32 {
            ALPHA
        } else {
            1.0
        };
        self.reno += alpha * mss * new as f32 / window;
        let next = if curve(t) < self.reno {
            self.reno
        } else {
            // Half as much again in a round trip at most (RFC 9438 section 4.2).
            let target = curve(t + rtt_us as f32 / 1e6).clamp(window, 1.5 * window);
            window + (target - window) * (new as f32 / window).min(1.0)
        };
        self.window = self.window.max(next as u32);
    }

    /// Takes note of a hole, with everything from stream offset `acked` to `sent` in flight.
    pub fn on_loss(&mut self, acked: u64, sent: u64) {
        if acked < self.until {
            return;
        }
        self.reduce(acked, sent);
        // When it came to this below the last plateau, another flow is new: the next one is lower, to leave
        // it room (RFC 9438 section 4.7).
        self.plateau = if self.window < self.plateau {
            (self.window as f32 * (1.0 + BETA) / 2.0) as u32
        } else {
            self.window
        };
        self.window = self.threshold;
    }

    /// Takes note that the retransmission timer went off, with everything up to `sent` in flight (RFC 5681
    /// section 3.1, RFC 9438 section 4.8).
    pub fn on_timeout(&mut self, acked: u64, sent: u64) {
        if acked >= self.until {
            self.reduce(acked, sent);
        }
        self.plateau = 0;
        self.window = u32::from(self.mss);
    }

    fn reduce(&mut self, acked: u64, sent: u64) {
        self.threshold = (((sent - acked) as f32 * BETA) as u32).max(2 * u32::from(self.mss));
        self.epoch = None;
        self.until = sent;
    }

    /// smoltcp's window is to be on until stream offset `until` is acknowledged. False if it is already.
    pub fn brake(&mut self, until: u64) -> bool {
        let was = self.brake;
        self.brake = Some(until.max(was.unwrap_or(0)));
        was.is_none()
    }

    /// Whether smoltcp's window can be off again.
    pub fn releases(&mut self, acked: u64) -> bool {
        let over = self.brake.is_some_and(|until| acked >= until);
        if over {
            self.brake = None;
        }
        over
    }

    /// How much may be in flight.
    #[cfg(test)]
    fn window(&self) -> u32 {
        self.window
    }
}

/// The segment size of a SYN: the MSS option of its TCP header (RFC 9293 section 3.7.1).
pub fn announced_mss(tcp: &[u8]) -> Option<u16> {
    let mut options = tcp.get(20..)?;
    loop {
        match *options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            // End of the list.
            [] | [0, ..] | [_] => return None,
            // No operation.
            [1, ref rest @ ..] => options = rest,
            [_, len, ..] => options = options.get(usize::from(len).max(2)..)?,
        }
    }
}

#[cfg(test)]
#[path = "congestion_tests.rs"]
mod tests;
