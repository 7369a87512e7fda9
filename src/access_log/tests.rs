use std::time::Instant;

use super::*;

fn record(target: &[u8]) -> Record {
    Record {
        time_unix_ns: 971_211_336_123_456_789,
        client: "192.0.2.7:50000".parse().unwrap(),
        method: Clipped::new(b"GET"),
        target: Clipped::new(target),
        version: Clipped::new(b"HTTP/1.1"),
        status: 200,
        bytes_sent: 2326,
        duration_ns: 1_234_567,
        cluster: Some(ClusterId(1)),
        upstream: Some("[fd77:2::2]:8080".parse().unwrap()),
    }
}

fn line(format: AccessLogFormat, record: &Record) -> String {
    let mut out = Vec::new();
    Formatter::new(format, vec!["zero".into(), "one".into()]).line(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn no_reopen() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

/// Waits until `done`, so that no test depends on how fast the machine is.
#[allow(clippy::disallowed_methods, reason = "tests of a real thread")]
fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "took too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_common_form() {
    assert_eq!(
        line(AccessLogFormat::Common, &record(b"/apache_pb.gif")),
        "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /apache_pb.gif HTTP/1.1\" 200 2326\n"
    );
}

#[test]
fn a_field_without_value_is_a_dash() {
    let record = Record {
        client: "[fd77::9]:1".parse().unwrap(),
        method: Clipped::new(b""),
        target: Clipped::new(b""),
        version: Clipped::new(b""),
        status: 0,
        bytes_sent: 0,
        cluster: None,
        upstream: None,
        ..record(b"")
    };
    assert_eq!(
        line(AccessLogFormat::Common, &record),
        "fd77::9 - - [10/Oct/2000:20:55:36 +0000] \"-\" - -\n"
    );
}

#[test]
fn the_date_follows_the_second() {
    let mut formatter = Formatter::new(AccessLogFormat::Common, Vec::new());
    let mut out = Vec::new();
    for ns in [
        971_211_336_999_999_999,
        971_211_337_000_000_000,
        971_211_336_000_000_000,
    ] {
        let record = Record {
            time_unix_ns: ns,
            ..record(b"/")
        };
        formatter.line(&record, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let dates: Vec<&str> = text.lines().map(|line| &line[27..35]).collect();
    assert_eq!(dates, ["20:55:36", "20:55:37", "20:55:36"]);
}

#[test]
fn a_request_cannot_forge_a_line() {
    let evil = b"/\" 200 1\n6.6.6.6 - - \\\x1b[2J\xff\x7f";
    assert_eq!(
        line(AccessLogFormat::Common, &record(evil)),
        "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \
         \"GET /\\\" 200 1\\x0a6.6.6.6 - - \\\\\\x1b[2J\\xff\\x7f HTTP/1.1\" 200 2326\n"
    );
    let json = line(AccessLogFormat::Json, &record(evil));
    assert_eq!(json.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        value["target"],
        "/\" 200 1\n6.6.6.6 - - \\\u{1b}[2J\u{fffd}\u{7f}"
    );
}

#[test]
fn the_json_form() {
    assert_eq!(
        line(AccessLogFormat::Json, &record(b"/a?b=c")),
        concat!(
            r#"{"time":"2000-10-10T20:55:36.123456Z","client":"192.0.2.7:50000","method":"GET","#,
            r#""target":"/a?b=c","version":"HTTP/1.1","status":200,"bytes_sent":2326,"#,
            r#""duration_us":1234,"cluster":"one","upstream":"[fd77:2::2]:8080"}"#,
            "\n"
        )
    );
    let nowhere = Record {
        cluster: None,
        upstream: None,
        ..record(b"/")
    };
    assert!(line(AccessLogFormat::Json, &nowhere).contains(r#""cluster":null,"upstream":null}"#));
}

#[test]
fn long_targets_are_cut_and_say_so() {
    let long = vec![b'a'; 513];
    assert_eq!(Clipped::<512>::new(&long[..512]).bytes().len(), 512);
    assert!(!Clipped::<512>::new(&long[..512]).is_cut());
    let common = line(AccessLogFormat::Common, &record(&long));
    assert!(common.contains(&format!("GET {}... HTTP/1.1", "a".repeat(512))));
    let json = line(AccessLogFormat::Json, &record(&long));
    assert!(json.contains(r#""target_cut":true"#));
}

#[test]
fn every_record_of_every_worker_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    std::fs::write(&path, "what was there before\n").unwrap();
    let log = AccessLog::start(&path, AccessLogFormat::Json, Vec::new(), no_reopen()).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let sender = log.sender();
            let _handle = scope.spawn(move || {
                for n in 0..1000 {
                    let _taken = sender.send(record(format!("/{worker}/{n}").as_bytes()));
                }
            });
        }
    });
    let totals = log.finish();
    assert_eq!(
        totals,
        Totals {
            written: 4000,
            dropped: 0,
            failed: 0
        }
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("what was there before"));
    let mut targets: Vec<String> = lines
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["target"].as_str().unwrap().to_owned()
        })
        .collect();
    targets.sort();
    let mut expected: Vec<String> = (0..4)
        .flat_map(|worker| (0..1000).map(move |n| format!("/{worker}/{n}")))
        .collect();
    expected.sort();
    assert_eq!(targets, expected);
}

#[test]
fn a_full_channel_drops_and_counts_and_never_waits() {
    // A pipe nobody reads: the writer's thread blocks in its first write of more than 64 KiB.
    let (reader, pipe) = io::pipe().unwrap();
    let output = Output::File {
        path: PathBuf::from("unused"),
        file: File::from(std::os::fd::OwnedFd::from(pipe)),
    };
    let log = AccessLog::start_with(output, AccessLogFormat::Common, Vec::new(), no_reopen(), 64)
        .unwrap();
    let sender = log.sender();
    let target = vec![b'a'; 512];
    let sent = 100_000;
    for _ in 0..sent {
        let _taken = sender.send(record(&target));
    }
    let dropped = log.totals().dropped;
    assert!(dropped > 0, "64 slots and one pipe cannot hold it all");

    let drain = std::thread::Builder::new()
        .spawn(move || io::read_to_string(reader).unwrap().lines().count() as u64)
        .unwrap();
    let totals = log.finish();
    assert_eq!(totals.written + totals.dropped, sent);
    assert_eq!(totals.dropped, dropped);
    assert_eq!(drain.join().unwrap(), totals.written);
}

#[test]
fn a_rotated_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let old = dir.path().join("access.log.1");
    let reopen = no_reopen();
    let log = AccessLog::start(
        &path,
        AccessLogFormat::Common,
        Vec::new(),
        Arc::clone(&reopen),
    )
    .unwrap();
    let sender = log.sender();

    let _taken = sender.send(record(b"/first"));
    wait_until(|| log.totals().written == 1);
    std::fs::rename(&path, &old).unwrap();
    let _taken = sender.send(record(b"/second"));
    wait_until(|| log.totals().written == 2);
    reopen.store(true, Ordering::Relaxed);
    wait_until(|| path.exists());
    let _taken = sender.send(record(b"/third"));
    assert_eq!(log.finish().written, 3);

    let moved = std::fs::read_to_string(&old).unwrap();
    assert!(moved.contains("/first") && moved.contains("/second") && !moved.contains("/third"));
    let fresh = std::fs::read_to_string(&path).unwrap();
    assert!(fresh.contains("/third") && fresh.lines().count() == 1);
}

#[test]
fn what_cannot_be_written_is_counted() {
    let log = AccessLog::start(
        Path::new("/dev/full"),
        AccessLogFormat::Common,
        Vec::new(),
        no_reopen(),
    )
    .unwrap();
    let _taken = log.sender().send(record(b"/"));
    let _taken = log.sender().send(record(b"/"));
    assert_eq!(
        log.finish(),
        Totals {
            written: 0,
            dropped: 0,
            failed: 2
        }
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/folder/access.log");
    let start = AccessLog::start(&missing, AccessLogFormat::Common, Vec::new(), no_reopen());
    assert!(start.is_err());
}
