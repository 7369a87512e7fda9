//! The relay between two namespaces, against the kernel's UDP and TCP. Needs root, `ip` and
//! `ethtool`: `cargo test -p relay -- --include-ignored`.
#![allow(clippy::disallowed_methods, missing_docs)] // Real sockets, real time.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const LEFT: &str = "10.77.9.1";
const RIGHT: &str = "10.77.9.2";

/// Namespaces left (`l`), middle (`m`) and right (`r`), deleted when dropped.
struct Namespaces {
    name: String,
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for side in ["l", "m", "r"] {
            let name = format!("{}-{side}", self.name);
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// Two namespaces and a relay in a third between them; all gone when dropped.
struct Lab {
    namespaces: Namespaces,
    relay: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Lab {
    fn new(options: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mv-relay-{}-{number}", std::process::id());
        let namespaces = Namespaces { name: name.clone() };
        for side in ["l", "m", "r"] {
            run(&format!("ip netns add {name}-{side}"));
        }
        for (near, far, side) in [("a", LEFT, "l"), ("b", RIGHT, "r")] {
            run(&format!(
                "ip link add name {near} netns {name}-m type veth peer name e netns {name}-{side}"
            ));
            for (place, device) in [("m", near), (side, "e")] {
                let ns = format!("ip netns exec {name}-{place}");
                run(&format!(
                    "{ns} sysctl -qw net.ipv6.conf.{device}.disable_ipv6=1"
                ));
                run(&format!(
                    "{ns} ethtool -K {device} tso off gso off gro off tx off"
                ));
                run(&format!("{ns} ip link set dev {device} up"));
            }
            run(&format!("ip -n {name}-{side} addr add {far}/24 dev e"));
        }
        let mut relay = Command::new("ip")
            .args(["netns", "exec", &format!("{name}-m")])
            .arg(env!("CARGO_BIN_EXE_relay"))
            .args(["a", "b"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip netns exec relay");
        let mut output = BufReader::new(relay.stdout.take().expect("piped"));
        let mut line = String::new();
        let _ = output.read_line(&mut line).expect("output of the relay");
        assert_eq!(line, "ready\n");
        Self {
            namespaces,
            relay,
            output,
        }
    }

    /// Runs `make` in a namespace; a socket made there stays there.
    fn inside<T: Send>(&self, side: &str, make: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}-{side}", self.namespaces.name);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(path).expect("namespace");
                // SAFETY: setns(2) takes no pointers; it moves this short-lived thread only.
                let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(moved, 0, "setns: must run as root");
                make()
            });
            thread.join().expect("thread in the namespace")
        })
    }

    /// Ends the relay and returns its account of the direction left to right.
    fn account(mut self) -> Account {
        // SAFETY: kill(2) takes no pointers; the child has not been waited for, so the pid is its own.
        let killed = unsafe { libc::kill(self.relay.id() as i32, libc::SIGTERM) };
        assert_eq!(killed, 0);
        let mut line = String::new();
        let _ = self.output.read_line(&mut line).expect("account");
        assert!(self.relay.wait().expect("relay").success());
        let left_to_right = line.split("\"a_to_b\":").nth(1).expect("a_to_b");
        let number = |key: &str| {
            let rest = left_to_right
                .split(&format!("\"{key}\":"))
                .nth(1)
                .expect(key);
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).expect(key)
        };
        Account {
            frames: number("frames"),
            lost: number("lost"),
            reordered: number("reordered"),
            duplicated: number("duplicated"),
            corrupted: number("corrupted"),
            missed: number("missed"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.relay.kill();
        let _ = self.relay.wait();
    }
}

#[derive(Debug)]
struct Account {
    frames: u64,
    lost: u64,
    reordered: u64,
    duplicated: u64,
    corrupted: u64,
    missed: u64,
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a command"))
        .args(words)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect(command).success(), "{command}");
}

/// Sends numbered datagrams from left to right and returns the numbers in the order of arrival.
fn send_datagrams(lab: &Lab, count: u32) -> Vec<u32> {
    let sender = lab.inside("l", || UdpSocket::bind((LEFT, 0)).expect("bind"));
    let receiver = lab.inside("r", || UdpSocket::bind((RIGHT, 9)).expect("bind"));
    sender.connect((RIGHT, 9)).expect("connect");
    let mut arrived = Vec::new();
    let mut drain = |patience: Duration| {
        receiver.set_read_timeout(Some(patience)).expect("timeout");
        let mut number = [0; 4];
        let before = arrived.len();
        while receiver.recv(&mut number).is_ok() {
            arrived.push(u32::from_be_bytes(number));
        }
        arrived.len() > before
    };
    // Until the neighbour is known, a few datagrams at a time are queued and the rest dropped.
    while !drain(Duration::from_millis(50)) {
        let _ = sender.send(&u32::MAX.to_be_bytes()).expect("send");
    }
    for number in 0..count {
        let _ = sender.send(&number.to_be_bytes()).expect("send");
        if number % 64 == 63 {
            let _ = drain(Duration::from_micros(300));
        }
    }
    let _ = drain(Duration::from_millis(300));
    arrived.retain(|&number| number != u32::MAX);
    arrived
}

#[test]
#[ignore = "needs root"]
fn without_impairment_every_frame_arrives_in_order() {
    let lab = Lab::new(&[]);
    let arrived = send_datagrams(&lab, 50_000);
    assert!(
        arrived.iter().copied().eq(0..50_000),
        "{} arrived",
        arrived.len()
    );
    let account = lab.account();
    assert_eq!((account.lost, account.missed), (0, 0));
}

#[test]
#[ignore = "needs root"]
fn two_percent_of_a_hundred_thousand_frames_are_lost() {
    let lab = Lab::new(&["--loss", "2", "--seed", "11"]);
    let arrived = send_datagrams(&lab, 100_000);
    let missing = 100_000 - arrived.len() as i64;
    // Six standard deviations of the binomial distribution: √(100000 · 0.02 · 0.98) = 44.
    assert!((missing - 2000).abs() < 6 * 44, "{missing} lost");
    assert!(arrived.is_sorted(), "loss must not reorder");
    let account = lab.account();
    assert_eq!(account.missed, 0);
    // Its count includes the few frames of address resolution.
    assert!(
        (account.lost as i64 - missing).abs() < 10,
        "{account:?}, {missing} missing"
    );
}

#[test]
#[ignore = "needs root"]
fn duplicates_and_late_frames_are_as_many_as_it_says() {
    let lab = Lab::new(&["--duplicate", "1", "--reorder", "3"]);
    let arrived = send_datagrams(&lab, 50_000);
    let distinct: HashSet<u32> = arrived.iter().copied().collect();
    let late = arrived.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
    let account = lab.account();
    assert_eq!(distinct.len(), 50_000);
    let twice = (arrived.len() - distinct.len()) as u64;
    assert!(
        twice.abs_diff(account.duplicated) < 10,
        "{account:?}, {twice} twice"
    );
    assert!(late > account.reordered / 2, "{account:?}, {late} late");
}

#[test]
#[ignore = "needs root"]
fn tcp_gets_its_bytes_through_all_of_it() {
    let lab = Lab::new(&[
        "--loss",
        "2",
        "--reorder",
        "3",
        "--duplicate",
        "1",
        "--corrupt",
        "1",
        "--delay-us",
        "200",
        "--jitter-us",
        "200",
    ]);
    let body: Vec<u8> = (0..4 << 20u32)
        .map(|i| (2_654_435_761u32.wrapping_mul(i) >> 24) as u8)
        .collect();
    let listener = lab.inside("r", || TcpListener::bind((RIGHT, 80)).expect("bind"));
    let mut sender = lab.inside("l", || TcpStream::connect((RIGHT, 80)).expect("connect"));
    let (mut receiver, _) = listener.accept().expect("accept");
    receiver
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("timeout");
    let mut received = Vec::new();
    thread::scope(|scope| {
        let _ = scope.spawn(|| {
            sender.write_all(&body).expect("send");
            sender
                .shutdown(std::net::Shutdown::Write)
                .expect("shutdown");
        });
        let _ = receiver.read_to_end(&mut received).expect("receive");
    });
    assert!(
        received == body,
        "{} of {} bytes",
        received.len(),
        body.len()
    );
    let account = lab.account();
    assert!(account.lost > 0 && account.corrupted > 0, "{account:?}");
    assert!(
        account.frames > body.len() as u64 / 1500,
        "frames must be of MTU size: {account:?}"
    );
}
