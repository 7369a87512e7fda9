//! Values of options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use dataplane::http1::KnownField;
use dataplane::http1::token::{is_text, is_token_text};
use dataplane::load::target;

use crate::cli::{Percentiles, Sources};

/// Requests a second: a number from 0 on.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("write a number of requests a second, or 0 for as many as possible".into()),
    }
}

/// `10s`, `250ms`, `1m 30s`; `0` is `0s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| "write \"10s\", \"250ms\" or \"5m\"".into())
}

/// `16384`, `16k`, `12MiB`.
pub fn size(text: &str) -> Result<u64, String> {
    target::size_of(text.as_bytes()).ok_or_else(|| "write bytes, or \"16k\" or \"12m\"".into())
}

/// A method that can be asked with.
pub fn method(text: &str) -> Result<String, String> {
    match text {
        "CONNECT" => Err("tunnels are not spoken".into()),
        _ if is_token_text(text.as_bytes()) => Ok(text.to_owned()),
        _ => Err("write a method such as GET, HEAD, POST or PUT".into()),
    }
}

/// `Name: value`.
pub fn field(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once(':') else {
        return Err("write \"Name: value\"".into());
    };
    let value = value.trim_matches([' ', '\t']);
    if !is_token_text(name.as_bytes()) {
        return Err(format!("{name:?} is not the name of a field"));
    }
    if !value.bytes().all(is_text) {
        return Err("the value holds a control character".into());
    }
    match KnownField::of(name.as_bytes()) {
        KnownField::ContentLength => {
            Err("the body decides it: use --body-size or --payload".into())
        }
        KnownField::TransferEncoding => Err("bodies are sent with Content-Length".into()),
        KnownField::Connection => Err("use --keepalive".into()),
        KnownField::Expect => Err("bodies are sent without waiting".into()),
        KnownField::Upgrade => Err("other protocols are not spoken".into()),
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}

/// `50,75,99.9`.
pub fn percentiles(text: &str) -> Result<Percentiles, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.trim().parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => all.push(percentile),
            _ => {
                return Err(format!(
                    "{part:?} is not a percentile: write \"50,90,99.9\""
                ));
            }
        }
    }
    all.sort_by(f64::total_cmp);
    all.dedup();
    Ok(Percentiles(all))
}

/// `10.9.0.0/16`, `fd00::/112`, `10.9.0.5`. Of an IPv4 prefix the addresses of the network itself and of
/// broadcast are left out, unless it has no others.
pub fn sources(text: &str) -> Result<Sources, String> {
    let wrong = || "write a prefix such as \"10.9.0.0/16\", or an address".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(bits);
    // More than 2^96 addresses would be no mistake to serve, but one to ask for.
    if length > bits || bits - length > 96 {
        return Err(wrong());
    }
    let count = 1u128 << (bits - length);
    let host = count - 1;
    Ok(match address {
        IpAddr::V4(address) => {
            let network = address.to_bits() & !(host as u32);
            let skip = u32::from(count > 2);
            Sources {
                first: Ipv4Addr::from_bits(network + skip).into(),
                count: count - 2 * u128::from(skip),
            }
        }
        IpAddr::V6(address) => Sources {
            first: Ipv6Addr::from_bits(address.to_bits() & !host).into(),
            count,
        },
    })
}

impl Sources {
    /// Address number `index` of them, counted around.
    pub fn nth(&self, index: u64) -> IpAddr {
        let index = u128::from(index) % self.count;
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + index as u32).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + index).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_addresses() {
        for (text, first, count, last) in [
            ("10.9.0.0/16", "10.9.0.1", 65_534, "10.9.255.254"),
            ("10.9.3.7/30", "10.9.3.5", 2, "10.9.3.6"),
            ("10.9.3.7/31", "10.9.3.6", 2, "10.9.3.7"),
            ("10.9.3.7/32", "10.9.3.7", 1, "10.9.3.7"),
            ("10.9.3.7", "10.9.3.7", 1, "10.9.3.7"),
            ("fd00::1:5/112", "fd00::1:0", 65_536, "fd00::1:ffff"),
        ] {
            let sources = sources(text).unwrap();
            assert_eq!(sources.first, first.parse::<IpAddr>().unwrap(), "{text}");
            assert_eq!(sources.count, count, "{text}");
            assert_eq!(
                sources.nth(count as u64 - 1),
                last.parse::<IpAddr>().unwrap(),
                "{text}"
            );
            assert_eq!(sources.nth(count as u64), sources.first, "{text}");
        }
        for text in ["", "10.9.0.0/33", "10.9.0.0/x", "10.9.0/16", "::/0", "lo"] {
            assert!(sources(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentiles_in_order() {
        assert_eq!(
            percentiles("99.9, 50,75,50"),
            Ok(Percentiles(vec![50.0, 75.0, 99.9]))
        );
        for text in ["", "50,", "101", "-1", "p50", "NaN"] {
            assert!(percentiles(text).is_err(), "{text}");
        }
    }
}
