//! A device with one queue: stepped by hand, or by a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::engine::{Engine, EngineStats};
use crate::gate::GateStats;
use crate::{Config, Faults, Gate, Memory};

/// Steps a runner makes for nothing before it sleeps.
const IDLE_STEPS: u32 = 2000;

/// A handle on a modelled device. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct Model {
    gate: Arc<Gate>,
    engine: Arc<Mutex<Engine>>,
    config: Config,
}

impl Model {
    /// A device that nobody steps yet.
    pub fn new(config: Config, memory: Memory) -> Self {
        let gate = Arc::new(Gate::new(&config));
        let engine = Engine::new(Arc::clone(&gate), config.clone(), memory);
        Self {
            gate,
            engine: Arc::new(Mutex::new(engine)),
            config,
        }
    }

    /// What it is like.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The side towards software.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Engine::step`].
    pub fn step(&self) -> bool {
        self.engine().step()
    }

    /// See [`Engine::reset`].
    pub fn reset(&self) {
        self.engine().reset();
    }

    /// See [`Engine::quiesce`].
    pub fn quiesce(&self) {
        self.engine().quiesce();
    }

    /// See [`Engine::set_faults`].
    pub fn set_faults(&self, faults: Faults) {
        self.engine().set_faults(faults);
    }

    /// Enables or disables the queue.
    pub fn set_enabled(&self, enabled: bool) {
        self.gate.set_enabled(enabled);
    }

    /// What the device did.
    pub fn stats(&self) -> (GateStats, EngineStats) {
        (self.gate.stats(), self.engine().stats())
    }
}

/// The thread that steps a model, until this is dropped.
#[derive(Debug)]
pub struct Runner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts it.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(model: &Model) -> std::io::Result<Self> {
        Self::start_with(model, || {})
    }

    /// Starts it; `first` is what the thread does first, e.g. leave a CPU that is not its.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start_with(
        model: &Model,
        first: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let model = model.clone();
        let thread = std::thread::Builder::new()
            .name("dsa-model".into())
            .spawn(move || {
                first();
                run(&model, &stopped);
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Lets it run to the end of the process.
    pub fn detach(mut self) {
        self.thread = None;
    }
}

fn run(model: &Model, stop: &AtomicBool) {
    model.gate.set_runner(std::thread::current());
    let mut idle = 0;
    while !stop.load(Ordering::Relaxed) {
        if model.step() {
            idle = 0;
        } else if idle < IDLE_STEPS {
            idle += 1;
            std::hint::spin_loop();
        } else {
            model.gate.sleep();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let _ended = thread.join();
        }
    }
}
