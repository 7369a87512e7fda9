//! Why a work queue cannot be used, with the remedy.

use std::io;
use std::path::PathBuf;

/// Each is one line that names what is missing and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such folder in sysfs.
    #[error(
        "no DSA device: {} does not exist; the idxd driver finds none (`lspci -d 8086:0b25`, `modprobe idxd`)",
        .devices.display()
    )]
    NoDevices {
        /// The folder.
        devices: PathBuf,
    },
    /// There are devices, but no queue for user space that is enabled.
    #[error(
        "no enabled work queue of type user in {}: configure one for each worker with `scripts/setup-dsa.sh --queues {wanted}`",
        .devices.display()
    )]
    NoQueues {
        /// The folder.
        devices: PathBuf,
        /// How many are needed.
        wanted: usize,
    },
    /// Fewer queues than workers.
    #[error(
        "{wanted} workers need a work queue each, and there are {found}: `scripts/setup-dsa.sh --queues {wanted}`"
    )]
    TooFewQueues {
        /// How many are needed.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// A queue that was asked for by name is not there.
    #[error(
        "no work queue {name} in {}: `accel-config list -i` shows those there are",
        .devices.display()
    )]
    NoSuchQueue {
        /// Its name.
        name: String,
        /// The folder.
        devices: PathBuf,
    },
    /// It is there but not enabled.
    #[error("work queue {name} is {state}: `accel-config enable-wq {device}/{name}`")]
    NotEnabled {
        /// Its name.
        name: String,
        /// Its device.
        device: String,
        /// What sysfs says.
        state: String,
    },
    /// It belongs to the kernel.
    #[error(
        "work queue {name} has type {kind}, not user: `accel-config disable-wq {device}/{name}`, then `accel-config config-wq --type=user --driver-name=user {device}/{name}`"
    )]
    NotUser {
        /// Its name.
        name: String,
        /// Its device.
        device: String,
        /// What sysfs says.
        kind: String,
    },
    /// Without shared virtual memory the device would need physical addresses.
    #[error(
        "{device} has no PASID: boot with `intel_iommu=on,sm_on`, and enable the IOMMU in the firmware"
    )]
    NoPasid {
        /// The device.
        device: String,
    },
    /// sysfs cannot be read, or says something that makes no sense.
    #[error("cannot read {}: {reason}", .path.display())]
    Sysfs {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The character device is not there.
    #[error("{} does not exist: is {name} enabled, and udev running?", .path.display())]
    NoCharDev {
        /// The file.
        path: PathBuf,
        /// The queue.
        name: String,
    },
    /// Somebody else has it.
    #[error(
        "{} is in use by another process: a dedicated queue has one user; `fuser {}` names it",
        .path.display(), .path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file may not be opened.
    #[error("{} may not be opened: run as root, or `chmod`/`chown` it for minivoy's user", .path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// The portal can neither be mapped nor written to.
    #[error("the portal of {} cannot be mapped: {source}", .path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other answer to `open`.
    #[error("cannot open {}: {source}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The processor does not have the instruction.
    #[error(
        "this processor has no {instruction}, which a {mode} queue is submitted to with: `--mover mem`, or `--mover dsa-model` to try the path out"
    )]
    NoInstruction {
        /// MOVDIR64B or ENQCMD.
        instruction: &'static str,
        /// dedicated or shared.
        mode: &'static str,
    },
}
