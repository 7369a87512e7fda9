//! minivoy-load over kernel sockets, as its users meet it: against servers that behave and servers that
//! do not, and against its own origin.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A run of the load generator.
struct Run {
    output: Output,
    json: Value,
}

impl Run {
    /// `minivoy-load --kernel OPTIONS URL`.
    fn new(options: &str, url: &str) -> Self {
        let output = load(&format!("--kernel --json - --progress=0 {options} {url}"));
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        Self { output, json }
    }

    fn number(&self, name: &str) -> u64 {
        self.json[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {}", self.json))
    }

    fn status(&self, code: &str) -> u64 {
        self.json["RetCodes"][code].as_u64().unwrap_or(0)
    }

    fn failures(&self, cause: &str) -> u64 {
        self.json["Failures"][cause].as_u64().unwrap_or(0)
    }

    fn percentile(&self, histogram: &str, percentile: f64) -> f64 {
        let all = self.json[histogram]["Percentiles"].as_array().unwrap();
        let one = all
            .iter()
            .find(|one| one["Percentile"] == percentile)
            .unwrap();
        one["Value"].as_f64().unwrap()
    }

    #[track_caller]
    fn all_right(&self, calls: u64, sockets: u64) {
        assert_eq!(self.status("200"), calls, "{}", self.json);
        assert_eq!(
            self.json["DurationHistogram"]["Count"], calls,
            "{}",
            self.json
        );
        assert_eq!(self.number("SocketCount"), sockets, "{}", self.json);
        assert_eq!(self.output.status.code(), Some(0));
    }

    #[track_caller]
    fn failed(&self, cause: &str, calls: u64) {
        assert_eq!(self.failures(cause), calls, "{}", self.json);
        assert_eq!(self.status("-1"), calls, "{}", self.json);
        assert_eq!(self.output.status.code(), Some(3));
    }
}

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minivoy-load"));
    let _command = command.args(args.split_whitespace()).env_remove("RUST_LOG");
    command
}

fn load(args: &str) -> Output {
    command(args).output().expect("the binary can be run")
}

/// Its own origin, in a process of its own.
struct Origin {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Origin {
    fn start(options: &str) -> Self {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let args = format!("--kernel --progress=0 --origin {address} {options}");
        let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let _len = stderr.read_line(&mut line).unwrap();
        assert_eq!(line, format!("serving at {address}\n"));
        Self {
            child,
            address,
            stderr,
        }
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Ends it, and returns its last words.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let mut text = String::new();
        let _len = self.stderr.read_to_string(&mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        text
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // No harm when it has ended.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A server of the test's own: `serve` gets each connection, with its number, in a thread.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    #[allow(clippy::disallowed_methods, reason = "a server has threads")]
    fn start(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            stop: Arc::default(),
            accepted: Arc::default(),
        };
        let (stop, accepted) = (Arc::clone(&server.stop), Arc::clone(&server.accepted));
        let serve = Arc::new(serve);
        let _thread = thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (serve, number) =
                    (Arc::clone(&serve), accepted.fetch_add(1, Ordering::Relaxed));
                let _thread = thread::spawn(move || serve(socket.unwrap(), number));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed) as u64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _last = TcpStream::connect(self.address);
    }
}

/// Reads a request without body; `None` when the client has closed.
fn request(socket: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    String::from_utf8(text).ok()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers each request with `answer`, until the client closes.
fn always(answer: &'static [u8]) -> Server {
    Server::start(move |mut socket, _| {
        while request(&mut socket).is_some() {
            socket.write_all(answer).unwrap();
        }
    })
}

#[test]
fn kept_connections_are_as_many_as_were_asked_for() {
    let server = always(OK);
    for (options, sockets) in [
        ("-c 5 -n 200", 5),
        ("-c 7 --threads 3 -n 201", 7),
        ("-c 3 -n 3", 3),
    ] {
        let before = server.accepted();
        let run = Run::new(options, &server.url());
        let calls = options.rsplit(' ').next().unwrap().parse().unwrap();
        run.all_right(calls, sockets);
        assert_eq!(server.accepted() - before, sockets, "{options}");
        assert_eq!(run.json["HeaderSizes"]["Avg"], 38.0);
        assert_eq!(run.json["Sizes"]["Sum"], calls * 40);
    }
}

#[test]
fn without_keep_alive_each_request_has_its_connection() {
    let server = Server::start(|mut socket, _| {
        let head = request(&mut socket).unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        let _sent = socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
    });
    let run = Run::new("-c 4 -n 40 --no-keepalive", &server.url());
    run.all_right(40, 40);
    assert_eq!(run.json["Sizes"]["Avg"], 38.0 + 13.0);
}

#[test]
fn a_server_that_closes_after_some_requests_costs_connections_and_no_errors() {
    // Without a word, as a server does whose limit of requests is reached or whose time is up.
    let server = Server::start(|mut socket, _| {
        for _ in 0..10 {
            if request(&mut socket).is_none() {
                return;
            }
            socket.write_all(OK).unwrap();
        }
    });
    let run = Run::new("-c 2 -n 100", &server.url());
    assert_eq!(run.status("200"), 100, "{}", run.json);
    let sockets = run.number("SocketCount");
    assert!((10..=14).contains(&sockets), "{sockets}");
    assert_eq!(run.output.status.code(), Some(0));
}

#[test]
fn a_server_that_closes_instead_of_answering_has_failed() {
    for (answer, calls) in [
        (&b""[..], 6),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 6),
    ] {
        let server = Server::start(move |mut socket, _| {
            let _head = request(&mut socket);
            let _sent = socket.write_all(answer);
        });
        Run::new("-c 2 -n 6", &server.url()).failed("connection closed early", calls);
    }
}

#[test]
fn what_is_no_response_is_malformed() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than that",
    ] {
        let server = Server::start(move |mut socket, _| {
            while request(&mut socket).is_some() {
                if socket.write_all(answer).is_err() {
                    return;
                }
            }
        });
        Run::new("-c 2 -n 6", &server.url()).failed("malformed response", 6);
    }
}

#[test]
fn heads_and_chunks_may_come_byte_by_byte() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n6;x\r\npedia \r\n0\r\nT: v\r\n\r\n";
    let server = Server::start(move |mut socket, _| {
        socket.set_nodelay(true).unwrap();
        while request(&mut socket).is_some() {
            for byte in answer {
                socket.write_all(&[*byte]).unwrap();
                thread::yield_now();
            }
        }
    });
    let run = Run::new("-c 2 -n 20", &server.url());
    run.all_right(20, 2);
    assert_eq!(run.json["Sizes"]["Avg"], 47.0 + 10.0);
}

#[test]
fn a_port_where_nobody_listens_is_said_and_not_stormed() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let run = Run::new("-c 3 -n 9", &format!("http://{address}/"));
    run.failed("connection not opened", 9);
    // Three connections, each of which rests for 100 ms after a failure.
    assert!(run.number("ActualDuration") >= 200_000_000, "{}", run.json);
    let stderr = String::from_utf8_lossy(&run.output.stderr).into_owned();
    assert_eq!(stderr.matches("cannot connect").count(), 1, "{stderr}");
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn an_exchange_that_takes_too_long_has_failed() {
    let server = Server::start(|mut socket, _| {
        // The second request of a connection never gets its answer.
        let _first = request(&mut socket);
        socket.write_all(OK).unwrap();
        while request(&mut socket).is_some() {}
    });
    let run = Run::new("-c 1 -n 3 --timeout 200ms", &server.url());
    assert_eq!(
        (run.status("200"), run.failures("timed out")),
        (2, 1),
        "{}",
        run.json
    );
    assert_eq!(run.number("SocketCount"), 2);
    let slowest = run.json["DurationHistogram"]["Max"].as_f64().unwrap();
    assert!((0.2..1.0).contains(&slowest), "{slowest}");
}

/// The point of counting from when a request should have begun. The server stalls once, for a second, in
/// three: at 100 requests a second on one connection a third of the requests should have begun meanwhile,
/// and had to wait. Those that did not begin say nothing of it.
#[test]
#[allow(clippy::disallowed_methods, reason = "a server that stalls")]
fn a_stall_is_seen_by_those_who_should_have_come() {
    let server = Server::start(|mut socket, _| {
        let mut requests = 0;
        while request(&mut socket).is_some() {
            requests += 1;
            if requests == 100 {
                thread::sleep(Duration::from_secs(1));
            }
            socket.write_all(OK).unwrap();
        }
    });
    let run = Run::new("-c 1 -q 100 -n 300 -p 50,80,99", &server.url());
    run.all_right(300, 1);
    let corrected = run.percentile("DurationHistogram", 99.0);
    let service = run.percentile("ServiceHistogram", 99.0);
    assert!((0.9..1.2).contains(&corrected), "p99 {corrected}");
    assert!(service < 0.2, "p99 of service {service}");
    // Of 100 requests due during the stall half waited for 500 ms or more: a sixth of all.
    let waited = run.percentile("DurationHistogram", 80.0);
    assert!(waited > 0.2, "p80 {waited}");
    assert!(
        run.percentile("DurationHistogram", 50.0) < 0.2,
        "{}",
        run.json
    );
}

#[test]
fn a_fixed_rate_is_kept() {
    let server = always(OK);
    let run = Run::new("-c 4 -q 500 -t 2s", &server.url());
    let calls = run.status("200");
    assert!((950..=1000).contains(&calls), "{calls}");
    assert_eq!(
        calls + run.number("MissedCalls"),
        1000,
        "every one is accounted for"
    );
    assert_eq!(run.number("SocketCount"), 4);
    assert_eq!(run.json["RequestedQPS"], "500");
}

#[test]
fn against_its_own_origin_every_byte_is_right() {
    let origin = Origin::start("--threads 2");
    for (options, target, body, calls) in [
        ("-c 8 -n 400", "/16k", 16_384, 400),
        ("-c 2 -n 6", "/12m", 12 << 20, 6),
        ("-c 2 -n 20", "/x?size=70000", 70_000, 20),
        ("-c 2 -n 20", "/0", 0, 20),
        ("-c 2 -n 20 -X HEAD", "/5000", 0, 20),
        ("-c 2 -n 20 --body-size 300k", "/1k", 1024, 20),
        ("-c 2 -n 20 --payload abc -X PUT", "/1k", 1024, 20),
        ("-c 4 -n 40 --threads 2", "/100k", 102_400, 40),
    ] {
        // Looked at byte by byte, and thrown away unseen.
        for verify in ["--verify", ""] {
            let run = Run::new(&format!("{options} {verify}"), &origin.url(target));
            let connections = run.number("NumConnections");
            run.all_right(calls, connections);
            let heads = run.json["HeaderSizes"]["Sum"].as_u64().unwrap();
            assert_eq!(
                run.json["Sizes"]["Sum"].as_u64().unwrap() - heads,
                calls * body,
                "{options}"
            );
        }
    }
    let run = Run::new("-c 4 -n 100 --no-keepalive --verify", &origin.url("/100k"));
    run.all_right(100, 100);
    let run = Run::new("-c 2 -n 10", &origin.url("/nothing"));
    assert_eq!(run.status("404"), 10, "{}", run.json);
    let words = origin.stop();
    assert!(words.contains("0 malformed"), "{words}");
    assert!(words.contains("(10 without a length"), "{words}");
}

#[test]
fn wrong_bytes_are_found_only_where_they_are_looked_for() {
    let server = always(OK);
    Run::new("-c 1 -n 5 --verify", &server.url()).failed("wrong bytes in body", 5);
    Run::new("-c 1 -n 5", &server.url()).all_right(5, 1);
}

#[test]
fn the_origin_speaks_http() {
    let origin = Origin::start("");
    let talk = |text: &str| {
        let mut socket = TcpStream::connect(origin.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _len = socket.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Two requests in one segment, the second of which ends the connection.
    let text = talk("GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /0 HTTP/1.0\r\n\r\n");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    assert_eq!(text.matches("\r\nDate: ").count(), 2, "{text}");
    assert!(
        text.contains("Content-Length: 3\r\n") && text.contains("Content-Length: 0\r\n"),
        "{text}"
    );
    // Bodies of both framings are passed over.
    let text = talk(
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
         PUT /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nxyz",
    );
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
    // Nonsense is refused.
    let text = talk("GET / HTTP/1.1\r\n\r\n");
    assert!(
        text.starts_with("HTTP/1.1 400 ") && text.contains("no Host"),
        "{text}"
    );
    // A client that waits for leave to send its body gets it.
    let mut socket = TcpStream::connect(origin.address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
        .write_all(
            b"POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .unwrap();
    let mut leave = [0; 25];
    socket.read_exact(&mut leave).unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"ab").unwrap();
    let mut status = [0; 15];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
}

#[test]
fn many_source_addresses_are_used() {
    let peers = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let seen = Arc::clone(&peers);
    let counting = Server::start(move |mut socket, _| {
        let _new = seen
            .lock()
            .unwrap()
            .insert(socket.peer_addr().unwrap().ip());
        while request(&mut socket).is_some() {
            socket.write_all(OK).unwrap();
        }
    });
    // The kernel has all of 127.0.0.0/8.
    Run::new("-c 12 -n 24 --sources 127.8.0.0/29", &counting.url()).all_right(24, 12);
    assert_eq!(peers.lock().unwrap().len(), 6);
    let options = "-c 12 -n 24 --threads 2 --sources 127.9.0.0/29 --sources 127.9.1.1";
    Run::new(options, &counting.url()).all_right(24, 12);
    assert_eq!(peers.lock().unwrap().len(), 6 + 7);
}

#[test]
fn the_report_goes_to_standard_output_and_progress_to_the_other() {
    let server = always(OK);
    let output = load(&format!("--kernel -c 2 -t 1500ms {}", server.url()));
    let (text, progress) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    for line in [
        "# target 99% 0.",
        "\nSockets used: 2 (for perfect keepalive, would be 2)\n",
        "\nCode 200 : ",
        "\nAll done ",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(progress.contains("1 s: "), "{progress}");
    assert!(progress.contains(", 0 errors, "), "{progress}");
}

#[test]
fn an_interrupted_run_has_its_report() {
    let server = always(OK);
    let mut child = command(&format!("--kernel -c 2 -t 0 --json - {}", server.url()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("requests, 0 errors") {
        line.clear();
        assert_ne!(
            stderr.read_line(&mut line).unwrap(),
            0,
            "it ended by itself"
        );
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["RetCodes"]["200"].as_u64().unwrap() > 0);
}

#[test]
fn mistakes_are_one_line() {
    for (args, code, fragment) in [
        ("", 2, "neither --kernel nor `--`"),
        (
            "--kernel -c 1 -n 1 http://example.org/",
            2,
            "names are not resolved",
        ),
        (
            "--kernel --origin 192.0.2.1:80",
            1,
            "cannot listen at 192.0.2.1:80",
        ),
        (
            "--kernel -c 1 -n 1 --json /nowhere/x.json --progress=0 http://127.0.0.1:1/",
            1,
            "cannot write the JSON file",
        ),
    ] {
        let output = load(args);
        assert_eq!(output.status.code(), Some(code), "{args}: {output:?}");
        assert_eq!(output.stdout, b"", "{args}");
        let text = String::from_utf8(output.stderr).unwrap();
        let own: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("minivoy-load: "))
            .collect();
        let [line] = own.as_slice() else {
            panic!("{args}: one line, not {text}");
        };
        assert!(line.contains(fragment), "{args}: {line}");
    }
}
