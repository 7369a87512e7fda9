//! minivoy-load: an HTTP/1.1 load generator and origin.
//!
//! Two halves do the same over different carriers: kernel sockets (`--kernel`), and minivoy's own ports
//! and stack. What both share of HTTP, pacing and bodies is `dataplane::load`.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program's messages to the person who started it"
)]

mod cli;
mod kernel;
mod outcome;
mod parse;
mod plan;
mod progress;
mod report;
mod tally;
mod url;
mod wire;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Command, Options};
use minivoy::signals::Signals;
use outcome::Finished;
use plan::Plan;

/// Exit status when it could not run.
const FAILED: u8 = 1;

/// Exit status when the command line is wrong.
const USAGE: u8 = 2;

/// Exit status when it ran, and some exchanges did not get their response.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Kernel(options)) => {
            start_logger(options.log_level);
            over_kernel(&options).unwrap_or_else(|error| complain(FAILED, error))
        }
        Ok(Command::Ports { eal, options }) => {
            start_logger(options.log_level);
            over_ports(&eal, &options).unwrap_or_else(|error| complain(FAILED, error))
        }
        Err(error) => complain(USAGE, error),
    }
}

/// Load or origin over kernel sockets.
fn over_kernel(options: &Options) -> Result<ExitCode, String> {
    let signals =
        Signals::install().map_err(|error| format!("cannot take over signals: {error}"))?;
    if let Some(address) = options.origin {
        let time = options.time.filter(|time| *time > Duration::ZERO);
        kernel::serve(options, address, time, &signals)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(plan) = options.plan() else {
        return Err("neither a URL nor --origin".to_owned());
    };
    eprintln!("{}", outcome::announce(&plan, options.threads));
    let finished = kernel::load(options, &plan, &signals)?;
    tell(&finished, options, &plan)
}

/// Load, origin or both on ports of their own.
fn over_ports(eal: &[String], options: &Options) -> Result<ExitCode, String> {
    let signals =
        Signals::install().map_err(|error| format!("cannot take over signals: {error}"))?;
    let plan = options.plan();
    let finished = wire::run(eal, options, plan.as_ref(), &signals)?;
    match (finished, plan) {
        (Some(finished), Some(plan)) => tell(&finished, options, &plan),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says what a run came to.
fn tell(finished: &Finished, options: &Options, plan: &Plan) -> Result<ExitCode, String> {
    let text = finished
        .tell(options, plan)
        .map_err(|error| format!("cannot write the JSON file: {error}"))?;
    let _printed = print(&text);
    Ok(match finished.tally.failed_calls() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(INCOMPLETE),
    })
}

/// Messages go to standard error with time and level. `--log-level` wins over RUST_LOG.
fn start_logger(level: Option<log::LevelFilter>) {
    let env = env_logger::Env::default().default_filter_or("warn");
    let mut builder = env_logger::Builder::from_env(env);
    if let Some(level) = level {
        builder = env_logger::Builder::new();
        let _builder = builder.filter_level(level);
    }
    builder.format_timestamp_millis().init();
}

/// Prints on standard output; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

/// Prints each line of `message` as minivoy-load's and returns the exit status.
fn complain(code: u8, message: impl Display) -> ExitCode {
    for line in message.to_string().lines() {
        eprintln!("minivoy-load: {line}");
    }
    ExitCode::from(code)
}
