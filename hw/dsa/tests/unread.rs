//! The core reads no payload byte: while the mover works, payload pages are unreadable to it. The
//! model has a mapping of its own of the same memory. A stray read ends the process with SIGSEGV; that
//! it would, a second test shows with a mover that copies with the CPU.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;

use common::eager;
use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, MemMover, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::Frame;
use dsa::mover::DsaMover;
use dsa_model::{Config, Memory, Model, ModelPortal};

const SIZE: usize = 16 * 1024;
const FRAMES: usize = 64;

/// One memory, mapped twice: for the core and for the device.
struct Region {
    core: *mut u8,
    device: *mut u8,
    free: RefCell<Vec<usize>>,
}

impl Region {
    fn new() -> Rc<Self> {
        // SAFETY: a file of our own, mapped at addresses of the kernel's choice.
        unsafe {
            let file = libc::memfd_create(c"payload".as_ptr(), 0);
            assert!(file >= 0);
            assert_eq!(libc::ftruncate(file, (SIZE * FRAMES) as i64), 0);
            let map = || {
                let both = libc::PROT_READ | libc::PROT_WRITE;
                let at = libc::mmap(
                    std::ptr::null_mut(),
                    SIZE * FRAMES,
                    both,
                    libc::MAP_SHARED,
                    file,
                    0,
                );
                assert_ne!(at, libc::MAP_FAILED);
                at.cast::<u8>()
            };
            Rc::new(Self {
                core: map(),
                device: map(),
                free: RefCell::new((0..FRAMES).collect()),
            })
        }
    }

    /// From now on a read or write by the core ends the process.
    fn hide(&self) {
        // SAFETY: the mapping is ours; that accesses fail is the point.
        let hidden = unsafe { libc::mprotect(self.core.cast(), SIZE * FRAMES, libc::PROT_NONE) };
        assert_eq!(hidden, 0);
    }

    fn frame(self: &Rc<Self>) -> Mapped {
        let index = self.free.borrow_mut().pop().unwrap();
        Mapped(Rc::new(Place {
            region: Rc::clone(self),
            index,
            len: std::cell::Cell::new(0),
        }))
    }

    /// A frame's bytes as the device sees them.
    fn seen_by_device<'a>(&self, frame: &'a mut Mapped) -> &'a mut [u8] {
        // SAFETY: a frame of the device's mapping; the model is not stepped meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.device.add(frame.0.index * SIZE), SIZE) }
    }
}

struct Place {
    region: Rc<Region>,
    index: usize,
    len: std::cell::Cell<usize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.region.free.borrow_mut().push(self.index);
    }
}

#[derive(Clone)]
struct Mapped(Rc<Place>);

impl Frame for Mapped {
    fn data(&self) -> &[u8] {
        // SAFETY: a frame of the core's mapping. Nobody reads through it, or the test fails.
        unsafe {
            std::slice::from_raw_parts(
                self.0.region.core.add(self.0.index * SIZE),
                self.0.len.get(),
            )
        }
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        let place = Rc::get_mut(&mut self.0)?;
        // SAFETY: as above; there is one owner.
        Some(unsafe {
            std::slice::from_raw_parts_mut(place.region.core.add(place.index * SIZE), SIZE)
        })
    }

    fn set_len(&mut self, len: usize) {
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

/// Moves frames that the core cannot read, and looks at what came of it with the device's eyes.
fn move_unseen(region: &Rc<Region>, mover: &mut impl Mover<Mapped>, step: impl Fn()) {
    region.hide();
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<Mapped>::with_capacity(64);
    for round in 0..20_u8 {
        let mut batch = CopyBatch::default();
        for job in 0..8_u8 {
            let mut at = 0;
            for piece in 0..3 {
                let mut source = region.frame();
                region.seen_by_device(&mut source)[..2000].fill(round ^ job ^ piece);
                source.set_len(2000);
                batch.add_piece(CopyPiece {
                    source,
                    source_offset: 100,
                    target_offset: at,
                    len: 1460,
                });
                at += 1460;
            }
            let conn = ConnRef {
                id: ConnId(u32::from(job)),
                generation: 0,
            };
            let span = queue.push_pending(&mut arena, at);
            batch.finish_job(region.frame(), at, JobTag { conn, span });
        }
        mover.begin_turn(u64::from(round));
        mover.submit(&mut batch);
        step();
        let mut done = Vec::new();
        mover.harvest(&mut done);
        assert_eq!(done.len(), 8);
        for mut done in done {
            let bytes = region.seen_by_device(&mut done.frame);
            for piece in 0..3 {
                let expected = round ^ done.tag.conn.id.0 as u8 ^ piece as u8;
                let run = &bytes[1460 * piece..1460 * (piece + 1)];
                assert!(run.iter().all(|&byte| byte == expected));
            }
        }
    }
    assert_eq!(region.free.borrow().len(), FRAMES);
}

#[test]
fn the_accelerators_mover_reads_no_payload() {
    let region = Region::new();
    let mut memory = Memory::direct();
    memory.map(
        region.core as u64,
        (SIZE * FRAMES) as u64,
        region.device as u64,
    );
    let model = Model::new(Config::default(), memory);
    let mut mover = DsaMover::new(ModelPortal::queue(&model, "wq0.0"), eager());
    move_unseen(&region, &mut mover, || while model.step() {});
    let stats = mover.accelerator();
    assert_eq!((stats.jobs, stats.copies, stats.redone), (160, 480, 0));
}

const CHILD: &str = "UNREAD_CHILD";

/// Does nothing but in the process that the test below starts.
#[test]
fn a_mover_that_reads() {
    if std::env::var_os(CHILD).is_some() {
        move_unseen(&Region::new(), &mut MemMover::default(), || {});
    }
}

#[test]
fn a_stray_read_would_be_noticed() {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_mover_that_reads"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
}
