//! Neighbour discovery frames in and out.

use super::*;

#[test]
fn solicitations_for_us_are_answered_byte_for_byte() {
    let mut link = quiet();
    for own in ["fd00::1", "fe80::ff:fe00:1"] {
        for (to, source) in [
            (None, "fd00::2"),
            (Some((US, v6(own))), "fd00::2"),
            (None, "fe80::2"),
        ] {
            let mut solicitation = Ndp::solicit(source, own);
            solicitation.to = to.unwrap_or(solicitation.to);
            let (outcome, replies) = fed(&mut link, &solicitation.frame(), 0);
            assert!(
                matches!(outcome, Outcome::Handled | Outcome::Known(_)),
                "{outcome:?}"
            );
            let answer = Ndp {
                to: (PEER, v6(source)),
                from: (US, v6(own)),
                ..Ndp::advert(S | O, own, US)
            };
            assert_eq!(replies, [answer.frame()], "{own} {source}");
            assert_eq!(link.lookup(ip(source)), Some(PEER));
        }
        // Somebody tries to take our address: told to everybody that it is taken.
        let probe = Ndp {
            option: None,
            ..Ndp::solicit("::", own)
        };
        let (outcome, replies) = fed(&mut link, &probe.frame(), 0);
        assert_eq!(
            outcome,
            Outcome::Conflict {
                address: ip(own),
                mac: PEER
            }
        );
        let answer = Ndp {
            from: (US, v6(own)),
            ..Ndp::advert(O, own, US).announced()
        };
        assert_eq!(replies, [answer.frame()]);
    }
}

#[test]
fn discovery_that_breaks_its_rules_is_refused() {
    let solicit = || Ndp::solicit("fd00::2", "fd00::1");
    let not_ours = Outcome::Refused(Drop::RxNotOurs);
    let unknown = Outcome::Refused(Drop::RxUnknownProtocol);
    for (what, message, expected) in [
        (
            "forwarded",
            Ndp {
                hop_limit: 254,
                ..solicit()
            },
            REFUSED,
        ),
        (
            "code",
            Ndp {
                code: 1,
                ..solicit()
            },
            REFUSED,
        ),
        (
            "other target of the same group",
            Ndp {
                target: v6("fd00:1::1"),
                ..solicit()
            },
            not_ours,
        ),
        (
            "multicast target",
            Ndp {
                target: v6("ff02::1"),
                ..solicit()
            },
            not_ours,
        ),
        ("to all nodes", solicit().announced(), REFUSED),
        (
            "source off the link",
            Ndp {
                from: (PEER, v6("2001:db8::2")),
                ..solicit()
            },
            REFUSED,
        ),
        (
            "own source",
            Ndp {
                from: (PEER, v6("fd00::1")),
                ..solicit()
            },
            REFUSED,
        ),
        (
            "multicast source",
            Ndp {
                from: (PEER, v6("ff02::2")),
                ..solicit()
            },
            Outcome::Refused(Drop::RxMalformed),
        ),
        (
            "multicast MAC",
            Ndp {
                option: Some((1, [3, 0, 0, 0, 0, 2])),
                ..solicit()
            },
            REFUSED,
        ),
        (
            "our MAC",
            Ndp {
                option: Some((1, US)),
                ..solicit()
            },
            REFUSED,
        ),
        ("probe with option", Ndp::solicit("::", "fd00::1"), REFUSED),
        (
            "probe to unicast",
            Ndp {
                option: None,
                to: (US, v6("fd00::1")),
                ..Ndp::solicit("::", "fd00::1")
            },
            REFUSED,
        ),
        (
            "unasked answer",
            Ndp::advert(S | O, "fd00::2", PEER),
            REFUSED,
        ),
        (
            "unasked announcement",
            Ndp::advert(O, "fd00::2", PEER).announced(),
            REFUSED,
        ),
        (
            "answer to all",
            Ndp::advert(S | O, "fd00::2", PEER).announced(),
            REFUSED,
        ),
        (
            "announcement without MAC",
            Ndp {
                option: None,
                ..Ndp::advert(O, "fd00::2", PEER).announced()
            },
            REFUSED,
        ),
        (
            "answer to another",
            Ndp {
                to: (US, v6("fd00::5")),
                ..Ndp::advert(S | O, "fd00::2", PEER)
            },
            not_ours,
        ),
        (
            "router solicitation",
            Ndp {
                kind: 133,
                ..solicit()
            },
            unknown,
        ),
        (
            "router advertisement",
            Ndp {
                kind: 134,
                ..solicit()
            },
            unknown,
        ),
        (
            "redirect without its second address",
            Ndp {
                kind: 137,
                ..solicit()
            },
            Outcome::Refused(Drop::RxShort),
        ),
        (
            "echo request",
            Ndp {
                kind: 128,
                ..solicit()
            },
            unknown,
        ),
    ] {
        let mut link = quiet();
        let (outcome, replies) = fed(&mut link, &message.frame(), 0);
        assert_eq!((outcome, replies.len()), (expected, 0), "{what}");
        assert_eq!(link.lookup(ip("fd00::2")), None, "{what}");
    }
    let good = solicit().frame();
    // From behind the type, which says how long the message must be at least.
    for at in 55..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let (outcome, replies) = fed(&mut quiet(), &bad, 0);
        assert_eq!(
            (outcome, replies.len()),
            (Outcome::Refused(Drop::RxBadChecksum), 0),
            "{at}"
        );
    }
    for len in 14..good.len() {
        let (outcome, _) = fed(&mut quiet(), &good[..len], 0);
        assert_eq!(outcome, Outcome::Refused(Drop::RxShort), "{len}");
    }
}

#[test]
fn an_answer_without_option_is_taken_from_its_ethernet_source() {
    let mut link = acquainted();
    assert_eq!(link.lookup(ip("fd00::2")), Some(PEER));
    assert_eq!(polled(&mut link, REACHABLE).len(), 1);
    let answer = Ndp {
        option: None,
        ..Ndp::advert(S, "fd00::2", PEER)
    };
    assert_eq!(
        fed(&mut link, &answer.frame(), REACHABLE).0,
        Outcome::Handled
    );
    assert_eq!(link.lookup(ip("fd00::2")), Some(PEER));
    assert!((REACHABLE..2 * REACHABLE).all(|now| polled(&mut link, now).is_empty()));
}
