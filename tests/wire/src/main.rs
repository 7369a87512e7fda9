//! `wire-peer`: the two ends of a proxied connection without a kernel: a client and an origin, each a
//! stock smoltcp host on a vhost-user port of DPDK, in one loop on one core. minivoy stands between
//! them with virtio_user ports (scripts/wire.sh), the NIC of cloud machines.
//!
//! ```text
//! wire-peer -l 0 --no-pci --no-huge -m 384 \
//!     --vdev net_vhost0,iface=/tmp/client.sock,queues=1,tso=1 \
//!     --vdev net_vhost1,iface=/tmp/origin.sock,queues=1,tso=1 -- --connections 100
//! ```
//!
//! It prints one line of JSON when all exchanges are over, and ends when the proxy has closed its
//! ports. Exit status 0 means that every byte of every body was right and that all packet memory
//! came back.

mod client;
mod device;
mod host;
mod origin;
mod pattern;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dataplane::port::{FrameClass, FramePool};
use dpdk::{ClassConfig, DeviceConfig, DpdkDevice, DpdkError, DpdkPort, Eal, MbufPool, PoolConfig};
use smoltcp::time::Instant;
use smoltcp::wire::Ipv4Address;

use client::{Client, Plan};
use device::{Steer, WireDevice};
use host::Host;
use origin::Origin;
use pattern::Pattern;

const CLIENT: Ipv4Address = Ipv4Address::new(10, 77, 1, 2);
const ORIGIN: Ipv4Address = Ipv4Address::new(10, 77, 2, 2);
const ORIGIN_PORT: u16 = 8080;
const PROXY: (Ipv4Address, u16) = (Ipv4Address::new(10, 77, 1, 1), 8080);
/// Turns between two looks at the links, which cost a system call each.
const LINK_TURNS: u32 = 4096;

/// Options behind `--`; those before it are EAL's.
#[derive(Parser)]
struct Arguments {
    /// Connections at a time.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=200))]
    connections: u16,
    /// Requests on each connection.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Bytes of every body.
    #[arg(long, default_value_t = 16_384)]
    body: usize,
    /// Queues of each port; the proxy must have as many workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    queues: u16,
    /// Into which worker's queue packets go.
    #[arg(long, value_enum, default_value_t = Steer::Right)]
    steer: Steer,
    /// Segments that are sent again are no fault: for a proxy that has to share the peer's core, where
    /// time-outs fire because nobody had the time to answer.
    #[arg(long)]
    patient: bool,
    /// Seconds all of it may take, from the time the proxy is there.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// Seconds to wait for the proxy, and after the work for its end.
    #[arg(long, default_value_t = 20)]
    patience: u64,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let mut all = std::env::args();
    let program = all.next().unwrap_or_default();
    let eal: Vec<String> = all
        .by_ref()
        .take_while(|argument| argument != "--")
        .collect();
    let arguments = Arguments::parse_from(std::iter::once(program).chain(all));
    match run(&eal, &arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything was right.
fn run(arguments: &[String], options: &Arguments) -> Result<bool, DpdkError> {
    let eal = Eal::init(arguments)?;
    let pools = PoolConfig {
        small: ClassConfig {
            count: 1023,
            ..PoolConfig::default().small
        },
        large: ClassConfig {
            count: 4095,
            ..PoolConfig::default().large
        },
        ..PoolConfig::default()
    };
    let pool = MbufPool::new(&eal, "wire", eal.socket_of(eal.lcores()[0]), &pools)?;
    let right = exchange(&eal, &pool, options)?;
    let missing = [FrameClass::Small, FrameClass::Large]
        .map(|class| pool.level(class))
        .map(|level| level.total - level.free);
    if missing != [0, 0] {
        log::error!(
            "frames not returned: small {}, large {}",
            missing[0],
            missing[1]
        );
    }
    Ok(right && missing == [0, 0])
}

fn open(
    eal: &Eal,
    name: &str,
    pool: &MbufPool,
    options: &Arguments,
) -> Result<Option<WireDevice>, DpdkError> {
    let config = DeviceConfig {
        rx_class: FrameClass::Large,
        ..DeviceConfig::default()
    };
    let pools = vec![pool.clone(); options.queues.into()];
    let device = DpdkDevice::open(eal, name, &config, &pools)?;
    let ports: Vec<DpdkPort> = (0..options.queues)
        .map(|queue| device.queue(queue))
        .collect::<Result<_, _>>()?;
    if device.caps().tx_tcp_checksum {
        return Ok(Some(WireDevice::new(ports, options.steer, pool.clone())));
    }
    log::error!("{name} does not complete TCP checksums");
    Ok(None)
}

fn exchange(eal: &Eal, pool: &MbufPool, options: &Arguments) -> Result<bool, DpdkError> {
    let (Some(near), Some(far)) = (
        open(eal, "net_vhost0", pool, options)?,
        open(eal, "net_vhost1", pool, options)?,
    ) else {
        return Ok(false);
    };
    let mut near = Host::new(near, CLIENT, 1);
    let mut far = Host::new(far, ORIGIN, 2);
    let pattern = Pattern::new();
    let connections = usize::from(options.connections);
    // The proxy may open a connection before it has let go of another.
    let mut origin = Origin::new(&mut far, ORIGIN_PORT, connections + 16);

    let clock = clock();
    let now = || Instant::from_micros(clock.elapsed().as_micros() as i64);
    let links = |near: &Host, far: &Host| (near.device.link_up(), far.device.link_up());
    let patience = Duration::from_secs(options.patience);
    while links(&near, &far) != (true, true) {
        if clock.elapsed() > patience {
            log::error!("the proxy has not opened its ports");
            return Ok(false);
        }
        std::thread::yield_now();
    }

    let start = clock.elapsed();
    let mut client = Client::new(
        &mut near,
        Plan {
            server: PROXY,
            connections,
            requests: options.requests as usize,
            body: options.body,
        },
    );
    while !client.over() {
        near.poll(now());
        client.run(&mut near, &pattern);
        far.poll(now());
        origin.run(&mut far, &pattern);
        if clock.elapsed() - start > Duration::from_secs(options.timeout) {
            client.give_up(&near);
        }
    }
    let seconds = (clock.elapsed() - start).as_secs_f64();

    // The hosts go on, so that connections end as they should, until the proxy has gone.
    report(&client, &origin, &near, &far, options, seconds);
    let end = clock.elapsed();
    let mut turns = 0u32;
    loop {
        near.poll(now());
        client.run(&mut near, &pattern);
        far.poll(now());
        origin.run(&mut far, &pattern);
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(LINK_TURNS) && links(&near, &far) == (false, false) {
            break;
        }
        if clock.elapsed() - end > patience {
            log::error!("the proxy has not closed its ports");
            return Ok(false);
        }
    }
    let wanted = u64::from(options.connections) * u64::from(options.requests);
    let mut again = near.device.again() + far.device.again();
    if options.patient {
        again = 0;
    }
    if again > 0 {
        log::error!("{again} segments were sent again, on a wire that loses nothing");
    }
    let faults = near.device.faults() + far.device.faults() + origin.errors + client.errors + again;
    Ok(client.requests == wanted && faults == 0)
}

fn report(
    client: &Client,
    origin: &Origin,
    near: &Host,
    far: &Host,
    options: &Arguments,
    seconds: f64,
) {
    let line = serde_json::json!({
        "requests": client.requests,
        "errors": client.errors + origin.errors + near.device.faults() + far.device.faults(),
        "bytes": client.bytes,
        "seconds": (seconds * 1e6).round() / 1e6,
        "connections": options.connections,
        "origin_connections": origin.accepted,
        "sent_again": near.device.again() + far.device.again(),
        "super_segments": far.device.cut(),
    });
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        log::error!("cannot write the result: {error}");
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "hosts over devices live in real time"
)]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}
