//! Lines about what the workers did: one now and then, and one at the end.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use dataplane::counters::{
    Accelerator, Account, BatchSize, Counter, Counters, CpuJob, Drop, Responses, SharedCounters,
};
use dpdk::Eal;

use super::clock::Clock;
use super::error::StartError;

const NAME: &str = "stats";

/// The values of all workers, added up.
pub fn total(workers: &[Arc<SharedCounters>]) -> Counters {
    sum(&read(workers))
}

fn read(workers: &[Arc<SharedCounters>]) -> Vec<Counters> {
    workers.iter().map(|worker| worker.read()).collect()
}

fn sum(workers: &[Counters]) -> Counters {
    let mut total = Counters::default();
    for worker in workers {
        total.add(worker);
    }
    total
}

/// Of several workers, a line on what each did.
pub fn shares(workers: &[Arc<SharedCounters>]) -> Vec<String> {
    share_lines(&read(workers))
}

fn share_lines(workers: &[Counters]) -> Vec<String> {
    if workers.len() < 2 {
        return Vec::new();
    }
    let line = |(index, counters): (usize, &Counters)| {
        format!(
            "worker {index}: {} requests, {} connections accepted, {} to origins, {} packets handed \
             over, {} taken over",
            counters[Counter::Requests],
            counters[Counter::Accepted],
            counters[Counter::Connected],
            counters[Counter::HandedOver],
            counters[Counter::TakenOver],
        )
    };
    workers.iter().enumerate().map(line).collect()
}

/// The thread that logs a summary line each interval.
#[derive(Debug)]
pub struct Stats {
    /// Dropped to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Stats {
    /// Starts the thread. It runs beside the workers' cores, not on one.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(
        eal: &Eal,
        interval: Duration,
        workers: Vec<Arc<SharedCounters>>,
    ) -> Result<Self, StartError> {
        let (stop, stopped) = bounded(0);
        let eal = eal.clone();
        let thread = std::thread::Builder::new()
            .name(NAME.into())
            .spawn(move || {
                eal.leave_lcore();
                drop(eal);
                let clock = Clock::start();
                let (mut earlier, mut then) = (read(&workers), clock.now_ns());
                while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    let (current, now) = (read(&workers), clock.now_ns());
                    let seconds = (now - then) as f64 / 1e9;
                    log::info!("{}", line(&current, &earlier, seconds));
                    (earlier, then) = (current, now);
                }
            })
            .map_err(|source| StartError::Thread { name: NAME, source })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error!("the thread {NAME} had failed");
        }
    }
}

/// What all workers did since `earlier`, and, of several, how busy each was.
fn line(current: &[Counters], earlier: &[Counters], seconds: f64) -> String {
    let mut line = sum(current).summary(&sum(earlier), seconds).to_string();
    if current.len() > 1 {
        for (index, (now, then)) in current.iter().zip(earlier).enumerate() {
            let grown = now.since(then);
            let (busy, idle) = (grown[Counter::BusyNanos], grown[Counter::IdleNanos]);
            let share = 100.0 * busy as f64 / (busy + idle).max(1) as f64;
            let separator = if index == 0 { "; " } else { ", " };
            line += &format!("{separator}worker {index} {share:.0} % busy");
        }
        let handed = sum(current).since(&sum(earlier))[Counter::HandedOver];
        if handed > 0 {
            let rate = handed as f64 / seconds;
            line += &format!(", {rate:.0} packets/s between workers");
        }
    }
    line
}

/// The line at the end: what was done in all.
#[derive(Debug)]
pub struct Farewell(pub Counters);

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(counters) = self;
        write!(f, "in all: {} requests", counters[Counter::Requests])?;
        let classes = Responses::ALL.iter();
        let classes = classes.map(|&class| (class.name(), counters[class]));
        list(f, ", responses: ", classes)?;
        write!(
            f,
            ", {} connections accepted, {} to origins, {} segments sent again",
            counters[Counter::Accepted],
            counters[Counter::Connected],
            counters[Counter::Retransmissions],
        )?;
        let drops = Drop::ALL.iter();
        let drops = drops.map(|&reason| (reason.name(), counters[reason]));
        list(f, ", dropped: ", drops)?;
        write!(f, "{}", Account(counters))?;
        if counters[Accelerator::Jobs] > 0 {
            let values = Accelerator::ALL.iter();
            let values = values.map(|&value| {
                let name = value.name().trim_start_matches("accelerator_");
                (name, counters[value])
            });
            list(f, "; accelerator: ", values)?;
            let sizes = BatchSize::ALL.iter();
            let sizes = sizes.map(|&size| (size.name(), counters[size]));
            list(f, ", batches by size: ", sizes)?;
            let reasons = CpuJob::ALL.iter();
            let reasons = reasons.map(|&reason| (reason.name(), counters[reason]));
            list(f, ", by CPU instead: ", reasons)?;
        }
        Ok(())
    }
}

/// `title`, then the values that are not 0, or "none".
fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut separator = title;
    for (name, value) in values.filter(|&(_, value)| value != 0) {
        write!(f, "{separator}{name} {value}")?;
        separator = ", ";
    }
    if separator == title {
        write!(f, "{title}none")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(busy: u64, idle: u64, requests: u64) -> Counters {
        let mut counters = Counters::default();
        counters[Counter::BusyNanos] = busy;
        counters[Counter::IdleNanos] = idle;
        counters[Counter::Requests] = requests;
        counters
    }

    #[test]
    fn several_workers_are_added_up_and_told_apart() {
        let none = [Counters::default(), Counters::default()];
        let two = [worker(900, 100, 30), worker(100, 900, 10)];
        let text = line(&two, &none, 2.0);
        assert!(text.starts_with("20 requests/s"), "{text}");
        assert!(text.contains("core 50 % busy"), "{text}");
        assert!(
            text.ends_with("; worker 0 90 % busy, worker 1 10 % busy"),
            "{text}"
        );
        let one = line(&two[..1], &none[..1], 2.0);
        assert!(!one.contains("worker"), "{one}");

        let mut handed = two.clone();
        handed[1][Counter::HandedOver] = 14;
        let text = line(&handed, &none, 2.0);
        assert!(
            text.ends_with("10 % busy, 7 packets/s between workers"),
            "{text}"
        );
    }

    #[test]
    fn the_share_of_each_worker() {
        let mut two = [worker(0, 0, 30), worker(0, 0, 10)];
        assert!(share_lines(&two[..1]).is_empty());
        two[1][Counter::Accepted] = 4;
        two[1][Counter::Connected] = 3;
        two[1][Counter::HandedOver] = 2;
        two[1][Counter::TakenOver] = 1;
        let lines = share_lines(&two);
        assert_eq!(
            lines[1],
            "worker 1: 10 requests, 4 connections accepted, 3 to origins, 2 packets handed over, \
             1 taken over"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn the_farewell_names_what_is_not_zero() {
        let mut counters = worker(0, 0, 7);
        assert_eq!(
            Farewell(counters.clone()).to_string(),
            "in all: 7 requests, responses: none, 0 connections accepted, 0 to origins, \
             0 segments sent again, dropped: none"
        );
        counters[Responses::Successful] = 6;
        counters[Responses::ClientError] = 1;
        counters[Counter::Accepted] = 2;
        counters[Drop::RxShort] = 3;
        let text = Farewell(counters.clone()).to_string();
        assert!(
            text.contains("responses: 2xx 6, 4xx 1, 2 connections accepted"),
            "{text}"
        );
        assert!(text.ends_with("dropped: rx_short 3"), "{text}");
        counters[Accelerator::Jobs] = 9;
        counters[Accelerator::Batches] = 2;
        counters[BatchSize::From4] = 2;
        let text = Farewell(counters).to_string();
        assert!(
            text.ends_with(
                "dropped: rx_short 3; accelerator: jobs 9, batches 2, batches by size: from_4 2, \
                 by CPU instead: none"
            ),
            "{text}"
        );
    }
}
