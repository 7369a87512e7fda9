//! A network namespace of the test's own, with a veth pair in it.
//!
//! The namespace has no name: it ends with the thread and the sockets that are in it, so there is
//! nothing to remove, whatever becomes of the test.

use std::process::Command;

use packet::{Options, PacketPort, PacketSocket};

use super::pool::HeapPool;

/// The two ends of the pair: `PORT` for what is tested, `PEER` for the other side.
pub const PORT: &str = "packet0";
pub const PEER: &str = "packet1";

/// The namespace that the calling thread is in.
#[derive(Debug)]
pub struct Lab(());

impl Lab {
    /// Moves the calling thread to a fresh namespace and makes the pair. `None`, with the reason
    /// printed, when the test does not run as root; as root every failure is the test's failure.
    #[allow(clippy::print_stderr)] // The reason belongs beside the test's result.
    pub fn new(mtu: u32) -> Option<Self> {
        // SAFETY: takes nothing, touches nothing.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: needs root to make network namespaces");
            return None;
        }
        // SAFETY: takes no pointers; affects the calling thread only.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            result,
            0,
            "root without CAP_SYS_ADMIN: {}",
            std::io::Error::last_os_error()
        );
        let lab = Lab(());
        // Keeps the kernel from talking on its own account.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").expect("sysctl");
        run(&format!("ip link add {PORT} type veth peer name {PEER}"));
        for end in [PORT, PEER] {
            run(&format!("ip link set dev {end} mtu {mtu} up"));
        }
        Some(lab)
    }

    /// A port on `interface` with the options given.
    pub fn port(
        &self,
        interface: &str,
        pool: &HeapPool,
        options: &Options,
    ) -> PacketPort<HeapPool> {
        let mut sockets = PacketSocket::open(interface, 1, options).expect("opens");
        let socket = sockets.pop().expect("one queue");
        PacketPort::new(socket, pool.clone()).expect("pool has frames")
    }
}

/// Runs a command of plain words and insists that it succeeds.
pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{command}: {e}"));
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
