//! Findings about ports: the kernel's interfaces, and devices for DPDK.

use super::*;

#[test]
fn interfaces() {
    let machine = Machine::new();
    only(
        &machine.check(["packet:eth9", "packet:eth2"], EAL),
        "fail",
        &[
            "packet:eth9: there is no such interface here",
            "write one of: eth1, eth2",
        ],
    );
    machine.write("sys/class/net/eth1/flags", "0x1002\n");
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &["packet:eth1: is down", "ip link set eth1 up"],
    );
    machine.write("sys/class/net/eth1/flags", "0x1003\n");
    machine.write("sys/class/net/eth1/carrier", "0\n");
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &["packet:eth1: has no carrier"],
    );
    machine.write("sys/class/net/eth1/carrier", "1\n");
    machine.write("proc/sys/net/ipv4/conf/eth2/forwarding", "1\n");
    machine.write("proc/sys/net/ipv6/conf/eth2/forwarding", "0\n");
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &[
            "packet:eth2: the kernel forwards IPv4",
            "sysctl -w net.ipv4.conf.eth2.forwarding=0",
        ],
    );
}

/// As the kernel prints it, on a machine that has 10.77.1.1; a broadcast address is not its own.
const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.77.1.0/24 2 0 2
        |-- 10.77.1.0
           /24 link UNICAST
        |-- 10.77.1.1
           /32 host LOCAL
        |-- 10.77.2.1
           /32 link BROADCAST
";

#[test]
fn addresses_the_kernel_has() {
    let machine = Machine::new();
    machine.write("proc/net/fib_trie", FIB_TRIE);
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &[
            "packet:eth1: the kernel has 10.77.1.1 too",
            "ip address del 10.77.1.1",
        ],
    );
    machine.write("proc/net/fib_trie", "");
    machine.write(
        "proc/net/if_inet6",
        "fd770001000000000000000000000001 04 40 00 82     eth1\n",
    );
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &["the kernel has fd77:1::1 too"],
    );
}

/// Routes by 192.0.2.1 on eth2 by default and 10.9.0.0/16 on eth1, as a little-endian machine
/// prints them.
#[cfg(target_endian = "little")]
const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth2\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t0000090A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

#[cfg(target_endian = "little")]
#[test]
fn the_way_back_to_the_operator() {
    let machine = Machine::new();
    machine.write("proc/net/route", ROUTES);
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &["packet:eth2: eth2 carries the default route"],
    );
    // An SSH session from 10.9.8.7 comes by eth1; a connection to another port does not count.
    let line = |local: &str, state: &str| {
        format!(
            "  sl  local_address rem_address   st\n   0: 0100000A:{local} 0708090A:C350 {state} 0\n"
        )
    };
    machine.remove("proc/net/route");
    machine.write("proc/net/route", &ROUTES.replace("eth2\t", "eth0\t"));
    for (local, state, counts) in [
        ("0016", "01", true),
        ("0050", "01", false),
        ("0016", "0A", false),
    ] {
        machine.write("proc/net/tcp", &line(local, state));
        let found = bad(&machine.check(PACKET, EAL));
        assert_eq!(
            found.len(),
            usize::from(counts),
            "{local} {state}: {found:#?}"
        );
    }
    machine.write("proc/net/tcp", "");
    // The same by a socket for both families, as sshd has it.
    machine.write(
        "proc/net/tcp6",
        "   0: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF00000708090A:C350 01 0\n",
    );
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &["packet:eth1: eth1 carries an SSH session"],
    );
}

#[test]
fn an_ipv6_default_route_counts_but_not_on_lo() {
    let machine = Machine::new();
    let zero = "0".repeat(32);
    let route = |interface: &str| {
        format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00000003 {interface}\n")
    };
    machine.write("proc/net/ipv6_route", &route("lo"));
    assert!(bad(&machine.check(["packet:lo", "packet:eth2"], EAL)).is_empty());
    machine.write("proc/net/ipv6_route", &route("eth1"));
    only(
        &machine.check(PACKET, EAL),
        "warn",
        &["eth1 carries the default route"],
    );
}

#[test]
fn pci_devices() {
    let machine = Machine::new();
    let check = |address: &str| {
        let device = format!("dpdk:{address}");
        machine.check([&device, "packet:eth2"], "-l 1")
    };
    only(
        &check("0000:09:00.0"),
        "fail",
        &[
            "there is no such PCI device",
            "dpdk-devbind.py --status-dev net",
        ],
    );
    machine.pci("0000:04:00.0", Some("ixgbe"));
    machine.write(
        "sys/bus/pci/devices/0000:04:00.0/net/ens4/flags",
        "0x1003\n",
    );
    only(
        &check("0000:04:00.0"),
        "fail",
        &[
            "in the hands of the kernel's ixgbe",
            "ip link set ens4 down && modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci 0000:04:00.0",
        ],
    );
    machine.write(
        "proc/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
         ens4\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n",
    );
    only(
        &check("0000:04:00.0"),
        "fail",
        &[
            "as ens4, which carries the default route",
            "choose another NIC",
        ],
    );
    machine.pci("0000:05:00.0", None);
    only(
        &check("0000:05:00.0"),
        "fail",
        &["bound to no driver", "--bind=vfio-pci 0000:05:00.0"],
    );
    for (address, driver) in [("0000:06:00.0", "igb_uio"), ("0000:07:00.0", "mlx5_core")] {
        machine.pci(address, Some(driver));
        assert!(bad(&check(address)).is_empty(), "{driver}");
    }
}

#[test]
fn iommu() {
    let machine = Machine::new();
    machine.remove("sys/bus/pci/devices/0000:03:00.0/iommu_group");
    only(
        &machine.check(PCI, "-l 1"),
        "fail",
        &[
            "there is no IOMMU",
            "intel_iommu=on iommu=pt",
            "enable_unsafe_noiommu_mode",
        ],
    );
    machine.write(
        "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        "Y\n",
    );
    only(&machine.check(PCI, "-l 1"), "warn", &["no-IOMMU mode"]);
}

#[test]
fn what_eal_is_told_must_fit() {
    let machine = Machine::new();
    for (eal, found) in [
        (
            "-l 1 --no-pci",
            "hidden by --no-pci — write -a 0000:03:00.0 instead",
        ),
        ("-l 1 -b 0000:03:00.0", "blocked by -b"),
        (
            "-l 1 -a 0000:04:00.0",
            "not among the devices allowed by -a — add -a 0000:03:00.0",
        ),
    ] {
        only(
            &machine.check(PCI, eal),
            "fail",
            &["dpdk:0000:03:00.0", found],
        );
    }
    only(
        &machine.check(
            ["dpdk:net_tap0", "packet:eth2"],
            "-l 1 --no-pci --vdev net_tap1",
        ),
        "fail",
        &["dpdk:net_tap0: no --vdev makes it — add --vdev net_tap0,… before `--`"],
    );
    only(
        &machine.check(PACKET, "-l 1"),
        "warn",
        &["EAL takes every PCI device", "--no-pci"],
    );
}
