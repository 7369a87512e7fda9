//! A [`Mover`] on any DMA device of DPDK.
//!
//! Each piece of a job is a copy in the device's ring. What it reports as failed, the CPU does again.
//! When it reports nothing for too long, the CPU does all that is under way and hands it back; the
//! frames stay owned here until the reports come after all, since the device may still write the same
//! bytes, and meanwhile the CPU copies everything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dataplane::mover::{
    AcceleratorStats, CopyBatch, CopyJob, CpuReason, Done, JobId, Jobs, MoveMode, Mover,
    MoverStats, Pieces, copy_with_cpu,
};
use dataplane::port::Frame;

use crate::dma::{CopyEnd, DmaChannel, DmaDevice};
use crate::mbuf::Mbuf;

/// Copies submitted at a time at most: some drivers make a batch of them and do not look at the
/// limit of their queue.
const BATCH: u32 = 32;

/// Deadlines without a report after which a device counts as lost. It may still come back.
const LOST_AFTER: u64 = 100;

/// When the device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaSettings {
    /// Jobs whose pieces have fewer bytes than this on average are the CPU's.
    pub threshold: u32,
    /// Microseconds without a report after which the CPU does what is under way.
    pub deadline_us: u64,
}

impl Default for DmaSettings {
    fn default() -> Self {
        Self {
            threshold: 512,
            deadline_us: 20_000,
        }
    }
}

/// A copy that the device has not reported yet.
#[derive(Debug)]
struct Copy {
    source: Mbuf,
    from: *const u8,
    to: *mut u8,
    len: u32,
    owner: Owner,
    submitted: u64,
}

/// Whose copy it is.
#[derive(Debug)]
enum Owner {
    /// A job's that waits for it.
    Job(JobId),
    /// Nobody's any more: it was late. The frame may yet be written.
    Late(#[allow(dead_code, reason = "it is owned, which is all that is wanted")] Mbuf),
}

/// Moves payload by one DMA device.
#[derive(Debug)]
pub struct DmaMover<D: DmaChannel = DmaDevice> {
    device: Option<D>,
    settings: DmaSettings,
    jobs: Jobs<Mbuf>,
    /// In the order of the device's ring.
    copies: VecDeque<Copy>,
    /// How many of them, the first ones, are late.
    late: usize,
    /// Queued and not submitted.
    queued: u32,
    /// When the device last reported something, or had nothing to report.
    heard: u64,
    /// Reports that are being taken.
    ends: Vec<CopyEnd>,
    done: Vec<Done<Mbuf>>,
    now: u64,
    stats: MoverStats,
    accelerator: AcceleratorStats,
}

impl<D: DmaChannel> DmaMover<D> {
    /// A mover on `device`.
    pub fn new(device: D, settings: DmaSettings) -> Self {
        Self {
            device: Some(device),
            settings,
            jobs: Jobs::with_capacity(1024),
            copies: VecDeque::with_capacity(1024),
            late: 0,
            queued: 0,
            heard: 0,
            ends: Vec::with_capacity(1024),
            done: Vec::with_capacity(256),
            now: 0,
            stats: MoverStats::default(),
            accelerator: AcceleratorStats::default(),
        }
    }

    fn decide(&self, job: &CopyJob<Mbuf>, pieces: usize) -> Option<CpuReason> {
        let Some(device) = &self.device else {
            return Some(CpuReason::Lost);
        };
        let pieces = pieces as u64;
        if job.len == 0 || u64::from(job.len) < u64::from(self.settings.threshold) * pieces {
            Some(CpuReason::Small)
        } else if self.accelerator.lost > 0 {
            Some(CpuReason::Lost)
        } else if self.late > 0 {
            Some(CpuReason::Suspended)
        } else if pieces > device.room() as u64 {
            Some(CpuReason::QueueFull)
        } else {
            None
        }
    }

    fn take(&mut self, job: CopyJob<Mbuf>, pieces: &mut Pieces<'_, '_, Mbuf>) {
        self.stats.jobs += 1;
        self.stats.bytes += u64::from(job.len);
        if let Some(reason) = self.decide(&job, pieces.len()) {
            self.accelerator.count_by_cpu(reason);
            self.done.push(copy_with_cpu(job, pieces));
            return;
        }
        let (count, len) = (pieces.len() as u32, job.len);
        self.accelerator.jobs += 1;
        self.accelerator.bytes += u64::from(len);
        self.accelerator.copies += u64::from(count);
        let mut target = job.target;
        let room = target
            .room_mut()
            .expect("the target of a copy job has one owner")
            .len();
        target.set_len(len as usize);
        let to_device = device_offset(&target);
        let base = target.address() as u64;
        let id = self.jobs.add(target, job.tag, count);
        for piece in pieces {
            let (from, to) = (piece.source_offset as usize, piece.target_offset as usize);
            let bytes = &piece.source.data()[from..from + piece.len as usize];
            assert!(
                to + piece.len as usize <= room,
                "a piece beyond its target's room"
            );
            let from_device = (bytes.as_ptr() as u64).wrapping_add(device_offset(&piece.source));
            let target = base + to as u64;
            let copy = Copy {
                from: bytes.as_ptr(),
                to: std::ptr::with_exposed_provenance_mut(target as usize),
                len: piece.len,
                source: piece.source,
                owner: Owner::Job(id),
                submitted: self.now,
            };
            self.start(copy, from_device, target.wrapping_add(to_device));
        }
    }

    fn start(&mut self, copy: Copy, source: u64, target: u64) {
        if self.copies.is_empty() {
            self.heard = self.now;
        }
        let device = self.device.as_mut().expect("decide() saw to it");
        // SAFETY: `copies` and `jobs` own both frames until the copy is reported.
        if unsafe { device.queue(source, target, copy.len) } {
            self.copies.push_back(copy);
            self.queued += 1;
            if self.queued == BATCH {
                self.launch();
            }
        } else {
            self.redo(&copy);
            self.end(copy);
        }
    }

    fn launch(&mut self) {
        if let Some(device) = &mut self.device
            && self.queued > 0
        {
            device.submit();
            match std::mem::take(&mut self.queued) {
                1 => self.accelerator.singles += 1,
                count => self.accelerator.count_batch(count),
            }
        }
    }

    fn redo(&mut self, copy: &Copy) {
        // SAFETY: both frames are owned, `take` checked the bounds, and no Rust reference is used to
        // the target's room. If the device still writes there, it writes the same bytes.
        unsafe { std::ptr::copy_nonoverlapping(copy.from, copy.to, copy.len as usize) };
        self.accelerator.redone += 1;
    }

    /// A copy has ended: its job, too, if it was the last.
    fn end(&mut self, copy: Copy) {
        if let Owner::Job(id) = copy.owner {
            self.done.extend(self.jobs.piece_done(id));
        }
        drop(copy.source);
    }

    fn take_reports(&mut self) {
        let Some(device) = &mut self.device else {
            return;
        };
        let mut ends = std::mem::take(&mut self.ends);
        device.reports(&mut ends);
        for end in ends.drain(..) {
            let Some(copy) = self.copies.pop_front() else {
                log::error!("a DMA device reports more copies than it was given");
                break;
            };
            self.heard = self.now;
            self.accelerator.lost = 0;
            self.accelerator.completions += 1;
            self.accelerator.delay_us += self.now.saturating_sub(copy.submitted);
            if self.late > 0 {
                self.late -= 1;
            } else if end != CopyEnd::Copied {
                self.accelerator.faults += u64::from(end == CopyEnd::PageFault);
                self.redo(&copy);
            }
            self.end(copy);
        }
        self.ends = ends;
    }

    /// Nothing was heard for too long: the CPU does it all.
    fn expire(&mut self) {
        self.accelerator.timeouts += 1;
        while self.late < self.copies.len() {
            let at = self.late;
            self.late += 1;
            let Owner::Job(id) = self.copies[at].owner else {
                continue;
            };
            let (from, to, len) = {
                let copy = &self.copies[at];
                (copy.from, copy.to, copy.len)
            };
            // SAFETY: as in `redo`.
            unsafe { std::ptr::copy_nonoverlapping(from, to, len as usize) };
            self.accelerator.redone += 1;
            self.copies[at].owner = Owner::Late(self.jobs.target(id).clone());
            self.done.extend(self.jobs.piece_done(id));
        }
    }
}

/// What is added to an address of the process in a frame to get the device's. Zero where the IOMMU
/// has the process's own addresses (IOVA as VA), or the device does without any.
fn device_offset(frame: &Mbuf) -> u64 {
    let raw = frame.raw();
    // SAFETY: the frame is live.
    unsafe { (*raw).buf_iova.wrapping_sub((*raw).buf_addr as u64) }
}

impl<D: DmaChannel> Mover<Mbuf> for DmaMover<D> {
    fn mode(&self) -> MoveMode {
        MoveMode::Copy
    }

    fn begin_turn(&mut self, now_us: u64) {
        self.now = now_us;
    }

    fn submit(&mut self, batch: &mut CopyBatch<Mbuf>) {
        if batch.is_empty() {
            return;
        }
        self.stats.batches += 1;
        batch.take_jobs(|job, pieces| self.take(job, pieces));
        self.launch();
    }

    fn harvest(&mut self, done: &mut Vec<Done<Mbuf>>) {
        if !self.copies.is_empty() {
            self.take_reports();
            let silence = self.now.saturating_sub(self.heard);
            if silence >= self.settings.deadline_us && self.late < self.copies.len() {
                self.expire();
            }
            let lost = silence >= self.settings.deadline_us.saturating_mul(LOST_AFTER);
            if lost && self.accelerator.lost == 0 && !self.copies.is_empty() {
                self.accelerator.lost = 1;
                log::warn!(
                    "DMA device {}: no report for {} ms, the CPU copies until there is one",
                    self.device.as_ref().map_or("", DmaChannel::name),
                    silence / 1000
                );
            }
        }
        done.append(&mut self.done);
    }

    fn in_flight(&self) -> usize {
        self.jobs.len() + self.done.len()
    }

    fn quarantined(&self) -> usize {
        2 * self.late
    }

    fn stats(&self) -> MoverStats {
        self.stats
    }

    fn accelerator(&self) -> AcceleratorStats {
        AcceleratorStats {
            in_flight: self.copies.len() as u64,
            quarantined: self.quarantined() as u64,
            ..self.accelerator
        }
    }
}

/// How long the device is waited for before it is stopped. A device needs microseconds; a modelled one, on
/// a machine with more to do, its share of the CPU.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Polls between two looks at the clock.
const POLLS_A_LOOK: u32 = 1000;

impl<D: DmaChannel> Drop for DmaMover<D> {
    /// Waits for the device, then stops it. What it still has not reported may be written by it for
    /// all that is known, and is leaked.
    #[allow(
        clippy::disallowed_methods,
        reason = "nobody calls with the time any more"
    )]
    fn drop(&mut self) {
        let start = Instant::now();
        loop {
            for _ in 0..POLLS_A_LOOK {
                self.take_reports();
                if self.copies.is_empty() {
                    break;
                }
            }
            if self.copies.is_empty() || start.elapsed() >= LAST_WAIT {
                break;
            }
            // A modelled device may need this CPU.
            std::thread::yield_now();
        }
        drop(self.device.take());
        if !self.copies.is_empty() {
            log::error!(
                "{} copies of a DMA device never ended: their frames are lost",
                self.copies.len()
            );
            std::mem::forget(std::mem::take(&mut self.copies));
            std::mem::forget(std::mem::replace(&mut self.jobs, Jobs::with_capacity(0)));
        }
    }
}
