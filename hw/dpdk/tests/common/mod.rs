//! What the tests share. EAL initialises once in a process, so each file here has one test.
#![allow(dead_code, reason = "no test uses all of it")]

pub mod death;
pub mod scripted;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dataplane::port::{Frame, FrameClass, FramePool, Piece, Port, RxBurst, TxHeader, TxOffload};
use dpdk::{ClassConfig, DpdkPort, Eal, Mbuf, MbufPool, PoolConfig};

pub const ETH: usize = 14;
pub const HEADERS: usize = ETH + 20 + 20;

/// EAL without NICs, and with `more`. Without hugepages, unless `MINIVOY_TEST_HUGEPAGES` is set.
pub fn eal(name: &str, more: &[&str]) -> Eal {
    let name = format!("dpdktest-{name}-{}", std::process::id());
    let prefix = format!("--file-prefix={name}");
    let pages = match std::env::var_os("MINIVOY_TEST_HUGEPAGES") {
        Some(_) => "--in-memory",
        None => "--no-huge",
    };
    let mut args = vec![
        pages,
        "-m",
        "220",
        "--no-pci",
        "--no-telemetry",
        "--no-shconf",
        &prefix,
    ];
    args.extend(more);
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    log::set_logger(&LEAKS).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let eal = Eal::init(&args).unwrap();
    // Nothing is shared with other processes, but EAL would leave its run-time directory behind.
    let base = match std::env::var("XDG_RUNTIME_DIR") {
        Ok(directory) if !is_root() => directory,
        _ if is_root() => "/var/run".to_owned(),
        _ => "/tmp".to_owned(),
    };
    let _ = std::fs::remove_dir_all(format!("{base}/dpdk/{name}"));
    eal
}

/// Sees the error that is logged when a pool, be it one of the port's own, is dropped with buffers
/// missing.
struct Leaks(AtomicU32);

static LEAKS: Leaks = Leaks(AtomicU32::new(0));

impl log::Log for Leaks {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("dpdk::mempool")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// How many pools were dropped with buffers missing.
pub fn leaks() -> u32 {
    LEAKS.0.load(Ordering::Relaxed)
}

fn is_root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// As few frames as the conformance suite is content with: it writes over all that are free, often.
pub fn small_pool(eal: &Eal, name: &str) -> MbufPool {
    let class = |room| ClassConfig { count: 95, room };
    let config = PoolConfig {
        small: class(2_048),
        large: class(16_384),
        cache: 0,
    };
    MbufPool::new(eal, name, 0, &config).unwrap()
}

pub fn pool(eal: &Eal, name: &str) -> MbufPool {
    let config = PoolConfig {
        small: ClassConfig {
            count: 8_191,
            room: 2_048,
        },
        large: ClassConfig {
            count: 2_047,
            room: 16_384,
        },
        cache: 64,
    };
    MbufPool::new(eal, name, 0, &config).unwrap()
}

/// Frames of either class that are out.
pub fn out(pool: &MbufPool) -> u32 {
    [FrameClass::Small, FrameClass::Large]
        .iter()
        .map(|&class| pool.level(class).total - pool.level(class).free)
        .sum()
}

/// Bytes that differ at every position and for every seed.
pub fn pattern(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// A frame with these bytes.
pub fn frame(pool: &mut MbufPool, bytes: &[u8]) -> Mbuf {
    let class = if bytes.len() <= 2048 {
        FrameClass::Small
    } else {
        FrameClass::Large
    };
    let mut frame = pool.alloc(class).expect("a frame");
    frame.room_mut().expect("one owner")[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    frame
}

fn sum(bytes: &[u8], mut total: u32) -> u32 {
    for pair in bytes.chunks(2) {
        total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    total
}

fn fold(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Ethernet, IPv4 and TCP headers of a segment with `payload` bytes, the IPv4 checksum right, and
/// the pseudo-header's sum, with length, where TCP's checksum belongs.
pub fn headers(seed: u32, payload: usize) -> [u8; HEADERS] {
    let mut h = [0u8; HEADERS];
    h[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    h[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    h[12..14].copy_from_slice(&[8, 0]);
    let ip_len = (20 + 20 + payload) as u16;
    h[14] = 0x45;
    h[16..18].copy_from_slice(&ip_len.to_be_bytes());
    h[22] = 64;
    h[23] = 6;
    h[26..30].copy_from_slice(&[10, 0, 0, 1]);
    h[30..34].copy_from_slice(&[10, 0, 0, 2]);
    let ip = !fold(sum(&h[14..34], 0));
    h[24..26].copy_from_slice(&ip.to_be_bytes());
    h[34..36].copy_from_slice(&1000u16.to_be_bytes());
    h[36..38].copy_from_slice(&2000u16.to_be_bytes());
    h[38..42].copy_from_slice(&seed.to_be_bytes());
    h[46] = 0x50;
    h[47] = 0x10;
    h[48..50].copy_from_slice(&1024u16.to_be_bytes());
    let pseudo = fold(sum(&h[26..34], 6 + u32::from(ip_len) - 20));
    h[50..52].copy_from_slice(&pseudo.to_be_bytes());
    h
}

/// Completes TCP's checksum over headers from [`headers`] and a payload.
pub fn complete(headers: &mut [u8; HEADERS], payload: &[u8]) {
    // The field's own content, the pseudo-header's sum, is part of what is summed.
    let check = !fold(sum(payload, sum(&headers[34..], 0)));
    headers[50..52].copy_from_slice(&check.to_be_bytes());
}

/// Whether the TCP checksum of a whole packet is right.
pub fn right(packet: &[u8]) -> bool {
    let tcp_len = packet.len() - 34;
    fold(sum(&packet[34..], sum(&packet[26..34], 6 + tcp_len as u32))) == 0xffff
}

/// Pushes a packet whose payload is the frames' bytes, waiting for room.
pub fn send(port: &mut DpdkPort, header: &[u8], frames: &[Mbuf], offload: TxOffload) {
    let start = now();
    let header = TxHeader {
        bytes: header,
        offload,
    };
    loop {
        let pieces = frames.iter().map(|f| Piece {
            frame: f,
            offset: 0,
            len: f.data().len() as u32,
        });
        if port.tx_room() > 0 && port.tx_push(&header, pieces).is_ok() {
            break;
        }
        port.tx_flush();
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the device takes nothing"
        );
    }
    port.tx_flush();
}

/// A packet received: its bytes, gathered, and its frames.
pub struct Received {
    pub bytes: Vec<u8>,
    pub frames: Vec<Mbuf>,
    pub checksum: dataplane::port::RxChecksum,
}

/// Receives packets that `wanted` says yes to until there are `count`, or time is up.
pub fn receive(
    port: &mut DpdkPort,
    count: usize,
    wait: Duration,
    wanted: impl Fn(&[u8]) -> bool,
) -> Vec<Received> {
    let start = now();
    let mut burst = RxBurst::with_capacity(64);
    let mut got = Vec::new();
    while got.len() < count && start.elapsed() < wait {
        let _ = port.rx_burst(&mut burst);
        port.tx_flush();
        let mut frames = burst.frames.drain(..);
        for packet in burst.packets.drain(..) {
            let frames: Vec<Mbuf> = frames.by_ref().take(usize::from(packet.frames)).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|f| f.data()).copied().collect();
            assert_eq!(bytes.len(), packet.len as usize);
            if wanted(&bytes) {
                got.push(Received {
                    bytes,
                    frames,
                    checksum: packet.checksum,
                });
            }
        }
        assert_eq!(frames.count(), 0, "frames that belong to no packet");
    }
    got
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests over devices wait in real time"
)]
pub fn now() -> Instant {
    Instant::now()
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests over devices wait in real time"
)]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
