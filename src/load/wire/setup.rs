//! From the command line to what the engine is told.

use std::net::SocketAddr;
use std::time::Duration;

use dataplane::load::plan::LONGEST_OPENING;
use dataplane::load::{LoadPlan, OriginListener};
use dataplane::settings::{PortId, Settings};
use minivoy::config::{Config, MemorySettings};

use super::ports::{self, PortOption};
use crate::cli::Options;
use crate::plan::{Payload, Plan};

/// Connections in the middle of their handshake: as many as a host's backlog usually takes.
const MOST_CONNECTING: u32 = 512;
/// Connections that an origin takes at least.
const ORIGIN_CONNECTIONS: u32 = 65_536;
/// Bytes of a connection's window, and the least to which many connections make it shrink.
const BUFFER: u64 = 128 * 1024;
const LEAST_BUFFER: u64 = 8 * 1024;
/// Bytes of address space that the windows of all connections may take: a hugepage of it is a mapping of
/// its own, of which the kernel allows 65 530 (`vm.max_map_count`).
const WINDOWS: u64 = 40_000 << 21;

/// What workers are told together; `workers` share it.
///
/// # Errors
/// A line that says what is wrong with the command line.
pub fn config(options: &Options, plan: Option<&Plan>, workers: u32) -> Result<Config, String> {
    let all: Vec<PortOption> = options
        .ports
        .iter()
        .map(|text| ports::read(text))
        .collect::<Result<_, _>>()?;
    let mut settings = Settings {
        ports: all.iter().map(|port| port.settings.clone()).collect(),
        ..Settings::default()
    };
    let mut connections = 0;
    if let Some(plan) = plan {
        let port = client_port(&all, plan.url.address)?;
        let own = &mut settings.ports[usize::from(port.0)];
        own.ranges.extend(options.sources.iter().map(ports::range));
        settings.load = Some(load_plan(plan, port)?);
        // Those that are closing take room as well.
        let open = plan.pace.connections.div_ceil(workers);
        connections += open + open / 4 + 1024;
    }
    if let Some(address) = options.origin {
        settings.origins = origins(&all, address)?;
        connections += ORIGIN_CONNECTIONS.max(options.connections);
    }
    settings.limits.max_connections = connections;
    settings.limits.max_half_open = connections;
    settings.limits.session_buffer = buffer(connections, workers);
    settings.limits.max_head = 64 * 1024;
    settings.timeouts.idle = 0;
    Ok(Config {
        settings,
        ports: all.into_iter().map(|port| port.config).collect(),
        memory: MemorySettings {
            small_frames: options.pool_small,
            large_frames: options.pool_large,
        },
    })
}

/// Bytes of the windows of so many connections of each worker: a power of two.
fn buffer(connections: u32, workers: u32) -> u32 {
    let each = WINDOWS / (2 * u64::from(connections) * u64::from(workers)).max(1);
    let each = each.clamp(LEAST_BUFFER, BUFFER);
    1 << each.ilog2()
}

/// The port that the target is reached through.
fn client_port(all: &[PortOption], target: SocketAddr) -> Result<PortId, String> {
    let address = target.ip();
    let mut ways = [false, true].into_iter();
    let found = ways.find_map(|far| all.iter().position(|port| port.reaches(address, far)));
    match found {
        Some(index) => Ok(PortId(index as u8)),
        None => Err(format!(
            "no --port reaches {address}: give one an address in its network, or a gateway"
        )),
    }
}

/// An origin for each port that has the address.
fn origins(all: &[PortOption], address: SocketAddr) -> Result<Vec<OriginListener>, String> {
    let has = |port: &PortOption| {
        let mut own = port.settings.addresses.iter();
        address.ip().is_unspecified() || own.any(|(own, _)| *own == address.ip())
    };
    let ports = all.iter().enumerate().filter(|(_, port)| has(port));
    let found: Vec<OriginListener> = ports
        .map(|(index, _)| OriginListener {
            port: PortId(index as u8),
            address,
        })
        .collect();
    if found.is_empty() {
        return Err(format!(
            "--origin {address}: no --port has this address: write ,address={}/24 behind one",
            address.ip()
        ));
    }
    Ok(found)
}

fn load_plan(plan: &Plan, port: PortId) -> Result<LoadPlan, String> {
    let mut opening = plan.request_head();
    let mut body = 0;
    match &plan.payload {
        Some(Payload::Text(text)) => opening.extend_from_slice(text),
        Some(Payload::Pattern(size)) => body = *size,
        None => {}
    }
    if opening.len() > LONGEST_OPENING {
        return Err(format!(
            "the request has {} bytes, at most {LONGEST_OPENING} are possible: for a larger body use \
             --body-size",
            opening.len()
        ));
    }
    let timeout = Duration::from_micros(plan.timeout_us.unwrap_or_default());
    Ok(LoadPlan {
        port,
        target: plan.url.address,
        pace: plan.pace.longer_by(plan.warmup_us),
        most_connecting: MOST_CONNECTING,
        opening,
        body,
        head_only: plan.head_only(),
        keep_alive: plan.keep_alive,
        verify: plan.verify,
        timeout: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_fit_into_the_mappings() {
        for (connections, workers, bytes) in [
            (100, 1, 128 << 10),
            (100_000, 1, 128 << 10),
            (300_000, 1, 128 << 10),
            (1_000_000, 1, 32 << 10),
            (500_000, 2, 32 << 10),
            (4_000_000, 2, 8 << 10),
        ] {
            assert_eq!(buffer(connections, workers), bytes, "{connections}");
        }
    }

    #[test]
    fn ports_are_found_by_addresses() {
        let ports: Vec<_> = [
            "a=packet:a,address=10.1.0.2/24",
            "b=packet:b,address=10.2.0.2/24,gateway=10.2.0.1",
        ]
        .map(|text| ports::read(text).unwrap())
        .into();
        for (target, port) in [
            ("10.1.0.1:80", Some(0)),
            ("10.2.0.9:80", Some(1)),
            ("10.9.0.1:80", Some(1)),
            ("[fd00::1]:80", None),
        ] {
            let found = client_port(&ports, target.parse().unwrap()).ok();
            assert_eq!(found.map(|port| port.0), port, "{target}");
        }
        for (address, count) in [("10.1.0.2:80", 1), ("0.0.0.0:80", 2), ("10.1.0.3:80", 0)] {
            let found = origins(&ports, address.parse().unwrap()).map_or(0, |found| found.len());
            assert_eq!(found, count, "{address}");
        }
    }
}
