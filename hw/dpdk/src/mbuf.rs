//! One buffer of packet memory as a [`Frame`].
//!
//! An `rte_mbuf` is a header of two cache lines in front of its buffer. `data_off` says where in
//! the buffer the data begins, `data_len` how long it is, `refcnt` how many owners the mbuf has
//! (rte_mbuf_core.h). An *indirect* mbuf points into the buffer of another one and counts as one of
//! that one's owners; that is how a piece of a frame is sent while the frame stays.
//!
//! A packet of several segments is a chain of mbufs. [`Mbuf`]s are never chained: what was received
//! as a chain is taken apart, and chains to send are built of mbufs of the port's own.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use dataplane::port::Frame;
use dpdk_sys as sys;
use dpdk_sys::rte_mbuf;

// The layout bindgen found is that of DPDK's ABI 23 and later; code below counts on it.
const _: () = {
    assert!(size_of::<rte_mbuf>() == 128);
    assert!(align_of::<rte_mbuf>() == 64);
    assert!(offset_of!(rte_mbuf, data_off) == 16);
    assert!(offset_of!(rte_mbuf, refcnt) == 18);
    assert!(offset_of!(rte_mbuf, ol_flags) == 24);
    assert!(offset_of!(rte_mbuf, pkt_len) == 36);
    assert!(offset_of!(rte_mbuf, data_len) == 40);
};

/// Most owners a clone may bring a frame to. The count has 16 bits; the other half is left to the
/// pieces that are being sent, of which there are never that many.
const MOST_OWNERS: u16 = 1 << 15;

/// Flags of an mbuf whose data lies in a buffer that is not its own.
const FOREIGN: u64 = sys::RTE_MBUF_F_INDIRECT | sys::RTE_MBUF_F_EXTERNAL;

/// A handle on one mbuf: one of its owners. Belongs to one thread (it is not `Send`).
///
/// All owners see the same length, so [`Frame::set_len`] is for the only one.
#[derive(Debug)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

impl Mbuf {
    /// Takes over one reference to an mbuf.
    ///
    /// # Safety
    /// `raw` is a live mbuf with `next` null, and the caller gives up one of its references.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self { raw }
    }

    #[inline]
    pub(crate) fn raw(&self) -> *mut rte_mbuf {
        self.raw.as_ptr()
    }

    /// Where the data begins.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        // SAFETY: self is an owner, so the mbuf is live.
        unsafe { data_pointer(self.raw()) as usize }
    }

    #[inline]
    fn owners(&self) -> &AtomicU16 {
        // SAFETY: the mbuf is live while self is, and its count is only ever changed atomically
        // while it has several owners, here and in DPDK's code.
        unsafe { AtomicU16::from_ptr(&raw mut (*self.raw()).refcnt) }
    }
}

/// Where an mbuf's data begins.
///
/// # Safety
/// `raw` is a live mbuf.
#[inline]
pub(crate) unsafe fn data_pointer(raw: *mut rte_mbuf) -> *mut u8 {
    // SAFETY: data_off lies within the buffer.
    unsafe {
        (*raw)
            .buf_addr
            .cast::<u8>()
            .add(usize::from((*raw).data_off))
    }
}

impl Frame for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        // SAFETY: the buffer stays while self owns the mbuf, its bytes are initialised (EAL's
        // memory begins as zeros), and nobody writes to them: `room_mut` asks for the only owner.
        unsafe {
            let len = usize::from((*self.raw()).data_len);
            std::slice::from_raw_parts(data_pointer(self.raw()), len)
        }
    }

    #[inline]
    fn room_mut(&mut self) -> Option<&mut [u8]> {
        // Acquire: what former owners on other threads did to the bytes has happened.
        if self.owners().load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: the mbuf is live.
        if unsafe { (*self.raw()).ol_flags } & FOREIGN != 0 {
            return None;
        }
        let len = self.capacity();
        // SAFETY: self is the only owner of the mbuf, whose buffer is its own, and is borrowed
        // mutably; a device that still had the buffer would be an owner. `len` bytes from the
        // start of the data on are within the buffer.
        Some(unsafe { std::slice::from_raw_parts_mut(data_pointer(self.raw()), len) })
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        assert!(
            len <= self.capacity(),
            "a frame cannot be longer than its room"
        );
        // SAFETY: the mbuf is live, and these fields are read and written by this thread only.
        unsafe {
            (*self.raw()).data_len = len as u16;
            (*self.raw()).pkt_len = len as u32;
        }
    }

    #[inline]
    fn capacity(&self) -> usize {
        // SAFETY: the mbuf is live.
        unsafe { usize::from((*self.raw()).buf_len - (*self.raw()).data_off) }
    }

    #[inline]
    fn try_clone(&self) -> Option<Self> {
        (self.owners().load(Ordering::Relaxed) < MOST_OWNERS).then(|| self.clone())
    }
}

impl Clone for Mbuf {
    #[inline]
    fn clone(&self) -> Self {
        let owners = self.owners();
        match owners.load(Ordering::Relaxed) {
            // The only owner is self, so nobody changes the count meanwhile, and a plain store is
            // enough, a good deal cheaper than an atomic addition.
            1 => owners.store(2, Ordering::Relaxed),
            n => {
                assert!(n < MOST_OWNERS, "too many owners of one frame");
                let _ = owners.fetch_add(1, Ordering::Relaxed);
            }
        }
        Self { raw: self.raw }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        let owners = self.owners();
        if owners.load(Ordering::Acquire) != 1 {
            if owners.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            owners.store(1, Ordering::Relaxed);
        }
        // SAFETY: self was the last owner; DPDK wants the count at 1 and gives the mbuf back.
        unsafe { sys::rte_pktmbuf_free_seg(self.raw()) };
    }
}
