//! What the kernel's own network stack does on this machine, read from `/proc/net`: the addresses
//! it answers for, and the interfaces that must not be taken away.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Sources;

/// Port of SSH, in the kernel's hexadecimal.
const SSH: &str = "0016";

/// TCP_ESTABLISHED in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// A route: destinations in the prefix leave through the interface.
struct Route {
    prefix: IpAddr,
    length: u32,
    interface: String,
}

/// The kernel's network, as far as minivoy has to keep out of its way.
pub struct Network {
    local: HashSet<IpAddr>,
    routes: Vec<Route>,
    ssh_peers: Vec<IpAddr>,
}

impl Network {
    /// Reads it. What cannot be read counts as empty.
    pub fn read(sources: &Sources) -> Self {
        let read = |path: &str| sources.proc(path).unwrap_or_default();
        let mut local: HashSet<IpAddr> = local_v4(&read("net/fib_trie")).collect();
        local.extend(local_v6(&read("net/if_inet6")));
        let mut routes: Vec<Route> = routes_v4(&read("net/route")).collect();
        routes.extend(routes_v6(&read("net/ipv6_route")));
        let mut ssh_peers: Vec<IpAddr> = ssh_peers(&read("net/tcp")).collect();
        ssh_peers.extend(ssh_peers_v6(&read("net/tcp6")));
        Self {
            local,
            routes,
            ssh_peers,
        }
    }

    /// Whether the kernel answers for `address`, on whatever interface it comes in.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.local.contains(&address)
    }

    /// What `interface` carries that its loss would cost, in words.
    pub fn carries(&self, interface: &str) -> Option<&'static str> {
        let mut peers = self.ssh_peers.iter();
        if peers.any(|&peer| self.way_to(peer) == Some(interface)) {
            return Some("an SSH session");
        }
        let mut routes = self.routes.iter();
        routes
            .any(|route| route.length == 0 && route.interface == interface)
            .then_some("the default route")
    }

    /// The interface through which `address` is reached: the longest prefix wins.
    fn way_to(&self, address: IpAddr) -> Option<&str> {
        let fitting = self.routes.iter().filter(|route| route.holds(address));
        let best = fitting.max_by_key(|route| route.length)?;
        Some(&best.interface)
    }
}

impl Route {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.prefix, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let differing = u32::from(prefix) ^ u32::from(address);
                differing.leading_zeros() >= self.length
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let differing = u128::from(prefix) ^ u128::from(address);
                differing.leading_zeros() >= self.length
            }
            _ => false,
        }
    }
}

/// In the trie, a line `|-- ADDRESS` is followed by one `/32 host LOCAL` if it is the machine's.
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.trim().parse().ok();
            None
        } else if line.starts_with("/32 host LOCAL") {
            last.map(IpAddr::V4 as fn(Ipv4Addr) -> IpAddr)
        } else {
            None
        }
    })
}

/// Lines `ADDRESS ifindex prefix scope flags name`, the address as 32 hexadecimal digits.
fn local_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    table
        .lines()
        .filter_map(|line| v6(line.split_whitespace().next()?))
}

/// Columns `Iface Destination Gateway Flags … Mask …`, addresses as numbers of this machine.
fn routes_v4(table: &str) -> impl Iterator<Item = Route> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let mask = u32::from_str_radix(columns.get(7)?, 16).ok()?;
        Some(Route {
            prefix: v4(columns.get(1)?)?,
            length: mask.count_ones(),
            interface: (*columns.first()?).to_owned(),
        })
    })
}

/// Columns `destination length source length next-hop metric refs use flags interface`. The
/// kernel's own "unreachable" default lies on lo and is left out.
fn routes_v6(table: &str) -> impl Iterator<Item = Route> {
    table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let interface = *columns.get(9)?;
        (interface != "lo").then_some(())?;
        Some(Route {
            prefix: v6(columns.first()?)?,
            length: u32::from_str_radix(columns.get(1)?, 16).ok()?,
            interface: interface.to_owned(),
        })
    })
}

/// Columns `slot local remote state`, addresses as `HEX:PORT`.
fn ssh_columns(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (
            columns.get(1)?.split_once(':')?,
            columns.get(2)?.split_once(':')?,
        );
        (local.1 == SSH && *columns.get(3)? == ESTABLISHED).then_some(remote.0)
    })
}

fn ssh_peers(table: &str) -> impl Iterator<Item = IpAddr> {
    ssh_columns(table).filter_map(v4)
}

/// Here an address is four numbers of this machine, one after another; IPv4 peers of a socket
/// for both families are mapped.
fn ssh_peers_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    ssh_columns(table).filter_map(|hex| {
        let mut bytes = [0; 16];
        for (word, part) in bytes.chunks_exact_mut(4).enumerate() {
            let digits = hex.get(word * 8..word * 8 + 8)?;
            part.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
        }
        Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
    })
}

fn v4(hex: &str) -> Option<IpAddr> {
    let number = u32::from_str_radix(hex, 16).ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(number.to_ne_bytes())))
}

fn v6(hex: &str) -> Option<IpAddr> {
    let number = u128::from_str_radix(hex, 16).ok()?;
    (hex.len() == 32).then(|| IpAddr::V6(Ipv6Addr::from(number)))
}
