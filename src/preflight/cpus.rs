//! CPUs: a worker polls without pause, so its core should be its own and should not slow down.

use super::{Plan, Report, Sources};
use crate::eal_args::cpu_list;

const THING: &str = "cpus";

pub fn check(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    if plan.cpus.is_empty() {
        return;
    }
    let online = sources
        .sys("devices/system/cpu/online")
        .and_then(|text| cpu_list(&text));
    if let Some(online) = &online {
        let missing = without(&plan.cpus, online);
        if !missing.is_empty() {
            report.fail(
                THING,
                format!("{} not online", named(&missing)),
                format!("choose from {} with -l", show(online)),
            );
            return;
        }
    }
    report.ok(THING, format!("a worker on {}", each(&plan.cpus)));
    crowded(sources, plan, report);
    if plan.eal.cpus.is_none() {
        report.warn(
            THING,
            "no -l: a worker on every CPU this process may use",
            "name the CPUs before `--`, e.g. -l 0-1",
        );
    }
    if let Some(online) = &online
        && without(online, &plan.cpus).is_empty()
    {
        report.warn(
            THING,
            "workers poll on every CPU: the kernel, the logs and the admin server share with them",
            "leave one CPU out of -l",
        );
    }
    isolation(sources, plan, report);
    governor(sources, plan, report);
}

/// Workers that would have to share: a CPU, a core, or with nobody because the process may not run
/// there.
fn crowded(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    if plan.workers() > plan.cpus.len() as u64 {
        report.warn(
            THING,
            format!("{} workers on {}", plan.workers(), named(&plan.cpus)),
            "each polls without pause and wants a CPU of its own: one in -l for each",
        );
    }
    if let Some(allowed) = &plan.allowed {
        let others = without(&plan.cpus, allowed);
        if !others.is_empty() {
            report.warn(
                THING,
                format!("{} not among those this process may use", named(&others)),
                format!("choose from {} with -l, or widen the cpuset", show(allowed)),
            );
        }
    }
    for (i, &cpu) in plan.cpus.iter().enumerate() {
        let path = format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings = sources.sys(path).and_then(|text| cpu_list(&text));
        let shared = siblings.unwrap_or_default();
        let others = &plan.cpus[i + 1..];
        if let Some(&other) = shared.iter().find(|&sibling| others.contains(sibling)) {
            report.warn(
                THING,
                format!("CPUs {cpu} and {other} are two threads of one core"),
                "two workers there are little faster than one: choose CPUs of different cores",
            );
        }
    }
}

/// The kernel schedules nothing by itself on isolated CPUs.
fn isolation(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    let isolated = sources
        .sys("devices/system/cpu/isolated")
        .and_then(|text| cpu_list(&text));
    let Some(isolated) = isolated else { return };
    let shared = without(&plan.cpus, &isolated);
    if shared.is_empty() {
        report.ok("isolation", format!("{} isolated", named(&plan.cpus)));
    } else {
        let list = show(&shared);
        report.warn(
            "isolation",
            format!(
                "{} not isolated: other programs may interrupt a worker",
                named(&shared)
            ),
            format!(
                "for the lowest latency boot with isolcpus={list} nohz_full={list} rcu_nocbs={list}"
            ),
        );
    }
}

fn governor(sources: &Sources, plan: &Plan<'_>, report: &mut Report) {
    let slow: Vec<(u32, String)> = plan
        .cpus
        .iter()
        .filter_map(|&cpu| {
            let path = format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
            Some((cpu, sources.sys(path)?))
        })
        .filter(|(_, governor)| governor != "performance")
        .collect();
    if let Some((_, governor)) = slow.first() {
        let cpus: Vec<u32> = slow.iter().map(|&(cpu, _)| cpu).collect();
        report.warn(
            "governor",
            format!("{} with governor {governor}", named(&cpus)),
            format!("cpupower -c {} frequency-set -g performance", show(&cpus)),
        );
    }
}

/// Those of `cpus` that are not among `others`.
fn without(cpus: &[u32], others: &[u32]) -> Vec<u32> {
    let mut rest = cpus.to_vec();
    rest.retain(|cpu| !others.contains(cpu));
    rest
}

/// As [`named`], for something on each of them.
fn each(cpus: &[u32]) -> String {
    match cpus {
        [cpu] => format!("CPU {cpu}"),
        _ => format!("each of {}", named(cpus)),
    }
}

fn named(cpus: &[u32]) -> String {
    let noun = if cpus.len() == 1 { "CPU" } else { "CPUs" };
    format!("{noun} {}", show(cpus))
}

/// The kernel's way to write a list: `0-2,5`.
fn show(cpus: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let written: Vec<String> = ranges
        .iter()
        .map(|&(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    written.join(",")
}
