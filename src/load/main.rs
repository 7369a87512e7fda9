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
mod parse;
mod plan;
mod url;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use cli::Command;

/// Exit status when it could not run.
const FAILED: u8 = 1;

/// Exit status when the command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Kernel(options)) => {
            let _plan = options.plan();
            complain(FAILED, "--kernel is not there yet")
        }
        Ok(Command::Ports { .. }) => complain(FAILED, "--port is not there yet"),
        Err(error) => complain(USAGE, error),
    }
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
