//! What a modelled device is like.

use dsa::sysfs::{Mode, QueueInfo};

/// How likely something goes wrong, in thousandths, each time there is an occasion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A page of a source is not there.
    pub source: u32,
    /// A page of a target is not there.
    pub target: u32,
    /// A page of a batch's list is not there.
    pub list: u32,
    /// A record's page is not there: the descriptor is discarded without a word.
    pub record: u32,
    /// A descriptor is lost on its way.
    pub lose: u32,
    /// A descriptor is carried out, and its record is never written.
    pub silent: u32,
    /// A descriptor waits for [`Faults::late_steps`] before it is even looked at.
    pub late: u32,
    /// How long such a one waits.
    pub late_steps: u32,
    /// In a step in which there is work: the device is reset, and abandons it all.
    pub reset: u32,
    /// A shared queue says that it is full though it is not.
    pub full: u32,
    /// Of [`crate::chardev`]: `write()` takes fewer descriptors than it was given.
    pub short_write: u32,
}

/// A device with one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Decides everything that is random.
    pub seed: u64,
    /// Dedicated or shared.
    pub mode: Mode,
    /// Slots of the queue.
    pub size: u32,
    /// Most descriptors in a batch.
    pub max_batch: u32,
    /// Fewest descriptors in a batch.
    pub min_batch: u32,
    /// Most bytes of one descriptor.
    pub max_transfer: u64,
    /// Descriptors under way at a time. 1: strictly one after another, batches in order of their
    /// lists, as with one engine and nothing that delays.
    pub parallel: usize,
    /// Whether a batch's descriptors are carried out in the order of its list.
    pub ordered: bool,
    /// Most steps between two stages of a descriptor.
    pub latency: u32,
    /// Whether checks come in a random order, so that which of two errors is reported varies.
    pub shuffle_checks: bool,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for Config {
    /// A queue like those that `scripts/setup-dsa.sh` makes, without faults.
    fn default() -> Self {
        Self {
            seed: 1,
            mode: Mode::Dedicated,
            size: 32,
            max_batch: 64,
            min_batch: 2,
            max_transfer: 2 << 20,
            parallel: 8,
            ordered: false,
            latency: 4,
            shuffle_checks: true,
            faults: Faults::default(),
        }
    }
}

impl Config {
    /// What sysfs would say of this queue.
    pub fn info(&self, name: &str) -> QueueInfo {
        QueueInfo {
            name: name.into(),
            device: "model".into(),
            path: name.into(),
            mode: self.mode,
            size: self.size,
            max_batch: self.max_batch,
            max_transfer: self.max_transfer,
            numa_node: None,
        }
    }
}
