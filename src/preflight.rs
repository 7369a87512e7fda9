//! What the machine must have before minivoy can run on it, each thing with the command that
//! mends it.
//!
//! Everything is read from `/proc` and `/sys`, whose roots are arguments, so that tests judge made
//! up machines. What cannot be read is not judged: a container that hides `/sys` must not keep
//! minivoy from starting. Only what surely fails is a [`Level::Fail`], and the same findings that
//! `--check` prints are what a start is refused with.

mod accelerator;
mod cpus;
mod interfaces;
mod memory;
mod network;
mod pci;
mod privilege;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, PortDevice};
use crate::eal_args::{EalArgs, cpu_list};

pub use accelerator::accelerator;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// minivoy runs, but not as well as it could, or in a way the operator may not expect.
    Warn,
    /// minivoy cannot run.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, e.g. `hugepages` or `packet:eth0`.
    pub thing: String,
    /// What was found.
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.thing, self.found)?;
        if !self.remedy.is_empty() {
            write!(f, " — {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Collects findings about one thing after another.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(
        &mut self,
        level: Level,
        thing: impl fmt::Display,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding {
            level,
            thing: thing.to_string(),
            found: found.into(),
            remedy: remedy.into(),
        });
    }

    fn ok(&mut self, thing: impl fmt::Display, found: impl Into<String>) {
        self.add(Level::Ok, thing, found, "");
    }

    fn warn(
        &mut self,
        thing: impl fmt::Display,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Warn, thing, found, remedy);
    }

    fn fail(
        &mut self,
        thing: impl fmt::Display,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Fail, thing, found, remedy);
    }
}

/// Where the kernel describes the machine.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `/proc`, or a tree that looks like it.
    pub proc_root: PathBuf,
    /// `/sys`, or a tree that looks like it.
    pub sys_root: PathBuf,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            sys_root: "/sys".into(),
        }
    }
}

impl Sources {
    fn proc(&self, path: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.proc_root.join(path)).ok()
    }

    fn sys(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = std::fs::read_to_string(self.sys_root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Names in a folder of `/sys`; `None` when it cannot be read.
    fn sys_names(&self, path: impl AsRef<Path>) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(self.sys_root.join(path)).ok()?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Some(names)
    }

    /// The last part of what a link in `/sys` points at.
    fn sys_link(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::read_link(self.sys_root.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The value of a `Key:<tab>value` line of `/proc/self/status`.
    fn status(&self, key: &str) -> Option<String> {
        let status = self.proc("self/status")?;
        status.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == key).then(|| value.trim().to_owned())
        })
    }
}

/// What is going to run.
struct Plan<'a> {
    config: &'a Config,
    eal: &'a EalArgs,
    /// CPUs of the workers; empty when they are not known.
    cpus: Vec<u32>,
    /// CPUs that the process may run on, if they are known.
    allowed: Option<Vec<u32>>,
}

impl Plan<'_> {
    /// Number of workers: one for each lcore, at least one.
    fn workers(&self) -> u64 {
        self.eal.lcores.unwrap_or(self.cpus.len()).max(1) as u64
    }

    fn devices(&self) -> impl Iterator<Item = &PortDevice> {
        self.config.ports.iter().map(|port| &port.device)
    }
}

/// Looks at everything the configuration and EAL's arguments need of the machine.
pub fn run(sources: &Sources, config: &Config, eal: &EalArgs) -> Vec<Finding> {
    // Without -l, EAL makes an lcore of every CPU the process may run on.
    let status = sources.status("Cpus_allowed_list");
    let allowed = status.and_then(|list| cpu_list(&list));
    let cpus = eal.cpus.clone().or_else(|| allowed.clone());
    let plan = Plan {
        config,
        eal,
        cpus: cpus.unwrap_or_default(),
        allowed,
    };
    let mut report = Report::default();
    cpus::check(sources, &plan, &mut report);
    memory::check(sources, &plan, &mut report);
    privilege::check(sources, &plan, &mut report);
    let network = network::Network::read(sources);
    interfaces::check(sources, &plan, &network, &mut report);
    pci::check(sources, &plan, &network, &mut report);
    report.0
}

/// The worst level among `findings`.
pub fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

/// What `--check` prints: one line for each finding.
pub fn table(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        format!("{level:<4}  {finding}\n")
    };
    findings.iter().map(line).collect()
}

/// Judges a start: warnings go to the log.
///
/// # Errors
/// The findings that keep minivoy from running, one a line.
pub fn refuse(findings: &[Finding]) -> Result<(), String> {
    let mut fatal = Vec::new();
    for finding in findings {
        match finding.level {
            Level::Ok => {}
            Level::Warn => log::warn!("{finding}"),
            Level::Fail => fatal.push(finding.to_string()),
        }
    }
    if fatal.is_empty() {
        Ok(())
    } else {
        Err(fatal.join("\n"))
    }
}

#[cfg(test)]
mod tests;
