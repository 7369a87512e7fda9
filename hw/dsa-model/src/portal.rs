//! The model called directly: what `--mover dsa-model` submits to.

use dsa::Descriptor;
use dsa::instruction::Accepted;
use dsa::portal::{Portal, Submitted};
use dsa::queue::WorkQueue;
use dsa::sysfs::Mode;

use crate::{Instruction, Model};

/// As often as the hardware's portal tries.
const TRIES: u32 = 16;

/// The portal of a modelled queue.
#[derive(Debug)]
pub struct ModelPortal {
    model: Model,
    open: bool,
}

impl ModelPortal {
    /// A way into `model`.
    pub fn new(model: Model) -> Self {
        Self { model, open: true }
    }

    /// A queue behind it, ready for a mover.
    pub fn queue(model: &Model, name: &str) -> WorkQueue<Self> {
        WorkQueue::new(Self::new(model.clone()), model.config().info(name))
    }
}

impl Portal for ModelPortal {
    fn takes_batches(&self) -> bool {
        true
    }

    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted {
        let mut submitted = Submitted::default();
        if !self.open {
            return submitted;
        }
        let gate = self.model.gate();
        let (instruction, tries) = match gate.mode() {
            Mode::Dedicated => (Instruction::Movdir64b, 1),
            Mode::Shared => (Instruction::Enqcmd, TRIES),
        };
        for &descriptor in descriptors {
            let refused = (0..tries)
                .take_while(|_| gate.submit(instruction, descriptor) == Accepted::Retry)
                .count() as u32;
            submitted.retries += u64::from(refused);
            if refused == tries {
                break;
            }
            submitted.taken += 1;
        }
        submitted
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.model.quiesce();
        }
    }
}

impl Drop for ModelPortal {
    fn drop(&mut self) {
        self.close();
    }
}
