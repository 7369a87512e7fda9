//! Whether there are work queues of the accelerator, if it is asked for.

use dsa::sysfs::Tree;

use super::{Finding, Level};
use crate::cli::{Mover, Options};

/// What `--mover dsa` or `auto` will find: a queue for each of `workers` workers, or why not.
pub fn accelerator(options: &Options, tree: &Tree, workers: usize) -> Option<Finding> {
    let missing = match options.mover {
        Mover::Dsa => Level::Fail,
        Mover::Auto => Level::Ok,
        Mover::Mem | Mover::ZeroCopy | Mover::DsaModel | Mover::Dmadev => return None,
    };
    let chosen = tree.choose(&options.accelerator.dsa_queue, workers, None);
    let (level, found) = match chosen {
        Ok(queues) => {
            let names: Vec<_> = queues
                .iter()
                .map(|queue| {
                    format!(
                        "{} ({}, {} slots, batches of {})",
                        queue.name,
                        queue.mode.name(),
                        queue.size,
                        queue.max_batch
                    )
                })
                .collect();
            (Level::Ok, names.join(", "))
        }
        Err(error) => (missing, error.to_string()),
    };
    Some(Finding {
        level,
        thing: "dsa".into(),
        found,
        remedy: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Command};

    fn finding(mover: &str, tree: &Tree) -> Option<Finding> {
        let line = format!("minivoy -- --config p --mover {mover}");
        let Ok(Command::Run { options, .. }) =
            cli::parse(line.split(' ').map(std::ffi::OsString::from))
        else {
            panic!("{line}");
        };
        accelerator(&options, tree, 2)
    }

    #[test]
    fn it_is_looked_for_when_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree {
            sysfs: folder.path().join("devices"),
            dev: folder.path().into(),
        };
        for mover in ["mem", "zero-copy", "dsa-model"] {
            assert_eq!(finding(mover, &tree), None);
        }
        let none = finding("dsa", &tree).unwrap();
        assert_eq!(none.level, Level::Fail);
        assert!(none.to_string().contains("modprobe idxd"), "{none}");
        assert_eq!(finding("auto", &tree).unwrap().level, Level::Ok);

        for queue in ["wq0.0", "wq0.1"] {
            let files = [
                ("dsa0", "numa_node", "0"),
                ("dsa0", "pasid_enabled", "1"),
                (queue, "type", "user"),
                (queue, "state", "enabled"),
                (queue, "mode", "dedicated"),
                (queue, "size", "16"),
                (queue, "max_batch_size", "32"),
                (queue, "max_transfer_size", "2097152"),
            ];
            for (object, attribute, value) in files {
                std::fs::create_dir_all(tree.sysfs.join(object)).unwrap();
                std::fs::write(tree.sysfs.join(object).join(attribute), value).unwrap();
            }
            let found = finding("dsa", &tree).unwrap();
            let enough = queue == "wq0.1";
            assert_eq!(found.level == Level::Ok, enough, "{found}");
        }
        let found = finding("dsa", &tree).unwrap().to_string();
        assert_eq!(
            found,
            "dsa: wq0.0 (dedicated, 16 slots, batches of 32), \
             wq0.1 (dedicated, 16 slots, batches of 32)"
        );
    }
}
