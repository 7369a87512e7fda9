//! Made-up machines: trees that look like `/proc` and `/sys`.

mod devices;

use tempfile::TempDir;

use super::*;
use crate::config;

/// A machine on which everything is as it should be: four CPUs, two of them isolated, hugepages,
/// two interfaces for packet ports, a NIC on vfio-pci behind an IOMMU, all capabilities.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            dir: TempDir::new().unwrap(),
        };
        for (path, text) in [
            (
                "proc/self/status",
                "Name:\tminivoy\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
            ),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max locked memory         8388608              8388608              bytes     \n",
            ),
            ("proc/mounts", "none /dev/hugepages hugetlbfs rw 0 0\n"),
            ("proc/sys/vm/max_map_count", "65530\n"),
            ("proc/net/fib_trie", ""),
            ("proc/net/if_inet6", ""),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/cpu/isolated", "1-2\n"),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
                "performance\n",
            ),
            ("sys/class/net/eth1/flags", "0x1003\n"),
            ("sys/class/net/eth1/carrier", "1\n"),
            ("sys/class/net/eth2/flags", "0x1003\n"),
            ("sys/class/net/lo/flags", "0x9\n"),
        ] {
            machine.write(path, text);
        }
        machine.hugepages("2048kB", 1024, 1000);
        machine.link("sys/class/iommu/dmar0", "../../devices/virtual/iommu/dmar0");
        machine.pci("0000:03:00.0", Some("vfio-pci"));
        machine.link(
            "sys/bus/pci/devices/0000:03:00.0/iommu_group",
            "../../../kernel/iommu_groups/7",
        );
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.dir.path().join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn hugepages(&self, size: &str, reserved: u64, free: u64) {
        let folder = format!("sys/kernel/mm/hugepages/hugepages-{size}");
        self.write(&format!("{folder}/nr_hugepages"), &format!("{reserved}\n"));
        self.write(&format!("{folder}/free_hugepages"), &format!("{free}\n"));
    }

    fn pci(&self, address: &str, driver: Option<&str>) {
        self.write(&format!("sys/bus/pci/devices/{address}/vendor"), "0x8086\n");
        if let Some(driver) = driver {
            let link = format!("sys/bus/pci/devices/{address}/driver");
            self.link(&link, &format!("../../../bus/pci/drivers/{driver}"));
        }
    }

    /// Findings for ports on these devices and EAL arguments.
    fn check(&self, devices: [&str; 2], eal: &str) -> Vec<Finding> {
        self.check_config(&proxy(devices, ""), eal)
    }

    fn check_config(&self, config: &Config, eal: &str) -> Vec<Finding> {
        let sources = Sources {
            proc_root: self.dir.path().join("proc"),
            sys_root: self.dir.path().join("sys"),
        };
        let eal: Vec<String> = eal.split_whitespace().map(str::to_owned).collect();
        run(&sources, config, &EalArgs::parse(&eal))
    }
}

fn proxy([client, origin]: [&str; 2], more: &str) -> Config {
    let text = format!(
        r#"
[[port]]
name = "client"
device = "{client}"
addresses = ["10.77.1.1/24", "fd77:1::1/64"]
[[port]]
name = "origin"
device = "{origin}"
addresses = ["10.77.2.1/24"]
[[listener]]
name = "http"
port = "client"
address = "10.77.1.1:80"
route = [{{ cluster = "c" }}]
[[cluster]]
name = "c"
port = "origin"
endpoint = [{{ address = "10.77.2.2:80" }}]
{more}"#
    );
    config::from_toml("t.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

const PACKET: [&str; 2] = ["packet:eth1", "packet:eth2"];
const PCI: [&str; 2] = ["dpdk:0000:03:00.0", "packet:eth2"];
/// What a good command line for packet ports says.
const EAL: &str = "-l 1-2 --no-pci";

fn bad(findings: &[Finding]) -> Vec<String> {
    let bad = findings.iter().filter(|finding| finding.level > Level::Ok);
    table(&bad.cloned().collect::<Vec<_>>())
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Expects exactly one finding that is not ok, with these parts.
#[track_caller]
fn only(findings: &[Finding], level: &str, parts: &[&str]) {
    let bad = bad(findings);
    let [line] = bad.as_slice() else {
        panic!("one finding, not {bad:#?}");
    };
    assert!(line.starts_with(&format!("{level:<4}  ")), "{line}");
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}

#[test]
fn a_good_machine_is_ok() {
    let machine = Machine::new();
    for (devices, eal) in [
        (PACKET, EAL),
        (PCI, "-l 1-2 -a 0000:03:00.0"),
        (PCI, "-l 1-2 -a 03:00.0,rx_vec=1"),
        (PCI, "-l 1-2"),
        (
            ["dpdk:net_tap0", "packet:eth2"],
            "-l 1 --no-pci --vdev net_tap0,iface=x",
        ),
    ] {
        let findings = machine.check(devices, eal);
        assert_eq!(bad(&findings), Vec::<String>::new(), "{devices:?} {eal}");
        assert_eq!(worst(&findings), Level::Ok);
        assert!(findings.len() >= 6, "{findings:?}");
        assert_eq!(refuse(&findings), Ok(()));
    }
}

#[test]
fn a_machine_that_shows_nothing_is_not_judged() {
    let machine = Machine::new();
    machine.remove("proc");
    machine.remove("sys");
    assert_eq!(bad(&machine.check(PACKET, EAL)), Vec::<String>::new());
    assert_eq!(bad(&machine.check(PCI, "-l 1")), Vec::<String>::new());
}

#[test]
fn hugepages() {
    let machine = Machine::new();
    // Two workers: 2 * (16384 * 2368 + 8192 * 16704) bytes of frames and 64 MiB for EAL.
    let needed = 2 * (16_384 * 2_368 + 8_192 * 16_704) + (64 << 20);
    let pages = (needed as u64).div_ceil(2 << 20);
    machine.hugepages("2048kB", 0, 0);
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &[
            "hugepages: none reserved, 399 MiB needed",
            &format!("echo {pages} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
            "--no-huge -m 399",
        ],
    );
    // Others use some: what is missing is added to what there is.
    machine.hugepages("2048kB", 500, 10);
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &["20 MiB free", &format!("echo {} >", 500 + pages - 10)],
    );
    // Pages of another size count too.
    machine.hugepages("1048576kB", 1, 1);
    assert!(bad(&machine.check(PACKET, EAL)).is_empty());
    // More is asked for with -m than the frames need.
    only(
        &machine.check(PACKET, "-l 1 --no-pci -m 2048"),
        "fail",
        &["2048 MiB needed"],
    );
    // The second worker's queue of a DPDK device.
    machine.hugepages("1048576kB", 0, 0);
    only(&machine.check(PCI, "-l 1-2"), "fail", &["405 MiB needed"]);
    machine.remove("sys/kernel/mm/hugepages/hugepages-2048kB");
    machine.remove("sys/kernel/mm/hugepages/hugepages-1048576kB");
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &["this kernel has none", "--no-huge -m 399"],
    );
}

#[test]
fn the_hugepage_mount() {
    let machine = Machine::new();
    machine.write("proc/mounts", "proc /proc proc rw 0 0\n");
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &["no hugetlbfs is mounted", "--in-memory"],
    );
    assert!(bad(&machine.check(PACKET, "-l 1 --no-pci --in-memory")).is_empty());
}

#[test]
fn ordinary_memory() {
    let machine = Machine::new();
    machine.remove("sys/kernel/mm/hugepages");
    machine.write("proc/mounts", "");
    only(
        &machine.check(PACKET, "-l 1-2 --no-pci --no-huge"),
        "fail",
        &["--no-huge with 64 MiB", "need 399 MiB", "add -m 399"],
    );
    only(
        &machine.check(PACKET, "-l 1-2 --no-pci --no-huge -m 399"),
        "warn",
        &["not used (--no-huge)"],
    );
}

#[test]
fn mappings() {
    let machine = Machine::new();
    let limits = "[limits]\nmax_connections = 100000";
    only(
        &machine.check_config(&proxy(PACKET, limits), EAL),
        "warn",
        &[
            "vm.max_map_count: 65530",
            "sysctl -w vm.max_map_count=204096",
        ],
    );
}

#[test]
fn cpus() {
    let machine = Machine::new();
    only(
        &machine.check(PACKET, "-l 1,4-5 --no-pci"),
        "fail",
        &["CPUs 4-5 not online", "choose from 0-3"],
    );
    only(
        &machine.check(PACKET, "-l 0-1 --no-pci"),
        "warn",
        &["CPU 0 not isolated", "isolcpus=0"],
    );
    machine.write("sys/devices/system/cpu/isolated", "\n");
    machine.write(
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "powersave\n",
    );
    let all = bad(&machine.check(PACKET, "--no-pci"));
    for part in [
        "no -l: a worker on every CPU",
        "leave one CPU out of -l",
        "CPUs 0-3 not isolated",
        "CPU 1 with governor powersave — cpupower -c 1 frequency-set -g performance",
    ] {
        assert!(
            all.iter().any(|line| line.contains(part)),
            "{part}: {all:#?}"
        );
    }
    assert!(
        all.iter().any(|line| line.contains("4 workers with 16384")),
        "{all:#?}"
    );
}

#[test]
fn workers_that_would_share() {
    let machine = Machine::new();
    only(
        &machine.check(PACKET, "--lcores (0-1)@1 --no-pci"),
        "warn",
        &["2 workers on CPU 1", "one in -l for each"],
    );
    machine.write(
        "proc/self/status",
        "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-1\n",
    );
    only(
        &machine.check(PACKET, "-l 1-2 --no-pci"),
        "warn",
        &["CPU 2 not among", "choose from 0-1"],
    );
    let machine = Machine::new();
    for cpu in [1, 2] {
        machine.write(
            &format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"),
            "1-2\n",
        );
    }
    only(
        &machine.check(PACKET, "-l 1-2 --no-pci"),
        "warn",
        &["CPUs 1 and 2 are two threads of one core"],
    );
}

#[test]
fn privilege() {
    let machine = Machine::new();
    let capabilities = |bits: u64| {
        machine.write("proc/self/status", &format!("CapEff:\t{bits:016x}\n"));
    };
    capabilities(0);
    only(
        &machine.check(PACKET, EAL),
        "fail",
        &["privilege: packet: ports need CAP_NET_RAW", "run as root"],
    );
    capabilities(1 << 13);
    assert!(bad(&machine.check(PACKET, EAL)).is_empty());
    let found = bad(&machine.check(PCI, "-l 1"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("without CAP_SYS_ADMIN"));
    assert!(found[1].contains("RLIMIT_MEMLOCK is 8MiB"), "{found:#?}");
    capabilities(1 << 13 | 1 << 14 | 1 << 21);
    assert!(bad(&machine.check(PCI, "-l 1")).is_empty());
    // Without a bound there is nothing to count against.
    capabilities(1 << 13 | 1 << 21);
    machine.write(
        "proc/self/limits",
        "Max locked memory         unlimited  unlimited  bytes\n",
    );
    assert!(bad(&machine.check(PCI, "-l 1")).is_empty());
}

#[test]
fn a_start_is_refused_with_the_fatal_findings_only() {
    let machine = Machine::new();
    machine.hugepages("2048kB", 0, 0);
    machine.write("sys/class/net/eth2/flags", "0x1002\n");
    machine.write("sys/class/net/eth1/carrier", "0\n");
    let lines = refuse(&machine.check(PACKET, EAL)).unwrap_err();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("hugepages: none reserved"));
    assert_eq!(lines[1], "packet:eth2: is down — ip link set eth2 up");
}
