//! The end of a run: what is told of it, where, and with which exit status.

use std::io;
use std::path::Path;

use crate::cli::Options;
use crate::plan::Plan;
use crate::report::Report;
use crate::tally::Tally;

/// A run that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// Threads or lcores that did it.
    pub workers: u32,
    /// What carried it.
    pub carrier: String,
    /// From the first request's time to the end of the last exchange.
    pub elapsed_us: u64,
    /// When it began, as nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// What was counted.
    pub tally: Tally,
}

impl Finished {
    /// What goes to standard output: the report, or its JSON where that is asked for there. Writes the
    /// JSON file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tell(&self, options: &Options, plan: &Plan) -> io::Result<String> {
        let report = Report {
            plan,
            workers: self.workers,
            carrier: &self.carrier,
            elapsed_us: self.elapsed_us,
            started_unix_ns: self.started_unix_ns,
            tally: &self.tally,
            percentiles: &options.percentiles,
        };
        let json = || format!("{:#}\n", report.json());
        match &options.json {
            Some(path) if path == Path::new("-") => return Ok(json()),
            Some(path) => std::fs::write(path, json())?,
            None => {}
        }
        Ok(report.to_string())
    }
}

/// What is said before a run.
pub fn announce(plan: &Plan, workers: u32) -> String {
    use dataplane::load::schedule::End;
    let rate = if plan.pace.qps > 0.0 {
        format!("{} requests/s", crate::report::significant(plan.pace.qps))
    } else {
        "as many requests as possible".to_owned()
    };
    let end = match plan.pace.end {
        End::AfterUs(us) => {
            let time = std::time::Duration::from_micros(us);
            format!("for {}", humantime::format_duration(time))
        }
        End::Requests(requests) => format!("until there were {requests}"),
        End::Never => "until interrupted".to_owned(),
    };
    format!(
        "minivoy-load {}: {} {}, {rate} on {} connections{}, {workers} threads, {end}",
        env!("CARGO_PKG_VERSION"),
        plan.method,
        plan.url,
        plan.pace.connections,
        if plan.keep_alive {
            ""
        } else {
            " of one request each"
        },
    )
}
