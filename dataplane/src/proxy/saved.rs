//! Request heads that may have to be sent once more.

/// A head kept for its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedId(u32);

/// The heads of a worker's exchanges. Buffers are used again, so that keeping a head copies a few
/// hundred bytes and allocates nothing in steady state.
#[derive(Debug, Default)]
pub struct Saved {
    buffers: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Saved {
    /// Keeps a copy of `bytes`.
    pub fn keep(&mut self, bytes: &[u8]) -> SavedId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::with_capacity(1024));
            self.buffers.len() as u32 - 1
        });
        self.buffers[id as usize].extend_from_slice(bytes);
        SavedId(id)
    }

    /// What was kept.
    pub fn bytes(&self, id: SavedId) -> &[u8] {
        &self.buffers[id.0 as usize]
    }

    /// Forgets it.
    pub fn forget(&mut self, id: SavedId) {
        let buffer = &mut self.buffers[id.0 as usize];
        buffer.clear();
        // One long head must not stay in memory for ever.
        buffer.shrink_to(4096);
        self.free.push(id.0);
    }
}
