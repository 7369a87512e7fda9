//! Which cluster a request goes to.

use crate::http1::authority::host_of;
use crate::settings::{ClusterId, Route};

/// The cluster of the first route that matches the authority (a host, perhaps with a port) and the
/// path.
pub fn route(routes: &[Route], authority: &[u8], path: &[u8]) -> Option<ClusterId> {
    let host = host_of(authority);
    routes
        .iter()
        .find(|route| {
            path.starts_with(route.prefix.as_bytes())
                && route.hosts.iter().any(|pattern| matches(pattern, host))
        })
        .map(|route| route.cluster)
}

/// `*`, `*.domain` (any name that ends so, with at least one label before), or the host itself.
fn matches(pattern: &str, host: &[u8]) -> bool {
    if pattern == "*" {
        return true;
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        return host.len() > suffix.len()
            && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes());
    }
    host.eq_ignore_ascii_case(pattern.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_match_wins() {
        let rule = |hosts: &[&str], prefix: &str, cluster| Route {
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            prefix: prefix.to_owned(),
            cluster: ClusterId(cluster),
        };
        let routes = [
            rule(&["a.example", "b.example"], "/api", 0),
            rule(&["*.example"], "/", 1),
            rule(&["*"], "/static/", 2),
        ];
        for (host, path, expected) in [
            ("a.example", "/api/x", Some(0)),
            ("A.Example:8080", "/api", Some(0)),
            ("a.example", "/", Some(1)),
            ("deep.c.example", "/static/", Some(1)),
            ("example", "/static/x", Some(2)),
            ("example", "/", None),
            (".example", "/", None),
            ("[2001:db8::1]:80", "/static/", Some(2)),
            ("", "/static/", Some(2)),
        ] {
            let found = route(&routes, host.as_bytes(), path.as_bytes());
            assert_eq!(found.map(|c| c.0), expected, "{host} {path}");
        }
    }
}
