//! Opening the configured ports, a queue of each for every worker.

use dataplane::steering::Steering;
use dpdk::{DeviceConfig, DpdkDevice, DpdkPort, Eal, MbufPool};
use log::Level;
use packet::{Options, PacketPort, PacketSocket};

use super::any_port::AnyPort;
use super::error::StartError;
use crate::config::{Config, PortConfig, PortDevice};

/// One queue of a port on its way to the worker that will own it. Unlike some of the ports that
/// come of it, it may change threads.
#[derive(Debug)]
pub enum OpenPort {
    /// Becomes a port on the worker's thread.
    Packet(PacketSocket),
    /// A port already; boxed for its size.
    Dpdk(Box<DpdkPort>),
}

impl OpenPort {
    /// The port. `pool` is what it receives into.
    pub fn into_port(self, pool: &MbufPool) -> Result<AnyPort, StartError> {
        Ok(match self {
            Self::Packet(socket) => AnyPort::packet(PacketPort::new(socket, pool.clone())?),
            Self::Dpdk(port) => AnyPort::dpdk(*port),
        })
    }
}

/// All ports, open.
#[derive(Debug)]
pub struct Opened {
    /// For each worker its queues, in the order of the configuration.
    pub queues: Vec<Vec<OpenPort>>,
    /// For each port how packets find their worker.
    pub steerings: Vec<Steering>,
}

/// Opens every port, a queue of each for every worker. `device` says how DPDK devices are set up; the MTU
/// is the port's.
pub fn open(
    eal: &Eal,
    config: &Config,
    pools: &[MbufPool],
    device: &DeviceConfig,
) -> Result<Opened, StartError> {
    let mut opened = Opened {
        queues: pools.iter().map(|_| Vec::new()).collect(),
        steerings: Vec::new(),
    };
    for (settings, port) in config.settings.ports.iter().zip(&config.ports) {
        let (queues, steering) = open_port(eal, &settings.name, port, pools, device)?;
        for (worker, queue) in opened.queues.iter_mut().zip(queues) {
            worker.push(queue);
        }
        for (level, line) in describe(&settings.name, &steering) {
            log::log!(level, "{line}");
        }
        opened.steerings.push(steering);
    }
    Ok(opened)
}

/// What is to be said about how a port's packets find their worker; nothing for a single one.
fn describe(name: &str, steering: &Steering) -> Vec<(Level, String)> {
    let workers = steering.workers();
    let lacking = |what: &str| {
        let line = format!(
            "port {name}: {what}: packets that come to the wrong one of {workers} workers are copied \
             to the right one; for speed use a NIC with RSS, or one worker (-l N)"
        );
        (Level::Warn, line)
    };
    match steering {
        Steering::Single => Vec::new(),
        Steering::Fanout { .. } => {
            let line = format!("port {name}: the kernel shares TCP among {workers} workers");
            vec![(Level::Info, line)]
        }
        Steering::Toeplitz { rss, v4, v6, .. } => {
            let entries = rss.table().len();
            let line = format!(
                "port {name}: RSS shares TCP among {workers} workers (table of {entries} entries)"
            );
            let mut lines = vec![(Level::Info, line)];
            for (hashed, family) in [(v4, "IPv4"), (v6, "IPv6")] {
                if !hashed {
                    lines.push(lacking(&format!("its RSS does not hash TCP over {family}")));
                }
            }
            lines
        }
        Steering::Software { .. } => vec![lacking("no RSS that can be computed")],
    }
}

/// A queue for each of `pools`. There are fewer of them than 2^16: EAL has no more lcores.
fn open_port(
    eal: &Eal,
    name: &str,
    port: &PortConfig,
    pools: &[MbufPool],
    config: &DeviceConfig,
) -> Result<(Vec<OpenPort>, Steering), StartError> {
    let workers = pools.len() as u16;
    match &port.device {
        PortDevice::Packet { interface } => {
            let sockets = PacketSocket::open(interface, workers, &Options::default())?;
            if let (Some(wanted), Some(socket)) = (port.mtu, sockets.first())
                && socket.link().mtu != u32::from(wanted)
            {
                return Err(StartError::PacketMtu {
                    port: name.to_owned(),
                    interface: interface.clone(),
                    has: socket.link().mtu,
                    wanted,
                });
            }
            let steering = if workers == 1 {
                Steering::Single
            } else {
                Steering::Fanout { workers }
            };
            let sockets = sockets.into_iter().map(OpenPort::Packet);
            Ok((sockets.collect(), steering))
        }
        PortDevice::Dpdk { device } => {
            let config = DeviceConfig {
                mtu: port.mtu,
                rx_class: port.rx_class,
                ..config.clone()
            };
            // The device lives as long as its queues.
            let device = DpdkDevice::open(eal, device, &config, pools)?;
            let queues = (0..workers)
                .map(|queue| Ok(OpenPort::Dpdk(Box::new(device.queue(queue)?))))
                .collect::<Result<_, StartError>>()?;
            Ok((queues, device.steering()))
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::rss::{MICROSOFT_KEY, Rss};

    use super::*;

    /// The levels, and all lines as one text.
    fn said(steering: &Steering) -> (Vec<Level>, String) {
        describe("nic", steering)
            .into_iter()
            .unzip::<_, _, _, String>()
    }

    #[test]
    fn one_worker_is_not_worth_a_line() {
        assert_eq!(said(&Steering::Single), (Vec::new(), String::new()));
    }

    #[test]
    fn what_the_port_does_itself_is_said() {
        let (levels, text) = said(&Steering::Fanout { workers: 2 });
        assert_eq!(levels, [Level::Info]);
        assert_eq!(text, "port nic: the kernel shares TCP among 2 workers");
    }

    #[test]
    fn what_the_workers_have_to_do_is_a_warning_with_a_remedy() {
        let (levels, text) = said(&Steering::Software { workers: 3 });
        assert_eq!(levels, [Level::Warn]);
        for part in ["port nic", "no RSS", "3 workers", "-l N"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let rss = Rss::new(&MICROSOFT_KEY, &[0, 1]).unwrap();
        let both = Steering::toeplitz(rss.clone(), true, true, 2).unwrap();
        assert_eq!(said(&both).0, [Level::Info]);
        let (levels, text) = said(&Steering::toeplitz(rss, true, false, 2).unwrap());
        assert_eq!(levels, [Level::Info, Level::Warn]);
        assert!(text.contains("table of 2 entries"), "{text}");
        assert!(text.contains("TCP over IPv6"), "{text}");
    }
}
