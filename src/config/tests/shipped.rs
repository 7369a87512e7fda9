//! The files in `configs/` hold what they promise.

use serde::de::DeserializeOwned;

use super::*;

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn all_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let _config = load(&path).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    assert!(count >= 4);
}

#[test]
fn full_toml_gives_the_defaults() {
    let full = from_toml("full.toml", &shipped("full.toml")).unwrap();
    // MINIMAL is the same without every key that has a default.
    let minimal = from_toml("t.toml", MINIMAL).unwrap();
    assert_eq!(format!("{full:#?}"), format!("{minimal:#?}"));
}

/// The keys of a table, from what serde says when it meets one that is not among them.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no-such-key = 1") else {
        panic!("unknown keys must be refused");
    };
    let (_, expected) = error.message().split_once("expected").unwrap();
    let keys: Vec<String> = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(!keys.is_empty(), "{error}");
    keys
}

#[test]
fn full_toml_has_every_key() {
    // Lines like `#mtu = 1500` are keys whose default is none; their examples must hold too.
    let text: String = shipped("full.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => {
                format!("{key}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let with_examples = from_toml("full.toml", &text).unwrap();
    assert!(with_examples.settings.limits.max_requests.is_some());

    let file: toml::Table = text.parse().unwrap();
    let first = |table: &toml::Table, key: &str| -> toml::Table {
        table[key].as_array().unwrap()[0]
            .as_table()
            .unwrap()
            .clone()
    };
    let one = |key: &str| file[key].as_table().unwrap().clone();
    let (port, listener, cluster) = (
        first(&file, "port"),
        first(&file, "listener"),
        first(&file, "cluster"),
    );
    for (table, name, keys) in [
        (file.clone(), "", keys::<schema::File>()),
        (port, "port", keys::<schema::Port>()),
        (
            first(&listener, "route"),
            "listener.route",
            keys::<schema::Route>(),
        ),
        (listener, "listener", keys::<schema::Listener>()),
        (
            first(&cluster, "endpoint"),
            "cluster.endpoint",
            keys::<schema::Endpoint>(),
        ),
        (cluster, "cluster", keys::<schema::Cluster>()),
        (one("limits"), "limits", keys::<schema::LimitsTable>()),
        (one("timeouts"), "timeouts", keys::<schema::TimeoutsTable>()),
        (
            one("forwarding"),
            "forwarding",
            keys::<schema::ForwardingTable>(),
        ),
        (one("memory"), "memory", keys::<schema::MemoryTable>()),
    ] {
        for key in keys {
            assert!(table.contains_key(&key), "full.toml lacks {name}.{key}");
        }
    }
}

proptest::proptest! {
    /// Whatever an editor leaves behind is read or refused in one line a problem, never a panic.
    #[test]
    fn no_damage_to_a_file_is_fatal(at in 0.0..1.0f64, cut in 0usize..40, paste in "[\\[\\]=\"#/:.0-9a-zü\n-]{0,6}") {
        let mut text = shipped("full.toml");
        let start = text.floor_char_boundary((text.len() as f64 * at) as usize);
        let end = text.floor_char_boundary((start + cut).min(text.len())).max(start);
        text.replace_range(start..end, &paste);
        if let Err(ConfigError::Invalid { problems }) = from_toml("full.toml", &text) {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.line >= 1 && problem.column >= 1);
                assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }
}
