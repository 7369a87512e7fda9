//! `Host` and the authority of a request target (RFC 3986 section 3.2, RFC 9110 section 7.2).

use std::net::Ipv6Addr;

use super::token::{decimal, is_reg_name};

/// True for `host [":" port]`: a name, an IPv4 address, or an IPv6 address in brackets.
///
/// Narrower than RFC 3986 where the difference could mislead: the host must not be empty (RFC 9110
/// section 4.2.1 says so for `http`), nor hold a comma; the address in brackets must be an IPv6
/// address without a zone; the port must fit into 16 bits. It may be empty, as in the grammar.
pub fn is_authority(text: &[u8]) -> bool {
    let (host, port) = split(text);
    if let Some(port) = port
        && !port.is_empty()
        && decimal(port, u64::from(u16::MAX)).is_none()
    {
        return false;
    }
    match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        name => is_registered_name(name),
    }
}

/// The host in `authority`, without the port: what routes are matched with, in whatever case the
/// client wrote it. An IPv6 address keeps its brackets.
pub fn host_of(authority: &[u8]) -> &[u8] {
    split(authority).0
}

/// Splits at the last colon that is not inside brackets.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(at) if text[at] == b':' => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

/// Name bytes only, with every `%` followed by two hexadecimal digits.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        if !is_reg_name(*byte) {
            return false;
        }
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                tail
            }
            (b'%', _) => return false,
            _ => tail,
        };
    }
    true
}
