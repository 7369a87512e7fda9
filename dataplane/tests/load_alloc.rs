//! Load client and origin allocate nothing once they have been as busy as they get, whether connections
//! are kept or not. Alone in its file: the allocator counts for the whole process.

mod frames;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use dataplane::load::schedule::{End, Pace};
use dataplane::load::{LoadPlan, OriginListener, Outcome};
use dataplane::mover::ZeroCopy;
use dataplane::port::{
    Frame, FrameClass, FramePool, Piece, Port, PortCaps, PortStats, RxBurst, RxChecksum, RxPacket,
    TxError, TxHeader,
};
use dataplane::settings::{PortId, PortSettings, Settings};
use dataplane::tcp::RingSource;
use dataplane::team::Team;
use dataplane::worker::{Parts, Worker};
use frames::{HeapFrame, HeapPool};

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

type Packets = Rc<RefCell<VecDeque<HeapFrame>>>;

/// One end of a wire that loses nothing.
struct Link {
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

struct Rings;

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        Some((vec![0; 65_536].leak(), vec![0; 65_536].leak()))
    }
}

fn worker(keep_alive: bool, connections: u32) -> Worker<Link, HeapPool, ZeroCopy> {
    let pool = HeapPool::new(8192, 64);
    let packets = [(); 2].map(|()| Rc::new(RefCell::new(VecDeque::with_capacity(1024))));
    let ports = [0, 1].map(|end: u8| Link {
        caps: PortCaps {
            name: format!("link{end}"),
            mac: [2, 0, 0, 0, 0, end],
            mtu: 1500,
            tx_tcp_checksum: true,
            tso_v4: None,
            max_pieces: 16,
            max_burst: 64,
        },
        pool: pool.clone(),
        incoming: packets[usize::from(end)].clone(),
        outgoing: packets[1 - usize::from(end)].clone(),
    });
    let target: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let close = if keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let mut settings = Settings {
        ports: ["10.0.0.1", "10.0.0.2"]
            .map(|address| PortSettings {
                name: address.into(),
                addresses: vec![(address.parse().unwrap(), 24)],
                ..PortSettings::default()
            })
            .into(),
        origins: vec![OriginListener {
            port: PortId(1),
            address: target,
        }],
        load: Some(LoadPlan {
            port: PortId(0),
            target,
            pace: Pace::new(0.0, connections, End::Never),
            most_connecting: 50,
            opening: format!("GET /20k HTTP/1.1\r\nHost: x\r\n{close}\r\n").into_bytes(),
            body: 0,
            head_only: false,
            keep_alive,
            verify: true,
            timeout: 10_000,
        }),
        ..Settings::default()
    };
    settings.limits.max_connections = 4096;
    settings.limits.session_buffer = 65_536;
    let parts = Parts {
        settings: Arc::new(settings),
        ports: ports.into(),
        pool,
        mover: ZeroCopy,
        rings: Box::new(Rings),
        team: Team::alone(2),
        ticks: || 0,
        seed: 7,
    };
    Worker::new(parts, 0)
}

/// Runs so many turns, so many µs apart, and returns how many exchanges ended, all of them well.
fn run(
    worker: &mut Worker<Link, HeapPool, ZeroCopy>,
    now_us: &mut u64,
    (turns, apart_us): (u32, u64),
) -> u64 {
    let mut ended = 0;
    for _ in 0..turns {
        *now_us += apart_us;
        worker.set_time_of_day(*now_us / 1_000_000);
        let _ = worker.turn(*now_us, 0);
        for sample in worker.samples_mut().drain(..) {
            assert_eq!(sample.outcome, Outcome::Status(200));
            assert_eq!(sample.body_bytes, 20 * 1024);
            ended += 1;
        }
    }
    ended
}

#[test]
fn a_steady_load_allocates_nothing() {
    // Slots wait out TIME-WAIT for ten seconds before they are used again.
    for (keep_alive, connections, apart_us) in [(true, 50, 50), (false, 5, 5000)] {
        let mut worker = worker(keep_alive, connections);
        let mut now_us = 0;
        let warm = run(&mut worker, &mut now_us, (10_000, apart_us));
        assert!(warm > 1000, "{warm}");
        let before = ALLOCATIONS.get();
        let ended = run(&mut worker, &mut now_us, (10_000, apart_us));
        let allocations = ALLOCATIONS.get() - before;
        assert!(ended > 1000, "{ended}");
        assert_eq!(allocations, 0, "keep_alive {keep_alive}, {ended} exchanges");
    }
}
