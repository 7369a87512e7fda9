//! virtio_user against vhost-user: the NIC of cloud machines and its other end, in two processes.
//!
//! The test starts itself once more as the peer, which sends back every packet it gets. Both check
//! every byte, both check that all frames are back when they have closed.

mod common;

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use common::*;
use dataplane::port::{Port, RxChecksum, TxOffload};
use dpdk::{DeviceConfig, DpdkDevice};

const PEER: &str = "MINIVOY_TEST_VHOST_SOCKET";
/// The sequence number of the packet that ends the peer.
const LAST: u32 = u32::MAX;
const MSS: u16 = 1460;
const LONG: Duration = Duration::from_secs(20);

#[test]
fn echo_over_vhost_user() {
    match std::env::var(PEER) {
        Ok(socket) => peer(&socket),
        Err(_) => proxy(),
    }
}

fn plain() -> TxOffload {
    TxOffload {
        l3_len: 20,
        l4_len: 20,
        ..TxOffload::default()
    }
}

fn partial() -> TxOffload {
    TxOffload {
        tcp_checksum: true,
        ..plain()
    }
}

fn cut() -> TxOffload {
    TxOffload {
        segment_size: MSS,
        ..partial()
    }
}

/// The sequence number, the payload, and whether the headers are those of [`headers`] but for the
/// TCP checksum.
fn parse(bytes: &[u8]) -> (u32, &[u8]) {
    let seed = u32::from_be_bytes(bytes[38..42].try_into().unwrap());
    let (got, payload) = bytes.split_at(HEADERS);
    let want = headers(seed, payload.len());
    assert_eq!(got[..50], want[..50]);
    assert_eq!(got[52..], want[52..]);
    (seed, payload)
}

/// The checksum is complete, and nobody looked at it, or it is a sum of the pseudo-header, with or
/// without the length, of a packet whose bytes never left this machine.
fn check_sum(got: &Received) {
    if got.checksum == RxChecksum::Unverified {
        assert!(right(&got.bytes));
        return;
    }
    assert_eq!(got.checksum, RxChecksum::Good);
    let (seed, payload) = parse(&got.bytes);
    let field = u16::from_be_bytes([got.bytes[50], got.bytes[51]]);
    let with = u16::from_be_bytes(headers(seed, payload.len())[50..52].try_into().unwrap());
    let without = u32::from(with) + u32::from(!((payload.len() + 20) as u16));
    let without = (without & 0xffff) + (without >> 16);
    assert!(
        field == with || u32::from(field) == without,
        "{field:04x} is neither {with:04x} nor {without:04x}"
    );
}

fn ours(bytes: &[u8]) -> bool {
    bytes.len() >= HEADERS && bytes[..12] == headers(0, 0)[..12]
}

fn proxy() {
    let directory = std::env::temp_dir().join(format!("dpdktest-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let socket = directory.join("vhost.sock");
    let mut peer = Peer::start(&socket);
    let dev = format!(
        "net_virtio_user0,path={},queues=1,mrg_rxbuf=1,queue_size=1024",
        socket.display()
    );
    {
        let eal = eal(
            "virtio",
            &["-l", "0", "--single-file-segments", "--vdev", &dev],
        );
        let mut pool = pool(&eal, "proxy");
        let device = DpdkDevice::open(
            &eal,
            "net_virtio_user0",
            &DeviceConfig::default(),
            std::slice::from_ref(&pool),
        )
        .unwrap();
        let mut port = device.queue(0).unwrap();
        let caps = port.caps().clone();
        assert!(caps.tx_tcp_checksum);
        assert!(caps.tso_v4.is_some_and(|most| most >= 60_000));
        assert!(caps.max_pieces >= 45);
        assert_eq!(caps.mtu, 1500);
        assert!(port.link_up());
        let posted = port.frames_held();
        assert!(posted > 0);
        assert_eq!(out(&pool) as usize, posted);

        let mut seed = 0;
        let mut exchange = |port: &mut _, sizes: &[usize], offload: TxOffload| {
            seed += 1;
            let total = sizes.iter().sum();
            let payload = pattern(seed, total);
            let mut header = headers(seed, total);
            if !offload.tcp_checksum {
                complete(&mut header, &payload);
            }
            let mut rest = &payload[..];
            let mut frames = Vec::new();
            for &size in sizes {
                frames.push(frame(&mut pool, &rest[..size]));
                rest = &rest[size..];
            }
            send(port, &header, &frames, offload);
            let got = receive(port, 1, LONG, ours);
            assert_eq!(got.len(), 1, "packet {seed} of {total} bytes was lost");
            let (back, body) = parse(&got[0].bytes);
            assert_eq!(back, seed);
            assert!(
                body == payload,
                "packet {seed} of {total} bytes came back different"
            );
            // The echo leaves all checksums to the device.
            assert_eq!(got[0].checksum, RxChecksum::Good);
            check_sum(&got[0]);
        };
        for size in (0..=1446).step_by(13) {
            exchange(&mut port, &[size], plain());
            exchange(&mut port, &[size / 3, size / 3], partial());
        }
        for _ in 0..50 {
            exchange(&mut port, &[16_384, 16_384, 16_384, 10_848], cut());
            exchange(&mut port, &[1448; 41], cut());
            exchange(&mut port, &[5000], cut());
        }
        let _ = exchange;

        // An idle virtio queue keeps the last few packets it has sent (of up to 41 frames here), not
        // a whole ring of them.
        let held = port.frames_held() - posted;
        assert!(held <= 6 * 45, "{held} frames are still held");

        // A pile of packets at once arrives in order and complete.
        let body = frame(&mut pool, &pattern(LAST - 1, 1446));
        let one = [body];
        let mut back = 0;
        for n in 0..2_000u32 {
            let header = headers(1_000_000 + n, 1446);
            send(&mut port, &header, &one, partial());
            if n % 32 == 31 {
                for got in receive(&mut port, 32, LONG, ours) {
                    assert_eq!(parse(&got.bytes).0, 1_000_000 + back);
                    back += 1;
                }
            }
        }
        assert_eq!(back, 2_000 / 32 * 32);
        let rest = receive(&mut port, 2_000 % 32, LONG, ours);
        assert_eq!(rest.len(), 2_000 % 32);
        drop(rest);

        let stats = port.stats();
        assert_eq!(
            (stats.tx_errors, stats.rx_errors, stats.rx_no_frame),
            (0, 0, 0)
        );
        // Its echo says that the peer has it: a queue that is closed loses what it holds.
        send(&mut port, &headers(LAST, 0), &[], partial());
        assert_eq!(receive(&mut port, 1, LONG, ours).len(), 1);
        assert!(out(&pool) as usize >= posted);
        drop((port, device, one));
        assert_eq!(out(&pool), 0, "frames that were not returned");
        assert_eq!(leaks(), 0);
    }
    peer.ends_well();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The other end: sends back whole what it receives whole.
fn peer(socket: &str) {
    let dev = format!("net_vhost0,iface={socket},queues=1,tso=1");
    let eal = eal(
        "vhost",
        &["-l", "1", "--single-file-segments", "--vdev", &dev],
    );
    let pool = pool(&eal, "peer");
    let config = DeviceConfig {
        rx_class: dataplane::port::FrameClass::Large,
        ..Default::default()
    };
    let device =
        DpdkDevice::open(&eal, "net_vhost0", &config, std::slice::from_ref(&pool)).unwrap();
    let mut port = device.queue(0).unwrap();
    loop {
        let got = receive(&mut port, 1, LONG, ours);
        assert!(!got.is_empty(), "nothing to echo");
        for got in got {
            let (seed, payload) = parse(&got.bytes);
            check_sum(&got);
            if payload.len() > usize::from(MSS) {
                assert!(payload == pattern(seed, payload.len()));
            }
            // The headers are in the first frame, the payload begins behind them.
            let header = headers(seed, payload.len());
            let offload = if payload.len() > usize::from(MSS) {
                cut()
            } else {
                partial()
            };
            let pieces = got.frames.iter().enumerate().map(|(i, frame)| {
                use dataplane::port::{Frame, Piece};
                let offset = if i == 0 { HEADERS } else { 0 };
                let len = (frame.data().len() - offset) as u32;
                Piece {
                    frame,
                    offset: offset as u32,
                    len,
                }
            });
            let push = dataplane::port::TxHeader {
                bytes: &header,
                offload,
            };
            assert!(port.tx_room() > 0);
            port.tx_push(&push, pieces).unwrap();
            port.tx_flush();
            if seed == LAST {
                drop((got, port, device));
                assert_eq!(out(&pool), 0, "frames that were not returned");
                assert_eq!(leaks(), 0);
                return;
            }
        }
    }
}

/// The peer's process; ended with the test whatever happens.
struct Peer(Child);

impl Peer {
    fn start(socket: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "echo_over_vhost_user", "--nocapture"])
            .env(PEER, socket)
            .spawn()
            .unwrap();
        let peer = Self(child);
        for _ in 0..200 {
            if socket.exists() {
                return peer;
            }
            pause(50);
        }
        panic!("the peer made no socket");
    }

    fn ends_well(&mut self) {
        assert!(self.0.wait().unwrap().success(), "the peer failed");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
