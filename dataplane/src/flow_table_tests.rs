use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn client(i: u32) -> FlowKey {
    let remote = (
        Ipv4Addr::from_bits(0x0a00_0000 + i / 50_000),
        (10_000 + i % 50_000) as u16,
    );
    FlowKey::v4(PortId(0), (Ipv4Addr::new(10, 9, 0, 1), 80), remote)
}

fn filled(capacity: u32, flows: u32, seed: u64) -> FlowTable {
    let mut table = FlowTable::new(capacity as usize, seed);
    for i in 0..flows {
        table.insert(client(i), ConnId(i)).unwrap();
    }
    table
}

/// Mean and greatest number of slots that lookups of `keys` look at.
fn probes(table: &FlowTable, keys: impl Iterator<Item = FlowKey>) -> (f64, u32) {
    let (mut sum, mut max, mut n) = (0u64, 0, 0u64);
    for key in keys {
        let probes = table.probes(&key);
        (sum, max, n) = (sum + u64::from(probes), max.max(probes), n + 1);
    }
    (sum as f64 / n as f64, max)
}

#[test]
fn keys_tell_every_field_apart_and_give_it_back() {
    let local: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let remote: SocketAddr = "10.0.0.2:40000".parse().unwrap();
    let key = FlowKey::new(PortId(1), local, remote).unwrap();
    assert_eq!(
        (key.port(), key.local(), key.remote()),
        (PortId(1), local, remote)
    );
    for (port, local, remote) in [
        (0, "10.0.0.1:80", "10.0.0.2:40000"),
        (1, "10.0.0.2:80", "10.0.0.1:40000"),
        (1, "10.0.0.1:40000", "10.0.0.2:80"),
        (1, "10.0.0.1:81", "10.0.0.2:40000"),
        (1, "10.0.0.1:80", "10.0.0.2:40001"),
        (1, "10.0.0.1:80", "10.0.0.3:40000"),
        (1, "[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.2]:40000"),
        (1, "[fd00::1]:80", "[fd00::2]:40000"),
    ] {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let other = FlowKey::new(PortId(port), local, remote).unwrap();
        assert_ne!(other, key);
        assert_eq!(
            (other.port(), other.local(), other.remote()),
            (PortId(port), local, remote)
        );
    }
    assert_eq!(
        FlowKey::new(PortId(0), local, "[fd00::2]:40000".parse().unwrap()),
        None
    );
}

#[test]
fn a_full_table_refuses_and_serves_again_after_a_removal() {
    for capacity in [0, 1, 2, 3, 1000] {
        let mut table = filled(capacity, capacity, 7);
        assert_eq!(table.insert(client(capacity), ConnId(9)), Err(Full));
        assert_eq!(table.len(), capacity as usize);
        assert_eq!(table.get(&client(capacity)), None);
        if capacity > 0 {
            table.insert(client(0), ConnId(77)).unwrap();
            assert_eq!(table.remove(&client(0)), Some(ConnId(77)));
            assert_eq!(table.remove(&client(0)), None);
            table.insert(client(capacity), ConnId(9)).unwrap();
            assert_eq!(table.get(&client(capacity)), Some(ConnId(9)));
        }
    }
}

#[test]
fn a_lookup_looks_at_as_many_slots_at_a_million_flows_as_at_a_hundred() {
    // Tables at their fullest: half of the slots used. Linear probing then looks at
    // (1 + 1/(1-load))/2 = 1.5 slots for a present key, and ordered probing at no more for an absent one.
    for flows in [1 << 7, 10_000, 1 << 14, 1 << 20] {
        let seeds = if flows < 1000 { 100 } else { 1 };
        let (mut hit, mut miss) = (0.0, 0.0);
        for seed in 0..seeds {
            let table = filled(flows, flows, seed);
            let (mean, max) = probes(&table, (0..flows).map(client));
            assert!(max <= 40, "{flows} flows: {max} slots for a present flow");
            hit += mean / seeds as f64;
            let (mean, max) = probes(&table, (flows..2 * flows).map(client));
            assert!(max <= 40, "{flows} flows: {max} slots for an absent flow");
            miss += mean / seeds as f64;
        }
        assert!(hit < 1.55, "{flows} flows: {hit} slots for a present flow");
        assert!(
            miss < 1.55,
            "{flows} flows: {miss} slots for an absent flow"
        );
    }
    // And in one table the cost does not grow with the flows beyond that.
    for flows in [100, 10_000, 1_000_000] {
        let (mean, _) = probes(&filled(1 << 20, flows, 3), (0..flows).map(client));
        assert!(mean < 1.55, "{flows} flows: {mean}");
    }
}

#[test]
fn every_bit_of_a_key_turns_half_of_the_hash() {
    let hash = KeyedHash::new(1);
    for word in 0..5 {
        for bit in 0..64 {
            let mut turned = 0;
            let mut each = [0u32; 64];
            const KEYS: u64 = 400;
            for n in 0..KEYS {
                let words = [n, n << 32, n * n, 5, n << 16, 0];
                let mut other = words;
                other[word] ^= 1 << bit;
                let difference = hash.hash(words) ^ hash.hash(other);
                turned += difference.count_ones();
                for (i, count) in each.iter_mut().enumerate() {
                    *count += (difference >> i & 1) as u32;
                }
            }
            let mean = f64::from(turned) / KEYS as f64;
            assert!(
                (29.0..35.0).contains(&mean),
                "word {word} bit {bit}: {mean}"
            );
            // Each output bit by itself: 200 of 400, seven standard deviations (10) allowed.
            assert!(
                each.iter().all(|&n| (130..=270).contains(&n)),
                "word {word} bit {bit}: {each:?}"
            );
        }
    }
}

#[test]
fn keys_that_differ_in_one_field_do_not_pile_up() {
    // What an attacker controls: the source address and port, in any pattern.
    let local = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), 443);
    let patterns: [fn(u32) -> FlowKey; 4] = [
        |i| {
            FlowKey::v4(
                PortId(0),
                (Ipv4Addr::new(10, 0, 0, 1), 80),
                (Ipv4Addr::from_bits(i << 12), 80),
            )
        },
        |i| {
            FlowKey::v4(
                PortId(0),
                (Ipv4Addr::new(10, 0, 0, 1), 80),
                (Ipv4Addr::from_bits(i), i as u16),
            )
        },
        |i| {
            FlowKey::v4(
                PortId(0),
                (Ipv4Addr::from_bits(i), 80),
                (Ipv4Addr::from_bits(!i), 80),
            )
        },
        |i| {
            FlowKey::v4(
                PortId(i as u8),
                (Ipv4Addr::new(10, 0, 0, 1), 1),
                (Ipv4Addr::from_bits(i.reverse_bits()), 1),
            )
        },
    ];
    for (n, pattern) in patterns.iter().enumerate() {
        let mut table = FlowTable::new(1 << 16, 99);
        for i in 0..1 << 16 {
            table.insert(pattern(i), ConnId(i)).unwrap();
        }
        let (mean, max) = probes(&table, (0..1 << 16).map(pattern));
        assert!(mean < 1.55 && max <= 40, "pattern {n}: {mean} {max}");
    }
    let mut table = FlowTable::new(1 << 16, 98);
    let v6 = |i: u32| {
        let remote = Ipv6Addr::from_bits(0xfd << 120 | u128::from(i) << (i % 64));
        FlowKey::v6(PortId(0), local, (remote, i as u16))
    };
    for i in 0..1 << 16 {
        table.insert(v6(i), ConnId(i)).unwrap();
    }
    let (mean, max) = probes(&table, (0..1 << 16).map(v6));
    assert!(mean < 1.55 && max <= 40, "IPv6: {mean} {max}");
}

#[test]
fn the_seed_decides_which_flows_meet() {
    let short = |seed: u64| -> Vec<u32> {
        let hash = KeyedHash::new(seed);
        (0..1000)
            .map(|i| hash.hash_flow(&client(i)) as u32 >> 20)
            .collect()
    };
    let (a, b) = (short(1), short(2));
    // Flows that share a slot of 4096 under one seed share it under another only by chance.
    let pairs = |v: &[u32]| -> HashSet<(usize, usize)> {
        (0..v.len())
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .filter(|&(i, j)| v[i] == v[j])
            .collect()
    };
    let (a, b) = (pairs(&a), pairs(&b));
    assert!(a.len() > 60 && b.len() > 60, "{} {}", a.len(), b.len());
    assert!(a.intersection(&b).count() < 5);
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u32),
    Remove(u32),
    Get(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..200u32, any::<u32>()).prop_map(|(key, conn)| Op::Insert(key, conn)),
        2 => (0..200u32).prop_map(Op::Remove),
        1 => (0..200u32).prop_map(Op::Get),
    ]
}

/// The order that searching relies on: every run sorted by hash, no slot before its home, no hole
/// between a slot and its home, the last slot unused.
fn check_order(table: &FlowTable) {
    let mut previous: Option<u32> = None;
    for (at, slot) in table.slots.iter().enumerate() {
        if slot.is_empty() {
            previous = None;
            continue;
        }
        let home = table.home(slot.hash());
        assert!(home <= at);
        match previous {
            Some(hash) => assert!(hash <= slot.hash()),
            None => assert_eq!(home, at),
        }
        previous = Some(slot.hash());
    }
    assert_eq!(previous, None);
}

proptest! {
    #[test]
    fn behaves_like_a_map(seed: u64, capacity in 0..80usize, ops in prop::collection::vec(op(), 1..400)) {
        let mut table = FlowTable::new(capacity, seed);
        let mut map = HashMap::new();
        for op in ops {
            match op {
                Op::Insert(key, conn) => {
                    let room = map.len() < capacity || map.contains_key(&key);
                    prop_assert_eq!(table.insert(client(key), ConnId(conn)).is_ok(), room);
                    if room {
                        let _ = map.insert(key, ConnId(conn));
                    }
                }
                Op::Remove(key) => prop_assert_eq!(table.remove(&client(key)), map.remove(&key)),
                Op::Get(key) => prop_assert_eq!(table.get(&client(key)), map.get(&key).copied()),
            }
            prop_assert_eq!(table.len(), map.len());
            check_order(&table);
        }
        for (key, conn) in map {
            prop_assert_eq!(table.get(&client(key)), Some(conn));
        }
    }
}

#[test]
fn colliding_hashes_are_told_apart_by_their_keys() {
    // With 16 home slots and whole hashes made equal by hand, every flow meets every other.
    let mut table = FlowTable::new(8, 0);
    for i in 0..8 {
        let hash = 0xffff_ffff;
        let Search { at, found, .. } = table.search(hash, &client(i));
        assert!(!found);
        table.slots[at] = Slot::new(hash, i);
        table.entries[i as usize] = Entry {
            key: client(i),
            conn: i,
        };
    }
    for i in 0..8 {
        let search = table.search(0xffff_ffff, &client(i));
        assert!(search.found && search.probes == i + 1);
        assert_eq!(table.slots[search.at].entry(), i as usize);
    }
    assert_eq!(table.home(0xffff_ffff), 15);
    check_order(&table);
}
