//! The rules that keep payload whole, and a way for tests to break them one at a time.
//!
//! A test that passes with a rule broken does not test it. Without the feature `break-rules` there
//! is nothing here: [`Rules::broken`] is false at compile time.

/// What the mover must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A submission is done when its record says so, not before.
    AwaitRecord,
    /// Sources are owned until the completion was seen.
    OwnSources,
    /// Targets of late submissions are owned until a drain has passed.
    Quarantine,
    /// Waiting has an end.
    Deadline,
    /// A completion says nothing about earlier submissions.
    NoOrder,
    /// Of a failed batch, those that failed are done again.
    RedoFailed,
    /// Of a failed batch, only those that failed are done again.
    KeepHealthy,
    /// A page fault is no success.
    RedoFaults,
    /// No batch of one.
    NoBatchOfOne,
    /// No batch beyond the queue's limit.
    MaxBatch,
    /// No more descriptors in a dedicated queue than it has slots.
    CountSlots,
    /// What a queue did not take is done by the CPU.
    RedoRefused,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AwaitRecord,
        Self::OwnSources,
        Self::Quarantine,
        Self::Deadline,
        Self::NoOrder,
        Self::RedoFailed,
        Self::KeepHealthy,
        Self::RedoFaults,
        Self::NoBatchOfOne,
        Self::MaxBatch,
        Self::CountSlots,
        Self::RedoRefused,
    ];
}

/// Which rule is broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    #[cfg(feature = "break-rules")]
    broken: Option<Rule>,
}

impl Rules {
    /// All hold but this one.
    #[cfg(feature = "break-rules")]
    pub fn but(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether `rule` is broken.
    #[cfg(feature = "break-rules")]
    #[inline]
    pub fn broken(self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }

    /// Never.
    #[cfg(not(feature = "break-rules"))]
    #[inline]
    pub const fn broken(self, _rule: Rule) -> bool {
        false
    }
}
