//! `dpdk:` ports: PCI devices in the hands of a driver that lets user space have them, and virtual
//! devices that EAL was told to make.

use super::network::Network;
use super::{Plan, Report, Sources};
use crate::config::PortDevice;

/// Drivers that hand a device to user space.
const USER_SPACE: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];

/// Kernel drivers whose devices DPDK shares with the kernel instead of taking them over.
const SHARED: [&str; 4] = ["mlx4_core", "mlx5_core", "mana", "hv_netvsc"];

pub fn check(sources: &Sources, plan: &Plan<'_>, network: &Network, report: &mut Report) {
    let mut any = false;
    for device in plan.devices() {
        let PortDevice::Dpdk { device: name } = device else {
            continue;
        };
        any = true;
        if device.pci_address().is_some() {
            if eal_lets_in(plan, name, device, report) {
                pci_device(sources, network, name, device, report);
            }
        } else if plan.eal.vdevs.iter().any(|vdev| vdev == name) {
            report.ok(device, "made by --vdev");
        } else {
            report.fail(
                device,
                "no --vdev makes it",
                format!("add --vdev {name},… before `--`"),
            );
        }
    }
    let probes = !plan.eal.no_pci && plan.eal.allow.is_empty();
    if !any && probes {
        report.warn(
            "EAL",
            "no port is a dpdk: device, yet EAL takes every PCI device bound to user space",
            "add --no-pci before `--`",
        );
    }
}

/// Whether EAL's arguments leave the device to minivoy.
fn eal_lets_in(plan: &Plan<'_>, name: &str, device: &PortDevice, report: &mut Report) -> bool {
    let lists = |list: &[String]| list.iter().any(|listed| same_device(listed, name));
    if plan.eal.no_pci {
        report.fail(
            device,
            "hidden by --no-pci",
            format!("write -a {name} instead"),
        );
    } else if lists(&plan.eal.block) {
        report.fail(device, "blocked by -b", format!("leave out -b {name}"));
    } else if !plan.eal.allow.is_empty() && !lists(&plan.eal.allow) {
        report.fail(
            device,
            "not among the devices allowed by -a",
            format!("add -a {name} before `--`"),
        );
    } else {
        return true;
    }
    false
}

/// EAL takes `03:00.0` for `0000:03:00.0`.
fn same_device(listed: &str, name: &str) -> bool {
    let listed = listed.trim_start_matches("pci:");
    listed.eq_ignore_ascii_case(name)
        || name
            .strip_prefix("0000:")
            .is_some_and(|short| listed.eq_ignore_ascii_case(short))
}

fn pci_device(
    sources: &Sources,
    network: &Network,
    name: &str,
    device: &PortDevice,
    report: &mut Report,
) {
    let Some(known) = sources.sys_names("bus/pci/devices") else {
        return;
    };
    let folder = format!("bus/pci/devices/{name}");
    if !known.iter().any(|other| other == name) {
        report.fail(
            device,
            "there is no such PCI device",
            "dpdk-devbind.py --status-dev net lists those there are",
        );
        return;
    }
    // Interfaces the kernel still has on it.
    let interfaces = sources
        .sys_names(format!("{folder}/net"))
        .unwrap_or_default();
    let carried = interfaces
        .iter()
        .find_map(|interface| Some((interface, network.carries(interface)?)));
    match sources.sys_link(format!("{folder}/driver")).as_deref() {
        Some("vfio-pci") => iommu(sources, &folder, device, report),
        Some(driver) if USER_SPACE.contains(&driver) => {
            report.ok(device, format!("bound to {driver}"));
        }
        Some(driver) if SHARED.contains(&driver) => {
            report.ok(device, format!("shared with the kernel's {driver}"));
        }
        bound => {
            let found = match bound {
                Some(driver) => format!("in the hands of the kernel's {driver}"),
                None => "bound to no driver".to_owned(),
            };
            match carried {
                Some((interface, what)) => report.fail(
                    device,
                    format!("{found} as {interface}, which carries {what}"),
                    "binding it would cut this machine off: choose another NIC",
                ),
                None => report.fail(
                    device,
                    found,
                    format!(
                        "{}modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {name}",
                        down(&interfaces)
                    ),
                ),
            }
        }
    }
}

/// devbind refuses to take a NIC away while one of its interfaces is in use.
fn down(interfaces: &[String]) -> String {
    interfaces
        .iter()
        .map(|interface| format!("ip link set {interface} down && "))
        .collect()
}

/// VFIO gives out a device only behind an IOMMU, unless told to do without.
fn iommu(sources: &Sources, folder: &str, device: &PortDevice, report: &mut Report) {
    const SWITCH: &str = "module/vfio/parameters/enable_unsafe_noiommu_mode";
    let without = sources
        .sys(SWITCH)
        .is_some_and(|text| matches!(text.as_str(), "Y" | "1"));
    let units = sources.sys_names("class/iommu").unwrap_or_default();
    if without {
        report.warn(
            device,
            "bound to vfio-pci in no-IOMMU mode: the device can write anywhere in memory",
            "boot with intel_iommu=on iommu=pt where there is an IOMMU",
        );
    } else if units.is_empty() || sources.sys_link(format!("{folder}/iommu_group")).is_none() {
        report.fail(
            device,
            "bound to vfio-pci, but there is no IOMMU",
            format!("boot with intel_iommu=on iommu=pt, or echo 1 > /sys/{SWITCH}"),
        );
    } else {
        report.ok(device, "bound to vfio-pci, behind an IOMMU");
    }
}
