//! From a packet's 4-tuple to its connection.
//!
//! smoltcp looks at every socket of a set for every packet; minivoy gives it sets of one socket, and
//! this table says which. A lookup costs the same whatever the number of flows: one multiply-mix of
//! the key, about one and a half slots of eight bytes (they share a cache line), and one entry of
//! one cache line.
//!
//! The table is *ordered* linear probing, also known as Robin Hood hashing: the slots of a run
//! are kept in the order of their hashes. That keeps the longest search short, lets the search for an
//! absent key stop at the first greater hash, and makes removal a plain shift to the left, without
//! tombstones. A slot holds 32 bits of the hash and the index of the entry, so that neither shifting
//! nor passing over other flows' slots ever touches an entry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::settings::PortId;

/// A connection of a worker: index into its connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u32);

/// What tells one TCP connection from another: the port it runs over, both addresses, both ports.
///
/// Five words that are compared and hashed as such. IPv4 addresses are held as IPv4-mapped IPv6
/// addresses (RFC 4291 section 2.5.5.2) and the family is part of the key, so that an IPv6 packet
/// that claims a mapped source address can never reach an IPv4 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    local: [u64; 2],
    remote: [u64; 2],
    /// From the low bits up: remote TCP port (16), local TCP port (16), port (8), IPv6 (1).
    rest: u64,
}

const V6: u64 = 1 << 40;

fn words(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn address(words: [u64; 2], v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::from_bits(u128::from(words[0]) << 64 | u128::from(words[1])).into()
    } else {
        Ipv4Addr::from_bits(words[1] as u32).into()
    }
}

impl FlowKey {
    /// The key of an IPv4 flow seen from this machine: `local` is the own address and TCP port.
    pub fn v4(port: PortId, local: (Ipv4Addr, u16), remote: (Ipv4Addr, u16)) -> Self {
        Self {
            local: words(local.0.to_ipv6_mapped()),
            remote: words(remote.0.to_ipv6_mapped()),
            rest: Self::rest(port, local.1, remote.1),
        }
    }

    /// The key of an IPv6 flow seen from this machine: `local` is the own address and TCP port.
    pub fn v6(port: PortId, local: (Ipv6Addr, u16), remote: (Ipv6Addr, u16)) -> Self {
        Self {
            local: words(local.0),
            remote: words(remote.0),
            rest: Self::rest(port, local.1, remote.1) | V6,
        }
    }

    /// The key of the flow between two socket addresses, or `None` when their families differ.
    /// Flow label and scope of IPv6 socket addresses are not part of a flow.
    pub fn new(port: PortId, local: SocketAddr, remote: SocketAddr) -> Option<Self> {
        let (local_port, remote_port) = (local.port(), remote.port());
        match (local.ip(), remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                Some(Self::v4(port, (local, local_port), (remote, remote_port)))
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                Some(Self::v6(port, (local, local_port), (remote, remote_port)))
            }
            _ => None,
        }
    }

    fn rest(port: PortId, local: u16, remote: u16) -> u64 {
        u64::from(port.0) << 32 | u64::from(local) << 16 | u64::from(remote)
    }

    /// Whether it is a flow of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.rest & V6 != 0
    }

    /// The own TCP port.
    pub fn local_port(&self) -> u16 {
        (self.rest >> 16) as u16
    }

    /// The peer's TCP port.
    pub fn remote_port(&self) -> u16 {
        self.rest as u16
    }

    /// The port the flow runs over.
    pub fn port(&self) -> PortId {
        PortId((self.rest >> 32) as u8)
    }

    /// The own address and TCP port.
    pub fn local(&self) -> SocketAddr {
        let v6 = self.rest & V6 != 0;
        SocketAddr::new(address(self.local, v6), (self.rest >> 16) as u16)
    }

    /// The peer's address and TCP port.
    pub fn remote(&self) -> SocketAddr {
        let v6 = self.rest & V6 != 0;
        SocketAddr::new(address(self.remote, v6), self.rest as u16)
    }
}

/// A keyed hash of up to six words, for tables whose keys strangers choose.
///
/// The words go in pairs through NH, the universal hash of UMAC (RFC 4418 section 5.2.2), here with
/// words of 64 bits: whoever does not know the key cannot choose two different inputs whose
/// 128-bit sums are equal with a probability above 2⁻⁶⁴. The sum is then mixed to 64 bits by two
/// multiplications whose halves are folded together. That last step has no proof, only tests; no
/// value of the hash ever leaves the process. It takes about 4 ns.
#[derive(Clone, Debug)]
pub struct KeyedHash {
    key: [u64; 8],
}

impl KeyedHash {
    /// A hash whose key is spread from `seed`, which must be random and secret in production.
    pub fn new(seed: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014) turns one word into a sequence of independent ones.
        let mut state = seed;
        Self {
            key: std::array::from_fn(|_| {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }),
        }
    }

    /// Hashes six words. All bits of the result are equally good.
    #[inline]
    pub fn hash(&self, words: [u64; 6]) -> u64 {
        let k = &self.key;
        let pair = |i: usize| {
            wide(
                words[i].wrapping_add(k[i]),
                words[i + 1].wrapping_add(k[i + 1]),
            )
        };
        let sum = pair(0).wrapping_add(pair(2)).wrapping_add(pair(4));
        let mixed = fold(wide((sum >> 64) as u64 ^ k[6], sum as u64 ^ k[7]));
        fold(wide(mixed ^ k[7], 0x9e37_79b9_7f4a_7c15))
    }

    /// Hashes a flow.
    #[inline]
    pub fn hash_flow(&self, key: &FlowKey) -> u64 {
        let ([a, b], [c, d]) = (key.local, key.remote);
        self.hash([a, b, c, d, key.rest, 0])
    }
}

fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

fn fold(product: u128) -> u64 {
    (product >> 64) as u64 ^ product as u64
}

/// The table is full, or the flow's part of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A used slot is `hash << 32 | entry + 1`; 0 is an empty one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    const EMPTY: Self = Self(0);

    fn new(hash: u32, entry: u32) -> Self {
        Self(u64::from(hash) << 32 | u64::from(entry + 1))
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn entry(self) -> usize {
        self.0 as u32 as usize - 1
    }
}

/// One flow. Padded to a cache line, so that a lookup reads one and not two.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    key: FlowKey,
    /// The connection, or for an unused entry the next unused one (`NO_ENTRY`: none).
    conn: u32,
}

const NO_ENTRY: u32 = u32::MAX;

/// Slots that an insertion may look at. At half load a run this long is expected once in 10¹⁰
/// tables of a million flows, so refusing to go on is a bound on the work and not on the capacity.
const MAX_RUN: usize = 192;

/// The flows of one worker. All memory is taken at construction: 16 to 32 bytes of slots and
/// 64 bytes of entry per flow of capacity.
pub struct FlowTable {
    hash: KeyedHash,
    /// Bits to shift a 32-bit hash by for its home slot: the slots are in the order of hashes.
    shift: u32,
    /// Twice the capacity, rounded up to a power of two, and `MAX_RUN` more, so that a run
    /// that begins near the end needs no wrap.
    slots: Box<[Slot]>,
    entries: Box<[Entry]>,
    free: u32,
    len: usize,
}

/// Where a search ended: at the key's slot, or at the slot in which it would be put.
struct Search {
    at: usize,
    found: bool,
    /// How many slots were looked at.
    probes: u32,
}

impl FlowTable {
    /// An empty table for `capacity` flows. `seed` keys its hash and must be unknown to peers.
    ///
    /// # Panics
    /// When `capacity` is above 2³⁰.
    pub fn new(capacity: usize, seed: u64) -> Self {
        assert!(capacity <= 1 << 30, "flow table of {capacity} flows");
        let homes = (capacity * 2).next_power_of_two().max(16);
        let unused = FlowKey {
            local: [0; 2],
            remote: [0; 2],
            rest: 0,
        };
        let entries = (1..=capacity as u32)
            .map(|next| Entry {
                key: unused,
                conn: if next == capacity as u32 {
                    NO_ENTRY
                } else {
                    next
                },
            })
            .collect();
        Self {
            hash: KeyedHash::new(seed),
            shift: 32 - homes.trailing_zeros(),
            slots: vec![Slot::EMPTY; homes + MAX_RUN].into(),
            entries,
            free: if capacity == 0 { NO_ENTRY } else { 0 },
            len: 0,
        }
    }

    /// How many flows are in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no flow in the table.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many flows the table was made for.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The connection of a flow.
    #[inline]
    pub fn get(&self, key: &FlowKey) -> Option<ConnId> {
        let search = self.search(self.short_hash(key), key);
        search
            .found
            .then(|| ConnId(self.entries[self.slots[search.at].entry()].conn))
    }

    /// Begins to load the slot at which a lookup of `key` begins.
    #[inline]
    pub fn prefetch(&self, key: &FlowKey) {
        cache::prefetch(&self.slots[self.home(self.short_hash(key))]);
    }

    /// How many slots a lookup of `key` looks at: the cost of [`FlowTable::get`], for tests.
    pub fn probes(&self, key: &FlowKey) -> u32 {
        self.search(self.short_hash(key), key).probes
    }

    /// Enters a flow. A flow that is already there gets the new connection.
    ///
    /// # Errors
    /// [`Full`] when the table holds its capacity of other flows.
    pub fn insert(&mut self, key: FlowKey, conn: ConnId) -> Result<(), Full> {
        let hash = self.short_hash(&key);
        let Search { at, found, .. } = self.search(hash, &key);
        if found {
            self.entries[self.slots[at].entry()].conn = conn.0;
            return Ok(());
        }
        if self.free == NO_ENTRY {
            return Err(Full);
        }
        let last = (self.home(hash) + MAX_RUN).min(self.slots.len() - 1);
        let Some(run) = self
            .slots
            .get(at..last)
            .and_then(|s| s.iter().position(|s| s.is_empty()))
        else {
            return Err(Full);
        };
        self.slots.copy_within(at..at + run, at + 1);
        self.slots[at] = Slot::new(hash, self.free);
        let entry = &mut self.entries[self.free as usize];
        self.free = entry.conn;
        *entry = Entry { key, conn: conn.0 };
        self.len += 1;
        Ok(())
    }

    /// Takes a flow out and returns its connection.
    pub fn remove(&mut self, key: &FlowKey) -> Option<ConnId> {
        let Search { at, found, .. } = self.search(self.short_hash(key), key);
        if !found {
            return None;
        }
        let entry = self.slots[at].entry();
        let conn = std::mem::replace(&mut self.entries[entry].conn, self.free);
        self.free = entry as u32;
        // Whatever does not stand at its home already moves one slot towards it. The last
        // slot is never used, so the shift ends there at the latest.
        let mut hole = at;
        loop {
            let next = self.slots[hole + 1];
            if next.is_empty() || self.home(next.hash()) == hole + 1 {
                break;
            }
            self.slots[hole] = next;
            hole += 1;
        }
        self.slots[hole] = Slot::EMPTY;
        self.len -= 1;
        Some(ConnId(conn))
    }

    fn short_hash(&self, key: &FlowKey) -> u32 {
        self.hash.hash_flow(key) as u32
    }

    fn home(&self, hash: u32) -> usize {
        // In 64 bits, where a shift by 32 is defined: it is the shift of a table of one slot.
        (u64::from(hash) >> self.shift) as usize
    }

    #[inline]
    fn search(&self, hash: u32, key: &FlowKey) -> Search {
        let mut at = self.home(hash);
        let mut probes = 1;
        // The last slot is never used, so the loop ends.
        loop {
            let slot = self.slots[at];
            if slot.is_empty() || slot.hash() > hash {
                return Search {
                    at,
                    found: false,
                    probes,
                };
            }
            if slot.hash() == hash && self.entries[slot.entry()].key == *key {
                return Search {
                    at,
                    found: true,
                    probes,
                };
            }
            at += 1;
            probes += 1;
        }
    }
}

impl std::fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "flow_table_tests.rs"]
mod tests;
