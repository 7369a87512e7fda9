//! The two forms of a line.
//!
//! What a client sent is untrusted text. In the common form, everything but printable ASCII is
//! written as `\xHH` and `"` and `\` get a backslash (as Apache's log does), so that no request can
//! end a line, forge a field, or send a terminal's control codes. In JSON, serde escapes; bytes
//! that are not UTF-8 become U+FFFD.

use std::borrow::Cow;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::{Clipped, Record};
use crate::cli::AccessLogFormat;

/// Turns records into lines.
pub struct Formatter {
    format: AccessLogFormat,
    clusters: Vec<String>,
    /// The second `date` was made for: dates are made once a second, not once a line.
    second: Option<u64>,
    date: String,
}

/// A line of the JSON form.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: String,
    method: Cow<'a, str>,
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    target_cut: bool,
    version: Cow<'a, str>,
    status: u16,
    bytes_sent: u64,
    duration_us: u64,
    cluster: Option<&'a str>,
    upstream: Option<String>,
}

impl Formatter {
    /// `clusters` are the clusters' names, in the order of their ids.
    pub fn new(format: AccessLogFormat, clusters: Vec<String>) -> Self {
        Self {
            format,
            clusters,
            second: None,
            date: String::new(),
        }
    }

    /// Appends the line for `record` to `out`.
    pub fn line(&mut self, record: &Record, out: &mut Vec<u8>) {
        match self.format {
            AccessLogFormat::Common => self.common(record, out),
            AccessLogFormat::Json => self.json(record, out),
        }
        out.push(b'\n');
    }

    /// `host ident authuser [date] "request" status bytes`, as the CERN and NCSA servers wrote it.
    /// Nobody is asked for ident or user; a field without a value is `-`.
    fn common(&mut self, record: &Record, out: &mut Vec<u8>) {
        let second = record.time_unix_ns / 1_000_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.date = time(second * 1_000_000_000)
                .strftime("%d/%b/%Y:%H:%M:%S +0000")
                .to_string();
        }
        put(
            out,
            format_args!("{} - - [{}] \"", record.client.ip(), self.date),
        );
        if record.method.bytes().is_empty() {
            out.push(b'-');
        } else {
            escape(&record.method, out);
            out.push(b' ');
            escape(&record.target, out);
            if !record.version.bytes().is_empty() {
                out.push(b' ');
                escape(&record.version, out);
            }
        }
        put(out, format_args!("\" "));
        for (value, end) in [(u64::from(record.status), " "), (record.bytes_sent, "")] {
            match value {
                0 => put(out, format_args!("-{end}")),
                _ => put(out, format_args!("{value}{end}")),
            }
        }
    }

    fn json(&self, record: &Record, out: &mut Vec<u8>) {
        let cluster = record
            .cluster
            .and_then(|id| self.clusters.get(usize::from(id.0)));
        let line = Line {
            // Microseconds: as fine as anyone correlates, and of constant width.
            time: format!("{:.6}", time(record.time_unix_ns)),
            client: record.client.to_string(),
            method: String::from_utf8_lossy(record.method.bytes()),
            target: String::from_utf8_lossy(record.target.bytes()),
            target_cut: record.target.is_cut(),
            version: String::from_utf8_lossy(record.version.bytes()),
            status: record.status,
            bytes_sent: record.bytes_sent,
            duration_us: record.duration_ns / 1_000,
            cluster: cluster.map(String::as_str),
            upstream: record.upstream.map(|address| address.to_string()),
        };
        let written = serde_json::to_writer(&mut *out, &line);
        debug_assert!(
            written.is_ok(),
            "text and numbers can always be written to memory"
        );
    }
}

/// Nanoseconds since 1970, which 64 bits hold until the year 2554.
fn time(unix_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(unix_ns.into()).unwrap_or(Timestamp::MAX)
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "memory can always be written");
}

/// Appends client's text so that it stays inside its quotes; `...` marks what was cut.
fn escape<const N: usize>(text: &Clipped<N>, out: &mut Vec<u8>) {
    for &byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => put(out, format_args!("\\x{byte:02x}")),
        }
    }
    if text.is_cut() {
        out.extend(b"...");
    }
}
