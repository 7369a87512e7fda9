//! What the workers know of each other's lives: that all must end when one fails, and that none may
//! leave before all are done.
//!
//! A worker that has nothing left to do keeps turning while others still have exchanges: it may be
//! the one to whom a port brings ARP, and a packet socket that is closed would change where the
//! others' packets go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug)]
struct Shared {
    members: usize,
    done: AtomicUsize,
    failed: AtomicBool,
    /// For each port, whether it was said that its packets go astray.
    told: Vec<AtomicBool>,
}

/// One worker's membership. Dropped before [`Member::done`] it stands for a worker that failed.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    done: bool,
}

/// The memberships of so many workers with so many ports.
pub fn crew(workers: usize, ports: usize) -> Vec<Member> {
    let shared = Arc::new(Shared {
        members: workers,
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        told: (0..ports).map(|_| AtomicBool::new(false)).collect(),
    });
    let member = |_| Member {
        shared: Arc::clone(&shared),
        done: false,
    };
    (0..workers).map(member).collect()
}

impl Member {
    /// This worker has nothing left to do. Said once or more.
    pub fn done(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            let _before = self.shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether no worker has anything left to do.
    pub fn all_done(&self) -> bool {
        self.shared.done.load(Ordering::Relaxed) == self.shared.members
    }

    /// Whether a worker could not start, or ended before its time.
    pub fn any_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Whether this is the first time that any worker asks this about a port: who gets `true` writes
    /// the warning.
    pub fn first_to_tell(&self, port: usize) -> bool {
        !self.shared.told[port].swap(true, Ordering::Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.done {
            self.shared.failed.store(true, Ordering::Relaxed);
        }
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wait_for_the_last() {
        let mut members = crew(3, 1);
        members[0].done();
        members[0].done();
        members[2].done();
        assert!(!members[0].all_done(), "the second is not done");
        drop(members.remove(0));
        members[0].done();
        assert!(members.iter().all(Member::all_done));
        assert!(!members[0].any_failed());
    }

    #[test]
    fn one_that_is_dropped_before_its_time_has_failed() {
        let mut members = crew(2, 1);
        drop(members.remove(0));
        assert!(members[0].any_failed() && !members[0].all_done());
        members[0].done();
        assert!(members[0].all_done(), "nobody waits for the dead");
    }

    #[test]
    fn a_warning_is_written_once() {
        let members = crew(2, 2);
        let told: Vec<bool> = members
            .iter()
            .map(|member| member.first_to_tell(1))
            .collect();
        assert_eq!(told, [true, false]);
        assert!(members[1].first_to_tell(0));
    }
}
