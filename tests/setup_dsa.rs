//! `scripts/setup-dsa.sh` on made-up machines: what it would run, and when it runs nothing.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

struct Machine(TempDir);

impl Machine {
    /// One device, not configured.
    fn new() -> Self {
        let machine = Self(TempDir::new().unwrap());
        for (attribute, value) in [
            ("state", "disabled"),
            ("pasid_enabled", "1"),
            ("max_work_queues", "8"),
            ("max_work_queues_size", "128"),
            ("max_groups", "4"),
            ("max_engines", "4"),
            ("max_batch_size", "1024"),
            ("max_transfer_size", "2147483648"),
        ] {
            machine.set("dsa3", attribute, value);
        }
        machine
    }

    fn set(&self, object: &str, attribute: &str, value: &str) {
        let folder = self.0.path().join(object);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(attribute), format!("{value}\n")).unwrap();
    }

    /// Does to the tree what the printed commands would do to the device.
    fn obey(&self, commands: &str) {
        for command in commands.lines() {
            let words: Vec<&str> = command.split(' ').collect();
            let object = words[2].rsplit('/').next().unwrap();
            match words[1] {
                "disable-device" => self.set(object, "state", "disabled"),
                "enable-device" | "enable-wq" => self.set(object, "state", "enabled"),
                "config-wq" | "config-engine" => {
                    for option in &words[3..] {
                        let (name, value) = option[2..].split_once('=').unwrap();
                        let name = match name {
                            "wq-size" => "size".into(),
                            name => name.replace('-', "_"),
                        };
                        self.set(object, &name, value);
                    }
                }
                other => panic!("{other}"),
            }
        }
    }

    fn run(&self, options: &str) -> Output {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "scripts", "setup-dsa.sh"]
            .iter()
            .collect();
        Command::new(script)
            .arg("--dry-run")
            .args(options.split_whitespace())
            .env("DSA_SYSFS", self.0.path())
            .output()
            .expect("bash")
    }

    fn commands(&self, options: &str) -> String {
        let output = self.run(options);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn error(&self, options: &str) -> String {
        let output = self.run(options);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn a_queue_an_engine_and_a_group_for_each_worker() {
    let machine = Machine::new();
    let wq = "--type=user --driver-name=user";
    let more = "--mode=dedicated --wq-size=64 --priority=10 --block-on-fault=0 \
                --max-batch-size=64 --max-transfer-size=2097152";
    assert_eq!(
        machine.commands("--queues 2"),
        format!(
            "accel-config config-engine dsa3/engine3.0 --group-id=0\n\
             accel-config config-wq dsa3/wq3.0 --group-id=0 {wq} --name=minivoy0 {more}\n\
             accel-config config-engine dsa3/engine3.1 --group-id=1\n\
             accel-config config-wq dsa3/wq3.1 --group-id=1 {wq} --name=minivoy1 {more}\n\
             accel-config enable-device dsa3\n\
             accel-config enable-wq dsa3/wq3.0\n\
             accel-config enable-wq dsa3/wq3.1\n"
        )
    );
}

#[test]
fn options_are_obeyed() {
    let machine = Machine::new();
    let commands = machine.commands(
        "--device dsa3 --engines 2 --size 16 --max-batch 32 --max-transfer 65536 --mode shared",
    );
    for fragment in [
        "engine3.0 --group-id=0",
        "engine3.1 --group-id=0",
        "--wq-size=16",
        "--max-batch-size=32",
        "--max-transfer-size=65536",
        "--mode=shared",
        "--threshold=16",
    ] {
        assert!(commands.contains(fragment), "no {fragment} in {commands}");
    }
}

#[test]
fn what_is_configured_so_already_is_left_alone_and_what_is_not_is_disabled_first() {
    let machine = Machine::new();
    machine.obey(&machine.commands("--queues 2 --engines 2"));
    assert_eq!(machine.commands("--queues 2 --engines 2"), "");
    let commands = machine.commands("--queues 2 --engines 1");
    assert!(
        commands.starts_with("accel-config disable-device dsa3\n"),
        "{commands}"
    );
    let commands = machine.commands("--queues 1 --size 8");
    assert!(
        commands.starts_with("accel-config disable-device dsa3\n"),
        "{commands}"
    );
    machine.obey(&commands);
    assert_eq!(machine.commands("--queues 1 --size 8"), "");
    machine.set("wq3.0", "state", "disabled");
    assert_ne!(machine.commands("--queues 1 --size 8"), "");
}

#[test]
fn what_cannot_be_is_refused() {
    let machine = Machine::new();
    for (options, fragment) in [
        ("--queues 5", "dsa3 has 4 groups, 5 are wanted"),
        ("--queues 2 --engines 3", "4 engines, 6 are wanted"),
        ("--queues 2 --size 65", "128 slots, 130 are wanted"),
        ("--max-batch 2048", "1024 descriptors in a batch"),
        ("--device dsa0", "no device dsa0"),
        ("--queues none", "--queues none: a number from 1 on"),
        ("--queues", "needs a value"),
        ("--mode fast", "dedicated or shared"),
        ("--fast", "unknown option --fast"),
    ] {
        let said = machine.error(options);
        assert!(said.contains(fragment), "{options}: {said}");
    }
    machine.set("dsa3", "pasid_enabled", "0");
    assert!(machine.error("").contains("intel_iommu=on,sm_on"));
    let none = Machine(TempDir::new().unwrap());
    assert!(none.error("").contains("modprobe idxd"));
}
