//! What is known of an exchange when it has ended.

/// One finished exchange. Times are microseconds of whatever clock the run's schedule was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it should have begun: what the schedule said.
    pub due_us: u64,
    /// When it did begin: a connection was free and the request's first byte was handed over.
    pub started_us: u64,
    /// When the last byte of the response came, or the failure was noticed.
    pub ended_us: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of the response's head; 0 if it did not come in whole.
    pub head_bytes: u32,
    /// Bytes of the response's body that came, framing not counted.
    pub body_bytes: u64,
}

impl Sample {
    /// Microseconds from when it should have begun: what a user would have waited. A server that
    /// stalls delays requests that have not begun yet, and this counts that.
    pub fn latency_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.due_us)
    }

    /// Microseconds from when it did begin: what the exchange itself took.
    pub fn service_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.started_us)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A response came in whole; its status code.
    Status(u16),
    /// It did not.
    Failed(Failure),
}

/// Why there is no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// The connection could not be opened: refused, unreachable, or no address or port left for it.
    Connect,
    /// The peer closed or reset the connection before the end of the response.
    Closed,
    /// The time for one exchange was up; a connection that did not open in it included.
    Timeout,
    /// What came is no HTTP/1.x response, or more than one.
    Malformed,
    /// A byte of the body is not the one that belongs there (only where bodies are verified).
    Corrupt,
}

impl Failure {
    /// All of them, in the order of their [`Failure::index`].
    pub const ALL: [Self; 5] = [
        Self::Connect,
        Self::Closed,
        Self::Timeout,
        Self::Malformed,
        Self::Corrupt,
    ];

    /// Its place in [`Failure::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// A few words for reports.
    pub fn text(self) -> &'static str {
        match self {
            Self::Connect => "connection not opened",
            Self::Closed => "connection closed early",
            Self::Timeout => "timed out",
            Self::Malformed => "malformed response",
            Self::Corrupt => "wrong bytes in body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_it_was_due() {
        let sample = Sample {
            due_us: 100,
            started_us: 1_000_100,
            ended_us: 1_000_350,
            outcome: Outcome::Status(200),
            head_bytes: 0,
            body_bytes: 0,
        };
        assert_eq!(sample.latency_us(), 1_000_250);
        assert_eq!(sample.service_us(), 250);
    }

    #[test]
    fn each_failure_knows_its_place() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), index, "{}", failure.text());
        }
    }
}
