//! The access log: a thread that writes a line for each finished exchange.
//!
//! Workers hand over records through a bounded channel of slots made at the start. They never
//! wait: when the channel is full, the record is dropped and counted. Handing over costs no
//! allocation, because a record holds its text inline, and no system call, because the writer
//! sleeps between looks into the channel instead of being woken (waking a thread that waits in
//! `recv` is a futex call in the sender).
//!
//! Start it before EAL: EAL pins the calling thread to a worker's core, and threads made later
//! inherit that.
//!
//! SIGHUP makes the writer open its file again, so that `logrotate` can move the old one away.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use dataplane::settings::ClusterId;

use crate::cli::AccessLogFormat;
use format::Formatter;

/// Records the channel holds: at 300 000 requests a second, five times what arrives between two
/// looks of the writer.
const CAPACITY: usize = 16_384;

/// Time between two looks into an empty channel.
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes gathered before they are written, so that a system call carries hundreds of lines.
const BATCH: usize = 64 * 1024;

/// A finished exchange.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request's head was complete, in nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// Where the client connected from.
    pub client: SocketAddr,
    /// Request method; empty when the request could not be read.
    pub method: Clipped<16>,
    /// Request target as the client wrote it.
    pub target: Clipped<512>,
    /// Protocol version as the client wrote it, e.g. `HTTP/1.1`.
    pub version: Clipped<8>,
    /// Status sent to the client; 0 when none was.
    pub status: u16,
    /// Bytes of the response, head included, that were put on their way to the client.
    pub bytes_sent: u64,
    /// From the end of the request's head until the response's last byte was put on its way, in
    /// nanoseconds.
    pub duration_ns: u64,
    /// The cluster it was routed to.
    pub cluster: Option<ClusterId>,
    /// The endpoint it was sent to.
    pub upstream: Option<SocketAddr>,
}

/// At most `N` bytes of text, held in place; what is longer is cut and marked as cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipped<const N: usize> {
    bytes: [u8; N],
    len: u16,
    cut: bool,
}

impl<const N: usize> Clipped<N> {
    /// The first `N` bytes of `text`.
    pub fn new(text: &[u8]) -> Self {
        const { assert!(N <= u16::MAX as usize) };
        let kept = &text[..text.len().min(N)];
        let mut bytes = [0; N];
        bytes[..kept.len()].copy_from_slice(kept);
        Self {
            bytes,
            len: kept.len() as u16,
            cut: kept.len() < text.len(),
        }
    }

    /// The bytes that were kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether some were not.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Written to the log.
    pub written: u64,
    /// Dropped because the channel was full.
    pub dropped: u64,
    /// Lost because the file could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn totals(&self) -> Totals {
        Totals {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// A worker's end of the log.
#[derive(Clone, Debug)]
pub struct AccessLogSender {
    records: Sender<Record>,
    counts: Arc<Counts>,
}

impl AccessLogSender {
    /// Hands a record over and says whether it was taken. Never waits: when the writer is behind,
    /// the record is dropped and counted in [`Totals::dropped`].
    pub fn send(&self, record: Record) -> bool {
        match self.records.try_send(record) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let _before = self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

/// The running log.
#[derive(Debug)]
pub struct AccessLog {
    sender: AccessLogSender,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<()>,
}

impl AccessLog {
    /// Opens the log and starts its thread. `path` is a file to append to, or `-` for standard
    /// output. `clusters` are the clusters' names, in the order of [`ClusterId`]. `reopen` is set
    /// when the file shall be opened again.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start(
        path: &Path,
        format: AccessLogFormat,
        clusters: Vec<String>,
        reopen: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Self::start_with(Output::open(path)?, format, clusters, reopen, CAPACITY)
    }

    fn start_with(
        output: Output,
        format: AccessLogFormat,
        clusters: Vec<String>,
        reopen: Arc<AtomicBool>,
        capacity: usize,
    ) -> io::Result<Self> {
        let (sender, records) = bounded(capacity);
        let counts = Arc::new(Counts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            records,
            output,
            formatter: Formatter::new(format, clusters),
            batch: Vec::with_capacity(BATCH + 4096),
            lines: 0,
            failing: false,
            counts: Arc::clone(&counts),
            reopen,
            stop: Arc::clone(&stop),
        };
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run())?;
        Ok(Self {
            sender: AccessLogSender {
                records: sender,
                counts,
            },
            stop,
            writer,
        })
    }

    /// An end for a worker.
    pub fn sender(&self) -> AccessLogSender {
        self.sender.clone()
    }

    /// What became of the records so far.
    #[cfg(test)]
    pub fn totals(&self) -> Totals {
        self.sender.counts.totals()
    }

    /// Writes out what was handed over before this call, ends the thread and says what became of
    /// the records. Call it when the workers have ended.
    pub fn finish(self) -> Totals {
        self.stop.store(true, Ordering::Release);
        if self.writer.join().is_err() {
            log::error!("the access log's thread had failed");
        }
        self.sender.counts.totals()
    }
}

/// Where lines go.
#[derive(Debug)]
enum Output {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Output {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        Ok(Self::File {
            path: path.to_owned(),
            file: append_to(path)?,
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(lines),
        }
    }

    /// Opens the file again. On failure the old one stays in use.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            *file = append_to(path)?;
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The thread.
struct Writer {
    records: Receiver<Record>,
    output: Output,
    formatter: Formatter,
    batch: Vec<u8>,
    /// Lines in `batch`.
    lines: u64,
    /// Whether the last write failed: a full disk makes one line in minivoy's log, not thousands.
    failing: bool,
    counts: Arc<Counts>,
    reopen: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            // Read before the channel: what was sent before `stop` was set is seen below.
            let stop = self.stop.load(Ordering::Acquire);
            if self.reopen.swap(false, Ordering::Relaxed) {
                match self.output.reopen() {
                    Ok(()) => log::info!("access log opened again"),
                    Err(error) => log::error!(
                        "access log cannot be opened again, the old file stays in use: {error}"
                    ),
                }
            }
            self.drain();
            if stop {
                return;
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "this thread is not the engine's, and sleeping spares workers the wake-up"
            )]
            std::thread::sleep(PAUSE);
        }
    }

    /// Writes what is in the channel now. Bounded, so that a flood cannot keep the thread from
    /// seeing `stop` and `reopen`.
    fn drain(&mut self) {
        for _ in 0..self.records.len() {
            let Ok(record) = self.records.try_recv() else {
                break;
            };
            self.formatter.line(&record, &mut self.batch);
            self.lines += 1;
            if self.batch.len() >= BATCH {
                self.write_out();
            }
        }
        self.write_out();
    }

    fn write_out(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let outcome = self.output.write(&self.batch);
        self.batch.clear();
        match outcome {
            Ok(()) => {
                let _before = self.counts.written.fetch_add(lines, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    log::info!("the access log can be written again");
                }
            }
            Err(error) => {
                let _before = self.counts.failed.fetch_add(lines, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    log::error!("the access log cannot be written, lines are lost: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
