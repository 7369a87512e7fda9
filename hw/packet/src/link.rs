//! What the kernel knows about an interface: index, address, MTU, state, segmentation limits.
//!
//! One `RTM_GETLINK` request (rtnetlink(7)) answers all but the feature flags, which only the
//! ethtool ioctl tells (`linux/ethtool.h`). State is sampled again by ioctl
//! on the packet socket, which belongs to the right network namespace for good.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::Error;

/// `IFLA_GSO_MAX_SIZE` and `IFLA_GSO_IPV4_MAX_SIZE` of `linux/if_link.h`.
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;

/// Bytes of `struct nlmsghdr`, of `struct ifinfomsg` and of `struct rtattr`.
const NLMSGHDR: usize = 16;
const IFINFOMSG: usize = 16;
const RTATTR: usize = 4;

/// The longest super-segment the kernel makes unless the interface says otherwise
/// (`GSO_LEGACY_MAX_SIZE`).
const GSO_DEFAULT: u32 = 65_536;

/// An interface, as it was when it was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: i32,
    /// `IFF_` flags (`linux/if.h`).
    pub flags: u32,
    /// `ARPHRD_` number of the kind of link.
    pub hardware: u16,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Packets of this many bytes (Ethernet header included) are not left to the device to cut.
    pub gso_max_size: u32,
}

impl Link {
    /// Looks up `interface` in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`], or what the kernel answered.
    pub fn look_up(interface: &str) -> Result<Self, Error> {
        let missing = || Error::NoSuchInterface {
            interface: interface.to_owned(),
        };
        if interface.is_empty() || interface.len() >= libc::IFNAMSIZ || interface.contains('\0') {
            return Err(missing());
        }
        let mut answer = vec![0_u8; 64 * 1024];
        let len = exchange(&request(interface), &mut answer)
            .map_err(|e| Error::from_os(interface, "ask the kernel about it", e))?;
        parse(&answer[..len])
            .map_err(|e| Error::from_os(interface, "understand the kernel's answer", e))
    }

    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Up and with carrier.
    pub fn is_running(&self) -> bool {
        self.is_up() && self.flags & libc::IFF_RUNNING as u32 != 0
    }
}

/// The request `RTM_GETLINK` for one interface by name.
fn request(interface: &str) -> Vec<u8> {
    let attribute = RTATTR + interface.len() + 1;
    let total = NLMSGHDR + IFINFOMSG + attribute;
    let mut message = Vec::with_capacity(total + 4);
    message.extend_from_slice(&(total as u32).to_ne_bytes());
    message.extend_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    message.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port id, then an ifinfomsg that leaves everything open.
    message.extend_from_slice(&[0; 8 + IFINFOMSG]);
    message.extend_from_slice(&(attribute as u16).to_ne_bytes());
    message.extend_from_slice(&libc::IFLA_IFNAME.to_ne_bytes());
    message.extend_from_slice(interface.as_bytes());
    message.push(0);
    message
}

/// Sends one request to the kernel's routing tables and waits for the one answer.
fn exchange(request: &[u8], answer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: takes no pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the pointer and length are those of a live slice, which is only read.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the pointer and length are those of a live slice borrowed mutably.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(received as usize)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads an `RTM_NEWLINK` message, or the `NLMSG_ERROR` sent in its place.
fn parse(message: &[u8]) -> io::Result<Link> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed netlink message");
    let kind = u16_at(message, 4).ok_or_else(malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let code = u32_at(message, NLMSGHDR).ok_or_else(malformed)? as i32;
        return Err(io::Error::from_raw_os_error(-code));
    }
    if kind != libc::RTM_NEWLINK {
        return Err(malformed());
    }
    let mut link = Link {
        hardware: u16_at(message, NLMSGHDR + 2).ok_or_else(malformed)?,
        index: u32_at(message, NLMSGHDR + 4).ok_or_else(malformed)? as i32,
        flags: u32_at(message, NLMSGHDR + 8).ok_or_else(malformed)?,
        mac: [0; 6],
        mtu: 0,
        gso_max_size: GSO_DEFAULT,
    };
    let mut rest = message.get(NLMSGHDR + IFINFOMSG..).ok_or_else(malformed)?;
    while rest.len() >= RTATTR {
        let len = usize::from(u16_at(rest, 0).ok_or_else(malformed)?);
        let value = rest.get(RTATTR..len).ok_or_else(malformed)?;
        match u16_at(rest, 2).ok_or_else(malformed)? {
            libc::IFLA_ADDRESS if value.len() == 6 => link.mac.copy_from_slice(value),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0).ok_or_else(malformed)?,
            IFLA_GSO_MAX_SIZE | IFLA_GSO_IPV4_MAX_SIZE => {
                let size = u32_at(value, 0).ok_or_else(malformed)?;
                link.gso_max_size = link.gso_max_size.min(size);
            }
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(link)
}

/// An `ifreq` for `interface`; the name must have fewer than `IFNAMSIZ` bytes.
fn ifreq(interface: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data for which all-zero bytes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = interface.bytes().take(libc::IFNAMSIZ - 1);
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    request
}

/// Whether `interface` is up and has carrier now. A vanished interface is down.
///
/// The driver knows at once (`ETHTOOL_GLINK`); `IFF_RUNNING` follows up to a second later, but
/// exists for drivers that do not say.
pub(crate) fn running(socket: BorrowedFd<'_>, interface: &str) -> bool {
    const ETHTOOL_GLINK: u32 = 0x0a;
    let mut command = [ETHTOOL_GLINK, 0];
    if ethtool(socket, interface, &mut command).is_ok() {
        return command[1] != 0;
    }
    let mut request = ifreq(interface);
    // SAFETY: SIOCGIFFLAGS reads the name from and writes the flags to this live `ifreq`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) };
    if result < 0 {
        return false;
    }
    // SAFETY: the successful call has filled the flags; any bit pattern is a valid integer.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0
}

/// Whether the device itself cuts TCP super-segments of both IP versions.
///
/// The bits of the feature mask have no fixed meaning; the kernel names them in a string set.
pub(crate) fn cuts_segments(socket: BorrowedFd<'_>, interface: &str) -> io::Result<bool> {
    const ETHTOOL_GSTRINGS: u32 = 0x1b;
    const ETHTOOL_GSSET_INFO: u32 = 0x37;
    const ETHTOOL_GFEATURES: u32 = 0x3a;
    const ETH_SS_FEATURES: u32 = 4;
    /// Bytes of a name (`ETH_GSTRING_LEN`).
    const NAME: usize = 32;

    // struct ethtool_sset_info: cmd, reserved, a 64-bit mask of sets, then a count for each.
    let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
    // The mask is 64 bits wide; on a big-endian machine its low word is the second.
    if cfg!(target_endian = "big") {
        info.swap(2, 3);
    }
    ethtool(socket, interface, &mut info)?;
    let count = info[4] as usize;

    // struct ethtool_gstrings: cmd, string_set, len, then the names.
    let mut names = vec![0; 3 + count * NAME / 4];
    names[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
    ethtool(socket, interface, &mut names)?;
    let names: Vec<u8> = names[3..].iter().flat_map(|w| w.to_ne_bytes()).collect();

    // struct ethtool_gfeatures: cmd, size, then blocks of available, requested, active,
    // never_changed.
    let blocks = count.div_ceil(32);
    let mut features = vec![0; 2 + blocks * 4];
    features[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
    ethtool(socket, interface, &mut features)?;

    let active = |feature: &str| {
        names
            .chunks_exact(NAME)
            .position(|name| name.split(|b| *b == 0).next() == Some(feature.as_bytes()))
            .is_some_and(|bit| features[2 + bit / 32 * 4 + 2] >> (bit % 32) & 1 == 1)
    };
    Ok(active("tx-tcp-segmentation") && active("tx-tcp6-segmentation"))
}

/// One ethtool command. `command` must have the room that the command's answer needs.
fn ethtool(socket: BorrowedFd<'_>, interface: &str, command: &mut [u32]) -> io::Result<()> {
    let mut request = ifreq(interface);
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    // SAFETY: the kernel reads and writes `command`, borrowed mutably for the call; the caller in
    // this module sized it by the count that the kernel gave for this string set, which is fixed
    // at the kernel's build.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_is_not_ethernet() {
        let link = Link::look_up("lo").expect("every namespace has lo");
        assert_eq!(link.hardware, libc::ARPHRD_LOOPBACK);
        assert!(link.index > 0);
        assert!(link.mtu >= 1500);
    }

    #[test]
    fn a_missing_interface_is_named() {
        for name in ["no-such-if0", "", "far-too-long-a-name-for-linux"] {
            let error = Link::look_up(name).expect_err("does not exist");
            assert!(matches!(error, Error::NoSuchInterface { .. }), "{error:?}");
            assert!(error.to_string().contains(name));
        }
    }

    #[test]
    fn cut_off_messages_are_refused_not_read_past() {
        let mut answer = vec![0; 65536];
        let len = exchange(&request("lo"), &mut answer).expect("kernel answers");
        let whole = parse(&answer[..len]).expect("whole message");
        for cut in 0..len {
            // Cutting between attributes leaves a shorter valid message; anywhere else is an error.
            if let Ok(link) = parse(&answer[..cut]) {
                assert_eq!(link.index, whole.index);
            }
        }
        assert!(parse(&answer[..NLMSGHDR + 8]).is_err());
    }
}
