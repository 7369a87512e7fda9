//! Which mover each worker gets, and what it needs beyond its thread.

use dataplane::mover::{
    AcceleratorStats, CopyBatch, Done, MemMover, MoveMode, Mover, MoverStats, ZeroCopy,
};
use dpdk::{DmaDevice, DmaMover, DmaSettings, Eal, LcoreId, Mbuf};
use dsa::mover::{DsaMover, Settings};
use dsa::queue::HardwareQueue;
use dsa::sysfs::Tree;
use dsa_model::{Config as ModelConfig, Memory, Model, ModelPortal, Runner};

use super::error::StartError;
use crate::cli::{self, AcceleratorOptions};

/// A mover on its way to its worker's thread, where it is made.
#[derive(Debug)]
pub enum Planned {
    /// The CPU copies.
    Mem,
    /// Nothing moves.
    ZeroCopy,
    /// A work queue copies.
    Dsa {
        queue: Box<HardwareQueue>,
        settings: Settings,
    },
    /// A model of one does, on a thread of its own.
    DsaModel {
        model: Model,
        runner: Runner,
        settings: Settings,
    },
    /// A DMA device of DPDK copies.
    Dmadev {
        device: DmaDevice,
        settings: DmaSettings,
    },
}

impl std::fmt::Display for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mem => f.write_str("mem"),
            Self::ZeroCopy => f.write_str("zero-copy"),
            Self::Dsa { queue, .. } => {
                let info = queue.info();
                write!(
                    f,
                    "dsa {} ({}, {} slots, batches of {})",
                    info.name,
                    info.mode.name(),
                    info.size,
                    queue.max_batch()
                )
            }
            Self::DsaModel { .. } => f.write_str("dsa-model (for trying it out: slower than mem)"),
            Self::Dmadev { device, .. } => write!(f, "dmadev {}", device.name()),
        }
    }
}

/// Movers for the workers on `lcores`, in their order.
///
/// # Errors
/// When there is no work queue for each that needs one, or no thread for the model.
pub fn plan(
    eal: &Eal,
    lcores: &[LcoreId],
    mover: cli::Mover,
    options: &AcceleratorOptions,
) -> Result<Vec<Planned>, StartError> {
    let settings = Settings {
        threshold: options.dsa_threshold,
        max_batch: options.dsa_batch,
        deadline_us: u64::from(options.dsa_deadline) * 1000,
        gather_us: options.dsa_gather_us.into(),
        ..Settings::default()
    };
    let many = |make: fn() -> Planned| lcores.iter().map(|_| make()).collect();
    Ok(match mover {
        cli::Mover::Mem => many(|| Planned::Mem),
        cli::Mover::ZeroCopy => many(|| Planned::ZeroCopy),
        cli::Mover::Dsa => queues(eal, lcores, options, settings)?,
        cli::Mover::DsaModel => lcores
            .iter()
            .enumerate()
            .map(|(index, _)| model(eal, index, settings))
            .collect::<Result<_, _>>()?,
        cli::Mover::Dmadev => {
            if options.dma_device.len() < lcores.len() {
                return Err(StartError::TooFewDmaDevices {
                    workers: lcores.len(),
                    named: options.dma_device.len(),
                });
            }
            let settings = DmaSettings {
                threshold: options.dsa_threshold,
                deadline_us: settings.deadline_us,
            };
            let open = |name: &String| {
                let device = DmaDevice::open(eal, name)?;
                Ok(Planned::Dmadev { device, settings })
            };
            let opened = options.dma_device.iter().take(lcores.len()).map(open);
            opened.collect::<Result<_, StartError>>()?
        }
        cli::Mover::Auto => match queues(eal, lcores, options, settings) {
            Ok(planned) => {
                log::info!("mover auto: dsa: each worker has a work queue");
                planned
            }
            Err(reason) => {
                log::info!("mover auto: mem: {reason}");
                many(|| Planned::Mem)
            }
        },
    })
}

fn queues(
    eal: &Eal,
    lcores: &[LcoreId],
    options: &AcceleratorOptions,
    settings: Settings,
) -> Result<Vec<Planned>, dsa::Error> {
    let node = lcores.first().map(|&lcore| eal.socket_of(lcore));
    let tree = Tree::from_environment();
    let chosen = tree.choose(&options.dsa_queue, lcores.len(), node)?;
    let opened = chosen.into_iter().map(|info| {
        Ok(Planned::Dsa {
            queue: Box::new(HardwareQueue::open(info)?),
            settings,
        })
    });
    opened.collect()
}

fn model(eal: &Eal, index: usize, settings: Settings) -> Result<Planned, StartError> {
    const NAME: &str = "dsa-model";
    let config = ModelConfig {
        seed: index as u64,
        latency: 0,
        ..ModelConfig::default()
    };
    let model = Model::new(config, Memory::direct());
    let eal = eal.clone();
    let runner = Runner::start_with(&model, move || eal.leave_lcore())
        .map_err(|source| StartError::Thread { name: NAME, source })?;
    Ok(Planned::DsaModel {
        model,
        runner,
        settings,
    })
}

/// A mover of any kind, chosen at the start.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a worker has one, and a box would cost a cache miss each turn"
)]
pub enum AnyMover {
    Mem(MemMover<Mbuf>),
    ZeroCopy(ZeroCopy),
    Dsa(DsaMover<Mbuf, dsa::portal::HardwarePortal<dsa::chardev::CharFile>>),
    /// The mover goes before the thread that serves it.
    DsaModel(DsaMover<Mbuf, ModelPortal>, #[expect(dead_code)] Runner),
    Dmadev(DmaMover),
}

impl From<Planned> for AnyMover {
    fn from(planned: Planned) -> Self {
        match planned {
            Planned::Mem => Self::Mem(MemMover::default()),
            Planned::ZeroCopy => Self::ZeroCopy(ZeroCopy),
            Planned::Dsa { queue, settings } => Self::Dsa(DsaMover::new(*queue, settings)),
            Planned::Dmadev { device, settings } => Self::Dmadev(DmaMover::new(device, settings)),
            Planned::DsaModel {
                model,
                runner,
                settings,
            } => {
                let queue = ModelPortal::queue(&model, "model");
                Self::DsaModel(DsaMover::new(queue, settings), runner)
            }
        }
    }
}

/// Evaluates the same expression for any kind.
macro_rules! any {
    ($self:expr, $mover:ident => $call:expr) => {
        match $self {
            Self::Mem($mover) => $call,
            Self::ZeroCopy($mover) => $call,
            Self::Dsa($mover) => $call,
            Self::DsaModel($mover, _) => $call,
            Self::Dmadev($mover) => $call,
        }
    };
}

impl Mover<Mbuf> for AnyMover {
    #[inline]
    fn mode(&self) -> MoveMode {
        any!(self, mover => Mover::<Mbuf>::mode(mover))
    }

    #[inline]
    fn begin_turn(&mut self, now_us: u64) {
        any!(self, mover => Mover::<Mbuf>::begin_turn(mover, now_us));
    }

    #[inline]
    fn note_load(&mut self, exchanges: u32) {
        any!(self, mover => Mover::<Mbuf>::note_load(mover, exchanges));
    }

    #[inline]
    fn submit(&mut self, batch: &mut CopyBatch<Mbuf>) {
        any!(self, mover => mover.submit(batch));
    }

    #[inline]
    fn harvest(&mut self, done: &mut Vec<Done<Mbuf>>) {
        any!(self, mover => mover.harvest(done));
    }

    fn in_flight(&self) -> usize {
        any!(self, mover => Mover::<Mbuf>::in_flight(mover))
    }

    fn quarantined(&self) -> usize {
        any!(self, mover => Mover::<Mbuf>::quarantined(mover))
    }

    fn stats(&self) -> MoverStats {
        any!(self, mover => Mover::<Mbuf>::stats(mover))
    }

    fn accelerator(&self) -> AcceleratorStats {
        any!(self, mover => Mover::<Mbuf>::accelerator(mover))
    }
}
