//! ARP frames in and out.

use super::*;

#[test]
fn arp_requests_for_us_are_answered_byte_for_byte() {
    let mut link = quiet();
    let request = arp(1, ALL, (PEER, "10.0.0.2"), ([0; 6], "10.0.0.1"));
    let (outcome, replies) = fed(&mut link, &request, 0);
    assert_eq!(outcome, Outcome::Known(ip("10.0.0.2")));
    assert_eq!(
        replies,
        [arp(2, PEER, (US, "10.0.0.1"), (PEER, "10.0.0.2"))]
    );
    assert_eq!(link.lookup(ip("10.0.0.2")), Some(PEER));
    // The same again: answered, nothing new. With the padding of a short Ethernet frame.
    let (outcome, replies) = fed(&mut link, &[&request[..], &[0; 18]].concat(), 1);
    assert_eq!((outcome, replies.len()), (Outcome::Handled, 1));
    // A probe of RFC 5227: answered, and nobody is entered.
    let probe = arp(1, ALL, (OTHER, "0.0.0.0"), ([0; 6], "10.0.0.1"));
    let (outcome, replies) = fed(&mut link, &probe, 2);
    assert_eq!(outcome, Outcome::Handled);
    assert_eq!(
        replies,
        [arp(2, OTHER, (US, "10.0.0.1"), (OTHER, "0.0.0.0"))]
    );
    // A sender off the link gets his answer but no entry.
    let far = arp(1, ALL, (OTHER, "192.0.2.2"), ([0; 6], "10.0.0.1"));
    let (outcome, replies) = fed(&mut link, &far, 3);
    assert_eq!((outcome, replies.len()), (REFUSED, 1));
    assert_eq!(link.lookup(ip("192.0.2.2")), None);
}

#[test]
fn arp_that_is_wrong_or_not_for_us_is_refused() {
    let good = arp(1, ALL, (PEER, "10.0.0.2"), ([0; 6], "10.0.0.1"));
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    for (what, frame, expected) in [
        (
            "short",
            good[..41].to_vec(),
            Outcome::Refused(Drop::RxShort),
        ),
        (
            "other hardware",
            with(15, 6),
            Outcome::Refused(Drop::RxMalformed),
        ),
        (
            "other protocol",
            with(17, 1),
            Outcome::Refused(Drop::RxMalformed),
        ),
        (
            "other length",
            with(18, 5),
            Outcome::Refused(Drop::RxMalformed),
        ),
        ("other operation", with(21, 8), REFUSED),
        (
            "multicast sender",
            arp(
                1,
                ALL,
                ([3, 0, 0, 0, 0, 2], "10.0.0.2"),
                ([0; 6], "10.0.0.1"),
            ),
            REFUSED,
        ),
        (
            "zero sender",
            arp(1, ALL, ([0; 6], "10.0.0.2"), ([0; 6], "10.0.0.1")),
            REFUSED,
        ),
        (
            "own sender",
            arp(1, ALL, (US, "10.0.0.2"), ([0; 6], "10.0.0.1")),
            REFUSED,
        ),
        (
            "other destination",
            arp(1, OTHER, (PEER, "10.0.0.2"), ([0; 6], "10.0.0.1")),
            Outcome::Refused(Drop::RxNotOurs),
        ),
        (
            "for another",
            arp(1, ALL, (PEER, "10.0.0.2"), ([0; 6], "10.0.0.3")),
            Outcome::Handled,
        ),
        (
            "unasked reply",
            arp(2, US, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
            REFUSED,
        ),
        (
            "unasked gratuitous",
            arp(1, ALL, (PEER, "10.0.0.2"), ([0; 6], "10.0.0.2")),
            REFUSED,
        ),
        (
            "reply to all",
            arp(2, ALL, (PEER, "10.0.0.2"), (US, "10.0.0.1")),
            REFUSED,
        ),
    ] {
        let mut link = quiet();
        let (outcome, replies) = fed(&mut link, &frame, 0);
        assert_eq!((outcome, replies.len()), (expected, 0), "{what}");
        assert_eq!(link.lookup(ip("10.0.0.2")), None, "{what}");
    }
}
