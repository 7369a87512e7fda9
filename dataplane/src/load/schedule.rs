//! When the next request should begin.
//!
//! A run at a fixed rate has one line of requests, due at equal distances, and whichever connection
//! is free takes the next. A request whose time has come while no connection was free keeps that time:
//! its latency counts from there. Otherwise a server that stalls would be asked less while it stalls and
//! its worst moments would be measured least ("coordinated omission"). For the same reason what
//! was due and never begun before the end is counted ([`Schedule::missed`]).
//!
//! A run as fast as possible has no such line: each request is due when a connection is free for it.
//!
//! The due time of a request follows from its number, so there is no list, and nothing allocates.
//! Several workers share a run by taking every n-th request each ([`Pace::share`]).

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So many microseconds after its start no request begins any more.
    AfterUs(u64),
    /// With so many requests.
    Requests(u64),
    /// When somebody ends it.
    Never,
}

/// How a whole run, or one worker's share of it, is paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests a second, on all connections together; 0: as many as connections can take.
    pub qps: f64,
    /// Connections; the most exchanges at once.
    pub connections: u32,
    /// When it ends.
    pub end: End,
    /// The share's number among `shares`, from 0: what it is ahead of the others in the line.
    share: u32,
    /// Among how many the run is divided.
    shares: u32,
}

impl Pace {
    /// A whole run. Negative rates and those that are no number count as 0.
    pub fn new(qps: f64, connections: u32, end: End) -> Self {
        Self {
            qps: if qps > 0.0 { qps } else { 0.0 },
            connections,
            end,
            share: 0,
            shares: 1,
        }
    }

    /// The same, ending so much later, where time ends it.
    pub fn longer_by(mut self, us: u64) -> Self {
        if let End::AfterUs(end) = &mut self.end {
            *end = end.saturating_add(us);
        }
        self
    }

    /// The share of worker `index` among `count`: its part of the connections and of the requests.
    /// The shares add up to the whole; those of workers with lower numbers may be one larger.
    ///
    /// # Panics
    /// When `index` is not below `count`, or this is a share already.
    pub fn share(&self, index: u32, count: u32) -> Self {
        assert!(index < count, "worker {index} of {count}");
        assert!(self.shares == 1, "a share cannot be divided");
        let part = |whole: u64| {
            whole / u64::from(count) + u64::from(whole % u64::from(count) > u64::from(index))
        };
        Self {
            qps: self.qps,
            connections: part(self.connections.into()) as u32,
            end: match self.end {
                End::Requests(requests) => End::Requests(part(requests)),
                end => end,
            },
            share: index,
            shares: count,
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin a request, which is thereby taken: it should have begun at this time, now or earlier.
    Begin {
        /// Microseconds, of the caller's clock.
        due_us: u64,
    },
    /// No request is due before this time.
    Wait {
        /// Microseconds, of the caller's clock.
        until_us: u64,
    },
    /// No request begins any more.
    Over,
}

/// The line of requests of one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_us: u64,
    /// Between two requests of this worker; 0 when nothing is paced.
    interval_us: f64,
    /// From the start to the first one.
    first_us: f64,
    end: End,
    begun: u64,
    stopped: bool,
}

impl Schedule {
    /// The line of `pace`, whose first request is due at `start_us` (a little later for shares other
    /// than the first).
    pub fn new(pace: &Pace, start_us: u64) -> Self {
        let each_us = if pace.qps > 0.0 { 1e6 / pace.qps } else { 0.0 };
        Self {
            start_us,
            interval_us: each_us * f64::from(pace.shares),
            first_us: each_us * f64::from(pace.share),
            end: pace.end,
            begun: 0,
            stopped: false,
        }
    }

    /// Takes the next request if its time has come. Call it when a connection is free for one.
    pub fn next(&mut self, now_us: u64) -> Next {
        if self.is_over(now_us) {
            return Next::Over;
        }
        let due_us = if self.is_paced() {
            self.due_us(self.begun)
        } else {
            now_us.max(self.start_us)
        };
        if due_us > now_us {
            // Beyond the end nothing is due, but somebody has to look at the end.
            return Next::Wait {
                until_us: due_us.min(self.end_us().unwrap_or(due_us)),
            };
        }
        self.begun += 1;
        Next::Begin { due_us }
    }

    /// When the next request is due, without taking it; `None` where nothing is paced.
    pub fn next_due_us(&self) -> Option<u64> {
        self.is_paced().then(|| self.due_us(self.begun))
    }

    /// Whether requests have a time of their own.
    pub fn is_paced(&self) -> bool {
        self.interval_us > 0.0
    }

    /// No request begins any more from now on. Those that have begun may still be under way.
    pub fn is_over(&self, now_us: u64) -> bool {
        self.stopped
            || match self.end {
                End::AfterUs(_) => self.end_us().is_some_and(|end| now_us >= end),
                End::Requests(requests) => self.begun >= requests,
                End::Never => false,
            }
    }

    /// The time at which no request begins any more, where that is set by time.
    pub fn end_us(&self) -> Option<u64> {
        match self.end {
            End::AfterUs(us) => Some(self.start_us.saturating_add(us)),
            End::Requests(_) | End::Never => None,
        }
    }

    /// Ends the run now, whatever was agreed: somebody interrupted it. For [`Schedule::missed`] the
    /// rest of the line is not due then.
    pub fn stop(&mut self, now_us: u64) {
        self.stopped = true;
        self.end = End::AfterUs(now_us.saturating_sub(self.start_us));
    }

    /// Requests begun so far.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Requests that were due before `now_us` (or the end, if that came first) and have not begun,
    /// for want of a connection. 0 where nothing is paced.
    pub fn missed(&self, now_us: u64) -> u64 {
        if !self.is_paced() {
            return 0;
        }
        let until_us = now_us.min(self.end_us().unwrap_or(now_us));
        let spent = until_us as f64 - self.start_us as f64 - self.first_us;
        if spent <= 0.0 {
            return 0;
        }
        let mut due = (spent / self.interval_us).ceil() as u64;
        if let End::Requests(requests) = self.end {
            due = due.min(requests);
        }
        due.saturating_sub(self.begun)
    }

    /// When request `number`, from 0, is due. Rounding is monotone, so the line is.
    fn due_us(&self, number: u64) -> u64 {
        self.start_us + (number as f64).mul_add(self.interval_us, self.first_us) as u64
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
