//! The command line: `minivoy-load [EAL options] -- [options] URL`, and with `--kernel`, where there is
//! no EAL, `minivoy-load --kernel [options] URL`.
//!
//! The options are in the spirit of `fortio load`, so that who knows it need not read much.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};
use dataplane::load::schedule::{End, Pace};
use minivoy::eal_args;
use minivoy::halves::{Halves, UsageError, one_line};

use crate::parse;
use crate::plan::{Payload, Plan};
use crate::url::Url;

const PROGRAM: &str = "minivoy-load";

/// What `--help` says before the options.
const INTRODUCTION: &str = "\
minivoy-load, an HTTP/1.1 load generator and origin

Usage:
  minivoy-load --kernel [options] URL                       over kernel sockets
  minivoy-load --kernel [options] --origin ADDR:PORT        the other end of it
  minivoy-load [EAL options] -- --port … [options] URL      on a NIC, without the kernel
  minivoy-load [EAL options] -- --port … --origin ADDR:PORT

Examples:
  as many requests as 100 connections can take, for 10 seconds:
    minivoy-load --kernel -c 100 -t 10s http://10.0.0.1:8080/16k
  5000 requests a second, latency counted from when each should have begun:
    minivoy-load --kernel -c 100 -q 5000 -t 60s --json run.json http://10.0.0.1:8080/16k
  an origin whose bodies are as long as the path says (/16384, /16k, /12m, /x?size=16k):
    minivoy-load --kernel --origin 10.0.0.1:8080
  on an interface of its own, with an address that the kernel does not have:
    minivoy-load -l 1 --no-pci --no-huge -m 512 -- --port lan=packet:eth1,address=10.0.0.9/24 \\
      -c 100 -t 10s http://10.0.0.1:8080/16k

EAL options are those of minivoy (`minivoy --help`): -l CPUS, -a DEVICE, --no-pci, --no-huge -m MIB, …

Exit status: 0 every exchange got its response; 3 some did not; 1 could not run; 2 the command line
is wrong; 128 plus the signal's number after a second signal.
";

/// minivoy-load's own options.
#[derive(Clone, Debug, Parser, PartialEq)]
#[command(
    name = "minivoy-load",
    version,
    about = None,
    override_usage = "minivoy-load [EAL options] -- [options] URL",
    help_template = "Options:\n{options}\n\nArguments:\n{positionals}",
)]
pub struct Options {
    /// What to fetch, e.g. http://10.0.0.1:8080/16k; the host is an address, for names are not
    /// resolved
    #[arg(value_name = "URL", required_unless_present = "origin")]
    pub url: Option<Url>,

    /// Connections, and the most exchanges at once
    #[arg(short = 'c', long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub connections: u32,

    /// Requests a second, on all connections together; 0: as many as they can take
    #[arg(short = 'q', long, value_name = "RATE", default_value_t = 0.0, value_parser = parse::rate)]
    pub qps: f64,

    /// How long; 0: until it is interrupted [default: 5s, for an origin 0]
    #[arg(short = 't', long, value_name = "TIME", value_parser = parse::duration, conflicts_with = "requests")]
    pub time: Option<Duration>,

    /// Time before that, in which responses are not counted; failures are
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse::duration, conflicts_with = "requests")]
    pub warmup: Duration,

    /// How many requests, in place of how long
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// Whether connections are kept for the next request
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 1)]
    pub keepalive: bool,

    /// The same as --keepalive false: a connection for each request
    #[arg(long)]
    pub no_keepalive: bool,

    /// Method [default: GET, with a body POST]
    #[arg(short = 'X', long, value_name = "METHOD", value_parser = parse::method)]
    pub method: Option<String>,

    /// Send a body of this size with each request, e.g. 16k
    #[arg(long, value_name = "SIZE", value_parser = parse::size, conflicts_with = "payload")]
    pub body_size: Option<u64>,

    /// Send this text as the body of each request
    #[arg(long, value_name = "TEXT")]
    pub payload: Option<String>,

    /// Send this field with each request (repeat for more); Host replaces the URL's
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse::field)]
    pub headers: Vec<(String, String)>,

    /// An exchange that takes longer has failed, and its connection is closed; 0: never
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse::duration)]
    pub timeout: Duration,

    /// Compare every byte of bodies with what --origin sends there
    #[arg(long)]
    pub verify: bool,

    /// Percentiles to print
    #[arg(short = 'p', long, value_name = "LIST", default_value = "50,75,90,99,99.9", value_parser = parse::percentiles)]
    pub percentiles: Percentiles,

    /// Write the result as JSON to this file, or to standard output (-) in place of the report
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,

    /// Seconds between two lines of progress on standard error; 0: none
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_value_t = 1, default_missing_value = "1")]
    pub progress: u32,

    /// Be an origin here: bodies as long as the path says, /16384, /16k, /12m or /x?size=16k
    #[arg(long, value_name = "ADDR:PORT")]
    pub origin: Option<SocketAddr>,

    /// Use kernel sockets: no EAL options, no `--`
    #[arg(long)]
    pub kernel: bool,

    /// Threads, each with its part of the connections (with --kernel; otherwise one for each CPU of
    /// EAL's -l)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,

    /// Connect from these addresses in turn, e.g. 10.9.0.0/16 or 10.9.0.5 (repeat for more); with
    /// --kernel the kernel must have them: ip route add local 10.9.0.0/16 dev lo
    #[arg(long, value_name = "PREFIX", value_parser = parse::sources)]
    pub sources: Vec<Sources>,

    /// A port of minivoy-load's own, without the kernel: NAME=packet:INTERFACE or NAME=dpdk:DEVICE,
    /// then ,address=A/L and where needed ,gateway=A ,sources=PREFIX
    #[arg(long = "port", value_name = "NAME=DEVICE,…", conflicts_with = "kernel")]
    pub ports: Vec<String>,

    /// On a port of its own, under load: begin no turn sooner than this after the last, which over
    /// packet: ports means fewer system calls
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub coalesce_us: u32,

    /// Small frames (about 2 KiB) for each worker, on ports of its own
    #[arg(long, value_name = "N", default_value_t = 16_383, value_parser = clap::value_parser!(u32).range(1024..))]
    pub pool_small: u32,

    /// Large frames (about 16 KiB) for each worker, on ports of its own
    #[arg(long, value_name = "N", default_value_t = 8_191, value_parser = clap::value_parser!(u32).range(1024..))]
    pub pool_large: u32,

    /// Least severe message that is logged [default: what RUST_LOG says, else warn]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<log::LevelFilter>,
}

/// Percentiles, as they were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

/// A run of source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The first address.
    pub first: IpAddr,
    /// How many there are.
    pub count: u128,
}

impl Options {
    /// What every half needs to know of a run against the URL. `None` for an origin.
    pub fn plan(&self) -> Option<Plan> {
        let url = self.url.clone()?;
        let payload = match (&self.payload, self.body_size) {
            (Some(text), _) => Some(Payload::Text(text.clone().into_bytes())),
            (None, Some(size)) => Some(Payload::Pattern(size)),
            (None, None) => None,
        };
        let end = match (self.requests, self.time) {
            (Some(requests), _) => End::Requests(requests),
            (None, Some(Duration::ZERO)) => End::Never,
            (None, time) => End::AfterUs(micros(time.unwrap_or(Duration::from_secs(5)))),
        };
        let with_body = if payload.is_some() { "POST" } else { "GET" };
        Some(Plan {
            pace: Pace::new(self.qps, self.connections, end),
            warmup_us: micros(self.warmup),
            url,
            method: self.method.clone().unwrap_or_else(|| with_body.to_owned()),
            fields: self.headers.clone(),
            payload,
            keep_alive: self.keepalive && !self.no_keepalive,
            timeout_us: match micros(self.timeout) {
                0 => None,
                us => Some(us),
            },
            verify: self.verify,
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Print this on standard output and exit with 0: help or version.
    Print(String),
    /// Go on over kernel sockets.
    Kernel(Box<Options>),
    /// Go on over ports of its own.
    Ports {
        /// EAL's arguments, the program's name first.
        eal: Vec<String>,
        /// minivoy-load's own.
        options: Box<Options>,
    },
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// [`UsageError`] when an option is unknown, lacks its value, stands in the wrong half, or does not go
/// with another.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let args: Vec<OsString> = args.into_iter().collect();
    // With --kernel there is no EAL, and so no half of it.
    let own = args.iter().take_while(|arg| *arg != "--");
    if own.into_iter().any(|arg| arg == "--kernel") {
        return match own_options(&args)? {
            Ok(options) => Ok(Command::Kernel(Box::new(options))),
            Err(print) => Ok(print),
        };
    }
    let halves = Halves::divide(args, PROGRAM)?;
    match eal_args::help_or_version(&halves.eal[1..]) {
        Some(eal_args::Ask::Help) => return Ok(Command::Print(help())),
        Some(eal_args::Ask::Version) => return Ok(Command::Print(version())),
        None => {}
    }
    if !halves.split {
        return Err(UsageError(format!(
            "neither --kernel nor `--` on the command line: type `{PROGRAM} --kernel [options] URL` for \
             kernel sockets, or `{PROGRAM} [EAL options] -- --port … [options] URL` \
             (`{PROGRAM} --help` explains both)"
        )));
    }
    halves.check_eal(&Options::command(), PROGRAM)?;
    let options = match own_options(&halves.own)? {
        Ok(options) => options,
        Err(print) => return Ok(print),
    };
    if options.kernel {
        return match &halves.eal[1..] {
            [] => Ok(Command::Kernel(Box::new(options))),
            [option, ..] => Err(UsageError(format!(
                "{option} stands before `--`, where EAL's options are, and with --kernel there is no EAL: \
                 {PROGRAM} --kernel [options] URL"
            ))),
        };
    }
    if options.ports.is_empty() {
        return Err(UsageError(
            "no --port: name one, e.g. --port lan=packet:eth1,address=10.0.0.9/24, or use --kernel"
                .into(),
        ));
    }
    Ok(Command::Ports {
        eal: halves.eal,
        options: Box::new(options),
    })
}

/// Reads minivoy-load's own options; the inner error is what is to be printed in their place.
fn own_options(own: &[OsString]) -> Result<Result<Options, Command>, UsageError> {
    match Options::try_parse_from(own) {
        Ok(options) => check(&options).map(|()| Ok(options)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Err(Command::Print(help()))),
            ErrorKind::DisplayVersion => Ok(Err(Command::Print(version()))),
            _ => Err(one_line(&error, own, PROGRAM)),
        },
    }
}

/// What clap cannot know.
fn check(options: &Options) -> Result<(), UsageError> {
    if options.kernel && options.url.is_some() && options.origin.is_some() {
        return Err(UsageError(
            "with --kernel it is either a URL or --origin: start it twice for both".into(),
        ));
    }
    let families = options
        .sources
        .iter()
        .map(|sources| sources.first.is_ipv4());
    if let Some(url) = &options.url
        && let mut families = families
        && families.any(|is_ipv4| is_ipv4 != url.address.is_ipv4())
    {
        return Err(UsageError(format!(
            "--sources and {} are of different address families",
            url.address
        )));
    }
    Ok(())
}

/// Help for everything.
fn help() -> String {
    format!("{INTRODUCTION}\n{}", Options::command().render_help())
}

fn version() -> String {
    format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
