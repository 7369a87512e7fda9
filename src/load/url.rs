//! `http://ADDRESS[:PORT][/PATH][?QUERY]`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What is fetched, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Where to connect.
    pub address: SocketAddr,
    /// What `Host` says: the address as it was written, with the port if it was written.
    pub host: String,
    /// Path and query; begins with `/`.
    pub target: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.target)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err("there is no TLS: write http://".into()),
            Some((scheme, _)) => return Err(format!("{scheme} is not spoken: write http://")),
            None => text,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let target = match target.chars().next() {
            Some('/') => target.to_owned(),
            Some(_) => format!("/{target}"),
            None => "/".to_owned(),
        };
        if let Some(wrong) = target.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("{wrong:?} must be percent-encoded"));
        }
        Ok(Self {
            address: address(host)?,
            host: host.to_owned(),
            target,
        })
    }
}

/// `127.0.0.1`, `127.0.0.1:80`, `[::1]`, `[::1]:80`, `localhost`.
fn address(host: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
        return Ok((IpAddr::from(address), 80).into());
    }
    if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
        return Ok((IpAddr::from(address), 80).into());
    }
    if host.is_empty() {
        return Err("there is no host in it".into());
    }
    Err(format!(
        "{host} is not an address with an optional port (names are not resolved)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_url() {
        for (text, address, host, target) in [
            (
                "http://10.0.0.1:8080/16k",
                "10.0.0.1:8080",
                "10.0.0.1:8080",
                "/16k",
            ),
            ("http://10.0.0.1", "10.0.0.1:80", "10.0.0.1", "/"),
            (
                "10.0.0.1:81/a?b=c#d",
                "10.0.0.1:81",
                "10.0.0.1:81",
                "/a?b=c",
            ),
            (
                "http://10.0.0.1?size=1k",
                "10.0.0.1:80",
                "10.0.0.1",
                "/?size=1k",
            ),
            ("http://[::1]:8080/x", "[::1]:8080", "[::1]:8080", "/x"),
            ("http://[fd00::2]/", "[fd00::2]:80", "[fd00::2]", "/"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.address, address.parse().unwrap(), "{text}");
            assert_eq!(
                (url.host.as_str(), url.target.as_str()),
                (host, target),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not() {
        for (text, fragment) in [
            ("https://10.0.0.1/", "there is no TLS"),
            ("ftp://10.0.0.1/", "ftp is not spoken"),
            ("http:///x", "no host"),
            ("http://example.org/", "names are not resolved"),
            ("http://10.0.0.1:99999/", "not an address"),
            ("http://10.0.0.1/a b", "percent-encoded"),
            ("", "no host"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.contains(fragment), "{text}: {error}");
        }
    }
}
