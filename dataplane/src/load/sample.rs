//! What came of an exchange.

/// One finished exchange. Times are the worker's, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it should have begun.
    pub due_us: u64,
    /// When it began.
    pub started_us: u64,
    /// When it ended.
    pub ended_us: u64,
    /// How.
    pub outcome: Outcome,
    /// Bytes of the response's body, without framing.
    pub body_bytes: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole response of this status.
    Status(u16),
    /// Without one.
    Failed(Failure),
}

/// Why there is no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection ended before the response did.
    Closed,
    /// It took too long.
    Timeout,
    /// It is not HTTP, or not the body that was asked for.
    Malformed,
}
