//! Why minivoy did not start, or did not end well.

use std::io;

/// Each is one line with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// EAL, packet memory or a DPDK device: no hugepages, no such device, too few queues, …
    #[error("{}", one_line(.0))]
    Dpdk(#[from] dpdk::DpdkError),
    /// An interface of the kernel: no such interface, down, no privilege, …
    #[error("{}", one_line(.0))]
    Packet(#[from] packet::Error),
    /// A work queue of the accelerator: none, not enabled, in use, …
    #[error("{}", one_line(.0))]
    Dsa(#[from] dsa::Error),
    /// `--dma-device` names fewer devices than there are workers.
    #[error("{workers} workers need a DMA device each, and --dma-device names {named}: repeat it")]
    TooFewDmaDevices {
        /// Workers.
        workers: usize,
        /// Devices named.
        named: usize,
    },
    /// `mtu` does not say what the interface has.
    #[error(
        "port {port}: interface {interface} has an MTU of {has}, the configuration says {wanted}: \
         `ip link set dev {interface} mtu {wanted}`, or leave `mtu` out"
    )]
    PacketMtu {
        /// The port's name.
        port: String,
        /// The interface.
        interface: String,
        /// What it has.
        has: u32,
        /// What the configuration wants.
        wanted: u16,
    },
    /// No memory for sockets' rings.
    #[error("no memory for the ring buffers of sockets: {0}; lower limits.session_buffer")]
    Rings(io::Error),
    /// A thread could not be made.
    #[error("cannot start the thread {name}: {source}; look at `ulimit -u` and the pids cgroup")]
    Thread {
        /// The thread.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Packet memory did not come back.
    #[error(
        "{missing} frames were not returned when the workers ended: a fault in minivoy, please \
         report it with the log"
    )]
    FramesLost {
        /// How many.
        missing: u32,
    },
}

/// EAL may have said several lines.
fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_eal_said_becomes_one_line() {
        let error = StartError::Dpdk(dpdk::DpdkError::NoHugepages {
            said: "EAL: first\nEAL: second\n".into(),
        });
        let text = error.to_string();
        assert!(text.ends_with("EAL: first; EAL: second"), "{text}");
        assert!(text.contains("nr_hugepages"), "{text}");
    }
}
