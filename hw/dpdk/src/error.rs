//! What can go wrong, each with the thing it happened to and what mends it.

use std::ffi::CStr;
use std::fmt;

use dpdk_sys as sys;

/// An error number of DPDK or the kernel, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's `rte_errno`, which functions that return a pointer or -1 set.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local variable.
        Self(unsafe { sys::dpdk_sys_errno() })
    }

    /// `Ok` unless `returned` is negative, as the `rte_eth_*` functions report errors.
    pub(crate) fn check(returned: i32) -> Result<i32, Self> {
        if returned < 0 {
            Err(Self(-returned))
        } else {
            Ok(returned)
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror returns a terminated string for every number; it stays until this
        // thread's next call.
        let text = unsafe { CStr::from_ptr(sys::rte_strerror(self.0)) };
        write!(f, "{} ({})", text.to_string_lossy(), self.0)
    }
}

/// Why DPDK did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DpdkError {
    /// EAL was initialised before in this process, with success or without.
    EalTwice,
    /// An EAL argument holds a NUL byte.
    Argument {
        /// The argument.
        argument: String,
    },
    /// EAL found no free hugepage and was not told to do without.
    NoHugepages {
        /// What EAL said.
        said: String,
    },
    /// EAL could not be initialised.
    Eal {
        /// The error number it gave.
        errno: Errno,
        /// What it said: its log lines of level error and worse.
        said: String,
    },
    /// The lcore is not one of those EAL was given.
    UnknownLcore {
        /// The lcore.
        lcore: u32,
    },
    /// The lcore already runs something, or, the main lcore, was not called from its thread.
    LcoreBusy {
        /// The lcore.
        lcore: u32,
    },
    /// What ran on the lcore panicked.
    LcorePanicked {
        /// The lcore.
        lcore: u32,
    },
    /// A mempool could not be made.
    Pool {
        /// Its name.
        name: String,
        /// How many buffers it was to have.
        count: u32,
        /// Bytes of each.
        bytes: u32,
        /// The error number.
        errno: Errno,
    },
    /// No device has this name.
    UnknownDevice {
        /// The name.
        name: String,
        /// The devices there are.
        known: Vec<String>,
    },
    /// The device has fewer queues than workers want.
    Queues {
        /// The device.
        name: String,
        /// Queues wanted.
        wanted: usize,
        /// Queue pairs it has.
        most: u16,
    },
    /// The MTU asked for is beyond what the device can do.
    Mtu {
        /// The device.
        name: String,
        /// MTU wanted.
        wanted: u16,
        /// The largest it can do.
        most: u16,
    },
    /// Packets do not fit the receive buffers, and the device cannot spread one over several.
    RxRoom {
        /// The device.
        name: String,
        /// Bytes of a receive buffer.
        room: u32,
        /// Bytes of the longest packet.
        packet: u32,
    },
    /// The device refused a step of its configuration.
    Device {
        /// The device.
        name: String,
        /// The DPDK function that failed.
        step: &'static str,
        /// The error number.
        errno: Errno,
    },
    /// EAL knows no DMA device of that name, or none at all.
    UnknownDma {
        /// The device; empty: any.
        name: String,
    },
    /// The DMA device does not copy from memory to memory.
    DmaCannotCopy {
        /// The device.
        name: String,
    },
    /// There is no such queue, or it was handed out before.
    QueueTaken {
        /// The device.
        name: String,
        /// The queue.
        queue: u16,
    },
}

impl fmt::Display for DpdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EalTwice => f.write_str("EAL can be initialised only once in a process"),
            Self::Argument { argument } => write!(f, "EAL argument {argument:?} holds a NUL byte"),
            Self::NoHugepages { said } => write!(
                f,
                "EAL found no free hugepages: reserve some (echo 512 > /proc/sys/vm/nr_hugepages), \
                 or pass --no-huge -m 512 for a trial; EAL said: {said}"
            ),
            Self::Eal { errno, said } => {
                write!(
                    f,
                    "EAL did not initialise: {errno}; check the EAL options; EAL said: {said}"
                )
            }
            Self::UnknownLcore { lcore } => {
                write!(
                    f,
                    "lcore {lcore} is not among those given to EAL: add it to -l"
                )
            }
            Self::LcoreBusy { lcore } => write!(
                f,
                "lcore {lcore} is busy, or it is the main lcore and this is not its thread"
            ),
            Self::LcorePanicked { lcore } => write!(f, "the work on lcore {lcore} panicked"),
            Self::Pool {
                name,
                count,
                bytes,
                errno,
            } => write!(
                f,
                "mempool {name} of {count} buffers of {bytes} bytes: {errno}; reserve more \
                 hugepages, raise -m, or lower the number of buffers"
            ),
            Self::UnknownDevice { name, known } if known.is_empty() => write!(
                f,
                "no device {name}: EAL knows none; bind the NIC to vfio-pci (dpdk-devbind.py) and \
                 pass -a, or pass --vdev"
            ),
            Self::UnknownDevice { name, known } => write!(
                f,
                "no device {name}: EAL knows {}; pass -a or --vdev for it",
                known.join(", ")
            ),
            Self::Queues { name, wanted, most } => write!(
                f,
                "{name} has {most} queue pairs, and {wanted} are wanted: give EAL fewer lcores \
                 (-l), or the device more queues"
            ),
            Self::Mtu { name, wanted, most } => {
                write!(
                    f,
                    "{name} has a largest MTU of {most}, and {wanted} is wanted"
                )
            }
            Self::RxRoom { name, room, packet } => write!(
                f,
                "{name} cannot spread a packet of {packet} bytes over receive buffers of {room}: \
                 lower its MTU or receive into larger buffers"
            ),
            Self::Device { name, step, errno } => write!(f, "{name}: {step}: {errno}"),
            Self::UnknownDma { name } => write!(
                f,
                "no DMA device {name}: bind one to vfio-pci (dpdk-devbind.py) and pass -a, or pass \
                 --vdev dma_skeleton for a trial"
            ),
            Self::DmaCannotCopy { name } => {
                write!(
                    f,
                    "{name} does not copy from memory to memory: name another DMA device"
                )
            }
            Self::QueueTaken { name, queue } => {
                write!(f, "{name} has no queue {queue} that is still free")
            }
        }
    }
}

impl std::error::Error for DpdkError {}
