//! Which queue a NIC will put a packet into.
//!
//! Receive side scaling hashes addresses and ports of a packet with the Toeplitz function of
//! Microsoft's "RSS Hashing Functions" (Windows driver documentation) and looks the low bits up in
//! an indirection table of queues. minivoy computes the same before it connects to an endpoint, to
//! choose a source port whose answers come back to the worker that connects.
//!
//! The hash of an input is the exclusive or of one key window for each bit that is set. So the windows of
//! each possible half byte at each position are combined once, and a hash is 24 or 72 look-ups.

use std::net::{IpAddr, SocketAddr};

/// Bytes of key that the longest input (two IPv6 addresses and two ports) needs. NICs with longer
/// keys, such as 52 bytes, ignore the rest for these inputs.
pub const KEY_LEN: usize = 40;

/// The key that Microsoft's test vectors use and many NICs start with.
pub const MICROSOFT_KEY: [u8; KEY_LEN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Half bytes of the longest input.
const POSITIONS: usize = 2 * (KEY_LEN - 4);

/// The Toeplitz hash under one key.
#[derive(Clone)]
pub struct Toeplitz {
    /// For each half byte of the input and each of its values, what it adds to the hash.
    parts: Box<[[u32; 16]; POSITIONS]>,
}

impl Toeplitz {
    /// The hash under the first [`KEY_LEN`] bytes of a NIC's key, or `None` when the key is shorter.
    pub fn new(key: &[u8]) -> Option<Self> {
        let key = key.first_chunk::<KEY_LEN>()?;
        // The 32 bits of the key from bit `at` on, most significant first.
        let window = |at: usize| {
            let bytes: [u8; 5] = std::array::from_fn(|i| key.get(at / 8 + i).map_or(0, |b| *b));
            let bits = bytes
                .iter()
                .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            (bits >> (8 - at % 8)) as u32
        };
        let mut parts = Box::new([[0; 16]; POSITIONS]);
        for (position, part) in parts.iter_mut().enumerate() {
            for (value, sum) in part.iter_mut().enumerate() {
                for bit in (0..4).filter(|bit| value >> (3 - bit) & 1 != 0) {
                    *sum ^= window(position * 4 + bit);
                }
            }
        }
        Some(Self { parts })
    }

    /// What `bytes` add to the hash when they begin at byte `offset` of the input.
    fn part(&self, offset: usize, bytes: &[u8]) -> u32 {
        let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let parts = self.parts[offset * 2..].iter();
        parts
            .zip(halves)
            .fold(0, |sum, (part, half)| sum ^ part[half as usize])
    }

    /// The hash of a received TCP packet: addresses and ports. `None` when the families differ.
    pub fn tcp(&self, source: SocketAddr, destination: SocketAddr) -> Option<u32> {
        let addresses = self.ip(source.ip(), destination.ip())?;
        let offset = if source.is_ipv4() { 8 } else { 32 };
        let [a, b] = source.port().to_be_bytes();
        let [c, d] = destination.port().to_be_bytes();
        Some(addresses ^ self.part(offset, &[a, b, c, d]))
    }

    /// The hash of a packet of which the NIC takes the addresses only.
    pub fn ip(&self, source: IpAddr, destination: IpAddr) -> Option<u32> {
        match (source, destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                Some(self.part(0, &a.octets()) ^ self.part(4, &b.octets()))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                Some(self.part(0, &a.octets()) ^ self.part(16, &b.octets()))
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Toeplitz").finish_non_exhaustive()
    }
}

/// How a NIC spreads TCP packets over its queues.
#[derive(Clone, Debug)]
pub struct Rss {
    hash: Toeplitz,
    table: Box<[u16]>,
}

impl Rss {
    /// A NIC with this key and this indirection table of queue numbers. `None` when the key is
    /// shorter than [`KEY_LEN`] or the table's size is not a power of two.
    pub fn new(key: &[u8], table: &[u16]) -> Option<Self> {
        let hash = Toeplitz::new(key)?;
        table.len().is_power_of_two().then(|| Self {
            hash,
            table: table.into(),
        })
    }

    /// The queue in which packets from `source` to `destination` arrive; 0 when the families differ
    /// (there are no such packets).
    pub fn queue(&self, source: SocketAddr, destination: SocketAddr) -> u16 {
        self.entry(self.hash.tcp(source, destination).unwrap_or(0))
    }

    /// The queues of packets from `source` to the ports of `destination`.
    pub fn towards(&self, source: SocketAddr, destination: IpAddr) -> Towards<'_> {
        let base = self.hash.tcp(source, SocketAddr::new(destination, 0));
        Towards {
            rss: self,
            base: base.unwrap_or(0),
            offset: if source.is_ipv4() { 10 } else { 34 },
        }
    }

    /// The entries of the indirection table.
    pub fn table(&self) -> &[u16] {
        &self.table
    }

    #[inline]
    fn entry(&self, hash: u32) -> u16 {
        self.table[hash as usize & (self.table.len() - 1)]
    }
}

/// Packets that differ in their destination port only: the hash is linear, so what they share is
/// hashed once and each port costs four look-ups.
#[derive(Clone, Copy, Debug)]
pub struct Towards<'a> {
    rss: &'a Rss,
    base: u32,
    /// Where in the input the destination port lies.
    offset: usize,
}

impl Towards<'_> {
    /// The queue of packets to this port.
    #[inline]
    pub fn port(&self, port: u16) -> u16 {
        let part = self.rss.hash.part(self.offset, &port.to_be_bytes());
        self.rss.entry(self.base ^ part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Destination, source, hash of the addresses, hash with the ports: "Verifying the RSS Hash
    /// Calculation" of the Windows driver documentation.
    const VECTORS: [(&str, &str, u32, u32); 8] = [
        (
            "161.142.100.80:1766",
            "66.9.149.187:2794",
            0x323e8fc2,
            0x51ccc178,
        ),
        (
            "65.69.140.83:4739",
            "199.92.111.2:14230",
            0xd718262a,
            0xc626b0ea,
        ),
        (
            "12.22.207.184:38024",
            "24.19.198.95:12898",
            0xd2d0a5de,
            0x5c2b394a,
        ),
        (
            "209.142.163.6:2217",
            "38.27.205.30:48228",
            0x82989176,
            0xafc7327f,
        ),
        (
            "202.188.127.2:1303",
            "153.39.163.191:44251",
            0x5d1809c5,
            0x10e828a2,
        ),
        (
            "[3ffe:2501:200:3::1]:1766",
            "[3ffe:2501:200:1fff::7]:2794",
            0x2cc18cd5,
            0x40207d3d,
        ),
        (
            "[ff02::1]:4739",
            "[3ffe:501:8::260:97ff:fe40:efab]:14230",
            0x0f0c461c,
            0xdde51bbf,
        ),
        (
            "[fe80::200:f8ff:fe21:67cf]:38024",
            "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
            0x4b61e985,
            0x02d1feef,
        ),
    ];

    #[test]
    fn the_published_vectors() {
        let hash = Toeplitz::new(&MICROSOFT_KEY).unwrap();
        for (destination, source, ip, tcp) in VECTORS {
            let (destination, source): (SocketAddr, SocketAddr) =
                (destination.parse().unwrap(), source.parse().unwrap());
            assert_eq!(hash.ip(source.ip(), destination.ip()), Some(ip), "{source}");
            assert_eq!(hash.tcp(source, destination), Some(tcp), "{source}");
        }
    }

    #[test]
    fn keys_and_tables_that_cannot_be() {
        assert!(Toeplitz::new(&MICROSOFT_KEY[..39]).is_none());
        assert!(Rss::new(&MICROSOFT_KEY, &[]).is_none());
        assert!(Rss::new(&MICROSOFT_KEY, &[0, 1, 0]).is_none());
        let hash = Toeplitz::new(&MICROSOFT_KEY).unwrap();
        let (v4, v6) = (
            "10.0.0.1:1".parse().unwrap(),
            "[fd00::1]:1".parse().unwrap(),
        );
        assert_eq!(hash.tcp(v4, v6), None);
    }

    #[test]
    fn the_low_bits_choose_the_queue() {
        let table: Vec<u16> = (0..128).map(|i| i / 32).collect();
        let rss = Rss::new(&MICROSOFT_KEY, &table).unwrap();
        for (destination, source, _, tcp) in VECTORS {
            let queue = rss.queue(source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(queue, table[tcp as usize % 128]);
        }
    }

    /// The definition: for each bit of the input that is set, the 32 leftmost bits of the key,
    /// which moves left by one bit after each.
    fn by_definition(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (7 - i % 8) & 1;
        (0..input.len() * 8)
            .filter(|i| bit(input, *i) != 0)
            .fold(0, |hash, i| {
                hash ^ (i..i + 32).fold(0, |window, k| window << 1 | u32::from(bit(key, k)))
            })
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(key: [u8; 52], a: [u8; 16], b: [u8; 16], p: u16, q: u16, v6: bool) {
            let address = |bytes: [u8; 16]| match v6 {
                true => IpAddr::from(bytes),
                false => IpAddr::from(*bytes.first_chunk::<4>().unwrap()),
            };
            let octets = if v6 { 16 } else { 4 };
            let input = [&a[..octets], &b[..octets], &p.to_be_bytes(), &q.to_be_bytes()].concat();
            let (source, destination) = (SocketAddr::new(address(a), p), SocketAddr::new(address(b), q));
            let hash = Toeplitz::new(&key).unwrap();
            prop_assert_eq!(hash.tcp(source, destination), Some(by_definition(&key, &input)));
            let table: Vec<u16> = (0..256).collect();
            let rss = Rss::new(&key, &table).unwrap();
            prop_assert_eq!(rss.towards(source, destination.ip()).port(q), rss.queue(source, destination));
        }
    }
}
