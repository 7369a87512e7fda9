//! Why a port could not be opened, with the remedy.

use std::fmt;
use std::io;

/// Why opening an interface failed. `Display` names the interface and what mends it.
#[derive(Debug)]
pub enum Error {
    /// There is no interface of that name in this network namespace.
    NoSuchInterface {
        /// The name that was asked for.
        interface: String,
    },
    /// The interface carries no Ethernet frames (loopback, tunnels without Ethernet headers).
    NotEthernet {
        /// Name of the interface.
        interface: String,
        /// Its `ARPHRD_` number (`linux/if_arp.h`).
        hardware: u16,
    },
    /// The interface is administratively down.
    InterfaceDown {
        /// Name of the interface.
        interface: String,
    },
    /// The process lacks CAP_NET_RAW.
    NoPrivilege {
        /// Name of the interface.
        interface: String,
        /// What was refused.
        doing: &'static str,
    },
    /// An option that makes no sense.
    BadOption {
        /// Name of the interface.
        interface: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The pool has not even one frame of each class to begin with.
    NoFrames {
        /// Name of the interface.
        interface: String,
    },
    /// Anything else the kernel refused.
    Os {
        /// Name of the interface.
        interface: String,
        /// What was refused.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// The error for what the kernel answered just now, sorted by what the user can do about it.
    pub(crate) fn from_os(interface: &str, doing: &'static str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::NoPrivilege { interface, doing },
            Some(libc::ENODEV | libc::ENXIO) => Error::NoSuchInterface { interface },
            Some(libc::ENETDOWN) => Error::InterfaceDown { interface },
            _ => Error::Os {
                interface,
                doing,
                source,
            },
        }
    }

    /// [`Error::from_os`] for the calling thread's `errno`.
    pub(crate) fn last_os(interface: &str, doing: &'static str) -> Self {
        Self::from_os(interface, doing, io::Error::last_os_error())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSuchInterface { interface } => write!(
                f,
                "no interface {interface} in this network namespace; `ip link` lists them"
            ),
            Error::NotEthernet {
                interface,
                hardware,
            } => write!(
                f,
                "interface {interface} is not Ethernet (hardware type {hardware}); \
                 use an Ethernet or veth interface"
            ),
            Error::InterfaceDown { interface } => write!(
                f,
                "interface {interface} is down; `ip link set dev {interface} up` brings it up"
            ),
            Error::NoPrivilege { interface, doing } => write!(
                f,
                "interface {interface}: no permission to {doing}; run as root or grant CAP_NET_RAW \
                 (`setcap cap_net_raw,cap_net_admin+ep` on the program)"
            ),
            Error::BadOption { interface, reason } => {
                write!(f, "interface {interface}: {reason}")
            }
            Error::NoFrames { interface } => write!(
                f,
                "interface {interface}: the frame pool is empty before the first packet; \
                 configure more frames"
            ),
            Error::Os {
                interface,
                doing,
                source,
            } => write!(f, "interface {interface}: cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}
