//! Ordinary files in the place of `/dev/dsa/wqX.Y`: who maps one and submits through the mapping is
//! caught by the [`crate::trap`], which asks here whose page it is.
//!
//! The files are those named `wqX.Y` in the folder that `DSA_DEV_PATH` names; what the queues are
//! like is read from `DSA_SYSFS_PATH`, as far as it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use dsa::sysfs::{Mode, Tree};

use crate::{Config, Faults, Memory, Model, Runner};

/// Models by their file.
static MODELS: Mutex<Vec<(PathBuf, Model)>> = Mutex::new(Vec::new());

/// Seed of the modelled devices, a number.
pub const SEED_VARIABLE: &str = "DSA_MODEL_SEED";
/// What goes wrong: a number, thousandths of descriptors that go wrong in some way; or names and numbers of
/// [`Faults`], as in `source=30,target=30`.
pub const FAULTS_VARIABLE: &str = "DSA_MODEL_FAULTS";

/// If set: one engine and nothing out of order.
pub const ORDERED_VARIABLE: &str = "DSA_MODEL_ORDERED";

/// If set: addresses are trusted, which is several times faster.
pub const DIRECT_VARIABLE: &str = "DSA_MODEL_DIRECT";

/// The model behind the file that is mapped at `page`; it is started if it is new.
pub fn resolve(page: usize) -> Option<Model> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let file = maps.lines().find_map(|line| mapped_file(line, page))?;
    let tree = Tree::from_environment();
    let folder = fs::canonicalize(&tree.dev).ok()?;
    if file.parent() != Some(&folder) {
        return None;
    }
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, model)) = models.iter().find(|(other, _)| *other == file) {
        return Some(model.clone());
    }
    let name = file.file_name()?.to_str()?;
    let model = Model::new(
        config(&tree.sysfs.join(name), models.len()),
        match std::env::var_os(DIRECT_VARIABLE) {
            Some(_) => Memory::direct(),
            None => Memory::probed(),
        },
    );
    Runner::start_with(&model, leave_cpu).ok()?.detach();
    models.push((file, model.clone()));
    Some(model)
}

/// CPUs that the process could run on before anybody pinned its threads.
static CPUS: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// To be called before the program pins its threads: models must not share the CPU of a thread that
/// polls for them.
pub fn remember_cpus() {
    // SAFETY: a cpu_set_t is an array of integers, for which zeros are a value: the empty set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a set of the size told, written by the kernel.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&cpus), &raw mut cpus) };
    if known == 0 {
        let _first = CPUS.set(cpus);
    }
}

fn leave_cpu() {
    if let Some(cpus) = CPUS.get() {
        // SAFETY: a set of the size told, read only. Thread 0 is the calling one.
        let _left = unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus) };
    }
}

/// The file of a line of `/proc/self/maps`, if the line is that of `page`.
fn mapped_file(line: &str, page: usize) -> Option<PathBuf> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    if !(parse(from)?..parse(to)?).contains(&page) {
        return None;
    }
    Some(rest[rest.find('/')?..].into())
}

/// What a queue is like, by its attributes in sysfs.
fn config(attributes: &Path, nth: usize) -> Config {
    let read = |name| fs::read_to_string(attributes.join(name)).ok();
    let number = |name, otherwise: u64| {
        let text: Option<String> = read(name);
        text.and_then(|text| text.trim().parse().ok())
            .unwrap_or(otherwise)
    };
    let variable = |name| std::env::var(name).ok()?.parse().ok();
    let standard = Config::default();
    let ordered = std::env::var_os(ORDERED_VARIABLE).is_some();
    let wanted = std::env::var(FAULTS_VARIABLE).unwrap_or_default();
    Config {
        seed: variable(SEED_VARIABLE).unwrap_or(standard.seed) + nth as u64,
        mode: match read("mode") {
            Some(mode) if mode.trim() == "shared" => Mode::Shared,
            _ => Mode::Dedicated,
        },
        size: number("size", standard.size.into()) as u32,
        max_batch: number("max_batch_size", standard.max_batch.into()) as u32,
        max_transfer: number("max_transfer_size", standard.max_transfer),
        parallel: if ordered { 1 } else { standard.parallel },
        ordered,
        faults: faults(&wanted).unwrap_or_else(|wrong| {
            panic!("{FAULTS_VARIABLE}: {wrong:?} is neither a number nor a fault's name=number")
        }),
        ..standard
    }
}

/// Faults as [`FAULTS_VARIABLE`] has them, or the word in it that means nothing.
fn faults(wanted: &str) -> Result<Faults, &str> {
    if let Ok(rate) = wanted.trim().parse() {
        return Ok(Faults {
            source: rate,
            target: rate,
            list: rate,
            lose: rate / 10,
            silent: rate / 10,
            full: rate,
            ..Faults::default()
        });
    }
    let mut faults = Faults::default();
    for word in wanted.split(',').filter(|word| !word.trim().is_empty()) {
        let (name, number) = word.split_once('=').ok_or(word)?;
        let field = match name.trim() {
            "source" => &mut faults.source,
            "target" => &mut faults.target,
            "list" => &mut faults.list,
            "record" => &mut faults.record,
            "lose" => &mut faults.lose,
            "silent" => &mut faults.silent,
            "late" => &mut faults.late,
            "late_steps" => &mut faults.late_steps,
            "reset" => &mut faults.reset,
            "full" => &mut faults.full,
            _ => return Err(word),
        };
        *field = number.trim().parse().map_err(|_| word)?;
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_a_rate_or_named() {
        let none = Faults::default();
        let rate = faults("50").unwrap();
        assert_eq!(
            (rate.source, rate.list, rate.lose, rate.late),
            (50, 50, 5, 0)
        );
        let named = Faults {
            target: 30,
            late: 5,
            late_steps: 20_000,
            ..none
        };
        assert_eq!(faults("target=30, late=5,late_steps=20000"), Ok(named));
        assert_eq!(faults(""), Ok(none));
        for wrong in ["x", "source", "source=x", "sauce=3"] {
            assert_eq!(faults(wrong), Err(wrong));
        }
    }
}
