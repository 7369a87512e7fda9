//! Memory: hugepages for frames, and the kernel's bounds on mappings.

use super::{Plan, Report, Sources};
use crate::config::{PortDevice, show_bytes};

/// What EAL itself takes beside the pools: its heap, rings and device tables.
const EAL_BYTES: u64 = 64 << 20;

/// What a queue pair of a DPDK device takes beside frames, about: headers and pieces of what is being
/// sent. Those of the first worker are part of what EAL takes.
const QUEUE_BYTES: u64 = 6 << 20;

/// What EAL takes with `--no-huge` when `-m` is not given, in MiB (`MEMSIZE_IF_NO_HUGE_PAGE` in
/// `lib/eal/common/eal_internal_cfg.h`).
const NO_HUGE_DEFAULT_MIB: u64 = 64;

/// Mappings the process has beside those of its connections: libraries, heap, pools, drivers.
const OTHER_MAPPINGS: u64 = 4_096;

pub fn check(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    let frames = needed(plan);
    if plan.eal.no_huge {
        without_hugepages(plan, frames, report);
    } else {
        let asked = plan.eal.memory_mib.unwrap_or(0).saturating_mul(1 << 20);
        hugepages(sources, frames.max(asked), report);
        mount(sources, plan, report);
    }
    mappings(sources, plan, report);
}

/// Bytes that are taken from EAL's memory.
fn needed(plan: &Plan<'_>) -> u64 {
    let dpdk = |device: &&PortDevice| matches!(device, PortDevice::Dpdk { .. });
    let queues = (plan.workers() - 1) * plan.devices().filter(dpdk).count() as u64;
    let per_worker = plan.config.memory.bytes_per_worker();
    let frames = plan.workers().saturating_mul(per_worker);
    frames.saturating_add(EAL_BYTES + queues * QUEUE_BYTES)
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Without hugepages EAL's memory cannot grow: `-m` has to cover it all.
fn without_hugepages(plan: &Plan<'_>, needed: u64, report: &mut Report) {
    let needed = mib(needed);
    let given = plan.eal.memory_mib.unwrap_or(NO_HUGE_DEFAULT_MIB);
    if given < needed {
        report.fail(
            "memory",
            format!("--no-huge with {given} MiB, but the workers' frames need {needed} MiB"),
            format!(
                "add -m {needed} before `--`, or fewer frames with --pool-small and --pool-large"
            ),
        );
    } else {
        report.warn(
            "hugepages",
            format!("not used (--no-huge); {given} MiB of ordinary memory"),
            "good for laptops and tests; leave out --no-huge for speed",
        );
    }
}

/// One size of hugepage.
struct PageSize {
    folder: String,
    bytes: u64,
    reserved: u64,
    free: u64,
}

fn page_sizes(sources: &Sources) -> Option<Vec<PageSize>> {
    let names = sources.sys_names("kernel/mm/hugepages")?;
    let mut sizes: Vec<PageSize> = names
        .into_iter()
        .filter_map(|folder| {
            let kib: u64 = folder
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let number = |file: &str| {
                let path = format!("kernel/mm/hugepages/{folder}/{file}");
                sources.sys(path)?.parse().ok()
            };
            Some(PageSize {
                bytes: kib << 10,
                reserved: number("nr_hugepages")?,
                free: number("free_hugepages")?,
                folder,
            })
        })
        .collect();
    sizes.sort_by_key(|size| size.bytes);
    Some(sizes)
}

fn hugepages(sources: &Sources, needed: u64, report: &mut Report) {
    const THING: &str = "hugepages";
    let Some(sizes) = page_sizes(sources) else {
        return;
    };
    let Some(smallest) = sizes.first() else {
        report.fail(
            THING,
            "this kernel has none",
            format!("add --no-huge -m {} before `--`", mib(needed)),
        );
        return;
    };
    let free: u64 = sizes.iter().map(|size| size.free * size.bytes).sum();
    let reserved: u64 = sizes.iter().map(|size| size.reserved).sum();
    if free >= needed {
        report.ok(
            THING,
            format!("{} MiB free, {} MiB needed", mib(free), mib(needed)),
        );
        return;
    }
    let found = if reserved == 0 {
        format!("none reserved, {} MiB needed", mib(needed))
    } else {
        format!("{} MiB free, {} MiB needed", mib(free), mib(needed))
    };
    let pages = smallest.reserved + (needed - free).div_ceil(smallest.bytes);
    report.fail(
        THING,
        found,
        format!(
            "echo {pages} > /sys/kernel/mm/hugepages/{}/nr_hugepages (or --no-huge -m {} for a trial)",
            smallest.folder,
            mib(needed)
        ),
    );
}

/// EAL keeps hugepages as files in a mount of hugetlbfs, unless `--in-memory`.
fn mount(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    if plan.eal.in_memory {
        return;
    }
    let Some(mounts) = sources.proc("mounts") else {
        return;
    };
    let mounted = mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("hugetlbfs"));
    if !mounted {
        report.fail(
            "hugepages",
            "no hugetlbfs is mounted",
            "add --in-memory before `--`, or mount -t hugetlbfs none /dev/hugepages",
        );
    }
}

/// The rings of a connection's socket are mappings of a few shared pages, one for each connection.
fn mappings(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    const THING: &str = "vm.max_map_count";
    let limit = sources
        .proc("sys/vm/max_map_count")
        .and_then(|text| text.trim().parse::<u64>().ok());
    let Some(limit) = limit else { return };
    let connections = u64::from(plan.config.settings.limits.max_connections);
    let needed = plan.workers() * connections + OTHER_MAPPINGS;
    if limit < needed {
        report.warn(
            THING,
            format!(
                "{limit}, but {} workers with {connections} connections each may need {needed}",
                plan.workers()
            ),
            format!("sysctl -w vm.max_map_count={needed}, or lower limits.max_connections"),
        );
    } else {
        report.ok(THING, format!("{limit}, at most {needed} needed"));
    }
}

/// Bytes that may be locked: `None` without a bound or when it is not known.
pub fn lock_limit(sources: &Sources) -> Option<u64> {
    let limits = sources.proc("self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max locked memory"))?;
    line["Max locked memory".len()..]
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// A device reaches only locked memory: VFIO counts all of it against RLIMIT_MEMLOCK, unless the
/// process has CAP_IPC_LOCK.
pub fn locking(sources: &Sources, plan: &Plan<'_>, may_lock_all: bool, report: &mut Report) {
    if may_lock_all || plan.devices().all(|device| device.pci_address().is_none()) {
        return;
    }
    let needed = needed(plan);
    if let Some(limit) = lock_limit(sources)
        && limit < needed
    {
        report.fail(
            "locked memory",
            format!(
                "RLIMIT_MEMLOCK is {}, a device must reach {} MiB",
                show_bytes(limit),
                mib(needed)
            ),
            "ulimit -l unlimited, LimitMEMLOCK=infinity in the systemd unit, or run as root",
        );
    }
}
