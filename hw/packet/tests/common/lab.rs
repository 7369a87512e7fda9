//! A network namespace of the test's own, with a veth pair in it.
//!
//! The namespace has no name: it ends with the thread and the sockets that are in it, so there is
//! nothing to remove, whatever becomes of the test.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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

/// A plain packet socket on `interface`, as any packet capture opens one.
#[derive(Debug)]
pub struct Capture {
    fd: OwnedFd,
    vnet: bool,
}

impl Capture {
    /// Captures what arrives at `interface`; with `vnet`, each packet comes with its virtio-net
    /// header and may be a super-segment.
    pub fn open(interface: &str, vnet: bool) -> Self {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: `fd` was just opened and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let set = |level, option, value: i32| {
            // SAFETY: the pointer is to a live integer, whose size is passed.
            let result = unsafe {
                libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), 4)
            };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
        };
        set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, vnet.into());
        set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20);
        // SAFETY: `sockaddr_ll` is plain data for which all-zero bytes are valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = packet::link::Link::look_up(interface)
            .expect("exists")
            .index;
        // SAFETY: the pointer is to a live `sockaddr_ll`, whose size is passed.
        let result = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        Self { fd, vnet }
    }

    /// The next packet, with its virtio-net header (zero bytes of it without `vnet`); `None` when
    /// nothing more has arrived.
    pub fn next(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut bytes = vec![0; 70_000];
        // SAFETY: the pointer and length are those of a live buffer borrowed mutably.
        let len = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let len = usize::try_from(len).ok()?;
        bytes.truncate(len);
        let packet = bytes.split_off(if self.vnet { packet::vnet::LEN } else { 0 });
        Some((bytes, packet))
    }

    /// Sends one packet, led by its virtio-net header if the capture has them.
    pub fn send(&self, packet: &[u8]) {
        // SAFETY: the pointer and length are those of a live slice, which is only read.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
        assert_eq!(
            sent,
            packet.len() as isize,
            "{}",
            io::Error::last_os_error()
        );
    }
}
