//! `[limits]`, `[timeouts]`, `[forwarding]` and `[memory]`: the tables that stand once.

use std::ops::Range;

use dataplane::settings::{Forwarding, Limits, Timeouts};

use super::resolve::Findings;
use super::units::show_bytes;
use super::{MemorySettings, parse, schema};

impl Findings {
    /// Reads `[limits]`.
    pub fn limits(&mut self, table: &schema::LimitsTable) -> Limits {
        let connections = *table.max_connections.get_ref();
        if connections < 2 {
            self.add(
                table.max_connections.span(),
                "limits.max_connections",
                "an exchange needs two connections — write 2 or more",
            );
        }
        let half_open = *table.max_half_open.get_ref();
        if half_open == 0 {
            self.add(
                table.max_half_open.span(),
                "limits.max_half_open",
                "0 would refuse every client — write 1 or more",
            );
        } else if half_open > connections {
            self.add(
                written(&[table.max_half_open.span(), table.max_connections.span()]),
                "limits.max_half_open",
                format!(
                    "{half_open} is more than max_connections ({connections}) — write at most that"
                ),
            );
        }
        let buffer = table.session_buffer.get_ref().0;
        // The largest window TCP can offer is 65535 << 14 (RFC 7323 section 2.3); two full segments
        // are the least that keeps a transfer moving.
        if !(4096..=1 << 29).contains(&buffer) || !buffer.is_power_of_two() {
            let near = buffer.clamp(4096, 1 << 29).next_power_of_two();
            self.add(
                table.session_buffer.span(),
                "limits.session_buffer",
                format!(
                    "{} is not a power of two from 4KiB to 512MiB — write \"{}\"",
                    show_bytes(buffer),
                    show_bytes(near)
                ),
            );
        }
        let head = table.max_head.get_ref().0;
        if head < 1024 {
            self.add(
                table.max_head.span(),
                "limits.max_head",
                format!(
                    "{} is too small for ordinary requests — write \"1KiB\" or more",
                    show_bytes(head)
                ),
            );
        } else if head > buffer {
            self.add(
                written(&[table.max_head.span(), table.session_buffer.span()]),
                "limits.max_head",
                format!(
                    "a head of {} would never fit into a session_buffer of {} — write at most that",
                    show_bytes(head),
                    show_bytes(buffer)
                ),
            );
        }
        let fields = *table.max_fields.get_ref();
        if fields < 8 {
            self.add(
                table.max_fields.span(),
                "limits.max_fields",
                format!("{fields} is too few for ordinary requests — write 8 or more"),
            );
        }
        if let Some(requests) = &table.max_requests
            && *requests.get_ref() == 0
        {
            self.add(
                requests.span(),
                "limits.max_requests",
                "0 would refuse every request — leave the key out for no bound",
            );
        }
        // Values that do not fit are out of range above, so a finding keeps them from being used.
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Limits {
            max_connections: connections,
            max_half_open: half_open,
            session_buffer: narrow(buffer),
            max_head: narrow(head),
            max_fields: fields,
            max_request_body: table.max_request_body.map(|bytes| bytes.0),
            max_requests: table
                .max_requests
                .as_ref()
                .map(|requests| *requests.get_ref()),
        }
    }

    /// Reads `[forwarding]`.
    pub fn forwarding(&mut self, table: &schema::ForwardingTable) -> Forwarding {
        let via = table.via.as_ref();
        Forwarding {
            x_forwarded_for: table.x_forwarded_for,
            x_forwarded_proto: table.x_forwarded_proto,
            via: via.and_then(|via| self.read(via, "forwarding.via", parse::via)),
            upgrade: table.upgrade,
        }
    }

    /// Reads `[memory]`.
    pub fn memory(&mut self, table: &schema::MemoryTable) -> MemorySettings {
        for (frames, key) in [
            (&table.small_frames, "memory.small_frames"),
            (&table.large_frames, "memory.large_frames"),
        ] {
            if *frames.get_ref() == 0 {
                self.add(
                    frames.span(),
                    key,
                    "a worker without frames can do nothing — write 1024 or more",
                );
            }
        }
        MemorySettings {
            small_frames: *table.small_frames.get_ref(),
            large_frames: *table.large_frames.get_ref(),
        }
    }
}

/// Reads `[timeouts]`, in which nothing can be wrong that its types do not refuse.
pub fn timeouts(table: &schema::TimeoutsTable) -> Timeouts {
    Timeouts {
        pending: table.pending.0,
        connect: table.connect.0,
        request_head: table.request_head.0,
        idle: table.idle.0,
        stream: table.stream.0,
        response: table.response.0,
        upstream_idle: table.upstream_idle.0,
        drain: table.drain.0,
    }
}

/// The first of two places that stands in the file: the other may be a default.
fn written(spans: &[Range<usize>]) -> Range<usize> {
    spans
        .iter()
        .find(|span| !span.is_empty())
        .cloned()
        .unwrap_or(0..0)
}
