//! What can be wrong on a request's way: listeners, routes, clusters, bounds.

use super::*;

#[test]
fn mistakes_in_listeners() {
    let address = "\"10.77.1.1:8080\"";
    for (wrong, fragment) in [
        (
            "\"10.9.9.9:8080\"",
            "10.9.9.9 is not an address of port \"client\" — write 10.77.1.1 or fd77:1::1",
        ),
        (
            "\"0.0.0.0:8080\"",
            "not the wildcard — write 10.77.1.1 or fd77:1::1",
        ),
        (
            "\"10.77.1.1\"",
            "has no TCP port — write for example 10.77.1.1:8080",
        ),
        ("\"fd77:1::1\"", "write for example [fd77:1::1]:8080"),
        ("\"10.77.1.1:0\"", "TCP port 0"),
        ("\":8080\"", "is not an IP address with TCP port"),
    ] {
        one_mistake(address, wrong, wrong, "listener.address", &[fragment]);
    }
    one_mistake(
        "port = \"client\"",
        "port = \"clients\"",
        "\"clients\"",
        "listener.port",
        &["there is no port \"clients\" — write one of: client, origin"],
    );
    one_mistake(
        "\n[[listener.route]]\ncluster = \"origin\"\n",
        "",
        "[[listener]]",
        "listener.route",
        &["listener \"http\" has no route"],
    );
    let second = "[[listener]]\nname = \"http\"\nport = \"client\"\naddress = \"10.77.1.1:81\"\nroute = [{ cluster = \"origin\" }]";
    one_mistake_below(second, "\"http\"", "listener.name", &["\"http\" is taken"]);
    let clash = "[[listener]]\nname = \"b\"\nport = \"client\"\naddress = \"10.77.1.1:8080\"\nroute = [{ cluster = \"origin\" }]";
    one_mistake_below(
        clash,
        "\"10.77.1.1:8080\"",
        "listener.address",
        &["10.77.1.1:8080 is the address of listener \"http\" already"],
    );
    let (ports, rest) = MINIMAL.split_once("[[listener]]").unwrap();
    let clusters = rest.split_once("[[cluster]]").unwrap().1;
    let none = format!("{ports}[[cluster]]{clusters}");
    let found = problems(&none);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "listener");
    assert!(found[0].message.contains("there is no listener"));
}

#[test]
fn mistakes_in_routes() {
    let route = "[[listener.route]]\ncluster = \"origin\"";
    let with = |line: &str| format!("{route}\n{line}");
    for (line, mark, key, fragment) in [
        (
            "hosts = [\"a.*.org\"]",
            "\"a.*.org\"",
            "listener.route.hosts",
            "* in the middle",
        ),
        (
            "hosts = [\"a.org:80\"]",
            "\"a.org:80\"",
            "listener.route.hosts",
            "names a port",
        ),
        (
            "hosts = [\"a b\"]",
            "\"a b\"",
            "listener.route.hosts",
            "is not a host",
        ),
        (
            "hosts = [\"[::1\"]",
            "\"[::1\"",
            "listener.route.hosts",
            "not an IPv6 host",
        ),
        ("hosts = []", "[]", "listener.route.hosts", "empty list"),
        (
            "prefix = \"static\"",
            "\"static\"",
            "listener.route.prefix",
            "write \"/static\"",
        ),
        (
            "prefix = \"/a?b\"",
            "\"/a?b\"",
            "listener.route.prefix",
            "'?'",
        ),
        (
            "prefix = \"/\\n\"",
            "\"/\\n\"",
            "listener.route.prefix",
            "'\\n'",
        ),
    ] {
        one_mistake(route, &with(line), mark, key, &[fragment]);
    }
    one_mistake(
        route,
        "[[listener.route]]\ncluster = \"orign\"",
        "\"orign\"",
        "listener.route.cluster",
        &["there is no cluster \"orign\" — write one of: origin"],
    );
}

#[test]
fn a_route_nothing_gets_to_is_a_mistake() {
    let routes = |list: &[(&str, &str)]| -> String {
        let tables = list.iter().map(|(hosts, prefix)| {
            format!(
                "[[listener.route]]\nhosts = {hosts}\nprefix = \"{prefix}\"\ncluster = \"origin\"\n"
            )
        });
        MINIMAL.replace(
            "[[listener.route]]\ncluster = \"origin\"\n",
            &tables.collect::<String>(),
        )
    };
    for shadowed in [
        [(r#"["*"]"#, "/"), (r#"["a.org"]"#, "/x")],
        [
            (r#"["*.a.org"]"#, "/"),
            (r#"["www.a.org", "*.b.a.org"]"#, "/"),
        ],
        [(r#"["a.org", "b.org"]"#, "/x"), (r#"["b.org"]"#, "/x/y")],
    ] {
        one_mistake_in(
            &routes(&shadowed),
            "[[listener.route]]",
            "listener.route",
            &["no request gets to this route"],
        );
    }
    for fine in [
        [(r#"["a.org"]"#, "/"), (r#"["*"]"#, "/")],
        [(r#"["*"]"#, "/x"), (r#"["*"]"#, "/")],
        [(r#"["*.a.org"]"#, "/"), (r#"["a.org"]"#, "/")],
        [(r#"["a.org"]"#, "/"), (r#"["a.org", "b.org"]"#, "/")],
        [(r#"["*.a.org"]"#, "/"), (r#"["*"]"#, "/")],
    ] {
        if let Err(error) = from_toml("t.toml", &routes(&fine)) {
            panic!("{fine:?}: {error}");
        }
    }
}

#[test]
fn mistakes_in_clusters() {
    let endpoint = "\"10.77.2.2:8080\"";
    for (wrong, fragment) in [
        (
            "\"10.9.9.9:80\"",
            "cannot be reached through port \"origin\": it lies in no prefix of it and there is no IPv4 gateway",
        ),
        ("\"[fd77:1::2]:80\"", "there is no IPv6 gateway"),
        ("\"10.77.2.2\"", "has no TCP port"),
        (
            "\"origin.example:80\"",
            "is not an IP address with TCP port",
        ),
        ("\"127.0.0.1:80\"", "a loopback address"),
        (
            "\"10.77.2.1:80\"",
            "minivoy's own address on port \"origin\"",
        ),
    ] {
        one_mistake(
            endpoint,
            wrong,
            wrong,
            "cluster.endpoint.address",
            &[fragment],
        );
    }
    one_mistake(
        "port = \"origin\"",
        "port = \"up\"",
        "\"up\"",
        "cluster.port",
        &["there is no port \"up\""],
    );
    one_mistake(
        "\n[[cluster.endpoint]]\naddress = \"10.77.2.2:8080\"\n",
        "",
        "[[cluster]]",
        "cluster.endpoint",
        &["cluster \"origin\" has no endpoint"],
    );
    one_mistake_below(
        "[[cluster.endpoint]]\naddress = \"10.77.2.2:8080\"",
        endpoint,
        "cluster.endpoint.address",
        &["listed already"],
    );
    one_mistake(
        "port = \"origin\"",
        "port = \"origin\"\nmax_connections = 0",
        "0\n\n[[cluster.end",
        "cluster.max_connections",
        &["write 1 or more"],
    );
    let second = "[[cluster]]\nname = \"origin\"\nport = \"origin\"\nendpoint = [{ address = \"10.77.2.3:80\" }]";
    one_mistake_below(
        second,
        "\"origin\"\nport",
        "cluster.name",
        &["\"origin\" is taken"],
    );
    let circle = "[[cluster]]\nname = \"self\"\nport = \"client\"\nendpoint = [{ address = \"10.77.1.1:8080\" }]";
    one_mistake_below(
        circle,
        "\"10.77.1.1:8080\"",
        "cluster.endpoint.address",
        &["is listener \"http\": requests would go round in circles"],
    );
}

#[test]
fn mistakes_in_bounds() {
    for (line, mark, key, fragment) in [
        (
            "session_buffer = \"100KiB\"",
            "\"100KiB\"",
            "session_buffer",
            "100KiB is not a power of two from 4KiB to 512MiB — write \"128KiB\"",
        ),
        (
            "session_buffer = \"256KB\"",
            "\"256KB\"",
            "session_buffer",
            "write \"256KiB\"",
        ),
        (
            "session_buffer = \"1GiB\"",
            "\"1GiB\"",
            "session_buffer",
            "write \"512MiB\"",
        ),
        (
            "session_buffer = \"8EiB\"",
            "\"8EiB\"",
            "session_buffer",
            "write \"512MiB\"",
        ),
        (
            "session_buffer = \"16KiB\"",
            "\"16KiB\"",
            "max_head",
            "a head of 32KiB would never fit into a session_buffer of 16KiB",
        ),
        (
            "max_head = \"512KiB\"",
            "\"512KiB\"",
            "max_head",
            "would never fit",
        ),
        (
            "max_head = 100",
            "100",
            "max_head",
            "write \"1KiB\" or more",
        ),
        (
            "max_connections = 1",
            "1\n",
            "max_connections",
            "write 2 or more",
        ),
        (
            "max_connections = 10",
            "10\n",
            "max_half_open",
            "4096 is more than max_connections (10)",
        ),
        (
            "max_half_open = 0",
            "0\n",
            "max_half_open",
            "write 1 or more",
        ),
        ("max_fields = 1", "1\n", "max_fields", "write 8 or more"),
        (
            "max_requests = 0",
            "0\n",
            "max_requests",
            "leave the key out",
        ),
    ] {
        // The smallest max_connections breaks max_half_open as well: keep it to one mistake.
        let line = if mark == "1\n" && key == "max_connections" {
            "max_half_open = 1\nmax_connections = 1"
        } else {
            line
        };
        one_mistake_below(
            &format!("[limits]\n{line}"),
            mark,
            &format!("limits.{key}"),
            &[fragment],
        );
    }
    one_mistake_below(
        "[memory]\nlarge_frames = 0",
        "0\n",
        "memory.large_frames",
        &["write 1024 or more"],
    );
    one_mistake_below(
        "[forwarding]\nvia = \"my proxy\"",
        "\"my",
        "forwarding.via",
        &["cannot stand in a Via field"],
    );
    one_mistake_below(
        "[forwarding]\nvia = \"\"",
        "\"\"",
        "forwarding.via",
        &["cannot stand in a Via field"],
    );
}
