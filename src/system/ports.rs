//! Opening the configured ports, a queue of each for every worker.

use dpdk::{DeviceConfig, DpdkDevice, DpdkPort, Eal, MbufPool};
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

/// Refuses numbers of workers that the engine cannot serve yet.
///
/// A connection to an origin lives in the worker that opened it, so the origin's packets must come
/// to that worker. RSS can be computed beforehand (`dataplane::rss`), which the engine does not
/// use yet; the hash of a fanout group of packet sockets is the kernel's own.
pub fn check_workers(config: &Config, workers: usize) -> Result<(), StartError> {
    if workers <= 1 {
        return Ok(());
    }
    let mut ports = config.settings.ports.iter().zip(&config.ports);
    if let Some((port, _)) =
        ports.find(|(_, config)| matches!(config.device, PortDevice::Packet { .. }))
    {
        let port = port.name.clone();
        return Err(StartError::PacketWorkers { workers, port });
    }
    if !config.settings.clusters.is_empty() {
        return Err(StartError::DpdkWorkers { workers });
    }
    Ok(())
}

/// Opens every port: one list for each worker, in the order of the configuration.
pub fn open(
    eal: &Eal,
    config: &Config,
    pools: &[MbufPool],
) -> Result<Vec<Vec<OpenPort>>, StartError> {
    let mut workers: Vec<Vec<OpenPort>> = pools.iter().map(|_| Vec::new()).collect();
    for (settings, port) in config.settings.ports.iter().zip(&config.ports) {
        let queues = open_port(eal, &settings.name, port, pools)?;
        for (worker, queue) in workers.iter_mut().zip(queues) {
            worker.push(queue);
        }
    }
    Ok(workers)
}

/// A queue for each of `pools`. There are fewer of them than 2^16: EAL has no more lcores.
fn open_port(
    eal: &Eal,
    name: &str,
    port: &PortConfig,
    pools: &[MbufPool],
) -> Result<Vec<OpenPort>, StartError> {
    match &port.device {
        PortDevice::Packet { interface } => {
            let sockets = PacketSocket::open(interface, pools.len() as u16, &Options::default())?;
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
            Ok(sockets.into_iter().map(OpenPort::Packet).collect())
        }
        PortDevice::Dpdk { device } => {
            let config = DeviceConfig {
                mtu: port.mtu,
                ..DeviceConfig::default()
            };
            // The device lives as long as its queues.
            let device = DpdkDevice::open(eal, device, &config, pools)?;
            let queues = (0..pools.len() as u16).map(|queue| device.queue(queue));
            Ok(queues
                .map(|port| port.map(|port| OpenPort::Dpdk(Box::new(port))))
                .collect::<Result<_, _>>()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_toml;

    /// The shipped lab configuration, with another device behind both ports.
    fn config(client: &str, origin: &str) -> Config {
        let text = include_str!("../../configs/veth-lab.toml");
        let text = text.replace("packet:veth-c", client);
        from_toml("lab", &text.replace("packet:veth-o", origin)).expect("a good configuration")
    }

    #[test]
    fn one_worker_may_have_any_ports() {
        for config in [
            config("packet:a", "packet:b"),
            config("dpdk:net_tap0", "dpdk:net_tap1"),
        ] {
            assert!(check_workers(&config, 1).is_ok());
        }
    }

    #[test]
    fn several_workers_are_refused_with_the_reason() {
        let refusal = |config| {
            let text = check_workers(&config, 2).expect_err("refused").to_string();
            assert!(!text.contains('\n') && text.contains("(-l N)"), "{text}");
            text
        };
        let text = refusal(config("dpdk:net_tap0", "packet:b"));
        assert!(text.contains("port origin is a packet port"), "{text}");
        assert!(refusal(config("dpdk:net_tap0", "dpdk:net_tap1")).contains("RSS"));

        let mut nowhere = config("dpdk:net_tap0", "dpdk:net_tap1");
        nowhere.settings.clusters.clear();
        assert!(check_workers(&nowhere, 2).is_ok());
    }
}
