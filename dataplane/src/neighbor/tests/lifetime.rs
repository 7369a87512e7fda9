//! When a neighbour is asked, asked again, and forgotten.

use super::*;
use crate::neighbor::cache::*;

#[test]
fn a_wanted_neighbour_is_asked_until_it_answers() {
    for (address, other_question) in [("10.0.0.2", "10.0.0.3"), ("fd00::2", "fd00::3")] {
        let mut link = quiet();
        assert_eq!(polled(&mut link, 0), Vec::<Vec<u8>>::new());
        link.want(ip(address), 1000);
        link.want(ip(address), 1000);
        assert_eq!(link.lookup(ip(address)), None);
        let question = match ip(address) {
            IpAddr::V4(_) => arp(1, ALL, (US, "10.0.0.1"), ([0; 6], address)),
            IpAddr::V6(_) => Ndp {
                from: (US, v6("fd00::1")),
                option: Some((1, US)),
                ..Ndp::solicit(address, address)
            }
            .frame(),
        };
        let mut asked = Vec::new();
        for now in 1000..5000 {
            for frame in polled(&mut link, now) {
                assert_eq!(frame, question);
                asked.push(now - 1000);
            }
        }
        assert_eq!(asked, [0, 100, 300, 700, 1500, 2500, 3500]);
        let answer = |address: &str| match ip(address) {
            IpAddr::V4(_) => arp(2, US, (PEER, address), (US, "10.0.0.1")),
            IpAddr::V6(_) => Ndp::advert(S | O, address, PEER).frame(),
        };
        assert_eq!(fed(&mut link, &answer(other_question), 5000).0, REFUSED);
        assert_eq!(
            fed(&mut link, &answer(address), 5000).0,
            Outcome::Known(ip(address))
        );
        assert_eq!(link.lookup(ip(address)), Some(PEER));
        assert!((5000..5000 + REACHABLE).all(|now| polled(&mut link, now).is_empty()));
    }
}

#[test]
fn nobody_is_asked_for_when_the_interest_is_gone() {
    let mut link = quiet();
    link.want(ip("10.0.0.2"), 0);
    let asked: usize = (0..60_000).map(|now| polled(&mut link, now).len()).sum();
    assert_eq!(asked, 13); // as above, and up to 9500 ms
    // Interest that goes on keeps the questions going, one a second.
    let mut asked = 0;
    for now in 60_000..120_000 {
        if now % 3000 == 0 {
            link.want(ip("10.0.0.2"), now);
        }
        asked += polled(&mut link, now).len();
    }
    assert!((60..=66).contains(&asked), "{asked}");
}

#[test]
fn the_gateways_are_asked_for_from_the_start() {
    let mut link = Neighbors::new(US, &settings(), 1, 500);
    let frames = polled(&mut link, 500);
    assert_eq!(frames.len(), 2);
    assert!(frames.contains(&arp(1, ALL, (US, "10.0.0.1"), ([0; 6], "10.0.0.254"))));
    let own = (US, v6("fe80::ff:fe00:1"));
    let question = Ndp {
        from: own,
        option: Some((1, US)),
        ..Ndp::solicit("::", "fe80::fe")
    };
    assert!(frames.contains(&question.frame()));
}

#[test]
fn a_neighbour_in_use_is_asked_again_and_stays_known() {
    let mut link = acquainted();
    let question = arp(1, PEER, (US, "10.0.0.1"), ([0; 6], "10.0.0.2"));
    let answer = arp(2, US, (PEER, "10.0.0.2"), (US, "10.0.0.1"));
    let mut asked = Vec::new();
    for now in 0..300_000 {
        assert_eq!(link.lookup(ip("10.0.0.2")), Some(PEER), "{now}");
        for frame in polled(&mut link, now) {
            assert_eq!(frame, question);
            asked.push(now);
            assert_eq!(fed(&mut link, &answer, now).0, Outcome::Handled);
        }
    }
    assert_eq!(asked, (1..10).map(|i| i * REACHABLE).collect::<Vec<_>>());
}

#[test]
fn a_neighbour_that_is_gone_is_forgotten_and_asked_for_anew() {
    let mut link = acquainted();
    let mut asked = Vec::new();
    for now in 0..REACHABLE + 3300 {
        let known = link.lookup(ip("fd00::2"));
        assert_eq!(known.is_some(), now <= REACHABLE + 3000, "{now}");
        for frame in polled(&mut link, now) {
            asked.push((now - REACHABLE, frame[..6].to_vec()));
        }
    }
    let group = vec![0x33, 0x33, 0xff, 0, 0, 2];
    let peer = PEER.to_vec();
    assert_eq!(
        asked,
        [
            (0, peer.clone()),
            (1000, peer.clone()),
            (2000, peer),
            (3000, group.clone()),
            (3100, group)
        ]
    );
}

#[test]
fn a_neighbour_not_in_use_is_left_alone_until_it_is_used_or_dropped() {
    let mut link = acquainted();
    assert!((0..200_000).all(|now| polled(&mut link, now).is_empty()));
    // Used again: known at once, and asked at once.
    assert_eq!(link.lookup(ip("10.0.0.2")), Some(PEER));
    let question = arp(1, PEER, (US, "10.0.0.1"), ([0; 6], "10.0.0.2"));
    assert_eq!(polled(&mut link, 200_000), [question]);
    // The other one, after its time.
    assert!(polled(&mut link, REACHABLE + STALE).len() <= 1);
    assert_eq!(link.lookup(ip("fd00::2")), None);
    link.want(ip("fd00::2"), REACHABLE + STALE);
    assert_eq!(polled(&mut link, REACHABLE + STALE).len(), 1);
}
