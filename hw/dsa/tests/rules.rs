//! Whether the tests of the mover would notice: each rule is broken, one at a time, by a switch in
//! the mover (`dsa::mover::Rule`), and what `tests/mover.rs` demands must then fail for some seed, while
//! it holds for all of them with the rule kept.
//!
//! What the issue asks for, and what else:
//!
//! | broken | rule | how it is noticed |
//! |---|---|---|
//! | read the record early | `AwaitRecord` | wrong bytes |
//! | free a frame at submit | `OwnSources` | wrong bytes |
//! | skip the deadline | `Deadline` | the mover waits for ever |
//! | assume order | `NoOrder` | wrong bytes |
//! | ignore 0x05: take the failed for done | `RedoFailed` | wrong bytes |
//! | ignore 0x05: take the healthy for failed | `KeepHealthy` | more is done again than failed |
//! | submit a batch of one | `NoBatchOfOne` | the device refuses it |
//! | ignore max batch | `MaxBatch` | the device refuses it |
//! | let go of late targets | `Quarantine` | wrong bytes, or a flight's memory used twice |
//! | take a page fault for success | `RedoFaults` | wrong bytes |
//! | do not count slots | `CountSlots` | the queue overflows |
//! | forget what was not taken | `RedoRefused` | wrong bytes |
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::print_stderr, reason = "a report, for who asks for it")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Seen, Way, course, eager};
use dsa::mover::{Rule, Rules, Settings};
use dsa::sysfs::Mode;
use dsa_model::{Config, Faults};

/// The circumstances in which breaking a rule matters.
fn circumstances(rule: Rule) -> (Config, Settings) {
    let standard = Config::default();
    let with = |faults| Config {
        faults,
        ..standard.clone()
    };
    let none = Faults::default();
    let config = match rule {
        Rule::AwaitRecord | Rule::OwnSources | Rule::NoOrder | Rule::NoBatchOfOne => with(none),
        Rule::MaxBatch => Config {
            max_batch: 4,
            ..standard
        },
        Rule::CountSlots => Config {
            size: 3,
            ..standard
        },
        Rule::RedoFailed | Rule::KeepHealthy | Rule::RedoFaults => with(Faults {
            source: 100,
            ..none
        }),
        Rule::Deadline => with(Faults { lose: 50, ..none }),
        Rule::Quarantine => with(Faults {
            late: 100,
            late_steps: 2000,
            ..none
        }),
        Rule::RedoRefused => Config {
            mode: Mode::Shared,
            faults: Faults { full: 900, ..none },
            ..standard
        },
    };
    (config, eager())
}

/// What `tests/mover.rs` demands beyond what the suite itself looks at.
fn demand(rule: Rule, seen: &Seen) {
    assert_eq!(seen.engine.refused, 0, "a descriptor that breaks a rule");
    assert_eq!(seen.gate.overflowed, 0, "the queue overflowed");
    if rule == Rule::KeepHealthy {
        assert_eq!(
            seen.mover.redone, seen.engine.faults,
            "done again without need"
        );
    }
}

/// The seeds that end badly, and what is said of the first.
fn failures(rule: Rule, broken: bool) -> (u64, String) {
    let (config, settings) = circumstances(rule);
    let (mut failed, mut said) = (0, String::new());
    for seed in 0..60 {
        let config = Config {
            seed,
            ..config.clone()
        };
        let rules = if broken {
            Rules::but(rule)
        } else {
            Rules::default()
        };
        let run = || demand(rule, &course(Way::Direct, &config, settings, rules, 2));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            failed += 1;
            if said.is_empty() {
                said = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| {
                    panic
                        .downcast_ref::<&str>()
                        .map_or_else(String::new, |&text| text.into())
                });
            }
            if broken && failed == 3 {
                break;
            }
        }
    }
    (failed, said)
}

#[test]
fn every_rule_that_is_broken_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let outcomes: Vec<_> = Rule::ALL
        .into_iter()
        .map(|rule| (rule, failures(rule, false), failures(rule, true)))
        .collect();
    let _hook = std::panic::take_hook();
    let mut report = String::new();
    for (rule, (kept, said_kept), (broken, said)) in &outcomes {
        let said = said.lines().next().unwrap_or_default();
        report += &format!("{rule:?}: kept {kept} {said_kept}, broken {broken}: {said}\n");
    }
    for (rule, (kept, _), (broken, _)) in &outcomes {
        assert_eq!(*kept, 0, "{rule:?} is kept, and something fails:\n{report}");
        assert!(
            *broken > 0,
            "{rule:?} is broken, and nobody notices:\n{report}"
        );
    }
    // For who runs this with --nocapture.
    eprintln!("{report}");
}
