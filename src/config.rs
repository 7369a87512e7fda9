//! The configuration file: TOML in Envoy's words, turned into the engine's [`Settings`].
//!
//! `schema` is the file as it is written, `parse` reads the small notations inside its strings,
//! `resolve` looks up names and checks what the whole means (with `ports` and `bounds`). Every problem
//! names file, line, column and key and says what to write instead; problems of meaning are
//! collected, so that one run shows them all.

mod bounds;
mod frames;
pub mod parse;
mod ports;
mod resolve;
mod schema;
mod units;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use dataplane::port::FrameClass;
use dataplane::settings::Settings;

pub use units::show_bytes;

/// Frames of about 2 KiB for each worker when the file does not say: 16 384 connections with one
/// packet each on its way.
pub const DEFAULT_SMALL_FRAMES: u32 = 16_384;

/// Frames of about 16 KiB for each worker when the file does not say: 128 MiB of payload.
pub const DEFAULT_LARGE_FRAMES: u32 = 8_192;

/// What the process is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What each worker's engine is told. `access_log` is left off: the command line says it.
    pub settings: Settings,
    /// The device behind each of `settings.ports`, in the same order.
    pub ports: Vec<PortConfig>,
    /// Frames for each worker.
    pub memory: MemorySettings,
}

/// The device behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Which device.
    pub device: PortDevice,
    /// MTU to use, in bytes of IP packet; `None`: what the device is set to.
    pub mtu: Option<u16>,
    /// Frames that a DPDK device receives into; packet ports take both.
    pub rx_class: FrameClass,
}

/// How packets get in and out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortDevice {
    /// A network interface of the kernel, through AF_PACKET.
    Packet {
        /// Its name, e.g. `eth0`.
        interface: String,
    },
    /// A device of DPDK.
    Dpdk {
        /// EAL's name for it: a full PCI address (`0000:03:00.0`) or a vdev (`net_tap0`).
        device: String,
    },
}

impl PortDevice {
    /// The PCI address, if that is what names the device.
    pub fn pci_address(&self) -> Option<&str> {
        match self {
            Self::Dpdk { device } if parse::is_pci_address(device) => Some(device),
            _ => None,
        }
    }
}

impl fmt::Display for PortDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet { interface } => write!(f, "packet:{interface}"),
            Self::Dpdk { device } => write!(f, "dpdk:{device}"),
        }
    }
}

/// Frames for each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Frames of about 2 KiB.
    pub small_frames: u32,
    /// Frames of about 16 KiB.
    pub large_frames: u32,
}

impl MemorySettings {
    /// Bytes beside a frame's room: pool element header (64), mbuf (128), headroom (128).
    const OVERHEAD: u64 = 320;

    /// About how many bytes of packet memory a worker's frames take.
    pub fn bytes_per_worker(&self) -> u64 {
        u64::from(self.small_frames) * (2 * 1024 + Self::OVERHEAD)
            + u64::from(self.large_frames) * (16 * 1024 + Self::OVERHEAD)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something wrong; one line for each problem.
    #[error("{}", join(problems))]
    Invalid {
        /// What is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key it is about, with the tables around it: `listener.route.cluster`. Empty when the
    /// file is not TOML.
    pub key: String,
    /// What is wrong and, after a dash, what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            column,
            key,
            message,
        } = self;
        write!(f, "{path}:{line}:{column}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)
    }
}

/// Reads and checks the configuration file at `path`.
///
/// # Errors
/// [`ConfigError::Unreadable`] when there is no such file or it is not text,
/// [`ConfigError::Invalid`] with every problem found in it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => from_toml(&name, &text),
        Err(source) => Err(ConfigError::Unreadable { path: name, source }),
    }
}

/// Reads and checks a configuration given as text; `path` is what problems call it.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub fn from_toml(path: &str, text: &str) -> Result<Config, ConfigError> {
    let problem = |span: Range<usize>, key: String, message: String| {
        let (line, column) = position(text, span.start);
        Problem {
            path: path.to_owned(),
            line,
            column,
            key,
            message,
        }
    };
    let invalid = |problems| ConfigError::Invalid { problems };

    let read = toml::Deserializer::parse(text)
        .map_err(|error| (String::new(), error))
        .and_then(|reader| {
            serde_path_to_error::deserialize::<_, schema::File>(reader)
                .map_err(|error| (key_of(error.path()), error.into_inner()))
        });
    let file = read.map_err(|(key, error)| {
        let span = error.span().unwrap_or(0..0);
        let message = explain(error.message(), &key);
        invalid(vec![problem(span, key, message)])
    })?;
    resolve::resolve(&file).map_err(|mut findings| {
        findings.sort_by_key(|finding| finding.span.start);
        invalid(
            findings
                .into_iter()
                .map(|found| problem(found.span, found.key.to_owned(), found.message))
                .collect(),
        )
    })
}

/// The key an error is about, in dots, without the positions in arrays.
fn key_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|segment| match segment {
            // `Spanned` shows up as a map with a key of its own.
            Segment::Map { key } if !key.starts_with("$__") => Some(key.as_str()),
            _ => None,
        })
        .collect();
    keys.join(".")
}

/// The parser's message in one line; what it says of `[port]` or of a misspelt `[[listener]]` above
/// a `[[listener.route]]` is put into the words of the file.
fn explain(message: &str, key: &str) -> String {
    if message == "invalid type: map, expected a sequence" {
        return format!("one table where a list of tables belongs — write [[{key}]]");
    }
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Line and column, from 1, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests;
