//! Who is believed, and who is not.

use super::*;

#[test]
fn configured_neighbours_never_change() {
    let mut link = quiet();
    let fixed = Some([2, 0, 0, 0, 0, 9]);
    for frame in [
        arp(1, ALL, (OTHER, "10.0.0.9"), ([0; 6], "10.0.0.9")),
        arp(2, US, (OTHER, "10.0.0.9"), (US, "10.0.0.1")),
        arp(1, ALL, (OTHER, "10.0.0.9"), ([0; 6], "10.0.0.1")),
        Ndp::advert(S | O, "fd00::9", OTHER).frame(),
        Ndp::advert(O, "fd00::9", OTHER).announced().frame(),
        Ndp {
            from: (OTHER, v6("fd00::9")),
            option: Some((1, OTHER)),
            ..Ndp::solicit("fd00::9", "fd00::1")
        }
        .frame(),
    ] {
        assert_eq!(fed(&mut link, &frame, 5).0, REFUSED);
    }
    link.hint(ip("10.0.0.9"), OTHER, 5);
    link.want(ip("10.0.0.9"), 5);
    assert!(
        (0..100_000)
            .step_by(100)
            .all(|now| polled(&mut link, now).is_empty())
    );
    assert_eq!(
        (link.lookup(ip("10.0.0.9")), link.lookup(ip("fd00::9"))),
        (fixed, fixed)
    );
}

#[test]
fn claims_about_a_known_neighbour() {
    let known = Outcome::Known(ip("10.0.0.2"));
    for (what, frame, expected, mac) in [
        (
            "unasked reply that contradicts",
            arp(2, US, (OTHER, "10.0.0.2"), (US, "10.0.0.1")),
            REFUSED,
            PEER,
        ),
        (
            "unasked reply that agrees",
            arp(2, US, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
            Outcome::Handled,
            PEER,
        ),
        (
            "gratuitous request: it moved",
            arp(1, ALL, (OTHER, "10.0.0.2"), ([0; 6], "10.0.0.2")),
            known,
            OTHER,
        ),
        (
            "gratuitous reply: it moved",
            arp(2, ALL, (OTHER, "10.0.0.2"), (OTHER, "10.0.0.2")),
            known,
            OTHER,
        ),
        (
            "asks us from elsewhere: it moved",
            arp(1, ALL, (OTHER, "10.0.0.2"), ([0; 6], "10.0.0.1")),
            known,
            OTHER,
        ),
        (
            "asks another from elsewhere",
            arp(1, ALL, (OTHER, "10.0.0.2"), ([0; 6], "10.0.0.3")),
            Outcome::Handled,
            PEER,
        ),
        (
            "gratuitous, multicast MAC",
            arp(
                1,
                ALL,
                ([1, 0, 0, 0, 0, 2], "10.0.0.2"),
                ([0; 6], "10.0.0.2"),
            ),
            REFUSED,
            PEER,
        ),
    ] {
        let mut link = acquainted();
        assert_eq!(fed(&mut link, &frame, 10).0, expected, "{what}");
        assert_eq!(link.lookup(ip("10.0.0.2")), Some(mac), "{what}");
        // Whoever took over on his own word is asked as soon as he is used.
        assert_eq!(
            polled(&mut link, 10).len(),
            usize::from(mac == OTHER),
            "{what}"
        );
    }
    let known = Outcome::Known(ip("fd00::2"));
    let elsewhere = Ndp {
        from: (OTHER, v6("fd00::2")),
        option: Some((1, OTHER)),
        ..Ndp::solicit("fd00::2", "fd00::1")
    };
    for (what, message, expected, mac, doubt) in [
        (
            "unasked answer that contradicts",
            Ndp::advert(S | O, "fd00::2", OTHER),
            REFUSED,
            PEER,
            false,
        ),
        (
            "announcement: it moved",
            Ndp::advert(O, "fd00::2", OTHER).announced(),
            known,
            OTHER,
            true,
        ),
        (
            "announcement without override: doubt",
            Ndp::advert(0, "fd00::2", OTHER).announced(),
            REFUSED,
            PEER,
            true,
        ),
        (
            "announcement that agrees",
            Ndp::advert(O, "fd00::2", PEER).announced(),
            Outcome::Handled,
            PEER,
            false,
        ),
        ("solicitation: it moved", elsewhere, known, OTHER, true),
    ] {
        let mut link = acquainted();
        assert_eq!(fed(&mut link, &message.frame(), 10).0, expected, "{what}");
        assert_eq!(link.lookup(ip("fd00::2")), Some(mac), "{what}");
        assert_eq!(polled(&mut link, 10).len(), usize::from(doubt), "{what}");
    }
}

#[test]
fn an_address_of_ours_is_defended_but_not_in_a_loop() {
    let mut link = quiet();
    let conflict = Outcome::Conflict {
        address: ip("10.0.0.1"),
        mac: OTHER,
    };
    let claim = arp(1, ALL, (OTHER, "10.0.0.1"), ([0; 6], "10.0.0.1"));
    let mut defences = Vec::new();
    for now in (0..25_000).step_by(100) {
        let (outcome, replies) = fed(&mut link, &claim, now);
        assert_eq!(outcome, conflict);
        if !replies.is_empty() {
            assert_eq!(
                replies,
                [arp(1, ALL, (US, "10.0.0.1"), ([0; 6], "10.0.0.1"))]
            );
            defences.push(now);
        }
    }
    assert_eq!(defences, [0, 10_000, 20_000]);
    // Our own announcement that comes back is no conflict.
    let own = arp(1, ALL, (US, "10.0.0.1"), ([0; 6], "10.0.0.1"));
    assert_eq!(fed(&mut link, &own, 0), (REFUSED, vec![]));
    let claim = Ndp::advert(O, "fd00::1", OTHER).announced();
    let conflict = Outcome::Conflict {
        address: ip("fd00::1"),
        mac: OTHER,
    };
    assert_eq!(fed(&mut link, &claim.frame(), 0), (conflict, vec![]));
    assert_eq!(
        fed(
            &mut link,
            &Ndp::advert(O, "fd00::1", US).announced().frame(),
            0
        ),
        (REFUSED, vec![])
    );
}

#[test]
fn hints_are_believed_until_checked() {
    let mut link = quiet();
    for (address, mac, believed) in [
        ("10.0.0.5", PEER, true),
        ("fd00::5", PEER, true),
        ("192.0.2.5", PEER, false),
        ("10.0.0.1", PEER, false),
        ("10.0.0.6", [1, 0, 0, 0, 0, 6], false),
        ("10.0.0.7", US, false),
    ] {
        link.hint(ip(address), mac, 0);
        assert_eq!(
            link.lookup(ip(address)),
            believed.then_some(mac),
            "{address}"
        );
    }
    let asked: Vec<_> = polled(&mut link, 0)
        .iter()
        .map(|frame| frame[..6].to_vec())
        .collect();
    assert_eq!(asked, [PEER, PEER]);
    // Nobody answers: given up when it is not used any more.
    for now in 0..4000 {
        let _ = polled(&mut link, now);
    }
    assert_eq!(link.lookup(ip("10.0.0.5")), None);
    let mut link = acquainted();
    link.hint(ip("10.0.0.2"), OTHER, 0);
    assert_eq!(link.lookup(ip("10.0.0.2")), Some(PEER));
}

#[test]
fn an_answer_comes_to_us_alone() {
    let mut link = quiet();
    link.want(ip("10.0.0.2"), 0);
    link.want(ip("fd00::2"), 0);
    for frame in [
        arp(2, ALL, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
        Ndp::advert(S | O, "fd00::2", PEER).announced().frame(),
    ] {
        assert_eq!(fed(&mut link, &frame, 1).0, REFUSED);
    }
    // What is said to everybody in its proper form is taken, and checked when it is used.
    for (address, frame) in [
        (
            "10.0.0.2",
            arp(2, ALL, (PEER, "10.0.0.2"), (PEER, "10.0.0.2")),
        ),
        (
            "fd00::2",
            Ndp::advert(O, "fd00::2", PEER).announced().frame(),
        ),
    ] {
        assert_eq!(fed(&mut link, &frame, 1).0, Outcome::Known(ip(address)));
        assert_eq!(link.lookup(ip(address)), Some(PEER));
    }
    let asked: Vec<_> = polled(&mut link, 1)
        .iter()
        .map(|frame| frame[..6].to_vec())
        .collect();
    assert_eq!(asked, [PEER, PEER]);
}
