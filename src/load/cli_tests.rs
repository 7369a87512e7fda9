use super::*;

fn run(line: &str) -> Result<Command, UsageError> {
    parse(line.split_whitespace().map(OsString::from))
}

fn kernel(line: &str) -> Options {
    match run(line) {
        Ok(Command::Kernel(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    let error = run(line).expect_err(line).to_string();
    assert!(!error.contains('\n'), "one line: {error:?}");
    error
}

#[test]
fn kernel_sockets_need_no_double_dash() {
    for line in [
        "minivoy-load --kernel -c 100 -t 10s http://10.0.0.1:8080/16k",
        "minivoy-load -c 100 -t 10s http://10.0.0.1:8080/16k --kernel",
        "minivoy-load -- --kernel -c 100 -t 10s http://10.0.0.1:8080/16k",
        "minivoy-load --kernel -c 100 -t 10s -- http://10.0.0.1:8080/16k",
    ] {
        let options = kernel(line);
        let plan = options.plan().expect("a run");
        assert_eq!(
            plan.pace,
            Pace::new(0.0, 100, End::AfterUs(10_000_000)),
            "{line}"
        );
        assert_eq!(plan.url.address, "10.0.0.1:8080".parse().unwrap());
        assert_eq!(plan.url.target, "/16k");
    }
}

#[test]
fn defaults() {
    let options = kernel("minivoy-load --kernel http://10.0.0.1/");
    assert_eq!(options.threads, 1);
    assert_eq!(options.progress, 1);
    assert_eq!(
        options.percentiles,
        Percentiles(vec![50.0, 75.0, 90.0, 99.0, 99.9])
    );
    let plan = options.plan().unwrap();
    assert_eq!(plan.pace, Pace::new(0.0, 4, End::AfterUs(5_000_000)));
    assert_eq!((plan.method.as_str(), plan.payload), ("GET", None));
    assert_eq!(plan.timeout_us, Some(3_000_000));
    assert!(plan.keep_alive && !plan.verify);
    let options = kernel("minivoy-load --kernel --origin 127.0.0.1:80");
    assert_eq!(options.plan(), None);
}

#[test]
fn options_become_a_plan() {
    let plan = |options: &str| {
        let line = format!("minivoy-load --kernel {options} http://10.0.0.1/");
        kernel(&line).plan().unwrap()
    };
    assert_eq!(plan("-n 5").pace.end, End::Requests(5));
    assert_eq!(plan("-t 0").pace.end, End::Never);
    assert_eq!(plan("--time 1m").pace.end, End::AfterUs(60_000_000));
    assert_eq!(plan("-q 0.5").pace.qps, 0.5);
    assert_eq!(plan("--qps 1000").pace.qps, 1000.0);
    for closing in ["--keepalive false", "--keepalive=false", "--no-keepalive"] {
        assert!(!plan(closing).keep_alive, "{closing}");
    }
    assert!(plan("--keepalive true").keep_alive);
    assert_eq!(plan("--timeout 0").timeout_us, None);
    assert_eq!(plan("--timeout 250ms").timeout_us, Some(250_000));
    let post = plan("--body-size 16k");
    assert_eq!(
        (post.method.as_str(), post.payload),
        ("POST", Some(Payload::Pattern(16_384)))
    );
    let put = plan("-X PUT --payload abc");
    assert_eq!(
        (put.method.as_str(), put.payload),
        ("PUT", Some(Payload::Text(b"abc".into())))
    );
    assert!(plan("-X HEAD").head_only());
    assert_eq!(
        plan("-H Host:a -H X-Y:b").fields,
        [("Host".into(), "a".into()), ("X-Y".into(), "b".into())]
    );
    assert!(plan("--verify").verify);
}

#[test]
fn what_is_sent_is_a_request() {
    let line =
        "minivoy-load --kernel -H X-Y:b --payload abc --no-keepalive http://[::1]:81/x?size=1";
    let head = kernel(line).plan().unwrap().request_head();
    let mut reader = dataplane::load::request::RequestReader::new();
    let read = reader.next(&head, &mut dataplane::load::Heads::new());
    assert_eq!(read, Ok(dataplane::load::Piece::Head { len: head.len() }));
    let asked = reader.asked().unwrap();
    assert_eq!((asked.length, asked.keep_alive), (Some(1), false));
    assert_eq!(reader.data_left(), 3);
}

#[test]
fn progress_takes_its_value_with_an_equals_sign() {
    for (line, seconds) in [
        ("minivoy-load --kernel --progress http://10.0.0.1/", 1),
        ("minivoy-load --kernel --progress=5 http://10.0.0.1/", 5),
        ("minivoy-load --kernel --progress=0 http://10.0.0.1/", 0),
    ] {
        assert_eq!(kernel(line).progress, seconds, "{line}");
    }
}

#[test]
fn ports_have_a_half_for_eal() {
    let line = "minivoy-load -l 1 --no-pci -c 3 -- --port lan=packet:eth1,address=10.0.0.9/24 \
                -c 100 http://10.0.0.1/";
    let Ok(Command::Ports { eal, options }) = run(line) else {
        panic!();
    };
    assert_eq!(eal, ["minivoy-load", "-l", "1", "--no-pci", "-c", "3"]);
    assert_eq!(options.ports, ["lan=packet:eth1,address=10.0.0.9/24"]);
    assert_eq!(options.connections, 100);
}

#[test]
fn help_and_version_work_everywhere() {
    for line in [
        "minivoy-load --help",
        "minivoy-load -h",
        "minivoy-load --kernel --help",
        "minivoy-load -l 0 -- --help",
    ] {
        let Ok(Command::Print(text)) = run(line) else {
            panic!("{line}");
        };
        for word in [
            "--kernel",
            "-l 1",
            "--qps",
            "--origin",
            "--verify",
            "Exit status",
            "URL",
        ] {
            assert!(text.contains(word), "{line}: no {word} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "no colour codes");
    }
    let expected = format!("minivoy-load {}\n", env!("CARGO_PKG_VERSION"));
    for line in [
        "minivoy-load -V",
        "minivoy-load --kernel -V",
        "minivoy-load -- --version",
    ] {
        assert_eq!(run(line), Ok(Command::Print(expected.clone())), "{line}");
    }
}

#[test]
fn mistakes_are_one_line_that_says_what_to_type() {
    const URL: &str = "http://10.0.0.1/";
    for (options, fragment) in [
        ("", "neither --kernel nor `--`"),
        ("-c 100 URL", "minivoy-load --kernel [options] URL"),
        ("--qps 5 URL", "neither --kernel"),
        (
            "--qps 5 -- URL",
            "--qps is minivoy-load's own option and belongs after `--`",
        ),
        ("-l 0 -- URL", "no --port"),
        ("-l 0 -- --kernel URL", "-l stands before `--`"),
        ("--kernel", "<URL"),
        (
            "--kernel -l 0 URL",
            "-l is an EAL option and belongs before `--`",
        ),
        ("--kernel --port a=packet:b URL", "cannot be used with"),
        ("--kernel https://10.0.0.1/", "there is no TLS"),
        ("--kernel http://example.org/", "names are not resolved"),
        ("--kernel -c 0 URL", "invalid value '0'"),
        ("--kernel -q -5 URL", "unexpected argument '-5'"),
        (
            "--kernel -q fast URL",
            "write a number of requests a second",
        ),
        ("--kernel -t 10 URL", "write \"10s\""),
        ("--kernel -n 0 URL", "invalid value '0'"),
        ("--kernel -n 5 -t 5s URL", "cannot be used with"),
        (
            "--kernel --keepalive maybe URL",
            "[possible values: true, false]",
        ),
        ("--kernel -X CONNECT URL", "tunnels are not spoken"),
        ("--kernel -H nonsense URL", "write \"Name: value\""),
        ("--kernel -H Content-Length:5 URL", "use --body-size"),
        ("--kernel -H Connection:close URL", "use --keepalive"),
        ("--kernel --body-size huge URL", "write bytes"),
        (
            "--kernel --body-size 1 --payload a URL",
            "cannot be used with",
        ),
        ("--kernel -p 50,x URL", "is not a percentile"),
        ("--kernel --origin 10.0.0.1 ", "invalid socket address"),
        (
            "--kernel --origin 10.0.0.1:80 URL",
            "either a URL or --origin",
        ),
        (
            "--kernel --sources fd00::/112 URL",
            "different address families",
        ),
        ("--kernel --sources 10.0.0.0/40 URL", "write a prefix"),
        (
            "--kernel --connection 5 URL",
            "a similar argument exists: '--connections'",
        ),
        ("--kernel URL URL", "unexpected argument"),
    ] {
        let line = format!("minivoy-load {options}").replace("URL", URL);
        let message = error(&line);
        assert!(message.contains(fragment), "{line}: {message}");
    }
}

#[test]
fn the_definition_holds() {
    Options::command().debug_assert();
}
