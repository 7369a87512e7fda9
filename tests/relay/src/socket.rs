//! A packet socket on one interface that reads and writes frames, each led by a virtio-net header.
//!
//! With `PACKET_VNET_HDR` (packet(7); layout in linux/virtio_net.h) frames keep what the kernel
//! leaves undone about them, a checksum or segmentation, on their way through: the header read with
//! a frame is written with it again.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::link::Cargo;

/// Bytes of `struct virtio_net_hdr`.
const VNET_HEADER: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` of its first byte: the L4 checksum is still to be completed.
const NEEDS_CSUM: u8 = 1;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// The longest frame: a 64 KiB IP packet, and its headers.
const SLOT: usize = VNET_HEADER + ETHERNET + 4 + 65_536;
/// Frames read or written by one system call.
pub const BATCH: usize = 64;
/// Bytes the kernel may queue for us, so that the relay loses nothing it was not told to lose.
const BUFFER: libc::c_int = 64 << 20;

// From linux/if_packet.h; libc has no names for them.
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// A frame with its virtio-net header before it.
#[derive(Clone)]
pub struct Frame(Vec<u8>);

impl Cargo for Frame {
    fn len(&self) -> usize {
        self.0.len() - VNET_HEADER
    }

    fn corrupt(&mut self, choice: u64) -> bool {
        let start = VNET_HEADER + ETHERNET;
        // The kernel would make the checksum of a frame that still lacks one fit the wrong bytes.
        if self.0[0] & NEEDS_CSUM != 0 || self.0.len() <= start {
            return false;
        }
        let bits = (self.0.len() - start) as u64 * 8;
        let bit = choice % bits;
        self.0[start + (bit / 8) as usize] ^= 1 << (bit % 8);
        true
    }
}

/// What became of the head of the line of frames to send.
pub enum Sent {
    /// This many were taken; 0 only of an empty list.
    Taken(usize),
    /// The interface has no room now.
    Full,
    /// The kernel refuses the first one for good.
    Refused,
}

/// The socket.
pub struct PacketSocket {
    fd: OwnedFd,
    slots: Vec<u8>,
}

impl PacketSocket {
    /// Opens the interface named `name` for everything that arrives at it.
    ///
    /// # Errors
    /// When there is no such interface, or no privilege (CAP_NET_RAW).
    pub fn open(name: &str) -> io::Result<Self> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Opened for no protocol: it receives nothing until it is bound to the interface.
        // SAFETY: socket(2) takes no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self {
            fd,
            slots: vec![0; BATCH * SLOT],
        };
        socket.set(libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
        socket.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER)?;

        let name = CString::new(name)?;
        // SAFETY: `name` is a NUL-terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: sockaddr_ll is plain integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        // SAFETY: `address` is a sockaddr_ll of the length given and outlives the call.
        let _ = check(unsafe {
            libc::bind(
                socket.raw(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        })?;
        Ok(socket)
    }

    /// The descriptor, for polling.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer is to a c_int of the length given, which outlives the call.
        check(unsafe {
            libc::setsockopt(
                self.raw(),
                level,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as u32,
            )
        })
        .map(|_| ())
    }

    /// Frames the kernel dropped since the last call because the socket's buffer was full.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn missed(&self) -> io::Result<u32> {
        // SAFETY: tpacket_stats is plain integers, for which zero is a value.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as u32;
        // SAFETY: both pointers are to locals that outlive the call; `len` is the true length.
        let _ = check(unsafe {
            libc::getsockopt(
                self.raw(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        })?;
        Ok(stats.tp_drops)
    }

    /// Reads up to [`BATCH`] frames without waiting, handing each to `sink`. Returns how many.
    ///
    /// # Errors
    /// Those of recvmmsg(2), except that nothing is there.
    pub fn receive(&mut self, mut sink: impl FnMut(Frame)) -> io::Result<usize> {
        let base = self.slots.as_mut_ptr();
        let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: base.wrapping_add(i * SLOT).cast(),
            iov_len: SLOT,
        });
        let mut messages = one_part_each(&mut parts);
        // SAFETY: every message points to one element of `parts`, every part to its own slot of
        // `slots`; both outlive the call and nothing else refers to them during it.
        let count = check(unsafe {
            libc::recvmmsg(
                self.raw(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        });
        let count = match count {
            Ok(count) => count as usize,
            Err(error) if would_wait(&error) => 0,
            Err(error) => return Err(error),
        };
        for (slot, message) in self.slots.chunks_exact(SLOT).zip(&messages[..count]) {
            sink(Frame(slot[..message.msg_len as usize].to_vec()));
        }
        Ok(count)
    }

    /// Writes the first frames, at most [`BATCH`], without waiting.
    pub fn send<'f>(&mut self, frames: impl Iterator<Item = &'f Frame>) -> Sent {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut parts = [empty; BATCH];
        let mut count = 0;
        for (part, frame) in parts.iter_mut().zip(frames) {
            part.iov_base = frame.0.as_ptr().cast_mut().cast();
            part.iov_len = frame.0.len();
            count += 1;
        }
        if count == 0 {
            return Sent::Taken(0);
        }
        let mut messages = one_part_each(&mut parts);
        // SAFETY: the first `count` messages point to parts that point to the bytes of `frames`,
        // borrowed for 'f; sendmmsg(2) only reads them.
        let result = check(unsafe {
            libc::sendmmsg(self.raw(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        });
        match result {
            Ok(taken) => Sent::Taken(taken as usize),
            Err(error) if would_wait(&error) || error.raw_os_error() == Some(libc::ENOBUFS) => {
                Sent::Full
            }
            Err(_) => Sent::Refused,
        }
    }
}

/// Message headers of which each has one part.
fn one_part_each(parts: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    let base = parts.as_mut_ptr();
    std::array::from_fn(|i| {
        // SAFETY: mmsghdr is plain integers and pointers, for which zero is a value.
        let mut message: libc::mmsghdr = unsafe { zeroed() };
        message.msg_hdr.msg_iov = base.wrapping_add(i);
        message.msg_hdr.msg_iovlen = 1;
        message
    })
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The result of a system call that returns −1 on error.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
