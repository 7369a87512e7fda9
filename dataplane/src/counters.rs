//! What a worker counts.
//!
//! A worker owns one [`Counters`], a plain array of words, and adds to it without any
//! synchronisation: `counters[Drop::RxShort] += 1`. Every so often it publishes the whole into a
//! [`SharedCounters`] of its own, from which other threads read. Nobody else writes there, so plain
//! stores are enough, and the cache lines move between cores only when somebody has read them.
//!
//! The tables in this file are the only place where a counter has a name: whatever lists counters
//! (the log, a metrics page) goes through [`Counters::iter`].

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::settings::PortId;

/// Ports that are counted apart: [`PortId`]s 0 to 7.
pub const MAX_PORTS: usize = 8;

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the worker.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What a value is called and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Lower case with underscores, shared by all values that differ only in their label.
    pub name: &'static str,
    /// Name and value of the label that tells the values of one name apart.
    pub label: Option<(&'static str, &'static str)>,
    /// One sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Some((label, value)) => write!(f, "{}{{{label}=\"{value}\"}}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// What [`Counters`] can be indexed with.
pub trait Cell: Copy {
    /// The position in the array.
    fn cell(self) -> usize;
}

/// Declares one family of values: an enum whose variants are its cells, their names and help. The
/// cells come after those of the family named behind `after`.
macro_rules! family {
    ($(#[$doc:meta])* $Family:ident after $Before:ident, $kind:ident $(($name:literal by $label:literal))?
     { $($variant:ident = $text:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Family {
            $(#[doc = $help] $variant,)*
        }

        impl $Family {
            /// All of them, in the order of their cells.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            const FIRST: usize = $Before::END;
            const END: usize = Self::FIRST + Self::ALL.len();

            /// Its name, lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it means, one sentence.
            pub const fn describe(self) -> Description {
                let help = match self { $(Self::$variant => $help,)* };
                let description =
                    Description { name: self.name(), label: None, help, kind: Kind::$kind };
                $(let description =
                    Description { name: $name, label: Some(($label, self.name())), ..description };)?
                description
            }
        }

        impl Cell for $Family {
            #[inline]
            fn cell(self) -> usize {
                Self::FIRST + self as usize
            }
        }
    };
}

/// Where the cells begin.
struct Start;

impl Start {
    const END: usize = 0;
}

family! {
    /// What there is now.
    Gauge after Start, Gauge {
        ClientConnections = "client_connections", "Open connections to clients.";
        UpstreamConnections = "upstream_connections", "Open connections to endpoints, idle ones included.";
        UpstreamIdle = "upstream_idle", "Idle connections to endpoints in the pool.";
        Pending = "pending", "Requests that wait for a connection to their cluster.";
        HalfOpen = "half_open", "Client connections in the middle of their handshake.";
        SmallFrames = "small_frames", "Small frames the pool was made with.";
        SmallFramesFree = "small_frames_free", "Small frames that can be allocated.";
        LargeFrames = "large_frames", "Large frames the pool was made with.";
        LargeFramesFree = "large_frames_free", "Large frames that can be allocated.";
        AcceleratorInFlight = "accelerator_in_flight", "Copies that the accelerator is at.";
        AcceleratorQuarantined = "accelerator_quarantined", "Frames kept because a late accelerator may still write to them.";
        AcceleratorsLost = "accelerators_lost", "Work queues given up because they did not answer.";
    }
}

family! {
    /// What has happened, without distinction of causes.
    Counter after Gauge, Counter {
        Accepted = "accepted", "Client connections whose handshake was completed.";
        Connected = "connected", "Connections to endpoints that were established.";
        ConnectFailures = "connect_failures", "Connections to endpoints that were refused, reset or timed out before they were established.";
        UpstreamReused = "upstream_reused", "Requests sent on a connection taken from the pool.";
        Pended = "pended", "Requests that had to wait for a connection to their cluster.";
        Requests = "requests", "Request heads received whole.";
        Retries = "retries", "Requests sent once more because the pooled connection proved dead.";
        Retransmissions = "retransmissions", "TCP segments sent more than once.";
        WindowsOpened = "windows_opened", "Times a receive window was opened, each by a large packet's worth.";
        TimeWaitsEvicted = "time_waits_evicted", "Connections forgotten before TIME-WAIT was over, because a new one needed the slot or the TCP port.";
        ResetsReceived = "resets_received", "Connections ended by a RST of the peer.";
        ResetsSent = "resets_sent", "RST segments sent.";
        MoverJobs = "mover_jobs", "Copy jobs given to the mover.";
        MoverBytes = "mover_bytes", "Payload bytes in those jobs.";
        MoverBatches = "mover_batches", "Batches in which those jobs were submitted.";
        HandedOver = "handed_over", "Packets handed over to the worker that owns their flow.";
        TakenOver = "taken_over", "Packets taken over from other workers.";
        Turns = "turns", "Turns of the worker's loop.";
        BusyTurns = "busy_turns", "Turns in which there was something to do.";
        BusyNanos = "busy_ns", "Nanoseconds spent in busy turns.";
        IdleNanos = "idle_ns", "Nanoseconds spent in the other turns.";
    }
}

family! {
    /// Why something was thrown away: received packets, except for those that name something else.
    Drop after Counter, Counter ("drops" by "reason") {
        RxBadChecksum = "rx_bad_checksum", "Received with a wrong IP, TCP or ICMP checksum.";
        RxShort = "rx_short", "Received shorter than its headers say.";
        RxNotOurs = "rx_not_ours", "Received for an Ethernet or IP address that is not the port's.";
        RxVlan = "rx_vlan", "Received with an 802.1Q tag.";
        RxFragment = "rx_fragment", "Received as a fragment of an IP packet.";
        RxMalformed = "rx_malformed", "Received with headers that contradict themselves.";
        RxUnknownProtocol = "rx_unknown_protocol", "Received with an EtherType or IP protocol that is not spoken here.";
        NeighborRefused = "neighbor_refused", "ARP or neighbour discovery that nobody asked for or that breaks its rules.";
        TcpUnknownFlow = "tcp_unknown_flow", "TCP segment of no connection, and not a SYN to a listener.";
        TcpNoConnectionSlot = "tcp_no_connection_slot", "SYN refused because the connection table was full.";
        TcpHalfOpenFull = "tcp_half_open_full", "SYN refused because too many handshakes were under way.";
        TcpPoolLow = "tcp_pool_low", "SYN or payload refused because the frame pool was low.";
        TcpBadAck = "tcp_bad_ack", "Payload refused because its acknowledgement was none the peer could have sent.";
        TcpTooManyHoles = "tcp_too_many_holes", "Payload refused because the window had too many holes.";
        NoFrame = "no_frame", "No frame to write a packet into.";
        MailboxFull = "mailbox_full", "The mailbox of the worker that owns the flow was full.";
        MacUnresolved = "mac_unresolved", "Packet to send whose next hop did not answer.";
        NoRoute = "no_route", "Packet to send to an address outside every prefix and without gateway.";
        TxPortError = "tx_port_error", "Packet the port refused to send.";
        AccessLogFull = "access_log_full", "Access log line whose writer was behind.";
    }
}

family! {
    /// Which time-out ended something.
    Timeout after Drop, Counter ("timeouts" by "kind") {
        Pending = "pending", "A request waited too long for a connection to its cluster.";
        Connect = "connect", "An endpoint did not complete the handshake in time.";
        Handshake = "handshake", "A client did not complete the handshake in time.";
        RequestHead = "request_head", "A request head did not come in whole in time.";
        Idle = "idle", "No next request came on a client connection in time.";
        Stream = "stream", "A body made no progress in time.";
        Response = "response", "A response head did not come in time.";
        UpstreamIdle = "upstream_idle", "A pooled connection was not used in time.";
        Drain = "drain", "An exchange did not end in time after shutdown was asked for.";
    }
}

family! {
    /// Why the proxy answered by itself.
    LocalReply after Timeout, Counter ("local_replies" by "cause") {
        BadRequest = "bad_request", "400: the request is malformed or its framing ambiguous.";
        NoRoute = "no_route", "404: no route matches.";
        HeadTimeout = "head_timeout", "408: the request head did not come in whole in time.";
        BodyTooLarge = "body_too_large", "413: the request body is over its limit.";
        TargetTooLong = "target_too_long", "414: the request target is over its limit.";
        HeadTooLarge = "head_too_large", "431: the request head or its number of fields is over its limit.";
        NotImplemented = "not_implemented", "501: the method or transfer coding is not supported.";
        BadVersion = "bad_version", "505: the HTTP version is not supported.";
        ConnectFailed = "connect_failed", "502 or 503: no endpoint accepted a connection.";
        UpstreamClosed = "upstream_closed", "502: the endpoint closed before its response was whole.";
        BadResponse = "bad_response", "502: the response is malformed or its framing ambiguous.";
        Overloaded = "overloaded", "503: the cluster or the worker is at its limit of connections.";
        UpstreamTimeout = "upstream_timeout", "504: the endpoint did not connect or answer in time.";
    }
}

family! {
    /// Responses sent to clients, by the first digit of their status.
    Responses after LocalReply, Counter ("responses" by "class") {
        Informational = "1xx", "Interim responses.";
        Successful = "2xx", "Successful responses.";
        Redirection = "3xx", "Redirecting responses.";
        ClientError = "4xx", "Responses that blame the client.";
        ServerError = "5xx", "Responses that blame the server.";
    }
}

family! {
    /// What the accelerator did.
    Accelerator after Responses, Counter {
        Jobs = "accelerator_jobs", "Copy jobs given to the accelerator.";
        Bytes = "accelerator_bytes", "Payload bytes in those jobs.";
        Copies = "accelerator_copies", "Descriptors those jobs came to, one for each run of bytes.";
        Batches = "accelerator_batches", "Batches in which descriptors were submitted.";
        Batched = "accelerator_batched", "Descriptors submitted in batches.";
        Singles = "accelerator_singles", "Descriptors submitted one by one.";
        Completions = "accelerator_completions", "Submissions whose completion was seen.";
        DelayMicros = "accelerator_delay_us", "Microseconds from submission until completion was seen, added up.";
        Faults = "accelerator_faults", "Descriptors that ended with a page fault.";
        Timeouts = "accelerator_timeouts", "Submissions whose completion did not come in time.";
        Redone = "accelerator_redone", "Descriptors that the CPU did after the accelerator had not.";
        Retries = "accelerator_retries", "Times a shared work queue asked to try again.";
        Drains = "accelerator_drains", "Drains submitted to find out what became of late submissions.";
    }
}

family! {
    /// Why the CPU did a copy job although there is an accelerator.
    CpuJob after Accelerator, Counter ("accelerator_fallbacks" by "reason") {
        Small = "small", "Its pieces are smaller than the threshold.";
        QueueFull = "queue_full", "The work queue had no room.";
        TooLong = "too_long", "A piece is longer than the work queue carries.";
        Suspended = "suspended", "Earlier submissions were late, and it was not known yet what became of them.";
        Lost = "lost", "The work queue was given up.";
    }
}

family! {
    /// How many descriptors batches held.
    BatchSize after CpuJob, Counter ("accelerator_batch_sizes" by "descriptors") {
        From2 = "from_2", "Batches of 2 or 3 descriptors.";
        From4 = "from_4", "Batches of 4 to 7 descriptors.";
        From8 = "from_8", "Batches of 8 to 15 descriptors.";
        From16 = "from_16", "Batches of 16 to 31 descriptors.";
        From32 = "from_32", "Batches of 32 to 63 descriptors.";
        From64 = "from_64", "Batches of 64 descriptors or more.";
    }
}

family! {
    /// Where the core's time went, in ticks (cycles where the processor counts those). All stages
    /// together are all the time there is.
    Stage after BatchSize, Counter ("stage_ticks" by "stage") {
        Rx = "rx", "Asking ports for packets, polls that found none in a busy turn included.";
        Ingress = "ingress", "Packets to their connections: headers, checksum, flow table, TCP, parcels of other workers.";
        Http = "http", "Sessions: heads, bodies, making copy jobs.";
        Mover = "mover", "Handing copy jobs to the mover and taking them back: with a CPU mover the copying.";
        Egress = "egress", "Asking TCP for segments and queueing them on ports.";
        Tx = "tx", "Handing queued packets to devices.";
        Rest = "rest", "Windows, timers, neighbours, and what the launch side does between turns.";
        Idle = "idle", "Turns that found nothing to do, and waiting for packets.";
        Asleep = "asleep", "Time the worker had its core to others.";
    }
}

family! {
    /// What passed through a port. Index with `PortValue::RxPackets.of(port)`.
    PortValue after Stage, Counter {
        RxPackets = "port_rx_packets", "Packets received.";
        RxBytes = "port_rx_bytes", "Bytes received.";
        TxPackets = "port_tx_packets", "Packets handed to the device.";
        TxBytes = "port_tx_bytes", "Bytes handed to the device.";
        RxMissed = "port_rx_missed", "Packets the device lost because its queue was full.";
        RxNoFrame = "port_rx_no_frame", "Packets the device lost for want of a frame to receive into.";
        RxErrors = "port_rx_errors", "Packets the device received with an error.";
        TxErrors = "port_tx_errors", "Packets the device refused to send.";
    }
}

impl Responses {
    /// The class of a status code; anything outside 100 to 499 counts as a server error.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Successful,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl Stage {
    /// Whether the core did something for somebody: it neither looked for work in vain nor slept.
    pub fn is_work(self) -> bool {
        !matches!(self, Self::Idle | Self::Asleep)
    }
}

impl PortValue {
    const LABELS: [&str; MAX_PORTS] = ["0", "1", "2", "3", "4", "5", "6", "7"];

    /// This value of one port. Ports above the last that is counted apart count as that one.
    pub fn of(self, port: PortId) -> OfPort {
        OfPort(self, (port.0 as usize).min(MAX_PORTS - 1))
    }
}

/// A value of a certain port: see [`PortValue::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfPort(PortValue, usize);

impl Cell for OfPort {
    #[inline]
    fn cell(self) -> usize {
        PortValue::FIRST + self.1 * PortValue::ALL.len() + self.0 as usize
    }
}

/// All families, the last of them once for each port.
const CELLS: usize = PortValue::END + (MAX_PORTS - 1) * PortValue::ALL.len();

/// All values of one worker, or of several that were added up.
#[derive(Clone, PartialEq, Eq)]
pub struct Counters([u64; CELLS]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl<C: Cell> Index<C> for Counters {
    type Output = u64;

    #[inline]
    fn index(&self, cell: C) -> &u64 {
        &self.0[cell.cell()]
    }
}

impl<C: Cell> IndexMut<C> for Counters {
    #[inline]
    fn index_mut(&mut self, cell: C) -> &mut u64 {
        &mut self.0[cell.cell()]
    }
}

impl Counters {
    /// Makes the values visible to other threads.
    pub fn publish(&self, shared: &SharedCounters) {
        for (to, from) in shared.cells.iter().zip(self.0) {
            to.store(from, Relaxed);
        }
    }

    /// All values with their descriptions, in the order in which this file declares them. That
    /// order, and with it what a name means, is the same for every `Counters` of a build.
    pub fn iter(&self) -> impl Iterator<Item = (Description, u64)> {
        descriptions().zip(self.0)
    }

    /// How much the counters have grown since `earlier`; gauges as they are now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut grown = self.clone();
        for (i, (cell, before)) in grown.0.iter_mut().zip(earlier.0).enumerate() {
            if i >= Gauge::END {
                *cell = cell.wrapping_sub(before);
            }
        }
        grown
    }

    /// Adds the values of another worker, gauges too.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(value);
        }
    }

    /// One line on what happened in the `seconds` between `earlier` and now.
    pub fn summary(&self, earlier: &Self, seconds: f64) -> Summary {
        Summary {
            grown: self.since(earlier),
            seconds,
        }
    }
}

impl fmt::Debug for Counters {
    /// The values that are not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (description, value) in self.iter().filter(|(_, value)| *value != 0) {
            let _ = map.entry(&format_args!("{description}"), &value);
        }
        map.finish()
    }
}

fn descriptions() -> impl Iterator<Item = Description> {
    let ports = PortValue::LABELS.into_iter().flat_map(|port| {
        PortValue::ALL.iter().map(move |value| Description {
            label: Some(("port", port)),
            ..value.describe()
        })
    });
    let gauges = Gauge::ALL.iter().map(|cell| cell.describe());
    gauges
        .chain(Counter::ALL.iter().map(|cell| cell.describe()))
        .chain(Drop::ALL.iter().map(|cell| cell.describe()))
        .chain(Timeout::ALL.iter().map(|cell| cell.describe()))
        .chain(LocalReply::ALL.iter().map(|cell| cell.describe()))
        .chain(Responses::ALL.iter().map(|cell| cell.describe()))
        .chain(Accelerator::ALL.iter().map(|cell| cell.describe()))
        .chain(CpuJob::ALL.iter().map(|cell| cell.describe()))
        .chain(BatchSize::ALL.iter().map(|cell| cell.describe()))
        .chain(Stage::ALL.iter().map(|cell| cell.describe()))
        .chain(ports)
}

/// Where a worker publishes its [`Counters`]. It shares no cache line with anything else, nor with
/// the neighbouring line that processors fetch along.
#[repr(align(128))]
#[derive(Debug)]
pub struct SharedCounters {
    cells: [AtomicU64; CELLS],
}

impl Default for SharedCounters {
    fn default() -> Self {
        Self {
            cells: [const { AtomicU64::new(0) }; CELLS],
        }
    }
}

impl SharedCounters {
    /// What was published last. Each value is right by itself and never runs back; values
    /// read while the worker publishes may stem from two successive publications.
    pub fn read(&self) -> Counters {
        Counters(std::array::from_fn(|i| self.cells[i].load(Relaxed)))
    }
}

/// The account of stages, as part of a line: each one's share of the core in percent and its ticks
/// for each request. Empty when nothing was charged.
#[derive(Debug)]
pub struct Account<'a>(pub &'a Counters);

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(c) = self;
        let all: u64 = Stage::ALL.iter().map(|&stage| c[stage]).sum();
        if all == 0 {
            return Ok(());
        }
        let requests = c[Counter::Requests];
        let each = if requests > 0 {
            " (cycles a request)"
        } else {
            ""
        };
        write!(f, ", core %{each}:")?;
        let mut busy = 0;
        for &stage in Stage::ALL.iter().filter(|stage| c[**stage] > 0) {
            let ticks = c[stage];
            write!(
                f,
                " {} {:.1}",
                stage.name(),
                100.0 * ticks as f64 / all as f64
            )?;
            if stage.is_work() {
                busy += ticks;
                if let Some(each) = ticks.checked_div(requests) {
                    write!(f, " ({each})")?;
                }
            }
        }
        match busy.checked_div(requests) {
            Some(each) => write!(f, ", in all {each} cycles a request"),
            None => Ok(()),
        }
    }
}

/// The line that [`Counters::summary`] makes.
#[derive(Clone, Debug)]
pub struct Summary {
    grown: Counters,
    seconds: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.grown;
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        let rate = if self.seconds > 0.0 {
            c[Counter::Requests] as f64 / self.seconds
        } else {
            0.0
        };
        write!(
            f,
            "{rate:.0} requests/s, {} client and {} upstream connections ({} idle, {} half-open), \
             core {:.0} % busy, frames free {:.0} % small {:.0} % large",
            c[Gauge::ClientConnections],
            c[Gauge::UpstreamConnections],
            c[Gauge::UpstreamIdle],
            c[Gauge::HalfOpen],
            share(
                c[Counter::BusyNanos],
                c[Counter::BusyNanos] + c[Counter::IdleNanos]
            ),
            share(c[Gauge::SmallFramesFree], c[Gauge::SmallFrames]),
            share(c[Gauge::LargeFramesFree], c[Gauge::LargeFrames]),
        )?;
        write!(f, "{}", Account(c))?;
        if c[Accelerator::Jobs] + c[CpuJob::Small] + c[CpuJob::Lost] > 0 {
            self.accelerator(f)?;
        }
        let mut separator = ", dropped: ";
        let drops = Drop::ALL.iter().map(|reason| (reason.name(), c[*reason]));
        let lost = PortValue::ALL[PortValue::RxMissed as usize..]
            .iter()
            .map(|value| {
                let ports = (0..MAX_PORTS as u8).map(|port| c[value.of(PortId(port))]);
                (value.name(), ports.sum())
            });
        for (name, count) in drops.chain(lost).filter(|(_, count)| *count != 0) {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Summary {
    /// What the accelerator did, and what the CPU did in its place.
    fn accelerator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.grown;
        let mean = |sum: u64, count: u64| sum as f64 / count.max(1) as f64;
        let per_second = |sum: u64| {
            if self.seconds > 0.0 {
                sum as f64 / self.seconds
            } else {
                0.0
            }
        };
        write!(
            f,
            ", accelerator {:.0} jobs/s {:.1} MB/s",
            per_second(c[Accelerator::Jobs]),
            per_second(c[Accelerator::Bytes]) / 1e6,
        )?;
        let batches = c[Accelerator::Batches];
        if batches > 0 {
            write!(
                f,
                ", {:.1} jobs ({:.1} copies) a batch",
                mean(c[Accelerator::Jobs], batches),
                mean(c[Accelerator::Batched], batches),
            )?;
        }
        write!(
            f,
            ", seen after {:.0} us",
            mean(c[Accelerator::DelayMicros], c[Accelerator::Completions]),
        )?;
        for trouble in [
            Accelerator::Faults,
            Accelerator::Timeouts,
            Accelerator::Redone,
        ] {
            if c[trouble] != 0 {
                let name = trouble.name().trim_start_matches("accelerator_");
                write!(f, ", {name} {}", c[trouble])?;
            }
        }
        let mut separator = ", by CPU instead: ";
        for reason in CpuJob::ALL.iter().filter(|reason| c[**reason] != 0) {
            write!(f, "{separator}{} {}", reason.name(), c[*reason])?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
