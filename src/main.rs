//! minivoy: an HTTP/1.x reverse proxy for NICs that bypass the kernel.
//!
//! This is the launch side: it reads the command line and the configuration, looks whether the
//! machine has what they need, and hands over to [`system`], which puts the parts together.
//! Whatever is wrong ends in a line on standard error that says what to do, and in an exit status.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program's messages to the person who started it"
)]

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use dsa::sysfs::Tree;
use minivoy::access_log::AccessLog;
use minivoy::cli::{self, Command, Options};
use minivoy::config::{self, Config};
use minivoy::eal_args::EalArgs;
use minivoy::preflight::{self, Level, Sources};
use minivoy::signals::Signals;
use minivoy::system;

/// Exit status when something failed at the start or while running.
const FAILED: u8 = 1;

/// Exit status when the command line or the configuration is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Run { eal, options }) => match launch(eal, &options) {
            Ok(code) => code,
            Err(refusal) => complain(refusal.code, refusal.message),
        },
        Err(error) => complain(USAGE, error),
    }
}

/// What is printed on the way out when minivoy does not get to run, and the exit status.
struct Refusal {
    code: u8,
    message: String,
}

/// A reason not to run, in one line or several.
fn refusal(code: u8, message: impl Display) -> Refusal {
    Refusal {
        code,
        message: message.to_string(),
    }
}

/// The way to a running proxy, or to the answer that `--check` and `--validate` ask for.
fn launch(eal: Vec<String>, options: &Options) -> Result<ExitCode, Refusal> {
    start_logger(options.log_level);
    let mut config = config::load(&options.config).map_err(|error| refusal(USAGE, error))?;
    config.settings.access_log = options.access_log.is_some();
    override_memory(&mut config, options);
    config
        .check_frames()
        .map_err(|line| refusal(USAGE, format!("{}: {line}", options.config.display())))?;
    if options.validate {
        return Ok(print(&format!("{}: ok\n", options.config.display())));
    }

    let args = EalArgs::parse(&eal[1..]);
    let mut findings = preflight::run(&Sources::default(), &config, &args);
    let workers = args.cpus.as_ref().map_or(1, Vec::len);
    findings.extend(preflight::accelerator(
        options,
        &Tree::from_environment(),
        workers,
    ));
    if options.check {
        let _printed = print(&preflight::table(&findings));
        return Ok(match preflight::worst(&findings) {
            Level::Ok | Level::Warn => ExitCode::SUCCESS,
            Level::Fail => ExitCode::from(FAILED),
        });
    }
    preflight::refuse(&findings).map_err(|lines| refusal(FAILED, lines))?;

    let signals = Signals::install()
        .map_err(|error| refusal(FAILED, format!("cannot take over signals: {error}")))?;
    let access_log = start_access_log(options, &config, &signals)?;
    system::run(system::Launch {
        eal,
        config,
        mover: options.mover,
        accelerator: options.accelerator.clone(),
        stats_interval: options.stats_interval(),
        coalesce_us: options.coalesce_us,
        idle: options.idle,
        access_log,
        signals,
    })
    .map_err(|error| refusal(FAILED, error))?;
    Ok(ExitCode::SUCCESS)
}

fn start_access_log(
    options: &Options,
    config: &Config,
    signals: &Signals,
) -> Result<Option<AccessLog>, Refusal> {
    let Some(path) = &options.access_log else {
        return Ok(None);
    };
    let clusters = config.settings.clusters.iter();
    let names = clusters.map(|cluster| cluster.name.clone()).collect();
    let format = options.access_log_format;
    AccessLog::start(path, format, names, signals.reopen_flag())
        .map(Some)
        .map_err(|error| {
            let path = path.display();
            refusal(FAILED, format!("cannot open access log {path}: {error}"))
        })
}

fn override_memory(config: &mut Config, options: &Options) {
    let memory = &mut config.memory;
    memory.small_frames = options.pool_small.unwrap_or(memory.small_frames);
    memory.large_frames = options.pool_large.unwrap_or(memory.large_frames);
}

/// Messages go to standard error with time and level. `--log-level` wins over RUST_LOG.
fn start_logger(level: Option<log::LevelFilter>) {
    let env = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(env);
    let _builder = builder.format_timestamp_millis();
    if let Some(level) = level {
        // Filters from RUST_LOG for single modules would otherwise stay in force.
        builder = env_logger::Builder::new();
        let _builder = builder.format_timestamp_millis().filter_level(level);
    }
    builder.init();
}

/// Prints on standard output; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

/// Prints each line of `message` as minivoy's and returns the exit status.
fn complain(code: u8, message: impl Display) -> ExitCode {
    for line in message.to_string().lines() {
        eprintln!("minivoy: {line}");
    }
    ExitCode::from(code)
}
