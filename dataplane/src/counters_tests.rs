use std::collections::HashSet;

use super::*;

#[test]
fn every_cell_has_one_name_and_every_name_its_cell() {
    let mut c = Counters::default();
    assert_eq!(c.iter().count(), CELLS);
    let names: HashSet<String> = c.iter().map(|(d, _)| d.to_string()).collect();
    assert_eq!(names.len(), CELLS);
    for (d, _) in c.iter() {
        let word = |s: &str| {
            s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(
            word(d.name) && d.label.is_none_or(|(l, v)| word(l) && word(v)),
            "{d}"
        );
        assert!(d.help.ends_with('.'), "{d}");
    }
    c[Gauge::HalfOpen] = 1;
    c[Counter::Requests] = 2;
    c[Drop::RxVlan] = 3;
    c[Timeout::Drain] = 4;
    c[LocalReply::BadRequest] = 5;
    c[Responses::of(204)] = 6;
    c[PortValue::TxBytes.of(PortId(1))] = 7;
    let set: Vec<_> = c
        .iter()
        .filter(|(_, v)| *v != 0)
        .map(|(d, v)| format!("{d} {v}"))
        .collect();
    assert_eq!(
        set,
        [
            "half_open 1",
            "requests 2",
            "drops{reason=\"rx_vlan\"} 3",
            "timeouts{kind=\"drain\"} 4",
            "local_replies{cause=\"bad_request\"} 5",
            "responses{class=\"2xx\"} 6",
            "port_tx_bytes{port=\"1\"} 7",
        ]
    );
    assert!(
        c.iter()
            .all(|(d, _)| (d.kind == Kind::Gauge) == Gauge::ALL.iter().any(|g| g.name() == d.name))
    );
}

#[test]
fn what_is_published_is_read() {
    let mut c = Counters::default();
    for (i, value) in c.0.iter_mut().enumerate() {
        *value = i as u64 * 1_000_000_007;
    }
    let shared = SharedCounters::default();
    assert_eq!(shared.read(), Counters::default());
    c.publish(&shared);
    assert_eq!(shared.read(), c);
    assert_eq!(align_of::<SharedCounters>(), 128);
}

#[test]
fn differences_are_of_counters_and_sums_of_everything() {
    let (mut before, mut now) = (Counters::default(), Counters::default());
    before[Gauge::ClientConnections] = 10;
    before[Counter::Requests] = 100;
    now[Gauge::ClientConnections] = 4;
    now[Counter::Requests] = 150;
    (before[Gauge::LargeFramesFree], before[Counter::Accepted]) = (9, 9);
    (now[Gauge::LargeFramesFree], now[Counter::Accepted]) = (9, 9);
    let grown = now.since(&before);
    // The last gauge and the first counter.
    assert_eq!(
        (grown[Gauge::LargeFramesFree], grown[Counter::Accepted]),
        (9, 0)
    );
    assert_eq!(
        (grown[Gauge::ClientConnections], grown[Counter::Requests]),
        (4, 50)
    );
    now.add(&before);
    assert_eq!(
        (now[Gauge::ClientConnections], now[Counter::Requests]),
        (14, 250)
    );
}

#[test]
fn classes_of_status_codes() {
    for (status, name) in [
        (100, "1xx"),
        (204, "2xx"),
        (304, "3xx"),
        (431, "4xx"),
        (502, "5xx"),
        (799, "5xx"),
    ] {
        assert_eq!(Responses::of(status).name(), name);
    }
}

#[test]
fn a_port_beyond_the_table_counts_as_the_last() {
    let mut c = Counters::default();
    c[PortValue::RxPackets.of(PortId(200))] += 1;
    assert_eq!(c[PortValue::RxPackets.of(PortId(7))], 1);
}

#[test]
fn the_summary_names_what_matters() {
    let (mut before, mut now) = (Counters::default(), Counters::default());
    for (c, n) in [(&mut before, 1), (&mut now, 3)] {
        c[Counter::Requests] = 1000 * n;
        c[Counter::BusyNanos] = 300 * n;
        c[Counter::IdleNanos] = 100 * n;
        c[Drop::RxShort] = 5 * n;
        c[Drop::NoFrame] = 7;
        c[PortValue::RxMissed.of(PortId(0))] = n;
        c[PortValue::RxMissed.of(PortId(1))] = n;
        c[Gauge::ClientConnections] = 20 * n;
        c[Gauge::UpstreamConnections] = 4;
        c[Gauge::UpstreamIdle] = 2;
        c[Gauge::SmallFrames] = 1000;
        c[Gauge::SmallFramesFree] = 900;
        c[Gauge::LargeFrames] = 100;
        c[Gauge::LargeFramesFree] = 50;
    }
    assert_eq!(
        now.summary(&before, 10.0).to_string(),
        "200 requests/s, 60 client and 4 upstream connections (2 idle, 0 half-open), core 75 % busy, \
             frames free 90 % small 50 % large, dropped: rx_short 10, port_rx_missed 4"
    );
    let quiet = Counters::default()
        .summary(&Counters::default(), 0.0)
        .to_string();
    assert!(
        quiet.starts_with("0 requests/s") && !quiet.contains("dropped"),
        "{quiet}"
    );
}

#[test]
fn the_summary_shows_where_the_core_went() {
    let (before, mut now) = (Counters::default(), Counters::default());
    now[Stage::Rx] = 30_000;
    now[Stage::Tx] = 10_000;
    now[Stage::Idle] = 60_000;
    let text = now.summary(&before, 1.0).to_string();
    assert!(
        text.ends_with(", core %: rx 30.0 tx 10.0 idle 60.0"),
        "{text}"
    );
    now[Counter::Requests] = 4;
    let text = now.summary(&before, 1.0).to_string();
    assert!(
        text.ends_with(
            ", core % (cycles a request): rx 30.0 (7500) tx 10.0 (2500) idle 60.0, in all 10000 \
             cycles a request"
        ),
        "{text}"
    );
}

/// The text of all source files below `folder`, except for tests and for the list of counters.
fn sources(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            sources(&path, text);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "counters.rs" {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// A counter that nobody writes says 0 of something that may well happen.
#[test]
fn every_counter_is_written_somewhere() {
    let mut text = String::new();
    let engine = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&engine.join("src"), &mut text);
    sources(&engine.join("../src"), &mut text);
    let words: HashSet<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .collect();
    fn names<T: std::fmt::Debug>(family: &str, all: &[T]) -> Vec<String> {
        all.iter().map(|one| format!("{family}::{one:?}")).collect()
    }
    let all = [
        names("Gauge", Gauge::ALL),
        names("Counter", Counter::ALL),
        names("Drop", Drop::ALL),
        names("Timeout", Timeout::ALL),
        names("LocalReply", LocalReply::ALL),
        names("PortValue", PortValue::ALL),
        names("Stage", Stage::ALL),
    ];
    for name in all.iter().flatten() {
        assert!(words.contains(name.as_str()), "{name}");
    }
}
