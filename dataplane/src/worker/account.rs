//! The account of a worker's time: every tick of a turn belongs to one [`Stage`].
//!
//! The tick source is read at the borders of stages, some ten times in a turn that finds something
//! to do, never for a packet. A turn that finds nothing reads it not at all: its beginning comes as
//! an argument, and its owner charges it to [`Stage::Idle`].
//!
//! What a turn takes until it has found something is receiving: polls that found nothing.

use crate::counters::{Counters, Stage};

/// A source of ticks for accounts: a count that never runs back, of whatever unit (a processor's
/// time stamp counter, nanoseconds). Called some ten times a turn.
pub type Ticks = fn() -> u64;

/// The account of one worker.
#[derive(Debug)]
pub(super) struct Account {
    ticks: Ticks,
    /// Up to where time has been charged.
    since: u64,
    /// This turn has found something to do.
    found: bool,
}

impl Account {
    pub fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            since: 0,
            found: false,
        }
    }

    /// A turn begins at `at`.
    pub fn begin(&mut self, at: u64) {
        self.since = at;
        self.found = false;
    }

    /// There is something to do: from here on the turn's time is charged, that since its beginning
    /// to whichever stage closes next.
    pub fn open(&mut self) {
        self.found = true;
    }

    /// There is something to do. If it is the first in this turn, what came before was receiving.
    pub fn found(&mut self, counters: &mut Counters) {
        if !self.found {
            self.found = true;
            self.close(Stage::Rx, counters);
        }
    }

    /// The time since the last border was `stage`, if the turn has found something to do.
    pub fn close(&mut self, stage: Stage, counters: &mut Counters) {
        if self.found {
            let now = (self.ticks)();
            counters[stage] += now.saturating_sub(self.since);
            self.since = now;
        }
    }

    /// Whether this turn has found something to do, and up to where its time was charged.
    pub fn end(&self) -> (bool, u64) {
        (self.found, self.since)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn ticks() -> u64 {
        NOW.set(NOW.get() + 10);
        NOW.get()
    }

    #[test]
    fn a_turn_that_finds_nothing_reads_no_clock() {
        let (mut account, mut counters) = (Account::new(ticks), Counters::default());
        account.begin(7);
        for stage in Stage::ALL {
            account.close(*stage, &mut counters);
        }
        assert_eq!((account.end(), NOW.get()), ((false, 7), 0));
        assert_eq!(counters, Counters::default());
    }

    #[test]
    fn every_tick_belongs_to_one_stage() {
        let (mut account, mut counters) = (Account::new(ticks), Counters::default());
        account.begin(3);
        account.close(Stage::Mover, &mut counters); // Nothing copied: no border.
        account.found(&mut counters); // 10
        account.found(&mut counters); // Known already.
        account.close(Stage::Ingress, &mut counters); // 20
        account.close(Stage::Tx, &mut counters); // 30
        assert_eq!(account.end(), (true, 30));
        let charged = Stage::ALL.iter().map(|stage| counters[*stage]);
        assert_eq!(charged.sum::<u64>(), 30 - 3);
        assert_eq!(counters[Stage::Rx], 7);
        // A source that jumps back costs a stage its time, and no more.
        account.begin(1 << 40);
        account.found(&mut counters);
        assert_eq!(counters[Stage::Rx], 7);
        account.begin(NOW.get());
        account.open();
        account.close(Stage::Mover, &mut counters);
        assert_eq!(counters[Stage::Mover], 10);
    }
}
