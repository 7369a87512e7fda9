//! When the accelerator is used, and how long it is waited for.

/// The policy of a [`super::DsaMover`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Jobs whose pieces have fewer bytes than this on average are the CPU's: a descriptor costs
    /// the device the same however little it copies. 0: none.
    pub threshold: u32,
    /// Most descriptors in a batch, as far as the queue allows so many.
    pub max_batch: u32,
    /// Most descriptors under way; jobs beyond it are the CPU's.
    pub max_in_flight: u32,
    /// While earlier submissions are under way, or very many exchanges, jobs are gathered until there
    /// are so many of them …
    pub gather_jobs: u32,
    /// … or the first has waited for so many microseconds. 0: every turn submits what it has.
    pub gather_us: u64,
    /// Microseconds after which a submission counts as late: the CPU does its jobs, and its frames
    /// go into quarantine.
    pub deadline_us: u64,
    /// Have the device write to the cache and not to memory: whoever sends the bytes reads them
    /// soon, and alignment of the targets matters little then.
    pub cache_control: bool,
}

impl Default for Settings {
    /// The threshold is where others have measured the break-even of batched, aligned copies
    /// (256 to 512 bytes), the size of batches what is enough to keep an engine busy.
    fn default() -> Self {
        Self {
            threshold: 512,
            max_batch: 64,
            max_in_flight: 2048,
            gather_jobs: 16,
            gather_us: 2000,
            deadline_us: 20_000,
            cache_control: true,
        }
    }
}
