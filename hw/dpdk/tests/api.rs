//! EAL, pools, frames and ports on devices without a wire: a ring that returns what is sent, and
//! one that swallows it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::*;
use dataplane::port::{Frame, FrameClass, FramePool, Piece, Port, TxError, TxHeader, TxOffload};
use dataplane::steering::Steering;
use dpdk::{DeviceConfig, DpdkDevice, DpdkError, Eal, MbufPool, PoolConfig};

#[test]
fn without_a_wire() {
    let eal = eal(
        "api",
        &[
            "-l",
            "0-1",
            "--vdev",
            "net_ring0",
            "--vdev",
            "net_null0,size=1500",
            "--vdev",
            "net_null1",
            "--vdev",
            "net_ring1",
            "--vdev",
            "net_ring2",
        ],
    );
    assert_eq!(Eal::init(&[]).unwrap_err(), DpdkError::EalTwice);
    lcores(&eal);
    let mut pool = pool(&eal, "test");
    frames(&mut pool);
    refusals(&eal, &pool);
    steering(&eal, &pool);
    ring(&eal, &mut pool);
    null(&eal, &mut pool);
    assert_eq!(out(&pool), 0);
    drop((pool, eal));
    assert_eq!(leaks(), 0);
}

fn lcores(eal: &Eal) {
    let lcores = eal.lcores();
    assert_eq!(
        lcores.iter().map(|l| l.number()).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(lcores[0], eal.main_lcore());
    assert_eq!(eal.socket_of(lcores[1]), 0);

    let sum = Arc::new(AtomicU32::new(0));
    let jobs: Vec<_> = lcores
        .iter()
        .rev()
        .map(|&lcore| {
            let sum = Arc::clone(&sum);
            eal.run_on(lcore, move || {
                let _ = sum.fetch_add(10 + lcore.number(), Ordering::Relaxed);
            })
            .unwrap()
        })
        .collect();
    for job in jobs {
        job.wait().unwrap();
    }
    assert_eq!(sum.load(Ordering::Relaxed), 21);

    let job = eal.run_on(lcores[1], || panic!("on purpose")).unwrap();
    assert_eq!(
        job.wait().unwrap_err(),
        DpdkError::LcorePanicked { lcore: 1 }
    );
    // A worker's core cannot run the main core's work.
    let (handle, main) = (eal.clone(), lcores[0]);
    let job = eal.run_on(lcores[1], move || {
        assert_eq!(
            handle.run_on(main, || ()).unwrap_err(),
            DpdkError::LcoreBusy { lcore: 0 }
        );
    });
    job.unwrap().wait().unwrap();
}

fn frames(pool: &mut MbufPool) {
    for class in [FrameClass::Small, FrameClass::Large] {
        let total = pool.level(class).total;
        assert_eq!(pool.level(class).free, total);
        let mut frame = pool.alloc(class).unwrap();
        assert_eq!(pool.level(class).free, total - 1);
        let capacity = frame.capacity();
        assert_eq!(
            capacity,
            if class == FrameClass::Small {
                2048
            } else {
                16384
            }
        );
        assert_eq!(frame.data().len(), 0);
        assert_eq!(frame.room_mut().unwrap().len(), capacity);
        frame.room_mut().unwrap()[..4].copy_from_slice(b"abcd");
        frame.set_len(3);
        assert_eq!(frame.data(), b"abc");

        let other = frame.clone();
        assert!(frame.room_mut().is_none());
        let third = other.clone();
        drop(frame);
        drop(third);
        let mut other = other;
        assert_eq!(other.data(), b"abc");
        assert!(other.room_mut().is_some());
        assert_eq!(pool.level(class).free, total - 1);
        drop(other);
        assert_eq!(pool.level(class).free, total);

        // All of the pool can be had, and no more; a frame that was used comes back empty.
        let all: Vec<_> = std::iter::from_fn(|| pool.alloc(class)).collect();
        assert_eq!(all.len(), total as usize);
        assert!(
            all.iter()
                .all(|f| f.data().is_empty() && (f.data().as_ptr() as usize).is_multiple_of(64))
        );
        assert_eq!(pool.level(class).free, 0);
        drop(all);
        assert_eq!(pool.level(class).free, total);
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut frame = pool.alloc(FrameClass::Small).unwrap();
        frame.set_len(2049);
    }));
    assert!(result.is_err(), "longer than its room");
    // Another thread's handle, and freeing on another thread.
    let mut clone = pool.clone();
    let handle = std::thread::scope(|scope| {
        scope
            .spawn(move || drop(clone.alloc(FrameClass::Large).unwrap()))
            .join()
    });
    handle.unwrap();
    assert_eq!(out(pool), 0);
}

fn refusals(eal: &Eal, pool: &MbufPool) {
    let config = DeviceConfig::default();
    let open = |name: &str, config: &DeviceConfig, pools: &[MbufPool]| {
        DpdkDevice::open(eal, name, config, pools).unwrap_err()
    };
    match open("03:00.0", &config, std::slice::from_ref(pool)) {
        DpdkError::UnknownDevice { known, .. } => {
            assert_eq!(
                known,
                [
                    "net_ring0",
                    "net_null0",
                    "net_null1",
                    "net_ring1",
                    "net_ring2"
                ]
            )
        }
        other => panic!("{other}"),
    }
    let huge = PoolConfig {
        large: dpdk::ClassConfig {
            count: 1 << 20,
            room: 16_384,
        },
        ..PoolConfig::default()
    };
    let error = MbufPool::new(eal, "huge", 0, &huge).unwrap_err();
    assert!(error.to_string().contains("hugepages"), "{error}");
    let wide = PoolConfig {
        small: dpdk::ClassConfig {
            count: 63,
            room: u16::MAX,
        },
        ..PoolConfig::default()
    };
    assert!(MbufPool::new(eal, "wide", 0, &wide).is_err());
}

/// A worker for each of several queues: by the device's RSS where it has it, else in software, and not
/// at all where queues are lacking. `net_null` has key and table, and a table of zeros at first.
fn steering(eal: &Eal, pool: &MbufPool) {
    let config = DeviceConfig::default();
    let pools = |count| vec![pool.clone(); count];
    let one = DpdkDevice::open(eal, "net_null1", &config, &pools(1)).unwrap();
    assert!(matches!(one.steering(), Steering::Single));
    assert!(one.rss().is_none());
    drop(one);

    // A device is closed for good with its last handle: the second of each kind is for this.
    let ring = DpdkDevice::open(eal, "net_ring1", &config, &pools(2)).unwrap();
    assert!(ring.rss().is_none());
    assert!(matches!(ring.steering(), Steering::Software { workers: 2 }));
    drop(ring);

    match DpdkDevice::open(eal, "net_ring2", &config, &pools(64)).unwrap_err() {
        error @ DpdkError::Queues { wanted: 64, .. } => {
            assert!(error.to_string().contains("fewer lcores"), "{error}");
        }
        other => panic!("{other}"),
    }
}

/// What is sent comes back, byte for byte, whatever it was made of.
fn ring(eal: &Eal, pool: &mut MbufPool) {
    let device = DpdkDevice::open(
        eal,
        "net_ring0",
        &DeviceConfig::default(),
        std::slice::from_ref(pool),
    )
    .unwrap();
    let mut port = device.queue(0).unwrap();
    assert!(matches!(
        device.queue(0),
        Err(DpdkError::QueueTaken { queue: 0, .. })
    ));
    assert!(matches!(
        device.queue(1),
        Err(DpdkError::QueueTaken { queue: 1, .. })
    ));
    drop(device); // The port keeps it.
    assert!(port.link_up());
    assert_eq!(
        (port.caps().tx_tcp_checksum, port.caps().tso_v4),
        (false, None)
    );

    let mut sent = Vec::new();
    for (seed, sizes) in (0u32..).zip([
        &[][..],
        &[1],
        &[128],
        &[129],
        &[1446],
        &[100, 100, 1200],
        &[500, 3, 900],
        &[16_384, 16_384, 9_000],
    ]) {
        let total = sizes.iter().sum();
        let header = headers(seed, total);
        let payload = pattern(seed, total);
        let mut rest = &payload[..];
        let mut frames = Vec::new();
        for &size in sizes {
            frames.push(frame(pool, &rest[..size]));
            rest = &rest[size..];
        }
        send(&mut port, &header, &frames, TxOffload::default());
        sent.push([&header[..], &payload].concat());
    }
    // A piece from the middle of a frame.
    let body = pattern(99, 2000);
    let middle = frame(pool, &body);
    let header = headers(99, 700);
    let piece = Piece {
        frame: &middle,
        offset: 1201,
        len: 700,
    };
    let push = TxHeader {
        bytes: &header,
        offload: TxOffload::default(),
    };
    port.tx_push(&push, std::iter::once(piece)).unwrap();
    sent.push([&header[..], &body[1201..1901]].concat());
    assert!(port.frames_held() > 0);
    port.tx_flush();

    let mut got = receive(&mut port, sent.len(), Duration::from_secs(1), |_| true);
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!(&got.bytes, sent);
    }
    // A received piece shares its bytes with the frame it was cut from: neither may be written.
    let last = got.last_mut().unwrap();
    assert_eq!(last.frames.len(), 2);
    assert!(last.frames[1].room_mut().is_none());
    let mut middle = middle;
    assert!(middle.room_mut().is_none());
    drop(got);
    assert!(middle.room_mut().is_some());
    assert_eq!(port.frames_held(), 0);

    // The queue fills up, says so, keeps the order, and loses nothing.
    let body = frame(pool, &pattern(7, 600));
    let mut pushed = 0u32;
    while port.tx_room() > 0 {
        let header = headers(pushed, 600);
        let push = TxHeader {
            bytes: &header,
            offload: TxOffload::default(),
        };
        port.tx_push(
            &push,
            std::iter::once(Piece {
                frame: &body,
                offset: 0,
                len: 600,
            }),
        )
        .unwrap();
        pushed += 1;
        if pushed.is_multiple_of(100) {
            port.tx_flush();
        }
    }
    assert!(
        pushed > 1000,
        "{pushed}: the ring of 1024 and what the port holds back"
    );
    let header = headers(0, 600);
    let push = TxHeader {
        bytes: &header,
        offload: TxOffload::default(),
    };
    let refused = port.tx_push(
        &push,
        std::iter::once(Piece {
            frame: &body,
            offset: 0,
            len: 600,
        }),
    );
    assert_eq!(refused, Err(TxError::Full));
    let got = receive(&mut port, pushed as usize, Duration::from_secs(1), |_| true);
    assert_eq!(got.len(), pushed as usize);
    for (i, got) in (0..pushed).zip(&got) {
        assert_eq!(got.bytes[..HEADERS], headers(i, 600));
    }
    drop(got);
    let stats = port.stats();
    assert_eq!(stats.tx_packets, u64::from(pushed) + sent.len() as u64);
    assert_eq!(
        (stats.rx_packets, stats.rx_bytes),
        (stats.tx_packets, stats.tx_bytes)
    );
    assert_eq!(stats.tx_errors, 0);

    // Closed with packets in every place there is.
    let _ = std::iter::from_fn(|| {
        let one = std::iter::once(Piece {
            frame: &body,
            offset: 0,
            len: 600,
        });
        (port.tx_room() > 0).then(|| port.tx_push(&push, one).unwrap())
    })
    .count();
    let _ = receive(&mut port, 300, Duration::from_millis(100), |_| true);
    drop((port, body, middle));
    assert_eq!(out(pool), 0);
}

/// A device that has a packet to receive whenever asked and drops what it is sent.
fn null(eal: &Eal, pool: &mut MbufPool) {
    let device = DpdkDevice::open(
        eal,
        "net_null0",
        &DeviceConfig::default(),
        std::slice::from_ref(pool),
    )
    .unwrap();
    let mut port = device.queue(0).unwrap();
    let mut got = receive(&mut port, 200, Duration::from_secs(1), |bytes| {
        bytes.len() == 1500
    });
    assert!(got.len() >= 200);
    for packet in &mut got {
        // It takes no chains, so headers and payload must fit the MTU, and are copied.
        packet.frames[0].set_len(1460);
        send(
            &mut port,
            &headers(1, 1460),
            &packet.frames,
            TxOffload::default(),
        );
    }
    assert_eq!(port.stats().tx_errors, 0);
    drop(got);
    assert_eq!(port.frames_held(), 0);
    drop((port, device));
    assert_eq!(out(pool), 0);
}
