//! What a run came to: as text in the layout of `fortio load`, and as JSON with its names, so that runs
//! can be laid beside earlier ones.
//!
//! Where requests had times of their own (`--qps`), `Aggregated Function Time`, the targets below it and
//! `DurationHistogram` count from those times; what the exchanges themselves took is beside them as
//! service time. As fast as possible both are the same.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use dataplane::load::schedule::End;
use serde_json::{Value, json};

use crate::cli::Percentiles;
use crate::plan::Plan;
use crate::tally::{Spread, Tally, Times};

/// Bounds of the ranges that times are shown in, in each power of ten.
const STEPS: [f64; 7] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0];

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// Threads or lcores that did it.
    pub workers: u32,
    /// What carried it: `kernel sockets`, or the ports.
    pub carrier: &'a str,
    /// From the first request's time to the end of the last exchange.
    pub elapsed_us: u64,
    /// When it began, as nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// What was counted, by all workers together.
    pub tally: &'a Tally,
    /// Which percentiles are told.
    pub percentiles: &'a Percentiles,
}

impl Report<'_> {
    /// Exchanges a second.
    pub fn qps(&self) -> f64 {
        if self.elapsed_us == 0 {
            return 0.0;
        }
        self.tally.calls() as f64 * 1e6 / self.elapsed_us as f64
    }

    fn is_paced(&self) -> bool {
        self.plan.pace.qps > 0.0
    }

    /// The report as JSON; times in seconds, but `ActualDuration` in nanoseconds.
    pub fn json(&self) -> Value {
        let tally = self.tally;
        let mut codes: serde_json::Map<String, Value> = tally
            .statuses()
            .map(|(status, count)| (status.to_string(), count.into()))
            .collect();
        if tally.failed_calls() > 0 {
            let _none = codes.insert("-1".into(), tally.failed_calls().into());
        }
        let failures: serde_json::Map<String, Value> = tally
            .failures()
            .map(|(failure, count)| (failure.text().to_owned(), count.into()))
            .collect();
        let (exactly, duration) = match self.plan.pace.end {
            End::Requests(requests) => (requests, format!("exactly {requests} calls")),
            End::AfterUs(us) => (
                0,
                humantime::format_duration(Duration::from_micros(us)).to_string(),
            ),
            End::Never => (0, "until interrupted".to_owned()),
        };
        json!({
            "RunType": "HTTP",
            "Version": concat!("minivoy-load ", env!("CARGO_PKG_VERSION")),
            "Carrier": self.carrier,
            "StartTime": start_time(self.started_unix_ns),
            "URL": self.plan.url.to_string(),
            "RequestedQPS": self.requested_qps(),
            "RequestedDuration": duration,
            "Exactly": exactly,
            "ActualQPS": self.qps(),
            "ActualDuration": self.elapsed_us.saturating_mul(1000),
            "NumThreads": self.workers,
            "NumConnections": self.plan.pace.connections,
            "KeepAlive": self.plan.keep_alive,
            "SocketCount": tally.sockets,
            "DurationHistogram": self.histogram_json(&tally.latency),
            "ServiceHistogram": self.histogram_json(&tally.service),
            "ErrorsDurationHistogram": self.histogram_json(&tally.failed),
            "MissedCalls": tally.missed,
            "RetCodes": codes,
            "Failures": failures,
            "HeaderSizes": spread_json(&tally.heads),
            "Sizes": spread_json(&tally.responses),
        })
    }

    fn requested_qps(&self) -> String {
        if self.is_paced() {
            significant(self.plan.pace.qps)
        } else {
            "max".to_owned()
        }
    }

    fn histogram_json(&self, times: &Times) -> Value {
        let exact = &times.exact;
        let percentiles: Vec<Value> = self
            .percentiles
            .0
            .iter()
            .filter(|_| exact.count > 0)
            .map(|&percentile| {
                json!({ "Percentile": percentile, "Value": seconds(times.at(percentile)) })
            })
            .collect();
        let data: Vec<Value> = ranges(times)
            .map(|range| {
                json!({ "Start": range.start, "End": range.end, "Percent": range.percent, "Count": range.count })
            })
            .collect();
        json!({
            "Count": exact.count,
            "Min": seconds(exact.min),
            "Max": seconds(exact.max),
            "Sum": seconds(exact.sum),
            "Avg": exact.mean() / 1e6,
            "StdDev": exact.deviation() / 1e6,
            "Percentiles": percentiles,
            "Data": data,
        })
    }

    fn write_histogram(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        times: &Times,
    ) -> fmt::Result {
        let exact = &times.exact;
        if exact.count == 0 {
            return writeln!(f, "{title} : no data");
        }
        writeln!(
            f,
            "{title} : count {} avg {} +/- {} min {} max {} sum {}",
            exact.count,
            significant(exact.mean() / 1e6),
            significant(exact.deviation() / 1e6),
            significant(seconds(exact.min)),
            significant(seconds(exact.max)),
            significant(seconds(exact.sum)),
        )
    }

    fn write_targets(&self, f: &mut fmt::Formatter<'_>, what: &str, times: &Times) -> fmt::Result {
        if times.exact.count == 0 {
            return Ok(());
        }
        for &percentile in &self.percentiles.0 {
            let value = significant(seconds(times.at(percentile)));
            writeln!(f, "# {what} {percentile}% {value}")?;
        }
        Ok(())
    }
}

impl Display for Report<'_> {
    /// The report as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally;
        let calls = tally.calls();
        writeln!(
            f,
            "Ended after {} : {calls} calls. qps={}",
            Seconds(self.elapsed_us),
            significant(self.qps())
        )?;
        self.write_histogram(f, "Aggregated Function Time", &tally.latency)?;
        if calls > 0 {
            writeln!(f, "# range, mid point, percentile, count")?;
        }
        for range in ranges(&tally.latency) {
            writeln!(
                f,
                ">= {} <= {} , {} , {:.2}, {}",
                significant(range.start),
                significant(range.end),
                significant(f64::midpoint(range.start, range.end)),
                range.percent,
                range.count
            )?;
        }
        self.write_targets(f, "target", &tally.latency)?;
        if self.is_paced() {
            writeln!(
                f,
                "The times above count from when each request should have begun; of themselves the exchanges took"
            )?;
            self.write_histogram(f, "Service Time", &tally.service)?;
            self.write_targets(f, "service", &tally.service)?;
            writeln!(f, "Calls due but never begun: {}", tally.missed)?;
        }
        self.write_histogram(f, "Error cases", &tally.failed)?;
        writeln!(
            f,
            "Sockets used: {} (for perfect keepalive, would be {})",
            tally.sockets, self.plan.pace.connections
        )?;
        let percent = |count: u64| 100.0 * count as f64 / calls as f64;
        for (status, count) in tally.statuses() {
            writeln!(f, "Code {status:3} : {count} ({:.1} %)", percent(count))?;
        }
        let failed = tally.failed_calls();
        if failed > 0 {
            writeln!(f, "Code  -1 : {failed} ({:.1} %)", percent(failed))?;
            let mut causes = String::new();
            for (failure, count) in tally.failures() {
                write!(causes, "{} {count}, ", failure.text())?;
            }
            writeln!(f, "Of these: {}", causes.trim_end_matches(", "))?;
        }
        write_spread(f, "Response Header Sizes", &tally.heads)?;
        write_spread(f, "Response Body/Total Sizes", &tally.responses)?;
        writeln!(
            f,
            "All done {calls} calls (plus {} warmup) {:.3} ms avg, {:.1} qps",
            tally.warmup,
            tally.latency.exact.mean() / 1e3,
            self.qps()
        )
    }
}

/// Microseconds, shown as seconds with an `s`.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", significant(seconds(self.0)))
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A range of times, in seconds, that some of a histogram's lie in.
struct Range {
    start: f64,
    end: f64,
    /// Percent of all up to its end.
    percent: f64,
    count: u64,
}

/// The ranges that are not empty, ascending.
fn ranges(times: &Times) -> impl Iterator<Item = Range> {
    let bounds = (0..10).flat_map(|power| STEPS.map(|step| (step * 10f64.powi(power)) as u64));
    let Times { histogram, exact } = times;
    let (mut low, mut below) = (0, 0);
    bounds.filter_map(move |bound| {
        // A bound is the first value of the next range.
        let upto = histogram.count_between(0, bound.saturating_sub(1));
        let (start, count) = (low, upto - below);
        (low, below) = (bound, upto);
        (count > 0).then(|| Range {
            start: seconds(start.max(exact.min)),
            end: seconds(bound.min(exact.max)),
            percent: 100.0 * upto as f64 / exact.count as f64,
            count,
        })
    })
}

fn spread_json(spread: &Spread) -> Value {
    json!({
        "Count": spread.count,
        "Min": spread.min,
        "Max": spread.max,
        "Sum": spread.sum,
        "Avg": spread.mean(),
        "StdDev": spread.deviation(),
    })
}

fn write_spread(f: &mut fmt::Formatter<'_>, title: &str, spread: &Spread) -> fmt::Result {
    if spread.count == 0 {
        return writeln!(f, "{title} : no data");
    }
    writeln!(
        f,
        "{title} : count {} avg {} +/- {} min {} max {} sum {}",
        spread.count,
        significant(spread.mean()),
        significant(spread.deviation()),
        spread.min,
        spread.max,
        spread.sum
    )
}

/// `value` with six significant digits or more, never in powers of ten, without needless zeros.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let decimals = (5 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn start_time(unix_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns.into())
        .map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
