//! The engine's report of an exchange as a record of the access log.

use dataplane::proxy::AccessEntry;

use crate::access_log::{Clipped, Record};

/// `now` is the time at which the exchange has ended, in nanoseconds since 1970.
pub fn record(entry: &AccessEntry, now: u64) -> Record {
    let duration_ns = entry.duration_us.saturating_mul(1000);
    let [method, target, version] = split(&entry.request);
    Record {
        time_unix_ns: now.saturating_sub(duration_ns),
        client: entry.client,
        method: Clipped::new(method),
        target: Clipped::new(target),
        version: Clipped::new(version),
        status: entry.status,
        bytes_sent: entry.bytes,
        duration_ns,
        cluster: entry.cluster,
        upstream: entry.upstream,
    }
}

/// Method, target and version of a request line. A line that is cut short leaves its last parts
/// empty.
fn split(line: &[u8]) -> [&[u8]; 3] {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let parts =
            |line: &'static str| split(line.as_bytes()).map(|part| str::from_utf8(part).unwrap());
        assert_eq!(parts("GET /a?b HTTP/1.1"), ["GET", "/a?b", "HTTP/1.1"]);
        assert_eq!(parts("GET /a"), ["GET", "/a", ""]);
        assert_eq!(parts(""), ["", "", ""]);
    }

    #[test]
    fn a_record_begins_when_the_request_did() {
        let entry = AccessEntry {
            client: "10.0.0.1:1234".parse().unwrap(),
            upstream: None,
            cluster: None,
            request: b"GET / HTTP/1.1".to_vec(),
            status: 404,
            bytes: 9,
            duration_us: 2,
        };
        let record = record(&entry, 5_000);
        assert_eq!((record.time_unix_ns, record.duration_ns), (3_000, 2_000));
        assert_eq!((record.status, record.bytes_sent), (404, 9));
        assert_eq!(record.target.bytes(), b"/");
    }
}
