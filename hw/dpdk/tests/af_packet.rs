//! DPDK's AF_PACKET driver on one end of a veth pair, a raw socket on the other. Needs root.

mod common;

use std::io;
use std::process::Command;
use std::time::Duration;

use common::*;
use dataplane::port::{Port, RxChecksum, TxOffload};
use dpdk::{DeviceConfig, DpdkDevice};

#[test]
fn frames_over_veth() {
    let veth = Veth::new();
    let socket = RawSocket::open(&veth.other);
    let dev = format!(
        "net_af_packet0,iface={},framesz=2048,framecnt=512",
        veth.ours
    );
    let eal = eal("afp", &["-l", "0", "--vdev", &dev]);
    let mut pool = pool(&eal, "test");
    let config = DeviceConfig {
        mtu: Some(1400),
        ..DeviceConfig::default()
    };
    let device =
        DpdkDevice::open(&eal, "net_af_packet0", &config, std::slice::from_ref(&pool)).unwrap();
    let mut port = device.queue(0).unwrap();
    assert_eq!(port.caps().mtu, 1400);
    assert_eq!(veth.mtu(), 1400, "the kernel's interface has the MTU too");
    assert_eq!(port.caps().mac, veth.mac());

    let ours = |bytes: &[u8]| bytes.len() >= HEADERS && bytes[..12] == headers(0, 0)[..12];
    for n in 0..500u32 {
        let len = 6 + (n as usize * 7) % 1340;
        let payload = pattern(n, len);
        let mut header = headers(n, len);
        complete(&mut header, &payload);
        let packet = [&header[..], &payload].concat();
        let (left, right) = payload.split_at(len / 3);
        let frames = [frame(&mut pool, left), frame(&mut pool, right)];
        send(&mut port, &header, &frames, TxOffload::default());
        assert!(socket.receive(ours) == packet, "packet {n} left different");

        socket.send(&packet);
        let got = receive(&mut port, 1, Duration::from_secs(5), ours);
        assert_eq!(got.len(), 1, "packet {n} was lost");
        assert!(got[0].bytes == packet, "packet {n} arrived different");
        assert_ne!(got[0].checksum, RxChecksum::Bad);
    }
    let stats = port.stats();
    assert_eq!((stats.tx_packets, stats.tx_errors), (500, 0));
    assert!(stats.rx_packets >= 500);
    drop((port, device));
    assert_eq!(out(&pool), 0);
}

/// A veth pair, removed in the end.
struct Veth {
    ours: String,
    other: String,
}

impl Veth {
    fn new() -> Self {
        let id = std::process::id() % 100_000;
        let veth = Self {
            ours: format!("dpdka{id}"),
            other: format!("dpdkb{id}"),
        };
        ip(&[
            "link",
            "add",
            &veth.ours,
            "type",
            "veth",
            "peer",
            "name",
            &veth.other,
        ]);
        for name in [&veth.ours, &veth.other] {
            ip(&["link", "set", name, "up"]);
        }
        veth
    }

    fn read(&self, file: &str) -> String {
        let path = format!("/sys/class/net/{}/{file}", self.ours);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    fn mtu(&self) -> u16 {
        self.read("mtu").parse().unwrap()
    }

    fn mac(&self) -> [u8; 6] {
        let text = self.read("address");
        let bytes: Vec<u8> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "del", &self.ours])
            .status();
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().unwrap();
    assert!(done.success(), "ip {args:?} failed: this test needs root");
}

/// A socket of packet(7) that sees all frames of an interface.
struct RawSocket(i32);

impl RawSocket {
    fn open(interface: &str) -> Self {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain calls on a descriptor that was just opened; the address is a whole
        // sockaddr_ll, the time-out a whole timeval, told with their sizes.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(all));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let name = std::ffi::CString::new(interface).unwrap();
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = all;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let bound = libc::bind(
                fd,
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            );
            assert_eq!(bound, 0, "{}", io::Error::last_os_error());
            let wait = libc::timeval {
                tv_sec: 5,
                tv_usec: 0,
            };
            let set = libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const wait).cast(),
                size_of_val(&wait) as u32,
            );
            assert_eq!(set, 0);
            Self(fd)
        }
    }

    fn send(&self, packet: &[u8]) {
        // SAFETY: reads the packet.
        let sent = unsafe { libc::send(self.0, packet.as_ptr().cast(), packet.len(), 0) };
        assert_eq!(
            sent,
            packet.len() as isize,
            "{}",
            io::Error::last_os_error()
        );
    }

    /// The next frame that is wanted and came in from the other end.
    fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut room = vec![0u8; 65_536];
        loop {
            // SAFETY: an address is numbers, for which zeros are a value.
            let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            let mut from_len = size_of_val(&from) as u32;
            // SAFETY: writes at most the room and the address, whose sizes are told.
            let got = unsafe {
                libc::recvfrom(
                    self.0,
                    room.as_mut_ptr().cast(),
                    room.len(),
                    0,
                    (&raw mut from).cast(),
                    &mut from_len,
                )
            };
            assert!(got >= 0, "{}", io::Error::last_os_error());
            let packet = &room[..got as usize];
            if from.sll_pkttype != libc::PACKET_OUTGOING && wanted(packet) {
                return packet.to_vec();
            }
        }
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        let _ = unsafe { libc::close(self.0) };
    }
}
