//! Jobs that a device is at, for movers that have one.

use super::{Done, JobTag};

/// A job, and how many of its pieces are not copied yet.
#[derive(Debug)]
struct Job<F> {
    target: F,
    tag: JobTag,
    left: u32,
}

/// A place in [`Jobs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(u32);

/// Jobs by [`JobId`]. Places are used again.
#[derive(Debug)]
pub struct Jobs<F> {
    places: Vec<Option<Job<F>>>,
    free: Vec<u32>,
    used: usize,
}

impl<F> Jobs<F> {
    /// Room for `expected` jobs; there may be more.
    pub fn with_capacity(expected: usize) -> Self {
        Self {
            places: Vec::with_capacity(expected),
            free: Vec::with_capacity(expected),
            used: 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Jobs there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Adds a job of `pieces` pieces.
    pub fn add(&mut self, target: F, tag: JobTag, pieces: u32) -> JobId {
        let job = Some(Job {
            target,
            tag,
            left: pieces,
        });
        self.used += 1;
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = job;
                JobId(place)
            }
            None => {
                self.places.push(job);
                JobId(self.places.len() as u32 - 1)
            }
        }
    }

    /// The frame that the job fills.
    ///
    /// # Panics
    /// When the job has ended.
    pub fn target(&self, id: JobId) -> &F {
        let job = self.places[id.0 as usize].as_ref();
        &job.expect("a job under way has its place").target
    }

    /// One piece is copied. Returns the job when it was the last.
    ///
    /// # Panics
    /// When the job has ended.
    pub fn piece_done(&mut self, id: JobId) -> Option<Done<F>> {
        let place = &mut self.places[id.0 as usize];
        let job = place.as_mut().expect("a job under way has its place");
        job.left -= 1;
        if job.left > 0 {
            return None;
        }
        let job = place.take()?;
        self.free.push(id.0);
        self.used -= 1;
        Some(Done {
            frame: job.target,
            tag: job.tag,
        })
    }
}
