//! The packet socket: opening, options, binding, and the two batch system calls.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::Error;
use crate::link::{self, Link};

/// How a port is opened. The defaults suit a proxy on a link of 10 Gbit/s or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of packets the kernel holds for each queue until they are read. More than
    /// `net.core.rmem_max` needs CAP_NET_ADMIN; without it the kernel's maximum is taken.
    pub receive_buffer: usize,
    /// Bytes of packets on their way to the device, for each queue; likewise.
    pub send_buffer: usize,
    /// Receive what is addressed to other stations too.
    pub promiscuous: bool,
    /// Receive all multicast. IPv6 neighbour discovery needs it on NICs that filter by address,
    /// since the kernel has joined no groups for addresses that it does not own.
    pub all_multicast: bool,
    /// Most packets of one receive burst. Each has frames posted for `largest_packet`.
    pub receive_batch: usize,
    /// Most packets handed to the kernel by one system call.
    pub send_batch: usize,
    /// Packets that may wait to be sent.
    pub send_slots: usize,
    /// Bytes, Ethernet header included, of the largest packet there are frames posted for; longer
    /// ones are dropped. A super-segment has up to 65 549.
    pub largest_packet: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_buffer: 32 << 20,
            send_buffer: 16 << 20,
            promiscuous: false,
            all_multicast: true,
            receive_batch: 64,
            send_batch: 64,
            send_slots: 1024,
            largest_packet: 65_535 + crate::vnet::ETHERNET,
        }
    }
}

/// `Large` frames that a packet of `largest` bytes takes after a `Small` one.
pub(crate) fn large_frames(largest: usize, small_room: usize, large_room: usize) -> usize {
    largest.saturating_sub(small_room).div_ceil(large_room)
}

impl Options {
    /// `Large` frames that each message has posted behind its `Small` one, so that there is room for
    /// `largest_packet`, when frames hold so many bytes.
    pub fn large_frames(&self, small_room: usize, large_room: usize) -> usize {
        large_frames(self.largest_packet, small_room, large_room)
    }

    fn check(&self, interface: &str, queues: u16) -> Result<(), Error> {
        let most = libc::UIO_MAXIOV as usize;
        let reason = if queues == 0 {
            "there must be at least one queue"
        } else if !(1..=most).contains(&self.receive_batch)
            || !(1..=most).contains(&self.send_batch)
        {
            "receive_batch and send_batch must be 1 to 1024"
        } else if self.send_slots == 0 {
            "send_slots must not be 0"
        } else if self.largest_packet < 1514 {
            "largest_packet must hold an Ethernet frame of 1514 bytes"
        } else {
            return Ok(());
        };
        Err(Error::BadOption {
            interface: interface.to_owned(),
            reason,
        })
    }
}

/// An open, bound packet socket: one queue of an interface. Unlike the port made from it, it may
/// be sent to the thread of the worker that will own it.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    interface: String,
    link: Link,
    options: Options,
    /// Whether packets go to the device without passing the queueing discipline.
    bypass: bool,
}

impl PacketSocket {
    /// Opens `queues` sockets on `interface`. Several share the interface's packets: TCP by both its
    /// ports, as [`dataplane::steering::by_ports`] says, and everything else comes to the first.
    ///
    /// # Errors
    /// See [`Error`]: no such interface, not Ethernet, down, no privilege, senseless options.
    pub fn open(interface: &str, queues: u16, options: &Options) -> Result<Vec<Self>, Error> {
        options.check(interface, queues)?;
        let link = Link::look_up(interface)?;
        if link.hardware != libc::ARPHRD_ETHER {
            return Err(Error::NotEthernet {
                interface: interface.to_owned(),
                hardware: link.hardware,
            });
        }
        if !link.is_up() {
            return Err(Error::InterfaceDown {
                interface: interface.to_owned(),
            });
        }
        let several = queues > 1;
        let sockets: Vec<Self> = (0..queues)
            .map(|_| Self::open_one(interface, link, options, several))
            .collect::<Result<_, _>>()?;
        if several {
            Self::share(&sockets)?;
            for socket in &sockets {
                socket.unmute()?;
            }
        }
        Ok(sockets)
    }

    fn open_one(
        interface: &str,
        link: Link,
        options: &Options,
        muted: bool,
    ) -> Result<Self, Error> {
        // Protocol 0: nothing is received before `bind` names the interface.
        // SAFETY: takes no pointers.
        let fd = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        if fd < 0 {
            return Err(Error::last_os(interface, "open a packet socket"));
        }
        // SAFETY: `fd` was just opened and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut socket = Self {
            fd,
            interface: interface.to_owned(),
            link,
            options: options.clone(),
            bypass: false,
        };
        socket.set_flag(libc::PACKET_VNET_HDR, "turn virtio-net headers on")?;
        socket.set_flag(libc::PACKET_IGNORE_OUTGOING, "ignore outgoing packets")?;
        socket.set_buffers();
        socket.choose_path_to_device()?;
        if muted {
            socket.mute()?;
        }
        socket.bind()?;
        if options.promiscuous {
            socket.add_membership(libc::PACKET_MR_PROMISC, "receive promiscuously")?;
        }
        if options.all_multicast {
            socket.add_membership(libc::PACKET_MR_ALLMULTI, "receive all multicast")?;
        }
        Ok(socket)
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface as it was when the socket was opened.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What the socket was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether the interface is up and has carrier now: one system call.
    pub fn link_running(&self) -> bool {
        link::running(self.fd.as_fd(), &self.interface)
    }

    /// Largest IP packet that may be sent as one super-segment.
    ///
    /// The kernel leaves to the device only packets shorter than `gso_max_size`, Ethernet header
    /// included; longer ones it cuts itself, which is not possible past the queueing discipline.
    pub fn largest_super_segment(&self) -> u32 {
        let limit = self
            .link
            .gso_max_size
            .saturating_sub(1 + crate::vnet::ETHERNET as u32);
        limit.min(65_535)
    }

    /// Bypasses the queueing discipline (`PACKET_QDISC_BYPASS`) if the device cuts super-segments
    /// itself. If it does not, the kernel has to, and it throws away what it would have to cut on
    /// the bypass (`__dev_direct_xmit` accepts no list of packets). Called again when the device
    /// keeps refusing packets, because features can be switched off at any time.
    pub(crate) fn choose_path_to_device(&mut self) -> Result<(), Error> {
        let cuts = link::cuts_segments(self.fd.as_fd(), &self.interface).unwrap_or_else(|e| {
            log::debug!("{}: features unknown: {e}", self.interface);
            false
        });
        if cuts != self.bypass {
            self.set_option(
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                &libc::c_int::from(cuts),
            )
            .map_err(|e| Error::from_os(&self.interface, "choose the path to the device", e))?;
            self.bypass = cuts;
        }
        Ok(())
    }

    /// Packets the kernel dropped for want of room in the receive buffer, since the last call.
    pub(crate) fn take_drops(&self) -> u64 {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: both pointers are to live variables, and `len` is the size of the first.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return 0;
        }
        u64::from(statistics.tp_drops)
    }

    /// `recvmmsg` without waiting: how many of `messages`, from the first, were filled.
    ///
    /// # Errors
    /// What the kernel answered; `WouldBlock` when there is nothing.
    ///
    /// # Safety
    /// Every pointer in `messages` must be valid for what it is declared as, and the iovecs'
    /// targets for writes that race with nothing.
    pub(crate) unsafe fn receive(&self, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
        // SAFETY: the slice is live and its length is passed; its contents are the caller's promise.
        let received = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// `sendmmsg` without waiting: how many of `messages`, from the first, the kernel took.
    ///
    /// # Errors
    /// What the kernel answered about the first message.
    ///
    /// # Safety
    /// Every pointer in `messages` must be valid for what it is declared as, and the iovecs'
    /// targets for reads.
    pub(crate) unsafe fn send(&self, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
        // SAFETY: the slice is live and its length is passed; its contents are the caller's promise.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn bind(&self) -> Result<(), Error> {
        // SAFETY: `sockaddr_ll` is plain data for which all-zero bytes are valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = self.link.index;
        // SAFETY: the pointer is to a live `sockaddr_ll`, whose size is passed.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(Error::last_os(&self.interface, "bind to it"));
        }
        Ok(())
    }

    fn add_membership(&self, kind: libc::c_int, doing: &'static str) -> Result<(), Error> {
        let membership = libc::packet_mreq {
            mr_ifindex: self.link.index,
            mr_type: kind as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
            .map_err(|e| Error::from_os(&self.interface, doing, e))
    }

    /// Sizes both buffers as far as the process is allowed to. The kernel counts the memory of
    /// packets, not their bytes; that is why it doubles what is asked for.
    fn set_buffers(&self) {
        let wanted = [
            (
                self.options.receive_buffer,
                libc::SO_RCVBUFFORCE,
                libc::SO_RCVBUF,
                "receive",
            ),
            (
                self.options.send_buffer,
                libc::SO_SNDBUFFORCE,
                libc::SO_SNDBUF,
                "send",
            ),
        ];
        for (bytes, force, plain, name) in wanted {
            let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2);
            if self.set_option(libc::SOL_SOCKET, force, &bytes).is_ok() {
                continue;
            }
            match self.set_option(libc::SOL_SOCKET, plain, &bytes) {
                Ok(()) => log::warn!(
                    "{}: without CAP_NET_ADMIN the {name} buffer is bounded by net.core.{}mem_max",
                    self.interface,
                    &name[..1],
                ),
                Err(e) => log::warn!("{}: {name} buffer not set: {e}", self.interface),
            }
        }
    }

    fn set_flag(&self, option: libc::c_int, doing: &'static str) -> Result<(), Error> {
        self.set_option(libc::SOL_PACKET, option, &1_i32)
            .map_err(|e| Error::from_os(&self.interface, doing, e))
    }

    pub(crate) fn set_option<T: Copy>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: the pointer is to a live `T`, whose size is passed; the kernel only reads it, and
        // what it points at (a program) outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A message header that names nothing.
pub(crate) fn empty_message() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is plain data (pointers, lengths, flags) for which all-zero bytes are valid.
    unsafe { std::mem::zeroed() }
}

/// An iovec over `len` bytes at `base`.
pub(crate) fn iovec(base: *mut u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: base.cast(),
        iov_len: len,
    }
}
