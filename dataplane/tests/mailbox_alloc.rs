//! Handing packets over costs no allocation. Alone in its file: the allocator counts for the whole
//! process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane::mailbox::{Content, LONGEST, Mailbox};
use dataplane::port::RxChecksum;

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

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn parcels_are_used_again() {
    let mailbox = Mailbox::new(4);
    let packet = vec![1; LONGEST];
    let content = Content::Segment {
        checksum: RxChecksum::Good,
    };
    let before = ALLOCATIONS.get();
    assert!(before > 4, "the parcels themselves");
    for round in 0..1000 {
        let len = 60 + (round * 7919) % (LONGEST - 60);
        for _ in 0..4 {
            let pieces = packet[..len].chunks(16 * 1024);
            mailbox.put(content, pieces).expect("a free parcel");
        }
        while let Some(parcel) = mailbox.take() {
            assert_eq!(parcel.bytes().len(), len);
            mailbox.give_back(parcel);
        }
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
