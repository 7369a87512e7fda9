//! What the tests of whole engines share that count allocations: an allocator that counts, and wires
//! that allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use dataplane::port::{
    Frame, FrameClass, FramePool, Piece, Port, PortCaps, PortStats, RxBurst, RxChecksum, RxPacket,
    TxError, TxHeader,
};
use dataplane::tcp::RingSource;

use crate::frames::{HeapFrame, HeapPool};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged; counting does not allocate,
// because the counter is constant-initialised and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

type Packets = Rc<RefCell<VecDeque<HeapFrame>>>;

/// One end of a wire that loses nothing.
pub struct Link {
    caps: PortCaps,
    pool: HeapPool,
    incoming: Packets,
    outgoing: Packets,
}

impl Port for Link {
    type Frame = HeapFrame;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn link_up(&self) -> bool {
        true
    }

    fn rx_burst(&mut self, burst: &mut RxBurst<HeapFrame>) -> usize {
        let mut incoming = self.incoming.borrow_mut();
        let count = incoming.len().min(self.caps.max_burst);
        for frame in incoming.drain(..count) {
            burst.packets.push(RxPacket {
                len: frame.data().len() as u32,
                frames: 1,
                checksum: RxChecksum::Good,
            });
            burst.frames.push(frame);
        }
        count
    }

    fn tx_room(&mut self) -> usize {
        1024 - self.outgoing.borrow().len()
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, HeapFrame>>,
    ) -> Result<(), TxError>
    where
        HeapFrame: 'f,
    {
        let mut frame = self.pool.alloc(FrameClass::Small).ok_or(TxError::Full)?;
        let room = frame.room_mut().expect("a fresh frame has one owner");
        let mut len = header.bytes.len();
        room[..len].copy_from_slice(header.bytes);
        for piece in payload {
            let (from, to) = (piece.offset as usize, (piece.offset + piece.len) as usize);
            let bytes = &piece.frame.data()[from..to];
            room[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        }
        frame.set_len(len);
        self.outgoing.borrow_mut().push_back(frame);
        Ok(())
    }

    fn tx_flush(&mut self) {}

    fn stats(&mut self) -> PortStats {
        PortStats::default()
    }

    fn frames_held(&self) -> usize {
        self.outgoing.borrow().len()
    }
}

/// Rings that are never freed.
pub struct Rings;

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        Some((vec![0; 65_536].leak(), vec![0; 65_536].leak()))
    }
}

/// A wire's two ends, numbered from `first` on.
pub fn wire(first: u8, pool: &HeapPool) -> [Link; 2] {
    let packets = [(); 2].map(|()| Rc::new(RefCell::new(VecDeque::with_capacity(1024))));
    [0, 1].map(|end: u8| Link {
        caps: PortCaps {
            name: format!("link{}", first + end),
            mac: [2, 0, 0, 0, 0, first + end],
            mtu: 1500,
            tx_tcp_checksum: true,
            tso_v4: None,
            max_pieces: 16,
            max_burst: 64,
        },
        pool: pool.clone(),
        incoming: packets[usize::from(end)].clone(),
        outgoing: packets[1 - usize::from(end)].clone(),
    })
}
