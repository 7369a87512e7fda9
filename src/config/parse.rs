//! The small notations inside the configuration's strings.
//!
//! Each function takes the text and returns the value, or the end of an error line: what is wrong
//! with it and, after a dash, what to write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::PortDevice;

/// `packet:eth0`, `dpdk:0000:03:00.0` or `dpdk:net_tap0`.
pub fn device(text: &str) -> Result<PortDevice, String> {
    match text.split_once(':') {
        // The kernel's rules for names of interfaces: dev_valid_name() in net/core/dev.c.
        Some(("packet", name)) => {
            let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
            if !fits || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
                return Err(format!(
                    "\"{name}\" cannot be the name of an interface — write packet:NAME with a name `ip link` shows"
                ));
            }
            Ok(PortDevice::Packet {
                interface: name.to_owned(),
            })
        }
        Some(("dpdk", name)) => {
            // EAL knows PCI devices by their full address only, in lower case.
            let full = format!("0000:{name}");
            let name = if is_pci_address(&full) { &full } else { name };
            let odd = |c: char| c == '/' || c == ',' || c == '=' || c.is_whitespace();
            if name.is_empty() || name.contains(odd) {
                return Err(format!(
                    "\"{name}\" cannot be the name of a DPDK device — write dpdk:0000:03:00.0, or dpdk:net_tap0 for a --vdev"
                ));
            }
            Ok(PortDevice::Dpdk {
                device: if is_pci_address(name) {
                    name.to_ascii_lowercase()
                } else {
                    name.to_owned()
                },
            })
        }
        _ => Err(format!(
            "\"{text}\" does not say how to reach the device — write packet:INTERFACE or dpdk:DEVICE"
        )),
    }
}

/// Whether `text` is a full PCI address: domain, bus, device, function as in `0000:03:00.0`.
pub fn is_pci_address(text: &str) -> bool {
    let hex = |part: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut parts = text.split([':', '.']);
    let found = [parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(domain), Some(bus), Some(device), Some(function)] = found else {
        return false;
    };
    parts.next().is_none()
        && text.rfind('.') > text.rfind(':')
        && text.matches('.').count() == 1
        // Behind some bridges (Intel VMD) a domain has more than four digits.
        && hex(domain, 4..=8)
        && hex(bus, 2..=2)
        && hex(device, 2..=2)
        && matches!(function, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7")
}

/// An own address with its prefix length: `10.77.1.1/24`.
pub fn cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => {
                format!("\"{text}\" has no prefix length — write for example {text}/24")
            }
            Ok(IpAddr::V6(_)) => {
                format!("\"{text}\" has no prefix length — write for example {text}/64")
            }
            Err(_) => not_cidr(text),
        });
    };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u8>()) else {
        return Err(not_cidr(text));
    };
    let longest = bits(address);
    if length == 0 || length > longest {
        return Err(format!(
            "/{length} is not a prefix length — write /1 to /{longest}"
        ));
    }
    unicast(address)?;
    if let IpAddr::V4(v4) = address
        && length < 31
    {
        // RFC 1122 section 3.2.1.3; RFC 3021 lifts it for /31.
        let host = u32::from(v4) & (u32::MAX >> length);
        if host == 0 || host == u32::MAX >> length {
            let kind = if host == 0 { "network" } else { "broadcast" };
            return Err(format!(
                "{address} is the {kind} address of its own /{length} — write the address of a host in it"
            ));
        }
    }
    Ok((address, length))
}

fn not_cidr(text: &str) -> String {
    format!("\"{text}\" is not an address with prefix length — write for example 10.0.0.1/24")
}

/// The address of a host.
pub fn host_address(text: &str) -> Result<IpAddr, String> {
    let address = text
        .parse()
        .map_err(|_| format!("\"{text}\" is not an IP address — write for example 10.0.0.254"))?;
    unicast(address)?;
    Ok(address)
}

/// Address and TCP port: `10.77.1.1:8080`, `[fd77::1]:8080`.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("\"{text}\" has no TCP port — write for example {text}:8080"),
        Ok(IpAddr::V6(_)) => {
            format!("\"{text}\" has no TCP port — write for example [{text}]:8080")
        }
        Err(_) => format!(
            "\"{text}\" is not an IP address with TCP port — write for example 10.0.0.1:8080 or [fd00::1]:8080"
        ),
    })?;
    if address.port() == 0 {
        return Err("TCP port 0 cannot be used — write a port from 1 to 65535".into());
    }
    if let SocketAddr::V6(v6) = address
        && v6.scope_id() != 0
    {
        return Err("a zone means nothing here — leave out % and what follows it".into());
    }
    Ok(address)
}

/// Refuses addresses no single host has.
pub fn unicast(address: IpAddr) -> Result<(), String> {
    let kind = match address {
        _ if address.is_unspecified() => "the wildcard address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4-mapped address",
        _ => return Ok(()),
    };
    Err(format!(
        "{address} is {kind} — write the address of one host on the network"
    ))
}

/// An Ethernet address: `02:00:00:00:00:02`.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong =
        || format!("\"{text}\" is not an Ethernet address — write for example 02:00:00:00:00:02");
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().ok_or_else(wrong)?;
        if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() {
        return Err(wrong());
    }
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(format!(
            "\"{text}\" is not the address of one station — write the neighbour's own Ethernet address"
        ));
    }
    Ok(mac)
}

/// A host pattern, in lower case: `*`, `*.example.org`, `example.org`, `10.0.0.1`, `[fd00::1]`.
pub fn host_pattern(text: &str) -> Result<String, String> {
    let pattern = text.to_ascii_lowercase();
    if pattern == "*" || pattern.parse::<Ipv4Addr>().is_ok() {
        return Ok(pattern);
    }
    if let Some(v6) = pattern.strip_prefix('[') {
        return match v6.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
            Some(Ok(_)) => Ok(pattern),
            _ => Err(format!(
                "\"{text}\" is not an IPv6 host — write for example [fd00::1], without a port"
            )),
        };
    }
    let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
    if name.contains('*') {
        return Err(format!(
            "\"{text}\" has a * in the middle — write *, or *. and the rest of the name"
        ));
    }
    if name.contains(':') {
        return Err(format!(
            "\"{text}\" names a port — write the host alone: a route is for every port of its listener"
        ));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!(
            "\"{text}\" is not a host — write *, example.org or *.example.org"
        ));
    }
    Ok(pattern)
}

/// What a path must begin with.
pub fn path_prefix(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "\"{text}\" does not begin with / — write \"/{}\"",
            text.trim_start()
        ));
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'))
    {
        return Err(format!(
            "\"{}\" has {odd:?} in it, which no path has — write the path alone, percent-encoded",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

/// The name `Via` carries: a token or host and port (RFC 9110 section 7.6.3).
pub fn via(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&b);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(format!(
            "\"{}\" cannot stand in a Via field — write a word such as minivoy, or a host",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

/// Bits of an address: the longest prefix length.
pub fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Whether `address` lies in the prefix of `own`.
pub fn on_link((own, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let shift = 32 - u32::from(length);
            (u32::from(own) ^ u32::from(other))
                .checked_shr(shift)
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let shift = 128 - u32::from(length);
            (u128::from(own) ^ u128::from(other))
                .checked_shr(shift)
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn pci_addresses() {
        for good in ["0000:03:00.0", "ffff:ff:1f.7", "10000:01:00.0"] {
            assert!(is_pci_address(good), "{good}");
        }
        for bad in [
            "03:00.0",
            "0000:03:00.8",
            "0000:03:00",
            "0000:03.00:0",
            "net_tap0",
            "0000:03:00.0.0",
            "",
        ] {
            assert!(!is_pci_address(bad), "{bad}");
        }
    }

    #[test]
    fn devices() {
        let dpdk = |device: &str| PortDevice::Dpdk {
            device: device.into(),
        };
        assert_eq!(
            device("packet:veth-c"),
            Ok(PortDevice::Packet {
                interface: "veth-c".into()
            })
        );
        assert_eq!(device("dpdk:0000:3B:00.0"), Ok(dpdk("0000:3b:00.0")));
        assert_eq!(
            device("dpdk:3b:00.1"),
            Ok(dpdk("0000:3b:00.1")),
            "EAL wants the domain"
        );
        assert_eq!(
            device("dpdk:net_Virtio_user0"),
            Ok(dpdk("net_Virtio_user0"))
        );
        for bad in [
            "eth0",
            "packet:",
            "packet:a/b",
            "packet:..",
            "packet:sixteen-bytes-xx",
            "dpdk:",
            "dpdk:net_tap0,iface=x",
            "xdp:eth0",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_hold_what_they_hold() {
        for (own, length, other, expected) in [
            ("10.0.0.1", 24, "10.0.0.254", true),
            ("10.0.0.1", 24, "10.0.1.1", false),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.2", false),
            ("128.0.0.1", 1, "255.0.0.1", true),
            ("fd77:1::1", 64, "fd77:1::ffff", true),
            ("fd77:1::1", 64, "fd77:2::1", false),
            ("fd77:1::1", 128, "fd77:1::2", false),
            ("10.0.0.1", 24, "fd77:1::1", false),
        ] {
            assert_eq!(
                on_link((ip(own), length), ip(other)),
                expected,
                "{own}/{length} {other}"
            );
        }
    }

    #[test]
    fn own_addresses() {
        assert_eq!(cidr("10.0.0.0/31"), Ok((ip("10.0.0.0"), 31)));
        assert_eq!(cidr("10.0.0.7/32"), Ok((ip("10.0.0.7"), 32)));
        assert_eq!(cidr("fd77::/64"), Ok((ip("fd77::"), 64)));
        for bad in [
            "10.0.0.0/24",
            "10.0.0.255/24",
            "10.0.0.1/33",
            "10.0.0.1/0",
            "fd77::1/129",
            "127.0.0.1/8",
            "::ffff:10.0.0.1/96",
        ] {
            assert!(cidr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_patterns() {
        for good in [
            "*",
            "example.org",
            "*.Example.org",
            "10.0.0.1",
            "[fd00::1]",
            "a_b.c-d",
        ] {
            assert_eq!(host_pattern(good), Ok(good.to_ascii_lowercase()));
        }
        for bad in [
            "",
            "*.",
            "a.*.b",
            "**",
            "example.org:80",
            "[fd00::1",
            "[fd00::1]:80",
            "a..b",
            "a b",
            "example.org.",
        ] {
            assert!(host_pattern(bad).is_err(), "{bad}");
        }
    }
}
