//! Timers: at most one deadline for each id, in constant time whatever their number.
//!
//! A hierarchical timing wheel (Varghese and Lauck 1987, scheme 7): four levels of 256 slots. A
//! slot of level 0 is one millisecond wide, one of level 1 is 256 ms, and so on, so that the wheel
//! reaches 2³² ms (49 days); what is due later waits in the last slot and is filed anew from there.
//! A slot of a higher level is opened when the time reaches its *start*; its timers are then filed
//! in lower levels, and so fire exactly.
//!
//! TCP moves its deadlines with nearly every segment, mostly to a later time. So both moving
//! a deadline later and disarming only write the deadline: the timer stays filed where it is, and
//! whoever opens the slot files it anew or forgets it. A timer's *visit* is the time its slot is
//! opened; it is never after the deadline, and a new deadline needs new filing only when it is
//! before the visit.
//!
//! Slots are circular lists through one array of nodes, of which the slots' heads are part. A bitmap
//! for each level says which slots may hold timers, so that empty time is skipped, not walked.

const LEVELS: usize = 4;
const SLOTS: usize = 256;
/// Bits of time that one level resolves.
const BITS: u32 = SLOTS.trailing_zeros();
/// The head of the list of timers that have been taken out of their slots and not looked at yet.
const OPENED: usize = LEVELS * SLOTS;
/// The deadline of a timer that is not armed.
const NEVER: u64 = u64::MAX;
/// Later times, and later deadlines, are treated as this one, so that no sum overflows.
const END_OF_TIME: u64 = 1 << 62;

/// A timer: an index below the capacity of the wheel. What it is for is its owner's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub u32);

#[derive(Clone, Copy)]
struct Node {
    /// When it fires; `NEVER` when it is not armed.
    deadline: u64,
    /// When its slot is opened; `NEVER` when it is not filed. For a head: unused.
    visit: u64,
    next: u32,
    previous: u32,
}

/// Whether [`TimerWheel::expire`] got to the end of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All timers due have fired.
    Done,
    /// The budget ended first: call again with the same time or a later one.
    More,
}

/// The timers of one worker.
pub struct TimerWheel {
    /// The heads of all slots, level by level, then the head of `OPENED`, then the timers.
    nodes: Box<[Node]>,
    /// One bit for each slot: set when its list may not be empty.
    used: [[u64; SLOTS / 64]; LEVELS],
    /// Every slot that starts at this time or before it has been opened.
    now: u64,
    /// No slot has to be opened before this time.
    next_visit: u64,
}

const FIRST_TIMER: usize = OPENED + 1;

impl TimerWheel {
    /// A wheel for the timers 0 to `capacity` − 1, none armed, at time `now_ms`.
    ///
    /// # Panics
    /// When `capacity` is above 2³¹.
    pub fn new(capacity: usize, now_ms: u64) -> Self {
        assert!(capacity <= 1 << 31, "timer wheel for {capacity} timers");
        let node = |i| Node {
            deadline: NEVER,
            visit: NEVER,
            next: i,
            previous: i,
        };
        Self {
            nodes: (0..(FIRST_TIMER + capacity) as u32).map(node).collect(),
            used: [[0; SLOTS / 64]; LEVELS],
            now: now_ms.min(END_OF_TIME),
            next_visit: NEVER,
        }
    }

    /// When a timer fires, or `None` when it is not armed.
    ///
    /// # Panics
    /// When `id` is not below the capacity; so do `arm` and `disarm`.
    pub fn deadline(&self, id: TimerId) -> Option<u64> {
        let deadline = self.nodes[FIRST_TIMER + id.0 as usize].deadline;
        (deadline != NEVER).then_some(deadline)
    }

    /// Makes a timer fire at `deadline_ms` instead of whatever was set before. A deadline
    /// that is past makes it fire in the next [`TimerWheel::expire`].
    pub fn arm(&mut self, id: TimerId, deadline_ms: u64) {
        let deadline = deadline_ms.min(END_OF_TIME);
        let timer = FIRST_TIMER + id.0 as usize;
        self.nodes[timer].deadline = deadline;
        // `visit` of a timer that is not filed is NEVER.
        if deadline < self.nodes[timer].visit {
            self.unlink(timer);
            self.file(timer, deadline);
        }
    }

    /// Begins to load what [`TimerWheel::arm`] of this timer will touch.
    #[inline]
    pub fn prefetch(&self, id: TimerId) {
        cache::prefetch(&self.nodes[FIRST_TIMER + id.0 as usize]);
    }

    /// Makes a timer not fire. No harm when it was not armed.
    pub fn disarm(&mut self, id: TimerId) {
        self.nodes[FIRST_TIMER + id.0 as usize].deadline = NEVER;
    }

    /// A time before which no timer fires, for a worker that wants to sleep; `None` when none
    /// is filed. Timers that were moved or disarmed can make it too early, never too late.
    pub fn next_visit(&self) -> Option<u64> {
        (self.next_visit != NEVER).then_some(self.next_visit)
    }

    /// Moves the time to `now_ms` and calls `fire` for timers whose deadline it has reached, in no
    /// particular order. A timer that fires is no longer armed. None fires before its
    /// deadline; polled every millisecond, each fires in the millisecond of its deadline.
    ///
    /// At most `budget` steps are taken, each being a timer looked at or a slot opened. What
    /// is left keeps its place and goes on in the next call. A time before that of an earlier
    /// call counts as that time.
    pub fn expire(
        &mut self,
        now_ms: u64,
        budget: usize,
        mut fire: impl FnMut(TimerId),
    ) -> Progress {
        let now = now_ms.min(END_OF_TIME).max(self.now);
        if now < self.next_visit {
            self.now = now;
            return Progress::Done;
        }
        for _ in 0..budget {
            let timer = self.nodes[OPENED].next as usize;
            if timer != OPENED {
                self.unlink(timer);
                let node = &mut self.nodes[timer];
                node.visit = NEVER;
                let deadline = node.deadline;
                if deadline <= now {
                    node.deadline = NEVER;
                    fire(TimerId((timer - FIRST_TIMER) as u32));
                } else if deadline != NEVER {
                    self.file(timer, deadline);
                }
                continue;
            }
            self.next_visit = self.earliest_visit();
            if self.next_visit > now {
                self.now = now;
                return Progress::Done;
            }
            self.now = self.next_visit;
            self.open_slots();
        }
        Progress::More
    }

    /// Puts a timer that is in no list where it will be found in time for `deadline`.
    fn file(&mut self, timer: usize, deadline: u64) {
        let (head, visit) = if deadline <= self.now {
            (OPENED, deadline)
        } else {
            // The finest level that has a slot for the deadline less than one turn away. At every
            // level above 0 the distance is then at least 1, or the level below would have been taken.
            let level = (0..LEVELS as u32 - 1)
                .find(|level| self.slots_to(deadline, *level) < SLOTS as u64)
                .unwrap_or(LEVELS as u32 - 1);
            let distance = self.slots_to(deadline, level).min(SLOTS as u64 - 1);
            let start = (self.now >> (BITS * level)) + distance;
            let slot = start as usize % SLOTS;
            self.used[level as usize][slot / 64] |= 1 << (slot % 64);
            (level as usize * SLOTS + slot, start << (BITS * level))
        };
        self.nodes[timer].visit = visit;
        self.link(head, timer);
        self.next_visit = self.next_visit.min(visit);
    }

    /// How many slots of a level a later time is away.
    fn slots_to(&self, time: u64, level: u32) -> u64 {
        (time >> (BITS * level)) - (self.now >> (BITS * level))
    }

    /// The start of the first slot in use after now.
    fn earliest_visit(&self) -> u64 {
        let mut earliest = NEVER;
        for (level, used) in self.used.iter().enumerate() {
            let width = BITS * level as u32;
            let current = self.now >> width;
            if let Some(distance) = first_after(used, current as usize % SLOTS) {
                earliest = earliest.min((current + distance as u64) << width);
            }
        }
        earliest
    }

    /// Moves the timers of all slots that start now to `OPENED`. The current slot of a level has no
    /// others: it was opened at its start, and is one whole turn away for what is filed after that.
    fn open_slots(&mut self) {
        for level in 0..LEVELS {
            let width = BITS * level as u32;
            let slot = (self.now >> width) as usize % SLOTS;
            let bit = 1 << (slot % 64);
            let word = &mut self.used[level][slot / 64];
            if *word & bit != 0 {
                *word &= !bit;
                self.splice(level * SLOTS + slot);
            }
        }
    }

    fn link(&mut self, head: usize, node: usize) {
        let last = self.nodes[head].previous;
        self.nodes[node].next = head as u32;
        self.nodes[node].previous = last;
        self.nodes[last as usize].next = node as u32;
        self.nodes[head].previous = node as u32;
    }

    /// Takes a node out of its list; one that is in none stays so.
    fn unlink(&mut self, node: usize) {
        let Node { next, previous, .. } = self.nodes[node];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        self.nodes[node].next = node as u32;
        self.nodes[node].previous = node as u32;
    }

    /// Appends the list of `head` to `OPENED` and leaves it empty.
    fn splice(&mut self, head: usize) {
        let Node {
            next: first,
            previous: last,
            ..
        } = self.nodes[head];
        if first as usize == head {
            return;
        }
        let end = self.nodes[OPENED].previous;
        self.nodes[end as usize].next = first;
        self.nodes[first as usize].previous = end;
        self.nodes[last as usize].next = OPENED as u32;
        self.nodes[OPENED].previous = last;
        self.nodes[head].next = head as u32;
        self.nodes[head].previous = head as u32;
    }
}

/// How far after slot `from` the first used slot is, going round: 1 to 256.
fn first_after(used: &[u64; SLOTS / 64], from: usize) -> Option<usize> {
    let start = (from + 1) % SLOTS;
    let (word, bit) = (start / 64, start % 64);
    // The start's word twice: first its upper part, at last its lower part.
    (0..=used.len()).find_map(|i| {
        let at = (word + i) % used.len();
        let bits = match i {
            0 => used[at] & (u64::MAX << bit),
            4 => used[at] & !(u64::MAX << bit),
            _ => used[at],
        };
        (bits != 0).then(|| {
            let slot = at * 64 + bits.trailing_zeros() as usize;
            (slot + SLOTS - start) % SLOTS + 1
        })
    })
}

impl std::fmt::Debug for TimerWheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimerWheel")
            .field("now", &self.now)
            .field("next_visit", &self.next_visit())
            .field("capacity", &(self.nodes.len() - FIRST_TIMER))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "timer_wheel_tests.rs"]
mod tests;
