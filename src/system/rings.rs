//! The ring buffers of the engine's sockets.

use std::io;

use dataplane::tcp::RingSource;
use hugepage::FillerRings;

/// Pairs of rings that all share a few pages, for one worker.
#[derive(Debug)]
pub struct Rings {
    filler: FillerRings,
    /// Whether the lack of memory was logged: once, not for every connection that is refused.
    told: bool,
}

impl Rings {
    /// Rings of `bytes` bytes each. `huge`: in hugepages, if one is free.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(bytes: u32, huge: bool) -> io::Result<Self> {
        // SAFETY: the rings go to the engine and nowhere else (`RingSource` hands out each pair
        // once), and it gives them to smoltcp, which it shows filler: all payload that enters or
        // leaves a socket is zeros (`dataplane::tcp`), so nothing else is ever written to them.
        let filler = unsafe { FillerRings::new(bytes as usize, huge) }?;
        Ok(Self {
            filler,
            told: false,
        })
    }
}

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        match self.filler.pair() {
            Ok(pair) => Some(pair),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    log::error!("no further connections: {error}");
                }
                None
            }
        }
    }
}
