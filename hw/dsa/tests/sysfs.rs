//! Queues are found in a folder that looks like sysfs, and errors say what to run.

use std::fs;
use std::path::Path;

use dsa::Error;
use dsa::sysfs::{Mode, Tree};
use tempfile::TempDir;

struct Lab {
    tree: Tree,
    _folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let tree = Tree {
            sysfs: folder.path().join("sys"),
            dev: folder.path().join("dev"),
        };
        fs::create_dir(&tree.sysfs).unwrap();
        Self {
            tree,
            _folder: folder,
        }
    }

    fn set(&self, object: &str, attributes: &[(&str, &str)]) {
        let folder = self.tree.sysfs.join(object);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in attributes {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
    }

    fn device(&self, name: &str, node: &str) {
        self.set(name, &[("numa_node", node), ("pasid_enabled", "1")]);
    }

    fn queue(&self, name: &str) {
        self.set(
            name,
            &[
                ("type", "user"),
                ("state", "enabled"),
                ("mode", "dedicated"),
                ("size", "16"),
                ("max_batch_size", "32"),
                ("max_transfer_size", "2097152"),
            ],
        );
    }
}

fn names(tree: &Tree) -> Vec<String> {
    tree.queues().unwrap().into_iter().map(|q| q.name).collect()
}

#[test]
fn a_queue_is_read_whole() {
    let lab = Lab::new();
    lab.device("dsa1", "1");
    lab.queue("wq1.2");
    let queue = lab.tree.queue("wq1.2").unwrap();
    assert_eq!(
        (queue.name.as_str(), queue.device.as_str()),
        ("wq1.2", "dsa1")
    );
    assert_eq!(queue.path, lab.tree.dev.join("wq1.2"));
    assert_eq!((queue.mode, queue.size), (Mode::Dedicated, 16));
    assert_eq!((queue.max_batch, queue.max_transfer), (32, 2 << 20));
    assert_eq!(queue.numa_node, Some(1));
    lab.device("dsa1", "-1");
    lab.set("wq1.2", &[("mode", "shared")]);
    let queue = lab.tree.queue("wq1.2").unwrap();
    assert_eq!((queue.mode, queue.numa_node), (Mode::Shared, None));
}

#[test]
fn only_usable_queues_are_listed_in_the_order_of_their_numbers() {
    let lab = Lab::new();
    lab.device("dsa0", "0");
    lab.device("dsa10", "0");
    for name in ["wq10.0", "wq0.10", "wq0.2", "wq0.3", "wq0.4"] {
        lab.queue(name);
    }
    lab.set("wq0.3", &[("state", "disabled")]);
    lab.set("wq0.4", &[("type", "kernel")]);
    lab.set("engine0.0", &[("group_id", "0")]);
    assert_eq!(names(&lab.tree), ["wq0.2", "wq0.10", "wq10.0"]);
    lab.set("dsa10", &[("pasid_enabled", "0")]);
    assert_eq!(names(&lab.tree), ["wq0.2", "wq0.10"]);
}

#[test]
fn queues_near_by_and_dedicated_ones_are_preferred() {
    let lab = Lab::new();
    lab.device("dsa0", "0");
    lab.device("dsa1", "1");
    for name in ["wq0.0", "wq0.1", "wq1.0", "wq1.1"] {
        lab.queue(name);
    }
    lab.set("wq1.0", &[("mode", "shared")]);
    let chosen = |named: &[&str], wanted, node| {
        let named: Vec<String> = named.iter().map(|&name| name.into()).collect();
        let chosen = lab.tree.choose(&named, wanted, node).unwrap();
        chosen.into_iter().map(|q| q.name).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&[], 3, Some(1)), ["wq1.1", "wq1.0", "wq0.0"]);
    assert_eq!(chosen(&[], 3, None), ["wq0.0", "wq0.1", "wq1.1"]);
    assert_eq!(chosen(&["wq1.0", "wq0.1"], 2, Some(0)), ["wq1.0", "wq0.1"]);
}

#[test]
fn errors_say_what_to_run() {
    let lab = Lab::new();
    let text = |error: Error| error.to_string();
    let gone = Tree {
        sysfs: "/nowhere".into(),
        ..lab.tree.clone()
    };
    let said = text(gone.queues().unwrap_err());
    assert!(
        said.contains("/nowhere") && said.contains("modprobe idxd"),
        "{said}"
    );
    let said = text(lab.tree.choose(&[], 2, None).unwrap_err());
    assert!(said.contains("scripts/setup-dsa.sh --queues 2"), "{said}");

    lab.device("dsa0", "0");
    lab.queue("wq0.0");
    let said = text(lab.tree.choose(&[], 2, None).unwrap_err());
    assert!(
        said.contains("2 workers") && said.contains("there are 1"),
        "{said}"
    );
    let said = text(lab.tree.choose(&["wq0.7".into()], 1, None).unwrap_err());
    assert!(
        said.contains("wq0.7") && said.contains("accel-config list"),
        "{said}"
    );
    let said = text(lab.tree.choose(&["../dsa0".into()], 1, None).unwrap_err());
    assert!(said.contains("no work queue ../dsa0"), "{said}");

    for (attribute, value, fragment) in [
        ("state", "disabled", "accel-config enable-wq dsa0/wq0.0"),
        ("type", "kernel", "config-wq --type=user"),
        ("mode", "neither", "neither dedicated nor shared"),
        ("size", "many", "is no number"),
        ("size", "0", "0 slots"),
    ] {
        lab.queue("wq0.0");
        lab.set("wq0.0", &[(attribute, value)]);
        let said = text(lab.tree.queue("wq0.0").unwrap_err());
        assert!(said.contains(fragment), "{said}");
    }
    lab.queue("wq0.0");
    lab.set("dsa0", &[("pasid_enabled", "0")]);
    let said = text(lab.tree.queue("wq0.0").unwrap_err());
    assert!(said.contains("intel_iommu=on,sm_on"), "{said}");
    fs::remove_file(lab.tree.sysfs.join("dsa0/numa_node")).unwrap();
    lab.set("dsa0", &[("pasid_enabled", "1")]);
    let said = text(lab.tree.queue("wq0.0").unwrap_err());
    assert!(said.contains("dsa0/numa_node"), "{said}");
}

#[test]
fn what_open_says_becomes_a_remedy() {
    let lab = Lab::new();
    lab.device("dsa0", "0");
    lab.queue("wq0.0");
    let info = lab.tree.queue("wq0.0").unwrap();
    let said = dsa::queue::HardwareQueue::open(info.clone()).unwrap_err();
    assert!(matches!(said, Error::NoCharDev { .. }), "{said}");
    for (errno, fragment) in [
        (16, "fuser"),
        (13, "run as root"),
        (5, "Input/output error"),
    ] {
        let error = std::io::Error::from_raw_os_error(errno);
        let said = dsa::queue::cannot_open(&info, error).to_string();
        assert!(said.contains(fragment), "{said}");
        assert!(
            said.contains(Path::new("dev/wq0.0").to_str().unwrap()),
            "{said}"
        );
    }
}
