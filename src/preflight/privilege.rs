//! Privilege: what the process may do, from its effective capabilities (`capabilities(7)`).

use super::{Plan, Report, Sources, memory};
use crate::config::PortDevice;

/// Bits in `CapEff`, from `linux/capability.h`.
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

pub fn check(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    let Some(capabilities) = sources
        .status("CapEff")
        .and_then(|text| u64::from_str_radix(&text, 16).ok())
    else {
        return;
    };
    let may = |capability: u32| capabilities >> capability & 1 == 1;
    let before = report.0.len();
    if plan
        .devices()
        .any(|device| matches!(device, PortDevice::Packet { .. }))
        && !may(CAP_NET_RAW)
    {
        report.fail(
            "privilege",
            "packet: ports need CAP_NET_RAW",
            "run as root, or setcap cap_net_raw+ep on the binary",
        );
    }
    let pci = plan.devices().any(|device| device.pci_address().is_some());
    if pci && !may(CAP_SYS_ADMIN) {
        report.warn(
            "privilege",
            "without CAP_SYS_ADMIN only vfio-pci behind an IOMMU works",
            "run as root, or make the device's /dev/vfio/GROUP this user's",
        );
    }
    if report.0.len() == before {
        report.ok("privilege", "enough for these ports");
    }
    memory::locking(sources, plan, may(CAP_IPC_LOCK), report);
}
