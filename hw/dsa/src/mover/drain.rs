//! Finding out that the device is done with what it never answered.
//!
//! A DRAIN completes when everything that was submitted to the queue before it is done or gone. So
//! once its record is there, memory of earlier submissions is the process's own again.

use crate::dma::DmaArray;
use crate::portal::Portal;
use crate::{CompletionRecord, Descriptor, Status, WorkQueue};

/// Drains that may go unanswered before the queue is given up.
const TRIES: usize = 4;

/// A drain that was submitted. Its record is that of its place in [`Drains::sent`].
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// All submissions with smaller numbers come before it.
    before: u64,
    deadline: u64,
}

/// What became of the drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not known yet.
    Waiting,
    /// All submissions with smaller numbers than this are over.
    Over(u64),
    /// There is no answer, and there will be none.
    Silence,
}

/// The drains of one queue.
#[derive(Debug)]
pub struct Drains {
    /// One for each try: a late drain may yet write its own.
    records: DmaArray<CompletionRecord>,
    sent: Vec<Sent>,
    /// What was answered so far by other drains than the newest.
    over: u64,
    /// How many were submitted.
    pub submitted: u64,
}

impl Drains {
    /// None.
    pub fn new() -> Self {
        Self {
            records: DmaArray::new(TRIES, CompletionRecord::default),
            sent: Vec::with_capacity(TRIES),
            over: 0,
            submitted: 0,
        }
    }

    /// Sees to it that the queue gets drained of all submissions before number `next`.
    pub fn poll<P: Portal>(
        &mut self,
        queue: &mut WorkQueue<P>,
        next: u64,
        now: u64,
        patience: u64,
    ) -> Answer {
        // Whichever is answered answers for all before it.
        let answered = (0..self.sent.len())
            .rev()
            .find(|&index| self.records.record(index).status() == Some(Status::Success));
        if let Some(index) = answered {
            let before = self.sent[index].before;
            if index + 1 == self.sent.len() {
                // All of them have passed, and their records can be used again.
                self.sent.clear();
                return Answer::Over(before);
            }
            if before > self.over {
                self.over = before;
                return Answer::Over(before);
            }
        }
        match self.sent.last() {
            Some(last) if now < last.deadline => return Answer::Waiting,
            Some(_) if self.sent.len() == TRIES => return Answer::Silence,
            _ => {}
        }
        let index = self.sent.len();
        self.records.record(index).clear();
        // If it is not taken, nobody answers, which is what it is good for.
        let _taken = queue.submit_kept(&Descriptor::drain(self.records.address(index)));
        self.submitted += 1;
        self.sent.push(Sent {
            before: next,
            deadline: now + patience,
        });
        Answer::Waiting
    }

    /// Whether no drain is under way.
    pub fn is_idle(&self) -> bool {
        self.sent.is_empty()
    }
}
