//! The binary as its users meet it: exit statuses, and one clear line for each mistake.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Arguments of EAL with which minivoy needs neither hugepages nor a NIC. Never reaches EAL here.
const EAL: [&str; 7] = [
    "-l",
    "0",
    "--no-pci",
    "--no-huge",
    "-m",
    "512",
    "--in-memory",
];

fn minivoy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_minivoy"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary can be run")
}

/// Runs minivoy with [`EAL`] and these options of its own.
fn with_options(options: &[&str]) -> Output {
    minivoy(&[&EAL[..], &["--"], options].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Lines on standard error that are minivoy's own, not the log's; each without the name.
fn complaints(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("minivoy: "));
    lines.map(str::to_owned).collect()
}

/// Expects this exit status, nothing on standard output, and one complaint with these parts.
#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(stdout(output), "");
    let complaints = complaints(output);
    let [line] = complaints.as_slice() else {
        panic!("one line, not {output:#?}");
    };
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}

fn shipped(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "configs", name]
        .iter()
        .collect();
    path.to_str().unwrap().to_owned()
}

/// A configuration file in a folder that lives as long as the test.
struct File {
    _dir: TempDir,
    path: String,
}

/// `configs/proxy.toml` with one text replaced by another.
fn changed(from: &str, to: &str) -> File {
    let text = std::fs::read_to_string(shipped("proxy.toml")).unwrap();
    assert!(text.contains(from), "{from}");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("p.toml").to_str().unwrap().to_owned();
    std::fs::write(&path, text.replace(from, to)).unwrap();
    File { _dir: dir, path }
}

#[test]
fn help_and_version_are_no_failure() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["--", "--help"],
        &["-l", "0", "--", "-h"],
    ] {
        let output = minivoy(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let help = stdout(&output);
        for word in [
            "EAL options",
            "--no-huge",
            "minivoy options",
            "--access-log-format",
        ] {
            assert!(help.contains(word), "{args:?}: no {word} in {help}");
        }
    }
    let output = minivoy(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!("minivoy {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_command_line_is_status_2() {
    refused(
        &minivoy(&[]),
        2,
        &["no `--`", "minivoy [EAL options] -- --config PATH"],
    );
    refused(
        &minivoy(&["--config", "p.toml"]),
        2,
        &["--config", "belongs after `--`"],
    );
    refused(&minivoy(&["--", "-l", "0"]), 2, &["-l is an EAL option"]);
    refused(&with_options(&[]), 2, &["--config <PATH>"]);
    refused(
        &with_options(&["--config", "p", "--mover", "cat"]),
        2,
        &["[possible values: mem, zero-copy, dsa, dsa-model, dmadev, auto]"],
    );
}

#[test]
fn a_wrong_configuration_is_status_2() {
    refused(
        &with_options(&["--config", "/nonexistent.toml"]),
        2,
        &["cannot read /nonexistent.toml: No such file"],
    );
    for options in [&[][..], &["--validate"], &["--check"]] {
        for (from, to, parts) in [
            (
                "[[cluster]]",
                "[[cluster]]\nmax_conns = 1",
                [":27:1: cluster.max_conns: ", "unknown field"],
            ),
            (
                "10.77.1.1:8080",
                "10.9.9.9:8080",
                [":21:11: listener.address: ", " — write 10.77.1.1"],
            ),
        ] {
            let file = changed(from, to);
            let all = [&["--config", &file.path][..], options].concat();
            refused(
                &with_options(&all),
                2,
                &[&format!("{}{}", file.path, parts[0]), parts[1]],
            );
        }
    }
    // Two mistakes make two lines.
    let file = changed("packet:eth", "eth");
    let output = with_options(&["--config", &file.path, "--validate"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(complaints(&output).len(), 2, "{output:?}");
}

#[test]
fn validate_looks_at_the_file_alone() {
    for name in ["proxy.toml", "veth-lab.toml", "pci-nic.toml", "full.toml"] {
        let path = shipped(name);
        let output = minivoy(&["--", "--config", &path, "--validate"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(stdout(&output), format!("{path}: ok\n"));
    }
}

#[test]
fn a_missing_device_is_told_by_check_and_refuses_the_start() {
    let file = changed("packet:eth1", "packet:no-such-if");
    let file2 = changed("packet:eth1", "packet:lo");
    let text = std::fs::read_to_string(&file2.path).unwrap();
    std::fs::write(&file.path, text.replace("packet:eth2", "packet:no-such-if")).unwrap();

    let output = with_options(&["--config", &file.path, "--check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let table = stdout(&output);
    for line in table.lines() {
        let level = line.split_whitespace().next().unwrap();
        assert!(["ok", "warn", "fail"].contains(&level), "{line}");
    }
    assert!(
        table.contains("fail  packet:no-such-if: there is no such interface here — "),
        "{table}"
    );
    assert!(table.contains("packet:lo: "), "{table}");

    refused(
        &with_options(&["--config", &file.path]),
        1,
        &["packet:no-such-if: there is no such interface here"],
    );
}

#[test]
fn too_little_memory_is_told_before_eal_fails() {
    let file = changed("packet:eth1", "packet:lo");
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("packet:eth2", "dpdk:net_null0")).unwrap();
    let run = |memory: &str, options: &[&str]| {
        let eal = [
            "-l",
            "0",
            "--no-pci",
            "--no-huge",
            "-m",
            memory,
            "--vdev",
            "net_null0",
            "--",
        ];
        minivoy(&[&eal[..], &["--config", &file.path, "--check"], options].concat())
    };
    let small = run("100", &[]);
    assert_eq!(small.status.code(), Some(1));
    assert!(
        stdout(&small).contains("fail  memory: --no-huge with 100 MiB"),
        "{small:?}"
    );
    for (memory, options) in [
        ("512", &[][..]),
        ("100", &["--pool-small", "4096", "--pool-large", "1024"]),
    ] {
        let output = run(memory, options);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            stdout(&output).contains("ok    dpdk:net_null0: made by --vdev"),
            "{output:?}"
        );
    }
}

#[test]
fn pools_too_small_for_the_ports_are_refused() {
    let file = shipped("proxy.toml");
    for mode in [&[][..], &["--validate"], &["--check"]] {
        let options = [&["--config", &file, "--pool-large", "100"], mode].concat();
        refused(
            &with_options(&options),
            2,
            &[
                "proxy.toml: memory.large_frames: 100 is less",
                "--pool-large 1",
            ],
        );
    }
}

#[test]
fn an_access_log_that_cannot_be_opened_refuses_the_start() {
    let file = changed("packet:eth1", "packet:lo");
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("packet:eth2", "dpdk:net_null0")).unwrap();
    let options = [
        "--config",
        &file.path,
        "--access-log",
        "/nonexistent/access.log",
    ];
    refused(
        &minivoy(&[&EAL[..], &["--vdev", "net_null0", "--"], &options].concat()),
        1,
        &["cannot open access log /nonexistent/access.log: No such file"],
    );
}

#[test]
fn without_work_queues_dsa_is_refused_and_check_says_so() {
    let machine = TempDir::new().unwrap();
    let run = |options: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_minivoy"))
            .args(
                [
                    &EAL[..],
                    &["--", "--config", &shipped("quickstart.toml")],
                    options,
                ]
                .concat(),
            )
            .env("DSA_SYSFS_PATH", machine.path())
            .output()
            .expect("the binary can be run")
    };
    let checked = stdout(&run(&["--mover", "dsa", "--check"]));
    let line = checked.lines().find(|line| line.contains("dsa: "));
    let line = line.unwrap_or_else(|| panic!("{checked}"));
    assert!(
        line.starts_with("fail") && line.contains("scripts/setup-dsa.sh --queues 1"),
        "{line}"
    );
    let checked = stdout(&run(&["--mover", "auto", "--check"]));
    assert!(
        checked.lines().any(|line| line.starts_with("ok    dsa: ")),
        "{checked}"
    );
    let refused = run(&["--mover", "dsa"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = complaints(&refused);
    assert!(
        said.iter()
            .any(|line| line.contains("no enabled work queue")),
        "{said:?}"
    );
}
