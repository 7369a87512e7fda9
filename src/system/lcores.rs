//! Workers on their lcores: packet memory for each, their threads, and the count of frames at the end.

use std::hash::{BuildHasher, RandomState};

use crossbeam::channel::bounded;
use dataplane::port::{FrameClass, FramePool, PoolLevel};
use dpdk::{ClassConfig, Eal, Job, LcoreId, MbufPool, PoolConfig};

use super::error::StartError;
use crate::config::MemorySettings;

/// A pool for each worker, on the NUMA node of its lcore.
///
/// # Errors
/// When there is not so much packet memory.
pub fn make_pools(
    eal: &Eal,
    lcores: &[LcoreId],
    memory: MemorySettings,
) -> Result<Vec<MbufPool>, StartError> {
    let sizes = PoolConfig::default();
    let sizes = PoolConfig {
        small: ClassConfig {
            count: memory.small_frames,
            ..sizes.small
        },
        large: ClassConfig {
            count: memory.large_frames,
            ..sizes.large
        },
        ..sizes
    };
    let pools = lcores.iter().enumerate().map(|(index, &lcore)| {
        let name = format!("worker{index}");
        MbufPool::new(eal, &name, eal.socket_of(lcore), &sizes)
    });
    Ok(pools.collect::<Result<_, _>>()?)
}

/// Runs each worker on its lcore and waits until all have ended. The first job is that of the main
/// lcore, whose thread is this one: it comes last.
///
/// # Errors
/// What a worker says, or what EAL says about an lcore.
pub fn run<J>(eal: &Eal, jobs: Vec<(LcoreId, J)>) -> Result<(), StartError>
where
    J: FnOnce() -> Result<(), StartError> + Send + 'static,
{
    let (outcomes, ended) = bounded(jobs.len());
    let mut started = Vec::with_capacity(jobs.len());
    for (lcore, job) in jobs.into_iter().rev() {
        let outcomes = outcomes.clone();
        started.push(eal.run_on(lcore, move || {
            // There is room for all of them.
            let _sent = outcomes.send(job());
        })?);
    }
    drop(outcomes);
    // All are waited for, whatever became of the first.
    let waited: Vec<_> = started.into_iter().map(Job::wait).collect();
    let outcomes: Vec<_> = ended.iter().collect();
    outcomes.into_iter().collect::<Result<(), _>>()?;
    waited.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

/// Says for each worker whether its frames are all back. Nothing that could hold one is left: ports
/// and devices have been closed with the workers.
///
/// # Errors
/// [`StartError::FramesLost`].
pub fn check_frames(lcores: &[LcoreId], pools: &[MbufPool]) -> Result<(), StartError> {
    let mut missing = 0;
    for (index, (lcore, pool)) in lcores.iter().zip(pools).enumerate() {
        let levels = [FrameClass::Small, FrameClass::Large].map(|class| pool.level(class));
        let [small, large] = levels;
        let line = format!(
            "worker {index} (lcore {}): ended; frames returned: small {} of {}, large {} of {}",
            lcore.number(),
            small.free,
            small.total,
            large.free,
            large.total,
        );
        let lost: u32 = levels.iter().map(lost).sum();
        if lost == 0 {
            log::info!("{line}");
        } else {
            log::error!("{line}: {lost} missing");
        }
        missing += lost;
    }
    if missing == 0 {
        Ok(())
    } else {
        Err(StartError::FramesLost { missing })
    }
}

fn lost(level: &PoolLevel) -> u32 {
    level.total.saturating_sub(level.free)
}

/// A number nobody can guess: a keyed hash whose key comes from the system's random numbers.
pub fn secret() -> u64 {
    RandomState::new().hash_one(0)
}
