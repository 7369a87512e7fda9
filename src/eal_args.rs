//! What minivoy has to know of EAL's half of the command line.
//!
//! EAL parses its arguments itself, with `getopt_long`. The preflight runs before EAL and wants to
//! know which CPUs, how much memory and which devices will be asked for; this is a reading of the
//! few options that say so (DPDK 22.11, `lib/eal/common/eal_common_options.c`). It never refuses
//! anything: what it does not understand, it leaves to EAL.

/// What a command line asks for instead of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `-h`, `--help`.
    Help,
    /// `-V`, `--version`.
    Version,
}

/// The first request for help or version among EAL's arguments.
pub fn help_or_version(args: &[String]) -> Option<Ask> {
    args.iter().find_map(|arg| match arg.as_str() {
        "-h" | "--help" => Some(Ask::Help),
        "-V" | "--version" => Some(Ask::Version),
        _ => None,
    })
}

/// Short options of EAL that take a value.
const SHORT_WITH_VALUE: &str = "abcdlmnrsS";

/// Long options of EAL that take a value, attached by `=` or as the next argument.
const LONG_WITH_VALUE: &[&str] = &[
    "allow",
    "base-virtaddr",
    "block",
    "file-prefix",
    "force-max-simd-bitwidth",
    "huge-dir",
    "iova-mode",
    "lcores",
    "main-lcore",
    "mbuf-pool-ops-name",
    "proc-type",
    "socket-limit",
    "socket-mem",
    "syslog",
    "trace",
    "trace-bufsz",
    "trace-dir",
    "trace-mode",
    "vdev",
    "vfio-intr",
    "vfio-vf-token",
];

/// Long options of EAL that take none, or only one attached by `=`.
const LONG_FLAGS: &[&str] = &[
    "create-uio-dev",
    "huge-unlink",
    "huge-worker-stack",
    "in-memory",
    "legacy-mem",
    "match-allocations",
    "no-hpet",
    "no-huge",
    "no-pci",
    "no-shconf",
    "no-telemetry",
    "single-file-segments",
    "telemetry",
    "vmware-tsc-map",
];

/// Whether `arg` looks like an option of EAL. `--log-level`, `-h` and `-V` exist in both halves
/// and do not count.
pub fn is_eal_option(arg: &str) -> bool {
    if let Some(long) = arg.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        return LONG_WITH_VALUE.contains(&name) || LONG_FLAGS.contains(&name);
    }
    arg.strip_prefix('-')
        .and_then(|short| short.chars().next())
        .is_some_and(|letter| SHORT_WITH_VALUE.contains(letter))
}

/// What EAL will be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalArgs {
    /// The CPUs of the lcores, ascending; `None` when no option names them (EAL then takes every
    /// CPU the process may run on) or when the list is of a form only EAL understands.
    pub cpus: Option<Vec<u32>>,
    /// How many lcores there are, when that is known: more than CPUs, if some share one.
    pub lcores: Option<usize>,
    /// Memory to take at the start, in MiB.
    pub memory_mib: Option<u64>,
    /// Ordinary memory instead of hugepages.
    pub no_huge: bool,
    /// No PCI device is used.
    pub no_pci: bool,
    /// No files are made in the hugepage mount.
    pub in_memory: bool,
    /// PCI devices (or vdevs) that are allowed; empty: all.
    pub allow: Vec<String>,
    /// PCI devices that are never touched.
    pub block: Vec<String>,
    /// Names of the virtual devices to make, without their arguments.
    pub vdevs: Vec<String>,
}

impl EalArgs {
    /// Reads EAL's arguments, without the program's name.
    pub fn parse(args: &[String]) -> Self {
        let mut read = Self::default();
        let mut rest = args.iter().map(String::as_str);
        while let Some(arg) = rest.next() {
            match arg {
                "--no-huge" => read.no_huge = true,
                "--no-pci" => read.no_pci = true,
                "--in-memory" => read.in_memory = true,
                _ => {
                    if let Some((name, value)) = with_value(arg, &mut rest) {
                        read.take(name, value);
                    }
                }
            }
        }
        read
    }

    fn run_on(&mut self, lcores: Option<(usize, Vec<u32>)>) {
        (self.lcores, self.cpus) = lcores.unzip();
    }

    fn take(&mut self, name: &str, value: &str) {
        // `-a` and `-b` take a device and, after a comma, arguments for its driver.
        let device = || value.split(',').next().unwrap_or(value).to_owned();
        match name {
            "l" => self.run_on(cpu_list(value).map(|cpus| (cpus.len(), cpus))),
            "lcores" => self.run_on(lcore_map(value)),
            "c" => self.run_on(cpu_mask(value).map(|cpus| (cpus.len(), cpus))),
            "m" => self.memory_mib = value.parse().ok(),
            "socket-mem" => {
                self.memory_mib = value
                    .split(',')
                    .map(|node| node.parse::<u64>().ok())
                    .sum::<Option<u64>>();
            }
            "a" | "allow" => self.allow.push(device()),
            "b" | "block" => self.block.push(device()),
            "vdev" => self.vdevs.push(device()),
            _ => {}
        }
    }
}

/// Splits `-l0-1`, `-l 0-1`, `--lcores=0-1` and `--lcores 0-1` into name and value, taking the
/// value from `rest` when it is an argument of its own. `None`: an option without a value.
fn with_value<'a>(
    arg: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Option<(&'a str, &'a str)> {
    if let Some(long) = arg.strip_prefix("--") {
        return match long.split_once('=') {
            Some(pair) => Some(pair),
            None => LONG_WITH_VALUE
                .contains(&long)
                .then(|| rest.next())
                .flatten()
                .map(|value| (long, value)),
        };
    }
    let short = arg.strip_prefix('-')?;
    let letter = short.chars().next()?;
    if !SHORT_WITH_VALUE.contains(letter) {
        return None;
    }
    let (name, attached) = short.split_at(letter.len_utf8());
    let value = if attached.is_empty() {
        rest.next()?
    } else {
        attached
    };
    Some((name, value))
}

/// Reads the kernel's and EAL's list of CPUs: `0-2,5`. `None` when it is not one.
pub fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || last > 4095 {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// `0-3`, `0@2,1@3`, `(0-1)@2`, `0@(2-3)`: how many lcores there are, and the CPUs that they run on.
fn lcore_map(text: &str) -> Option<(usize, Vec<u32>)> {
    let (mut lcores, mut cpus) = (0, Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        // Up to the next comma outside of parentheses.
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        let (part, later) = match end {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        rest = later;
        let (names, places) = part.split_once('@').unwrap_or((part, part));
        let list = |text: &str| cpu_list(text.trim_matches(['(', ')']));
        lcores += list(names)?.len();
        cpus.extend(list(places)?);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some((lcores, cpus))
}

/// `0x3`: a mask of CPUs.
fn cpu_mask(text: &str) -> Option<Vec<u32>> {
    let mask = u128::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    Some((0..128).filter(|cpu| mask >> cpu & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> EalArgs {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        EalArgs::parse(&args)
    }

    #[test]
    fn every_way_to_name_cpus() {
        for (line, cpus) in [
            ("-l 0-2,5", Some(vec![0, 1, 2, 5])),
            ("-l1", Some(vec![1])),
            ("--lcores 0-1", Some(vec![0, 1])),
            ("--lcores=0@4,1@6", Some(vec![4, 6])),
            ("-c 0x5", Some(vec![0, 2])),
            ("-c3", Some(vec![0, 1])),
            ("--lcores (0-1)@2", Some(vec![2])),
            ("--lcores 0@(2-3),1@5", Some(vec![2, 3, 5])),
            ("--lcores (0-1)@(2", Some(vec![2])),
            ("--lcores 0@x", None),
            ("-l 3-1", None),
            ("-l 0-99999999", None),
            ("--no-huge", None),
        ] {
            assert_eq!(read(line).cpus, cpus, "{line}");
        }
    }

    #[test]
    fn lcores_may_share_a_cpu() {
        for (line, lcores) in [
            ("-l 0-2,5", Some(4)),
            ("-c 0x5", Some(2)),
            ("--lcores 0@4,1@6", Some(2)),
            ("--lcores (0-1)@2,3@2", Some(3)),
            ("--lcores 0@x", None),
            ("--no-huge", None),
        ] {
            assert_eq!(read(line).lcores, lcores, "{line}");
        }
    }

    #[test]
    fn memory_and_devices() {
        let args = read(
            "-l 0 -m 512 -a 0000:03:00.0,rx_vec=1 --allow 0000:03:00.1 -b0000:04:00.0 \
             --vdev=net_virtio_user0,path=/tmp/x.sock --vdev net_tap0 --no-pci --in-memory",
        );
        assert_eq!(args.memory_mib, Some(512));
        assert_eq!(args.allow, ["0000:03:00.0", "0000:03:00.1"]);
        assert_eq!(args.block, ["0000:04:00.0"]);
        assert_eq!(args.vdevs, ["net_virtio_user0", "net_tap0"]);
        assert!(args.no_pci && args.in_memory && !args.no_huge);
        assert_eq!(read("--socket-mem 256,512").memory_mib, Some(768));
    }

    #[test]
    fn a_value_is_not_taken_for_an_option() {
        let args = read("-d -l --file-prefix --no-huge");
        assert_eq!(args.cpus, None, "-l is the value of -d");
        assert!(!args.no_huge, "--no-huge is the value of --file-prefix");
    }

    #[test]
    fn options_are_told_from_values() {
        for option in [
            "-l",
            "-l0-1",
            "-a",
            "--no-huge",
            "--vdev=net_tap0",
            "--file-prefix",
        ] {
            assert!(is_eal_option(option), "{option}");
        }
        for other in [
            "--log-level",
            "-h",
            "-V",
            "--config",
            "proxy.toml",
            "-",
            "--",
            "",
        ] {
            assert!(!is_eal_option(other), "{other}");
        }
    }
}
