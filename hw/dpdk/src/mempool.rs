//! Packet memory: mempools of mbufs, and the worker's handle on them.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use dataplane::port::{FrameClass, FramePool, PoolLevel};
use dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{DpdkError, Errno};
use crate::mbuf::Mbuf;

/// Bytes of a cache line: data begins at a multiple of it.
const CACHE_LINE: usize = 64;

/// Buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassConfig {
    /// How many. One less than a power of two uses the memory of the pool's ring best.
    pub count: u32,
    /// Bytes of data each holds, beside the headroom of 128. At most 65 407.
    pub room: u16,
}

/// The sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Buffers of [`FrameClass::Small`].
    pub small: ClassConfig,
    /// Buffers of [`FrameClass::Large`].
    pub large: ClassConfig,
    /// Buffers of each class that an lcore may keep to itself, at most 512: what it frees it
    /// allocates again without touching memory that other cores touch.
    pub cache: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            small: ClassConfig {
                count: 16_383,
                room: 2_048,
            },
            large: ClassConfig {
                count: 8_191,
                room: 16_384,
            },
            cache: 256,
        }
    }
}

/// One `rte_mempool` of mbufs, freed when dropped.
#[derive(Debug)]
pub(crate) struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    total: u32,
    /// Bytes of data a buffer holds, without its headroom.
    room: u16,
    eal: Eal,
}

// SAFETY: a mempool may be used from any thread (rte_mempool.h); it is made for several producers
// and consumers.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `count` buffers of `bytes` bytes, headroom included; 0 for indirect mbufs.
    pub(crate) fn new(
        eal: &Eal,
        name: &str,
        socket: u32,
        count: u32,
        cache: u32,
        bytes: u16,
    ) -> Result<Self, DpdkError> {
        let error = |errno| DpdkError::Pool {
            name: name.to_owned(),
            count,
            bytes: u32::from(bytes),
            errno,
        };
        let c_name = CString::new(name).map_err(|_| error(Errno(libc::EINVAL)))?;
        // A cache may be no larger than two thirds of the pool (rte_mempool.h).
        let cache = cache
            .min(sys::RTE_MEMPOOL_CACHE_MAX_SIZE)
            .min(count / 3 * 2);
        let socket = i32::try_from(socket).unwrap_or(sys::SOCKET_ID_ANY);
        // SAFETY: EAL is initialised and the name is a terminated string, copied by the function.
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, bytes, socket)
        };
        let raw = NonNull::new(raw).ok_or_else(|| error(Errno::last()))?;
        let room = bytes.saturating_sub(sys::RTE_PKTMBUF_HEADROOM as u16);
        Ok(Self {
            raw,
            total: count,
            room,
            eal: eal.clone(),
        })
    }

    pub(crate) fn raw(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    pub(crate) fn room(&self) -> u16 {
        self.room
    }

    /// Buffers in the pool, those in the caches of lcores included.
    pub(crate) fn free(&self) -> u32 {
        // SAFETY: the pool lives as long as self.
        unsafe { sys::rte_mempool_avail_count(self.raw()) }
    }

    /// Buffers that the calling lcore can have: those in its own cache and in no cache at all.
    /// [`free`](Self::free) looks into the cache of every lcore there could be, each a cache line.
    pub(crate) fn free_here(&self) -> u32 {
        // SAFETY: the pool lives as long as self.
        unsafe { sys::dpdk_sys_mempool_free_here(self.raw()) }
    }

    /// Buffers that are out.
    pub(crate) fn in_use(&self) -> u32 {
        self.total.saturating_sub(self.free())
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        let out = self.in_use();
        if out == 0 {
            // SAFETY: all buffers are back, so nobody points into the pool any more.
            unsafe { sys::rte_mempool_free(self.raw()) };
        } else {
            log::error!("{out} packet buffers were not returned before their pool was dropped");
            // Their memory must stay, and with it EAL, which would unmap it.
            std::mem::forget(self.eal.clone());
        }
    }
}

/// A few buffers taken from a pool in bulk: taking one from here costs no call.
#[derive(Debug)]
pub(crate) struct Stash<const N: usize> {
    buffers: [*mut sys::rte_mbuf; N],
    len: usize,
}

// SAFETY: the buffers belong to nobody else, and mempools may be used from any thread.
unsafe impl<const N: usize> Send for Stash<N> {}
// SAFETY: through a shared reference only the number of buffers can be read.
unsafe impl<const N: usize> Sync for Stash<N> {}

impl<const N: usize> Stash<N> {
    pub(crate) fn new() -> Self {
        Self {
            buffers: [std::ptr::null_mut(); N],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Fills up to `wanted` buffers (at most `N`), if the pool has all of them.
    pub(crate) fn fill(&mut self, pool: &Mempool, wanted: usize) -> bool {
        let missing = wanted.min(N).saturating_sub(self.len);
        if missing == 0 {
            return true;
        }
        // SAFETY: there is room for `missing` pointers from `len` on, and the pool is alive.
        let result = unsafe {
            let at = self.buffers.as_mut_ptr().add(self.len);
            sys::rte_pktmbuf_alloc_bulk(pool.raw(), at, missing as u32)
        };
        if result == 0 {
            self.len += missing;
        }
        result == 0
    }

    /// A buffer as fresh from the pool: no data, one segment, one owner.
    #[inline]
    pub(crate) fn take(&mut self, pool: &Mempool) -> Option<NonNull<sys::rte_mbuf>> {
        // Half at a time keeps what the pool loses to this stash small. A pool that has not so many
        // is emptied one by one.
        if self.len == 0 && !self.fill(pool, N / 2) && !self.fill(pool, 1) {
            return None;
        }
        self.len -= 1;
        NonNull::new(self.buffers[self.len])
    }

    /// Returns all buffers to the pool.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the first `len` are buffers that nobody else has.
        unsafe { sys::rte_pktmbuf_free_bulk(self.buffers.as_mut_ptr(), self.len as u32) };
        self.len = 0;
    }
}

#[derive(Debug)]
struct Classes {
    small: Mempool,
    large: Mempool,
}

/// A worker's packet memory: two mempools, and a small stash of each taken in bulk.
///
/// Clones share the mempools and have stashes of their own, so one can be given to each device that
/// receives into the pool. The memory is freed with the last clone.
#[derive(Debug)]
pub struct MbufPool {
    classes: Arc<Classes>,
    small: Stash<STASH>,
    large: Stash<STASH>,
}

const STASH: usize = 32;

impl MbufPool {
    /// Makes the two mempools on a NUMA socket, under names that begin with `name` (at most 20
    /// bytes, unique in the process). A pool for each worker: then its lcore's caches and
    /// [`level`](FramePool::level) are its own.
    ///
    /// # Errors
    /// [`DpdkError::Pool`].
    pub fn new(eal: &Eal, name: &str, socket: u32, config: &PoolConfig) -> Result<Self, DpdkError> {
        let class = |suffix: &str, class: &ClassConfig| {
            let name = format!("{name}-{suffix}");
            let bytes = class
                .room
                .checked_add(sys::RTE_PKTMBUF_HEADROOM as u16)
                .ok_or_else(|| DpdkError::Pool {
                    name: name.clone(),
                    count: class.count,
                    bytes: u32::from(class.room),
                    errno: Errno(libc::EINVAL),
                })?;
            Mempool::new(eal, &name, socket, class.count, config.cache, bytes)
        };
        let small = class("small", &config.small)?;
        let large = class("large", &config.large)?;
        let mut pool = Self::of(Arc::new(Classes { small, large }));
        for class in [FrameClass::Small, FrameClass::Large] {
            // What the copy engines and the design count on. It follows from objects, `rte_mbuf`
            // and headroom all being whole cache lines.
            let aligned = pool
                .alloc(class)
                .is_none_or(|frame| frame.address() % CACHE_LINE == 0);
            assert!(aligned, "mbuf data must begin at a cache line");
        }
        Ok(pool)
    }

    fn of(classes: Arc<Classes>) -> Self {
        Self {
            classes,
            small: Stash::new(),
            large: Stash::new(),
        }
    }

    pub(crate) fn mempool(&self, class: FrameClass) -> &Mempool {
        match class {
            FrameClass::Small => &self.classes.small,
            FrameClass::Large => &self.classes.large,
        }
    }
}

impl Clone for MbufPool {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.classes))
    }
}

impl Drop for MbufPool {
    fn drop(&mut self) {
        self.small.clear();
        self.large.clear();
    }
}

impl FramePool for MbufPool {
    type Frame = Mbuf;

    #[inline]
    fn alloc(&mut self, class: FrameClass) -> Option<Mbuf> {
        let raw = match class {
            FrameClass::Small => self.small.take(&self.classes.small),
            FrameClass::Large => self.large.take(&self.classes.large),
        };
        // SAFETY: a buffer fresh from its pool, which nobody else has.
        raw.map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        let (pool, stash) = match class {
            FrameClass::Small => (&self.classes.small, &self.small),
            FrameClass::Large => (&self.classes.large, &self.large),
        };
        PoolLevel {
            total: pool.total,
            free: pool.free() + stash.len() as u32,
        }
    }

    fn is_low(&self, class: FrameClass, part: u32) -> bool {
        let (pool, stash) = match class {
            FrameClass::Small => (&self.classes.small, &self.small),
            FrameClass::Large => (&self.classes.large, &self.large),
        };
        pool.free_here() + (stash.len() as u32) < pool.total / part
    }
}
