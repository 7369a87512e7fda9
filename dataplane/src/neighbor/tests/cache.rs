//! The table: its order, its bounds, and that nothing is lost in it.

use super::*;
use crate::neighbor::cache::*;

fn host(i: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a01_0000 + i as u32).into()
}

/// A cache in which hosts 1 to `n` have answered, one every millisecond.
fn cache_of(n: usize) -> Cache {
    let mut cache = Cache::new(&[(host(0), OTHER)], 1, 0);
    for i in 1..=n {
        cache.want(host(i), i as u64);
        assert_eq!(
            cache.learn(host(i), PEER, Evidence::Answer { replace: true }, i as u64),
            Learned::Known
        );
    }
    cache
}

fn known(cache: &mut Cache, hosts: impl Iterator<Item = usize>) -> Vec<usize> {
    hosts.filter(|i| cache.lookup(host(*i)).is_some()).collect()
}

#[test]
fn an_overflow_evicts_the_oldest_that_is_not_configured() {
    let mut cache = cache_of(CAPACITY + 100);
    let expected: Vec<_> = std::iter::once(0).chain(101..=CAPACITY + 100).collect();
    assert_eq!(known(&mut cache, 0..2000), expected);
}

#[test]
fn a_flood_of_invented_neighbours_leaves_those_that_exist() {
    for unanswered in [true, false] {
        let mut cache = cache_of(CAPACITY * 3 / 4 - 1);
        for i in 0..100_000 {
            let invented = host(10_000 + i);
            if unanswered {
                cache.want(invented, 2000);
            } else {
                assert_eq!(
                    cache.learn(invented, OTHER, Evidence::Request, 2000),
                    Learned::Known
                );
            }
        }
        assert_eq!(known(&mut cache, 0..2000).len(), CAPACITY * 3 / 4);
        // A full table gives up at most a quarter.
        let mut cache = cache_of(CAPACITY);
        for i in 0..100_000 {
            cache.want(host(10_000 + i), 2000);
        }
        let left = known(&mut cache, 0..2000);
        assert_eq!(left.len(), 1 + CAPACITY * 3 / 4 - 1, "{:?}", &left[..3]);
        assert_eq!(left[..2], [0, CAPACITY / 4 + 2]);
    }
}

#[test]
fn questions_are_rationed() {
    let mut link = Neighbors::new(
        US,
        &PortSettings {
            addresses: vec![(ip("10.1.0.1"), 16)],
            ..PortSettings::default()
        },
        1,
        0,
    );
    for i in 2..1000 {
        link.want(host(i), 0);
    }
    assert_eq!(polled(&mut link, 0).len(), 128);
    let mut total = 128;
    for now in 1..1000 {
        let asked = polled(&mut link, now).len();
        assert!(asked <= 2, "{asked} at {now}");
        total += asked;
    }
    assert!((1000..=1128).contains(&total), "{total}");
    // A long silence saves up no more than one burst.
    assert!(
        (1000..20_000)
            .map(|now| polled(&mut link, now).len())
            .sum::<usize>()
            > 0
    );
    assert!(polled(&mut link, 1_000_000).is_empty());
    for i in 2..1000 {
        link.want(host(i), 1_000_000);
    }
    let asked: usize = (0..10).map(|_| polled(&mut link, 1_000_000).len()).sum();
    assert_eq!(asked, 128);
}

proptest! {
    /// The cache never loses an entry to another, whatever happens to it.
    #[test]
    fn the_cache_stays_whole(ops in prop::collection::vec((0..5u8, 0..1500usize, 0..40_000u64), 1..600)) {
        let mut cache = Cache::new(&[(host(0), OTHER)], 3, 0);
        let mut now = 0;
        for (op, i, after) in ops {
            match op {
                0 => cache.want(host(i), now),
                1 => { let _ = cache.learn(host(i), PEER, Evidence::Request, now); }
                2 => { let _ = cache.learn(host(i), PEER, Evidence::Answer { replace: true }, now); }
                3 => { let _ = cache.lookup(host(i)); }
                _ => {
                    now += after;
                    let _ = cache.poll(now, usize::MAX, |_| ());
                }
            }
        }
        prop_assert_eq!(cache.lookup(host(0)), Some(OTHER));
        for i in 1..1500 {
            prop_assert!(cache.lookup(host(i)).is_none_or(|mac| mac == PEER));
        }
        // After long silence nothing is left, so everything fits again.
        for _ in 0..10 {
            now += STALE + REACHABLE;
            let _ = cache.poll(now, usize::MAX, |_| ());
        }
        prop_assert_eq!(known(&mut cache, 0..1500), [0]);
        for i in 1..=CAPACITY {
            let _ = cache.learn(host(i), PEER, Evidence::Request, now);
        }
        prop_assert_eq!(known(&mut cache, 0..1500).len(), CAPACITY + 1);
    }
}
