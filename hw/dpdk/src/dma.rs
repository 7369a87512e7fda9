//! A DMA device of DPDK (`rte_dmadev.h`): dma_idxd, dma_ioat, dma_hisilicon, dma_skeleton, …
//!
//! One virtual channel is used. Copies are queued in a ring, submitted together, and reported in the
//! order in which they were queued, which this interface promises whatever the device does.

use std::ffi::CString;
use std::mem::MaybeUninit;

use dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{DpdkError, Errno};

/// Most copies that are under way.
const MOST: u16 = 1024;

/// The only virtual channel.
const CHANNEL: u16 = 0;

/// Reports taken from the device at a time.
const REPORTS: usize = 64;

/// How a copy ended (`enum rte_dma_status_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// It is done.
    Copied,
    /// A page was not there: some of it may be done.
    PageFault,
    /// Anything else: some of it may be done.
    Failed,
}

/// What [`crate::DmaMover`] asks of a device: the few calls of `rte_dmadev.h` that move bytes. A trait, so
/// that tests can have a device that fails.
pub trait DmaChannel {
    /// What it is called in logs.
    fn name(&self) -> &str;

    /// How many more copies can be queued (`rte_dma_burst_capacity`).
    fn room(&self) -> usize;

    /// Queues a copy (`rte_dma_copy`). False when it was not taken: then the device never touches it.
    ///
    /// # Safety
    /// `len` bytes at `source` stay readable and those at `target` writable, both addresses for the
    /// device, until the copy was reported.
    #[must_use]
    unsafe fn queue(&mut self, source: u64, target: u64, len: u32) -> bool;

    /// Has the device begin with what is queued (`rte_dma_submit`).
    fn submit(&mut self);

    /// Appends how the next copies ended, in the order in which they were queued, to `ends`: as many as
    /// there are, or fewer (`rte_dma_completed_status`).
    fn reports(&mut self, ends: &mut Vec<CopyEnd>);
}

/// A started device, for one worker. Closed when dropped.
#[derive(Debug)]
pub struct DmaDevice {
    id: i16,
    name: String,
    _eal: Eal,
}

impl DmaDevice {
    /// Configures and starts the device of that name.
    ///
    /// # Errors
    /// [`DpdkError::UnknownDma`], [`DpdkError::DmaCannotCopy`], [`DpdkError::Device`].
    pub fn open(eal: &Eal, name: &str) -> Result<Self, DpdkError> {
        let unknown = || DpdkError::UnknownDma { name: name.into() };
        let c_name = CString::new(name).map_err(|_| unknown())?;
        // SAFETY: EAL is initialised, and the name is a terminated string.
        let id = unsafe { sys::rte_dma_get_dev_id_by_name(c_name.as_ptr()) };
        let id = i16::try_from(id)
            .ok()
            .filter(|&id| id >= 0)
            .ok_or_else(unknown)?;
        let fail = |step| {
            move |errno| DpdkError::Device {
                name: name.into(),
                step,
                errno,
            }
        };
        let mut info = MaybeUninit::<sys::rte_dma_info>::zeroed();
        // SAFETY: the device exists, and the function fills `info`.
        let asked = unsafe { sys::rte_dma_info_get(id, info.as_mut_ptr()) };
        let _zero = Errno::check(asked).map_err(fail("rte_dma_info_get"))?;
        // SAFETY: filled above, and all zeros before.
        let info = unsafe { info.assume_init() };
        let needed = u64::from(sys::RTE_DMA_CAPA_MEM_TO_MEM) | sys::RTE_DMA_CAPA_OPS_COPY;
        if info.dev_capa & needed != needed {
            return Err(DpdkError::DmaCannotCopy { name: name.into() });
        }
        // SAFETY: all zeros is a valid configuration: not silent.
        let mut conf: sys::rte_dma_conf = unsafe { std::mem::zeroed() };
        conf.nb_vchans = 1;
        // SAFETY: the device exists and is not started.
        let configured = unsafe { sys::rte_dma_configure(id, &raw const conf) };
        let _zero = Errno::check(configured).map_err(fail("rte_dma_configure"))?;
        // SAFETY: all zeros is a valid configuration: ports of memory.
        let mut channel: sys::rte_dma_vchan_conf = unsafe { std::mem::zeroed() };
        channel.direction = sys::RTE_DMA_DIR_MEM_TO_MEM;
        channel.nb_desc = MOST.clamp(info.min_desc, info.max_desc);
        // SAFETY: configured above with this channel.
        let set_up = unsafe { sys::rte_dma_vchan_setup(id, CHANNEL, &raw const channel) };
        let _zero = Errno::check(set_up).map_err(fail("rte_dma_vchan_setup"))?;
        // SAFETY: configured above.
        let started = unsafe { sys::rte_dma_start(id) };
        let _zero = Errno::check(started).map_err(fail("rte_dma_start"))?;
        Ok(Self {
            id,
            name: name.into(),
            _eal: eal.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl DmaChannel for DmaDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn room(&self) -> usize {
        // SAFETY: the device is started.
        usize::from(unsafe { sys::rte_dma_burst_capacity(self.id, CHANNEL) })
    }

    unsafe fn queue(&mut self, source: u64, target: u64, len: u32) -> bool {
        // SAFETY: the caller's promise; the device is started.
        unsafe { sys::rte_dma_copy(self.id, CHANNEL, source, target, len, 0) >= 0 }
    }

    fn submit(&mut self) {
        // SAFETY: the device is started.
        let _zero = unsafe { sys::rte_dma_submit(self.id, CHANNEL) };
    }

    fn reports(&mut self, ends: &mut Vec<CopyEnd>) {
        let mut statuses = [sys::RTE_DMA_STATUS_SUCCESSFUL; REPORTS];
        loop {
            let mut last = 0;
            // SAFETY: the device is started, and there is room for as many as are asked for.
            let count = unsafe {
                sys::rte_dma_completed_status(
                    self.id,
                    CHANNEL,
                    REPORTS as u16,
                    &raw mut last,
                    statuses.as_mut_ptr(),
                )
            };
            let count = usize::from(count).min(REPORTS);
            ends.extend(statuses[..count].iter().map(|&status| match status {
                sys::RTE_DMA_STATUS_SUCCESSFUL => CopyEnd::Copied,
                sys::RTE_DMA_STATUS_PAGE_FAULT => CopyEnd::PageFault,
                _ => CopyEnd::Failed,
            }));
            if count < REPORTS {
                return;
            }
        }
    }
}

impl Drop for DmaDevice {
    fn drop(&mut self) {
        // SAFETY: it was started by `open`, and nobody else uses it.
        let stopped = unsafe { sys::rte_dma_stop(self.id) };
        if stopped < 0 {
            log::error!("{}: rte_dma_stop: {}", self.name, Errno(-stopped));
        }
    }
}
