//! The access log: a line for every request, whoever answered it.

mod sim_common;

use dataplane::proxy::AccessEntry;
use dataplane::sim::client::{Exchange, Method};
use dataplane::sim::{Setup, World};
use sim_common::{SECOND, assert_settles, mover, plan};

/// What one connection with one request leaves in the log.
fn logged(method: Method, prefix: &'static str, access_log: bool) -> Vec<AccessEntry> {
    let mut setup = Setup {
        prefix,
        ..Setup::default()
    };
    setup.settings.access_log = access_log;
    setup.settings.timeouts.request_head = 2_000;
    let mut world = World::new(setup, mover(false));
    let exchange = Exchange {
        method,
        ..Exchange::get(100)
    };
    let _ = world.add_client(8 * 1024, vec![plan(vec![exchange])]);
    assert!(world.run_until(20 * SECOND, World::finished));
    let mut entries = Vec::new();
    world
        .worker
        .take_access(|entry| entries.push(entry.clone()));
    assert_settles(&mut world, "access log");
    world
        .worker
        .take_access(|entry| entries.push(entry.clone()));
    entries
}

#[test]
fn what_the_proxy_answers_by_itself_is_logged() {
    for (method, prefix, line, status) in [
        (Method::Get, "/api", "GET /length/100/0/0/0 HTTP/1.1", 404),
        (
            Method::Raw("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"),
            "/",
            "OPTIONS / HTTP/1.1",
            501,
        ),
        (
            Method::Raw("\r\nGET  /two-spaces HTTP/1.1\r\nHost: a\r\n\r\n"),
            "/",
            "GET  /two-spaces HTTP/1.1",
            400,
        ),
        (
            Method::Raw("GET /x HTTP/3.0\r\nHost: a\r\n\r\n"),
            "/",
            "GET /x HTTP/3.0",
            505,
        ),
        (Method::Raw("GET /never-ends HTTP/1.1\r\n"), "/", "", 408),
    ] {
        let entries = logged(method, prefix, true);
        let [entry] = entries.as_slice() else {
            panic!("{line}: one entry, not {entries:?}");
        };
        assert_eq!(str::from_utf8(&entry.request), Ok(line));
        assert_eq!(entry.status, status, "{line}");
        assert!((100..400).contains(&entry.bytes), "{line}: {entry:?}");
        assert_eq!((entry.upstream, entry.cluster), (None, None), "{line}");
        assert_eq!(entry.client.ip().to_string(), "10.0.0.2", "{line}");
        assert!(logged(method, prefix, false).is_empty(), "{line}");
    }
}

#[test]
fn an_exchange_is_logged_with_its_endpoint() {
    let entries = logged(Method::Get, "/", true);
    let [entry] = entries.as_slice() else {
        panic!("one entry, not {entries:?}");
    };
    assert_eq!(entry.status, 200);
    assert!(entry.upstream.is_some() && entry.cluster.is_some());
    assert!(entry.bytes > 100, "{entry:?}");
}
