//! `--idle adaptive` between two ends of a veth pair: no packets, no CPU; and still every answer. Needs
//! root, `ip`, `sysctl` and `curl`: `cargo test -p minivoy --test idle -- --ignored`.
#![allow(clippy::disallowed_methods, reason = "real time, real processes")]

use std::fs;
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

const CONFIG: &str = r#"
[[port]]
name = "net"
device = "packet:e"
addresses = ["10.77.8.1/24"]

[[listener]]
name = "http"
port = "net"
address = "10.77.8.1:8080"

[[listener.route]]
prefix = "/elsewhere"
cluster = "none"

[[cluster]]
name = "none"
port = "net"

[[cluster.endpoint]]
address = "10.77.8.9:8080"
"#;

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a command"))
        .args(words)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect(command).success(), "{command}");
}

/// minivoy in one namespace, the kernel in another; all gone when dropped.
struct Lab {
    name: String,
    proxy: Child,
    _config: NamedTempFile,
}

impl Lab {
    fn new(kind: &str, options: &[&str]) -> Self {
        let name = format!("mv-{kind}-{}", std::process::id());
        for side in ["p", "c"] {
            run(&format!("ip netns add {name}-{side}"));
            run(&format!(
                "ip netns exec {name}-{side} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"
            ));
        }
        run(&format!(
            "ip link add name e netns {name}-p type veth peer name e netns {name}-c"
        ));
        for side in ["p", "c"] {
            run(&format!("ip -n {name}-{side} link set dev e up"));
        }
        run(&format!("ip -n {name}-c addr add 10.77.8.2/24 dev e"));
        let mut config = NamedTempFile::new().expect("a file");
        config.write_all(CONFIG.as_bytes()).expect("written");
        let proxy = Command::new("ip")
            .args(["netns", "exec", &format!("{name}-p")])
            .arg(env!("CARGO_BIN_EXE_minivoy"))
            .args("-l 0 --no-pci --no-huge -m 256 --file-prefix".split(' '))
            .args([&name, "--", "--pool-small", "4096", "--pool-large", "2048"])
            .args(["--stats-interval", "0", "--log-level", "warn", "--config"])
            .arg(config.path())
            .args(options)
            .spawn()
            .expect("ip netns exec minivoy");
        let lab = Self {
            name,
            proxy,
            _config: config,
        };
        let end = Instant::now() + Duration::from_secs(30);
        while lab.status().is_none() {
            assert!(Instant::now() < end, "no answer");
            sleep(Duration::from_millis(100));
        }
        lab
    }

    /// What a request is answered with, if it is within two seconds.
    fn status(&self) -> Option<u16> {
        let output = Command::new("ip")
            .args(["netns", "exec", &format!("{}-c", self.name)])
            .args("curl -s -m 2 -o /dev/null -w %{http_code} http://10.77.8.1:8080/".split(' '))
            .output()
            .expect("curl");
        let text = String::from_utf8(output.stdout).expect("a number");
        text.parse().ok().filter(|&status| status != 0)
    }

    /// The share of a core that the process takes while nobody asks it anything.
    fn share(&self) -> f64 {
        let (before, start) = (self.cpu(), Instant::now());
        sleep(Duration::from_secs(3));
        (self.cpu() - before) / start.elapsed().as_secs_f64()
    }

    /// Seconds that all its threads have run.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.proxy.id()));
        let stat = stat.expect("it runs");
        // The command's name may contain anything but ends with the last parenthesis (proc(5)).
        let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
        let ticks = fields.skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        ticks as f64 / 100.0
    }

    /// SIGTERM, and how it ended and after how long.
    fn end(mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        run(&format!("kill -TERM {}", self.proxy.id()));
        (self.proxy.wait().expect("it ends"), start.elapsed())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        for side in ["p", "c"] {
            let name = format!("{}-{side}", self.name);
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_idle_worker_sleeps_and_still_answers() {
    let lab = Lab::new("idle", &["--idle", "adaptive"]);
    let share = lab.share();
    assert!(share < 0.1, "{share} of a core for nothing");
    for _ in 0..20 {
        // Long enough for it to sleep again.
        sleep(Duration::from_millis(30));
        let start = Instant::now();
        assert_eq!(lab.status(), Some(404));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    assert!(lab.share() < 0.1);
    let (status, took) = lab.end();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(2), "{took:?} to end");
}

/// That the test above measures something.
#[test]
#[ignore = "needs root"]
fn a_worker_that_spins_takes_its_core() {
    let lab = Lab::new("spin", &["--idle", "spin"]);
    let share = lab.share();
    assert!(share > 0.2, "{share}");
    assert!(lab.end().0.success());
}
