//! Every mistake with the place, key and words it is reported with.

mod frames;
mod ports;
mod routing;
mod shipped;

use super::*;

/// A configuration with only what has no default. Tests replace lines in it.
const MINIMAL: &str = r#"
[[port]]
name = "client"
device = "packet:eth1"
addresses = ["10.77.1.1/24", "fd77:1::1/64"]

[[port]]
name = "origin"
device = "packet:eth2"
addresses = ["10.77.2.1/24"]

[[listener]]
name = "http"
port = "client"
address = "10.77.1.1:8080"

[[listener.route]]
cluster = "origin"

[[cluster]]
name = "origin"
port = "origin"

[[cluster.endpoint]]
address = "10.77.2.2:8080"
"#;

fn problems(text: &str) -> Vec<Problem> {
    match from_toml("t.toml", text) {
        Err(ConfigError::Invalid { problems }) => problems,
        other => panic!("must be refused: {other:?}"),
    }
}

/// Replaces `from` by `to` in the minimal configuration, and expects one problem at the place
/// where `mark` stands in the result, with this key and all these fragments in its message.
#[track_caller]
fn one_mistake(from: &str, to: &str, mark: &str, key: &str, fragments: &[&str]) {
    assert_eq!(
        MINIMAL.matches(from).count(),
        1,
        "{from:?} is to be replaced once"
    );
    one_mistake_in(&MINIMAL.replace(from, to), mark, key, fragments);
}

#[track_caller]
fn one_mistake_in(text: &str, mark: &str, key: &str, fragments: &[&str]) {
    let found = problems(text);
    let [problem] = found.as_slice() else {
        panic!("one problem, not {found:#?}");
    };
    // The last occurrence: what a test adds comes after what was there.
    let at = text.rfind(mark).expect("the mark is in the text");
    assert_eq!(
        (problem.line, problem.column),
        position(text, at),
        "{problem}"
    );
    assert_eq!(problem.key, key, "{problem}");
    for fragment in fragments {
        assert!(
            problem.message.contains(fragment),
            "no {fragment:?} in: {problem}"
        );
    }
    assert!(!problem.to_string().contains('\n'), "one line: {problem}");
}

/// As [`one_mistake`], with lines appended to the minimal configuration.
#[track_caller]
fn one_mistake_below(lines: &str, mark: &str, key: &str, fragments: &[&str]) {
    one_mistake_in(&format!("{MINIMAL}{lines}\n"), mark, key, fragments);
}

#[test]
fn the_minimal_configuration_is_understood() {
    let config = from_toml("t.toml", MINIMAL).unwrap();
    let settings = &config.settings;
    assert_eq!(config.ports.len(), 2);
    assert_eq!(config.ports[1].device.to_string(), "packet:eth2");
    assert_eq!(
        settings.ports[0].addresses[1],
        ("fd77:1::1".parse().unwrap(), 64)
    );
    let listener = &settings.listeners[0];
    assert_eq!(listener.address, "10.77.1.1:8080".parse().unwrap());
    assert_eq!((listener.port.0, listener.scheme), (0, "http"));
    let route = &listener.routes[0];
    assert_eq!(
        (route.hosts.as_slice(), route.prefix.as_str()),
        (&["*".to_owned()][..], "/")
    );
    let cluster = &settings.clusters[usize::from(route.cluster.0)];
    assert_eq!((cluster.name.as_str(), cluster.port.0), ("origin", 1));
    assert_eq!(cluster.endpoints, ["10.77.2.2:8080".parse().unwrap()]);
    assert_eq!(
        format!("{:?}", settings.limits),
        format!("{:?}", dataplane::settings::Limits::default())
    );
    assert_eq!(
        format!("{:?}", settings.timeouts),
        format!("{:?}", dataplane::settings::Timeouts::default())
    );
    assert!(!settings.access_log);
}

#[test]
fn every_key_has_its_effect() {
    let config = from_toml(
        "t.toml",
        r#"
[[port]]
name = "nic"
device = "dpdk:3B:00.0"
addresses = ["10.77.1.1/24"]
gateways = ["10.77.1.254"]
neighbors = [{ address = "10.77.1.254", mac = "02:00:00:00:00:fe" }]
mtu = 9000
rx_frames = "large"
[[listener]]
name = "a"
port = "nic"
address = "10.77.1.1:80"
scheme = "https"
[[listener.route]]
hosts = ["Example.org", "*.example.org"]
prefix = "/static/"
cluster = "two"
[[listener.route]]
cluster = "one"
[[cluster]]
name = "one"
port = "nic"
max_connections = 7
max_idle = 0
max_pending = 5
endpoint = [{ address = "10.77.1.2:80" }, { address = "192.0.2.1:80" }]
[[cluster]]
name = "two"
port = "nic"
endpoint = [{ address = "10.77.1.3:80" }]
[limits]
max_connections = 100
max_half_open = 10
session_buffer = "64KiB"
max_head = 4096
max_fields = 50
max_request_body = "1MiB"
max_requests = 9
[timeouts]
pending = "500ms"
connect = "1s"
request_head = "2s"
idle = "3s"
stream = "4s"
response = "5s"
upstream_idle = "6s"
drain = "0s"
[forwarding]
x_forwarded_for = true
x_forwarded_proto = true
via = "edge-1"
upgrade = true
[memory]
small_frames = 11
large_frames = 12
"#,
    )
    .unwrap();
    let text = format!("{config:?}");
    for fragment in [
        r#"device: Dpdk { device: "0000:3b:00.0" }, mtu: Some(9000), rx_class: Large"#,
        "gateways: [10.77.1.254]",
        "neighbors: [(10.77.1.254, [2, 0, 0, 0, 0, 254])]",
        r#"scheme: "https""#,
        r#"Route { hosts: ["example.org", "*.example.org"], prefix: "/static/", cluster: ClusterId(1) }"#,
        r#"Route { hosts: ["*"], prefix: "/", cluster: ClusterId(0) }"#,
        "endpoints: [10.77.1.2:80, 192.0.2.1:80], max_connections: 7, max_pending: 5, max_idle: 0",
        "Limits { max_connections: 100, max_half_open: 10, session_buffer: 65536, max_head: 4096, max_fields: 50, max_request_body: Some(1048576), max_requests: Some(9) }",
        "Timeouts { pending: 500, connect: 1000, request_head: 2000, idle: 3000, stream: 4000, response: 5000, upstream_idle: 6000, drain: 0 }",
        r#"Forwarding { x_forwarded_for: true, x_forwarded_proto: true, via: Some("edge-1"), upgrade: true }"#,
        "MemorySettings { small_frames: 11, large_frames: 12 }",
    ] {
        assert!(text.contains(fragment), "no {fragment} in {text}");
    }
}

#[test]
fn mistakes_of_form_name_place_and_key() {
    one_mistake(
        "device = \"packet:eth1\"",
        "devise = \"packet:eth1\"",
        "devise",
        "port.devise",
        &["unknown field `devise`", "`device`"],
    );
    one_mistake(
        "[[listener.route]]\ncluster",
        "[[listener.route]]\nclustr",
        "clustr",
        "listener.route.clustr",
        &["unknown field `clustr`"],
    );
    one_mistake(
        "[[listener]]\n",
        "[[listner]]\n",
        "listener.route]]",
        "listener",
        &["write [[listener]]"],
    );
    one_mistake_in("[port]\nname = 'a'", "[port]", "port", &["write [[port]]"]);
    one_mistake_in(
        "[[ports]]",
        "ports",
        "ports",
        &["unknown field `ports`", "`port`"],
    );
    one_mistake(
        "port = \"client\"\n",
        "",
        "[[listener]]",
        "listener",
        &["missing field `port`"],
    );
    one_mistake(
        "name = \"http\"",
        "name = 80",
        "80\n",
        "listener.name",
        &["integer `80`, expected a string"],
    );
    one_mistake(
        "addresses = [\"10.77.2.1/24\"]",
        "addresses = \"10.77.2.1/24\"",
        "\"10.77.2.1/24\"",
        "port.addresses",
        &["expected a sequence"],
    );
    one_mistake_below(
        "[limits]\nsession_buffer = \"big\"",
        "\"big\"",
        "limits.session_buffer",
        &["write \"256KiB\""],
    );
    one_mistake_below(
        "[limits]\nmax_fields = 70000",
        "70000",
        "limits.max_fields",
        &["expected u16"],
    );
    one_mistake_below(
        "[timeouts]\nidle = 60",
        "60",
        "timeouts.idle",
        &["a duration in quotes, such as \"5s\""],
    );
    one_mistake_below(
        "[timeouts]\nidle = \"60\"",
        "\"60\"",
        "timeouts.idle",
        &["time unit needed"],
    );
    one_mistake_below(
        "[memory]\nsmall_frames = -1",
        "-1",
        "memory.small_frames",
        &["expected u32"],
    );
    one_mistake(
        "name = \"http\"",
        "name = \"http\"\nscheme = \"ftp\"",
        "\"ftp\"",
        "listener.scheme",
        &["unknown variant `ftp`", "`https`"],
    );
    one_mistake_in("limits = 3", "3", "limits", &["write [limits]"]);
    // Not TOML at all: there is no key to name.
    one_mistake_in("[[port]\nname = 1", "\nname", "", &["unclosed array table"]);
    one_mistake_below(
        "[limits]\nmax_fields = 9\nmax_fields = 9",
        "max_fields",
        "",
        &["duplicate key"],
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = MINIMAL
        .replace("\"packet:eth2\"", "\"eth2\"")
        .replace(
            "address = \"10.77.1.1:8080\"",
            "address = \"10.77.1.9:8080\"",
        )
        .replace(
            "[[listener.route]]\ncluster = \"origin\"",
            "[[listener.route]]\ncluster = \"x\"",
        )
        + "[limits]\nmax_head = 1\n";
    let error = from_toml("my.toml", &text).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 4, "{error}");
    for (line, start) in lines.iter().zip([
        "my.toml:9:10: port.device: ",
        "my.toml:15:11: listener.address: ",
        "my.toml:18:11: listener.route.cluster: ",
        "my.toml:27:12: limits.max_head: ",
    ]) {
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains(" — "), "a remedy: {line}");
    }
}

#[test]
fn what_depends_on_a_mistake_is_not_a_second_mistake() {
    // The listener's address cannot be judged, nor the endpoint's.
    one_mistake(
        "[\"10.77.1.1/24\", \"fd77:1::1/64\"]",
        "[\"10.77.1.1\"]",
        "\"10.77.1.1\"",
        "port.addresses",
        &["prefix length"],
    );
    one_mistake(
        "[\"10.77.2.1/24\"]",
        "[\"10.77.2.1\"]",
        "\"10.77.2.1\"",
        "port.addresses",
        &["prefix length"],
    );
}

#[test]
fn columns_count_characters() {
    let text = "[[port]]\nname = \"ü\"\nü = 1\n";
    assert_eq!(position("ü = \"x\"", 5), (1, 5));
    assert!(matches!(
        problems(text)[0],
        Problem {
            line: 3,
            column: 1,
            ..
        }
    ));
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = load(Path::new("/nonexistent/p.toml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot read /nonexistent/p.toml: No such file or directory (os error 2)"
    );
}
