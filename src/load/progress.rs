//! How far a run is, while it runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::report::significant;
use crate::tally::Tally;

/// Where workers show what they have counted so far.
#[derive(Debug)]
pub struct Board {
    places: Vec<Mutex<Tally>>,
}

impl Board {
    /// With a place for each worker.
    pub fn new(workers: usize) -> Self {
        Self {
            places: (0..workers).map(|_| Mutex::new(Tally::new())).collect(),
        }
    }

    /// Shows what worker `index` has counted. Never waits: while somebody looks, the old is left there.
    pub fn publish(&self, index: usize, tally: &Tally) {
        if let Ok(mut place) = self.places[index].try_lock() {
            place.set_to(tally);
        }
    }

    /// What all have shown, together.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::new();
        for place in &self.places {
            sum.add(&place.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}

/// A line that says how far a run is.
#[derive(Debug)]
pub struct Line<'a> {
    /// Microseconds since its start.
    pub elapsed_us: u64,
    /// Microseconds since the line before.
    pub since_us: u64,
    /// Exchanges up to the line before.
    pub calls_before: u64,
    /// What was counted so far.
    pub tally: &'a Tally,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.tally.calls();
        let since = calls.saturating_sub(self.calls_before) as f64;
        let qps = if self.since_us == 0 {
            0.0
        } else {
            since * 1e6 / self.since_us as f64
        };
        write!(
            f,
            "{:.0} s: {calls} requests, {} errors, {qps:.1} qps, p99 so far {} s, {} sockets",
            self.elapsed_us as f64 / 1e6,
            self.tally.errors(),
            significant(self.tally.latency.at(99.0) as f64 / 1e6),
            self.tally.sockets,
        )
    }
}

#[cfg(test)]
mod tests {
    use dataplane::load::sample::{Outcome, Sample};

    use super::*;

    #[test]
    fn a_line_says_what_came_since_the_last() {
        let board = Board::new(2);
        let mut tally = Tally::new();
        for status in [200, 200, 500] {
            tally.record(&Sample {
                due_us: 0,
                started_us: 0,
                ended_us: 1500,
                outcome: Outcome::Status(status),
                head_bytes: 1,
                body_bytes: 1,
            });
        }
        tally.sockets = 1;
        board.publish(0, &tally);
        board.publish(1, &tally);
        board.publish(1, &tally);
        let line = Line {
            elapsed_us: 3_000_000,
            since_us: 2_000_000,
            calls_before: 1,
            tally: &board.sum(),
        };
        let text = "3 s: 6 requests, 2 errors, 2.5 qps, p99 so far 0.0015 s, 2 sockets";
        assert_eq!(line.to_string(), text);
    }
}
