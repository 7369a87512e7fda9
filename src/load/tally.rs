//! What is counted of a run: one for each worker, added up at the end.

use dataplane::load::sample::{Failure, Outcome, Sample};
use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Significant digits of times.
const DIGITS: u8 = 3;

/// What is counted of a run.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Microseconds from when each exchange should have begun until its end, failed ones included.
    pub latency: Times,
    /// Microseconds from when it did begin.
    pub service: Times,
    /// The latencies of failed exchanges once more.
    pub failed: Times,
    /// Exchanges by status code.
    statuses: Vec<u64>,
    /// Exchanges without a response, by [`Failure::index`].
    failures: [u64; Failure::ALL.len()],
    /// Bytes of heads of responses.
    pub heads: Spread,
    /// Bytes of heads and bodies of responses.
    pub responses: Spread,
    /// Connections that were opened, or tried to.
    pub sockets: u64,
    /// Requests that were due and never begun for want of a free connection.
    pub missed: u64,
    /// Responses that came before it, and are not taken in.
    pub warmup: u64,
    /// Responses to requests that were due before this time are not taken in, in µs of the samples' clock.
    pub from_us: u64,
}

impl Tally {
    /// Nothing counted. The only place that allocates; three histograms of some 180 KB.
    pub fn new() -> Self {
        Self {
            latency: Times::new(),
            service: Times::new(),
            failed: Times::new(),
            statuses: vec![0; 600],
            failures: [0; Failure::ALL.len()],
            heads: Spread::default(),
            responses: Spread::default(),
            sockets: 0,
            missed: 0,
            warmup: 0,
            from_us: 0,
        }
    }

    /// Takes in a finished exchange. Those of the warm-up count only if they have failed.
    #[inline]
    pub fn record(&mut self, sample: &Sample) {
        if sample.due_us < self.from_us && matches!(sample.outcome, Outcome::Status(200..400)) {
            self.warmup += 1;
            return;
        }
        let latency_us = sample.latency_us();
        self.latency.record(latency_us);
        self.service.record(sample.service_us());
        match sample.outcome {
            Outcome::Status(status) => {
                if let Some(count) = self.statuses.get_mut(usize::from(status)) {
                    *count += 1;
                }
                let head = u64::from(sample.head_bytes);
                self.heads.record(head);
                self.responses.record(head + sample.body_bytes);
            }
            Outcome::Failed(failure) => {
                self.failures[failure.index()] += 1;
                self.failed.record(latency_us);
            }
        }
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.failed, &other.failed),
        ] {
            own.add(others);
        }
        for (own, others) in self.statuses.iter_mut().zip(&other.statuses) {
            *own += others;
        }
        for (own, others) in self.failures.iter_mut().zip(&other.failures) {
            *own += others;
        }
        self.heads.add(&other.heads);
        self.responses.add(&other.responses);
        self.sockets += other.sockets;
        self.missed += other.missed;
        self.warmup += other.warmup;
    }

    /// Becomes a copy of another, in the memory it has.
    pub fn set_to(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.failed, &other.failed),
        ] {
            own.set_to(others);
        }
        self.statuses.copy_from_slice(&other.statuses);
        self.failures = other.failures;
        (self.heads, self.responses) = (other.heads, other.responses);
        (self.sockets, self.missed, self.warmup) = (other.sockets, other.missed, other.warmup);
    }

    /// Finished exchanges.
    pub fn calls(&self) -> u64 {
        self.latency.exact.count
    }

    /// Status codes that came, ascending, with how often.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let all = self.statuses.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(status, count)| (status as u16, *count))
    }

    /// Failures that came, with how often.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        let all = Failure::ALL.into_iter().zip(self.failures);
        all.filter(|(_, count)| *count > 0)
    }

    /// Exchanges without a response.
    pub fn failed_calls(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Exchanges without a response, and responses whose status is not of the 200s or 300s.
    pub fn errors(&self) -> u64 {
        let bad = self
            .statuses
            .iter()
            .enumerate()
            .filter(|(status, _)| !(200..400).contains(status));
        bad.map(|(_, count)| count).sum::<u64>() + self.failed_calls()
    }
}

/// Times in microseconds: their distribution, and exact sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// Three significant digits of each.
    pub histogram: Histogram<u64>,
    /// Count, sum and bounds of them.
    pub exact: Spread,
}

impl Times {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self {
            histogram: histogram.expect("bounds that hdrhistogram takes"),
            exact: Spread::default(),
        }
    }

    /// Takes in a time. Longer ones than an hour count as an hour in the distribution.
    #[inline]
    pub fn record(&mut self, us: u64) {
        self.histogram.saturating_record(us);
        self.exact.record(us);
    }

    fn add(&mut self, other: &Self) {
        let added = self.histogram.add(&other.histogram);
        added.expect("all histograms have the same bounds");
        self.exact.add(&other.exact);
    }

    fn set_to(&mut self, other: &Self) {
        let set = self.histogram.set_to(&other.histogram);
        set.expect("all histograms have the same bounds");
        self.exact = other.exact;
    }

    /// Microseconds that `percentile` percent of all do not exceed, to three digits; 0 without any.
    pub fn at(&self, percentile: f64) -> u64 {
        let us = self.histogram.value_at_quantile(percentile / 100.0);
        us.min(self.exact.max)
    }
}

/// Count, sum, least, largest, and how far apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// All together.
    pub sum: u64,
    /// The least; 0 without any.
    pub min: u64,
    /// The largest.
    pub max: u64,
    squares: f64,
}

impl Spread {
    /// Takes in a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += value;
        self.squares += value as f64 * value as f64;
    }

    /// Adds what another took in.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// The mean; 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let mean = self.mean();
        (self.squares / self.count as f64 - mean * mean)
            .max(0.0)
            .sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(due_us: u64, outcome: Outcome) -> Sample {
        Sample {
            due_us,
            started_us: due_us + 10,
            ended_us: due_us + 100,
            outcome,
            head_bytes: 100,
            body_bytes: 900,
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let samples = [
            sample(0, Outcome::Status(200)),
            sample(5, Outcome::Status(503)),
            sample(7, Outcome::Failed(Failure::Timeout)),
            sample(9, Outcome::Status(200)),
        ];
        let mut whole = Tally::new();
        samples.iter().for_each(|sample| whole.record(sample));
        let mut sum = Tally::new();
        for sample in &samples {
            let mut part = Tally::new();
            part.record(sample);
            part.sockets = 2;
            part.missed = 3;
            sum.add(&part);
        }
        assert_eq!(sum.latency, whole.latency);
        assert_eq!(sum.service, whole.service);
        assert_eq!(sum.statuses().collect::<Vec<_>>(), [(200, 2), (503, 1)]);
        assert_eq!(sum.failures().collect::<Vec<_>>(), [(Failure::Timeout, 1)]);
        assert_eq!((sum.calls(), sum.errors(), sum.failed_calls()), (4, 2, 1));
        assert_eq!((sum.sockets, sum.missed), (8, 12));
        assert_eq!(sum.responses, whole.responses);
        assert_eq!((sum.responses.count, sum.responses.mean()), (3, 1000.0));
        let mut copy = Tally::new();
        copy.record(&sample(1, Outcome::Status(404)));
        copy.set_to(&sum);
        assert_eq!(copy.statuses().collect::<Vec<_>>(), [(200, 2), (503, 1)]);
        assert_eq!(copy.latency, sum.latency);
    }

    #[test]
    fn of_the_warm_up_only_failures_count() {
        let mut tally = Tally::new();
        tally.from_us = 100;
        for due_us in [0, 99, 100, 200] {
            tally.record(&sample(due_us, Outcome::Status(200)));
        }
        tally.record(&sample(50, Outcome::Status(503)));
        tally.record(&sample(50, Outcome::Failed(Failure::Timeout)));
        assert_eq!((tally.calls(), tally.errors(), tally.warmup), (4, 2, 2));
    }

    #[test]
    fn spreads() {
        let mut spread = Spread::default();
        assert_eq!((spread.mean(), spread.deviation()), (0.0, 0.0));
        for value in [2, 4, 4, 4, 5, 5, 7, 9] {
            spread.record(value);
        }
        assert_eq!((spread.min, spread.max, spread.sum), (2, 9, 40));
        assert_eq!((spread.mean(), spread.deviation()), (5.0, 2.0));
    }
}
