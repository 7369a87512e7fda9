//! `packet:` ports: interfaces the kernel keeps, and on which it must hold still.

use super::network::Network;
use super::{Plan, Report, Sources};
use crate::config::PortDevice;

/// `IFF_UP` in `linux/if.h`.
const IFF_UP: u32 = 1;

pub fn check(sources: &Sources, plan: &Plan<'_>, network: &Network, report: &mut Report) {
    for (index, device) in plan.devices().enumerate() {
        let PortDevice::Packet { interface } = device else {
            continue;
        };
        let before = report.0.len();
        if exists_and_is_up(sources, interface, device, report) {
            let addresses = &plan.config.settings.ports[index].addresses;
            for &(address, _) in addresses {
                if network.is_local(address) {
                    report.warn(
                        device,
                        format!("the kernel has {address} too and will answer minivoy's clients with resets"),
                        format!("ip address del {address} from the kernel's interface, or give the port another address"),
                    );
                }
            }
            forwarding(sources, interface, device, report);
            if let Some(what) = network.carries(interface) {
                report.warn(
                    device,
                    format!("{interface} carries {what}: proxy and management share it"),
                    "use an interface of its own where there is one",
                );
            }
        }
        if report.0.len() == before {
            report.ok(device, "up");
        }
    }
}

fn exists_and_is_up(
    sources: &Sources,
    interface: &str,
    device: &PortDevice,
    report: &mut Report,
) -> bool {
    let Some(names) = sources.sys_names("class/net") else {
        return false;
    };
    if !names.iter().any(|name| name == interface) {
        let others: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "lo" && *name != "bonding_masters")
            .collect();
        let remedy = match others.as_slice() {
            [] => "make it, or start minivoy in the network namespace that has it".to_owned(),
            others => format!("write one of: {}", others.join(", ")),
        };
        report.fail(device, "there is no such interface here", remedy);
        return false;
    }
    let flags = sources
        .sys(format!("class/net/{interface}/flags"))
        .and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    if flags.is_some_and(|flags| flags & IFF_UP == 0) {
        report.fail(device, "is down", format!("ip link set {interface} up"));
        return false;
    }
    // Reads 0 when up without a carrier.
    if sources
        .sys(format!("class/net/{interface}/carrier"))
        .as_deref()
        == Some("0")
    {
        report.warn(
            device,
            "has no carrier",
            "plug in the cable, or bring up the other end",
        );
    }
    true
}

/// A kernel that forwards sends minivoy's packets on, or answers them by ICMP.
fn forwarding(sources: &Sources, interface: &str, device: &PortDevice, report: &mut Report) {
    for (family, name) in [("ipv4", "IPv4"), ("ipv6", "IPv6")] {
        let path = format!("sys/net/{family}/conf/{interface}/forwarding");
        if sources.proc(path).is_some_and(|text| text.trim() == "1") {
            report.warn(
                device,
                format!(
                    "the kernel forwards {name} here and may send on what is meant for minivoy"
                ),
                format!("sysctl -w net.{family}.conf.{interface}.forwarding=0"),
            );
        }
    }
}
