//! The command line: `minivoy [EAL options] -- [minivoy options]`.
//!
//! [`crate::halves`] divides it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, ValueEnum};

use crate::eal_args;
use crate::halves::{Halves, UsageError, one_line};

/// What `--help` says about the half that is EAL's.
const EAL_HELP: &str = "\
minivoy, an HTTP/1.x reverse proxy for NICs that bypass the kernel

Usage: minivoy [EAL options] -- [minivoy options]

EAL options: cores, memory and devices, read by DPDK. The ones needed most:
  -l 0-1                       run on these CPUs, one worker on each
  -a 0000:03:00.0              use only this PCI device (repeat for more)
  -b 0000:00:04.0              never touch this PCI device
      --no-pci                 use no PCI device at all
      --vdev NAME,KEY=VALUE    make a virtual device, e.g. net_virtio_user0,path=/tmp/x.sock
      --no-huge                ordinary memory instead of hugepages: for laptops and tests
  -m 512                       take this much memory at the start, in MiB
      --socket-mem 512,512     the same for each NUMA node
      --in-memory              leave no files behind in /dev/hugepages and /var/run
      --file-prefix NAME       tell apart several DPDK programs on one machine
      --log-level lib.eal:debug    what DPDK itself logs

Examples:
  a PCI NIC bound to vfio-pci:
    minivoy -l 1 -a 0000:03:00.0 --in-memory -- --config configs/pci-nic.toml
  a laptop, on any Linux interface, without hugepages:
    minivoy -l 0 --no-pci --no-huge -m 512 -- --config configs/proxy.toml
  what is missing on this machine:
    minivoy -l 1 -a 0000:03:00.0 --in-memory -- --config configs/pci-nic.toml --check
";

/// minivoy's half of the command line.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(
    name = "minivoy",
    version,
    about = None,
    override_usage = "minivoy [EAL options] -- [minivoy options]",
    help_template = "minivoy options:\n{options}",
)]
pub struct Options {
    /// Configuration file (TOML; configs/full.toml lists every key)
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,

    /// How payload gets from one side of a session to the other: copied by the CPU, sent from the
    /// frame it came in, or copied by an Intel DSA work queue (or by a software model of one, which
    /// is for trying it out) or any other DMA device that DPDK drives; auto: by DSA if each worker
    /// can have a queue, else by the CPU
    #[arg(long, value_enum, default_value_t = Mover::Mem)]
    pub mover: Mover,

    /// How the accelerator is used
    #[command(flatten)]
    pub accelerator: AcceleratorOptions,

    /// Look for what is missing on this machine, print it with its remedy, and exit
    #[arg(long, conflicts_with = "validate")]
    pub check: bool,

    /// Read the configuration, print what is wrong with it, and exit
    #[arg(long)]
    pub validate: bool,

    /// Seconds between two summary lines in the log; 0: none
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub stats_interval: u32,

    /// Under load, begin no turn sooner than this after the last: more packets for each system
    /// call, fewer and larger packets to send; 0: never wait
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 200)]
    pub coalesce_us: u32,

    /// What a worker does with its core while no packet comes: spin, or after 200 us sleep until one
    /// does (with DPDK devices: for naps of up to 1 ms) [default: spin]
    #[arg(long, value_enum)]
    pub idle: Option<Idle>,

    /// Write a line for each exchange to this file, or to standard output (-); off by default
    #[arg(long, value_name = "PATH|-")]
    pub access_log: Option<PathBuf>,

    /// Form of the access log: Common Log Format, or a JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = AccessLogFormat::Common, requires = "access_log")]
    pub access_log_format: AccessLogFormat,

    /// Least severe message that is logged: off, error, warn, info, debug or trace [default:
    /// what RUST_LOG says, else info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<log::LevelFilter>,

    /// Small frames (about 2 KiB) for each worker, in place of memory.small_frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_small: Option<u32>,

    /// Large frames (about 16 KiB) for each worker, in place of memory.large_frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_large: Option<u32>,
}

impl Options {
    /// Time between two summary lines in the log; `None`: no such lines.
    pub fn stats_interval(&self) -> Option<Duration> {
        (self.stats_interval > 0).then(|| Duration::from_secs(self.stats_interval.into()))
    }
}

/// How payload gets from one side of a session to the other: copied by the CPU (`Mem`), sent from
/// the frame it came in (`ZeroCopy`), or copied by an accelerator (`Dsa`) or a model of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mover {
    /// Copied by the CPU
    Mem,
    /// Sent from the frame it came in
    ZeroCopy,
    /// Copied by an Intel DSA work queue
    Dsa,
    /// Copied by a software model of one
    DsaModel,
    /// Copied by a DMA device that DPDK drives
    Dmadev,
    /// By DSA if each worker can have a queue, else by the CPU
    Auto,
}

/// What a worker does with its core while no packet comes: look for one all the time (`Spin`), or
/// sleep after a while (`Adaptive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Look for packets all the time
    Spin,
    /// Sleep after a while without any
    Adaptive,
}

/// How the accelerator is used.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct AcceleratorOptions {
    /// DSA work queue of a worker, e.g. wq0.0; repeat for more workers [default: any, of the
    /// worker's NUMA node first]
    #[arg(long, value_name = "WQ")]
    pub dsa_queue: Vec<String>,

    /// DMA device of a worker, by EAL's name, for --mover dmadev; repeat for more workers
    #[arg(long, value_name = "NAME", required_if_eq("mover", "dmadev"))]
    pub dma_device: Vec<String>,

    /// Jobs whose pieces are smaller than this on average are copied by the CPU
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    pub dsa_threshold: u32,

    /// Most copies in a batch, as far as the queue allows so many
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub dsa_batch: u32,

    /// While the device or hundreds of exchanges keep everybody waiting anyway, a batch of fewer than
    /// 16 jobs waits so long for more; 0: never
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub dsa_gather_us: u32,

    /// Milliseconds after which a batch is late and the CPU copies in its place
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub dsa_deadline: u32,
}

/// Form of the access log: Common Log Format, or a JSON object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLogFormat {
    /// Common Log Format
    Common,
    /// A JSON object a line
    Json,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print this on standard output and exit with 0: help or version.
    Print(String),
    /// Go on with these options.
    Run {
        /// EAL's arguments, the program's name first.
        eal: Vec<String>,
        /// minivoy's own.
        options: Options,
    },
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// [`UsageError`] when an option is unknown, lacks its value, stands in the wrong half, or when
/// `--config` is missing.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let halves = Halves::divide(args, "minivoy")?;
    match eal_args::help_or_version(&halves.eal[1..]) {
        Some(eal_args::Ask::Help) => return Ok(Command::Print(help())),
        Some(eal_args::Ask::Version) => return Ok(Command::Print(version())),
        None => {}
    }
    halves.check_eal(&Options::command(), "minivoy")?;
    if !halves.split {
        return Err(UsageError(
            "no `--` on the command line: type `minivoy [EAL options] -- --config PATH` \
             (`minivoy --help` explains both halves)"
                .into(),
        ));
    }

    match Options::try_parse_from(&halves.own) {
        Ok(options) => Ok(Command::Run {
            eal: halves.eal,
            options,
        }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Command::Print(help())),
            ErrorKind::DisplayVersion => Ok(Command::Print(version())),
            _ => Err(one_line(&error, &halves.own, "minivoy")),
        },
    }
}

/// Help for both halves.
fn help() -> String {
    format!("{EAL_HELP}\n{}", Options::command().render_help())
}

fn version() -> String {
    format!("minivoy {}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn error(line: &str) -> String {
        let error = run(line).expect_err("must be refused").to_string();
        assert!(!error.contains('\n'), "one line: {error:?}");
        error
    }

    #[test]
    fn the_first_double_dash_divides_the_halves() {
        let command = run(
            "minivoy -l 0-1 -a 0000:03:00.0 --log-level lib.eal:debug -- \
             --config p.toml --mover zero-copy --access-log - --access-log-format json",
        );
        let Ok(Command::Run { eal, options }) = command else {
            panic!("{command:?}");
        };
        assert_eq!(
            eal,
            [
                "minivoy",
                "-l",
                "0-1",
                "-a",
                "0000:03:00.0",
                "--log-level",
                "lib.eal:debug"
            ]
        );
        assert_eq!(options.config, PathBuf::from("p.toml"));
        assert_eq!(options.mover, Mover::ZeroCopy);
        assert_eq!(options.access_log, Some(PathBuf::from("-")));
        assert_eq!(options.access_log_format, AccessLogFormat::Json);
        assert_eq!(options.stats_interval(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn defaults() {
        let Ok(Command::Run { eal, options }) = run("minivoy -- --config p.toml") else {
            panic!();
        };
        assert_eq!(eal, ["minivoy"]);
        assert_eq!(
            options,
            Options {
                config: "p.toml".into(),
                mover: Mover::Mem,
                accelerator: AcceleratorOptions {
                    dsa_queue: Vec::new(),
                    dma_device: Vec::new(),
                    dsa_threshold: 512,
                    dsa_batch: 64,
                    dsa_gather_us: 2000,
                    dsa_deadline: 20,
                },
                check: false,
                validate: false,
                stats_interval: 10,
                coalesce_us: 200,
                idle: None,
                access_log: None,
                access_log_format: AccessLogFormat::Common,
                log_level: None,
                pool_small: None,
                pool_large: None,
            }
        );
    }

    #[test]
    fn a_summary_interval_of_zero_turns_it_off() {
        let Ok(Command::Run { options, .. }) = run("minivoy -- --config p --stats-interval 0")
        else {
            panic!();
        };
        assert_eq!(options.stats_interval(), None);
    }

    #[test]
    fn help_and_version_work_in_both_halves() {
        for line in [
            "minivoy --help",
            "minivoy -h",
            "minivoy -l 0 -- --help",
            "minivoy -- -h",
            "minivoy -- --config p --help",
        ] {
            let Ok(Command::Print(text)) = run(line) else {
                panic!("{line}");
            };
            for word in [
                "-l 0-1",
                "--no-huge",
                "--vdev",
                "--config",
                "--mover",
                "zero-copy",
            ] {
                assert!(text.contains(word), "{line}: no {word} in\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "no colour codes");
        }
        for line in ["minivoy -V", "minivoy --version", "minivoy -- -V"] {
            let expected = format!("minivoy {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!(run(line), Ok(Command::Print(expected)), "{line}");
        }
    }

    #[test]
    fn an_option_in_the_wrong_half_is_named() {
        assert_eq!(
            error("minivoy --config p.toml"),
            "--config is minivoy's own option and belongs after `--`: \
             minivoy [EAL options] -- --config …"
        );
        assert!(error("minivoy --mover=mem -l 0 -- --config p").contains("after `--`"));
        assert!(error("minivoy -- -l 0-1 --config p").starts_with("-l is an EAL option"));
        assert!(error("minivoy -- --config p --no-huge").contains("before `--`"));
        assert!(error("minivoy -- --config p -l0").starts_with("-l0 is an EAL option"));
    }

    #[test]
    fn everything_else_is_one_line() {
        for (line, fragment) in [
            ("minivoy", "no `--`"),
            ("minivoy -l 0", "minivoy [EAL options] -- --config PATH"),
            ("minivoy --", "--config <PATH>"),
            ("minivoy -- --config", "a value is required"),
            (
                "minivoy -- --config p --mover teleport",
                "[possible values: mem, zero-copy, dsa, dsa-model, dmadev, auto]",
            ),
            (
                "minivoy -- --config p --confg q",
                "a similar argument exists: '--config'",
            ),
            (
                "minivoy -- --config p --stats-interval soon",
                "invalid value 'soon'",
            ),
            ("minivoy -- --config p --pool-small 0", "invalid value '0'"),
            (
                "minivoy -- --config p --log-level loud",
                "invalid value 'loud'",
            ),
            (
                "minivoy -- --config p --check --validate",
                "cannot be used with",
            ),
            (
                "minivoy -- --config p --access-log-format json",
                "--access-log <PATH|->",
            ),
            (
                "minivoy -- --config p --mover dmadev",
                "--dma-device <NAME>",
            ),
            ("minivoy -- --config p stray", "unexpected argument 'stray'"),
        ] {
            let message = error(line);
            assert!(message.contains(fragment), "{line}: {message}");
        }
    }

    #[test]
    fn the_definition_holds() {
        Options::command().debug_assert();
    }
}
