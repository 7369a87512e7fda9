use super::*;

const MSS: u64 = 1460;
const RTT: u64 = 100;

/// A flow with everything to send, whose peer acknowledges all that is in flight every [`RTT`].
struct Flow {
    congestion: Congestion,
    acked: u64,
    sent: u64,
    now: u64,
}

impl Flow {
    fn new() -> Self {
        let mut congestion = Congestion::default();
        congestion.begin(MSS as u16, 1000);
        Self {
            congestion,
            acked: 0,
            sent: 0,
            now: 1000,
        }
    }

    /// A flow that has sent so many windows.
    fn after(rounds: u32) -> Self {
        let mut flow = Self::new();
        for _ in 0..rounds {
            let _ = flow.round();
        }
        flow
    }

    fn send(&mut self, untold: u64) -> u64 {
        let n = self
            .congestion
            .allowance(untold, self.sent - self.acked, RTT * 1000, self.now);
        self.sent += n;
        n
    }

    fn ack(&mut self, n: u64) {
        let in_flight = self.sent - self.acked;
        self.acked += n;
        self.congestion
            .on_ack(self.acked, n, in_flight, RTT * 1000, self.now);
    }

    /// Everything in flight is acknowledged. Returns how much was sent before.
    fn round(&mut self) -> u64 {
        let n = self.send(u64::MAX / 2);
        self.now += RTT;
        self.ack(self.sent - self.acked);
        n
    }

    fn window(&self) -> u64 {
        u64::from(self.congestion.window())
    }
}

#[test]
fn the_initial_window_is_ten_segments_but_not_of_giants() {
    for (mss, window) in [
        (536, 5360),
        (1220, 12_200),
        (1460, 14_600),
        (8960, 17_920),
        (4000, 14_600),
    ] {
        let mut congestion = Congestion::default();
        congestion.begin(mss, 0);
        assert_eq!(congestion.window(), window, "segments of {mss}");
    }
}

#[test]
fn a_slow_start_doubles_in_a_round_trip_however_acknowledgements_come() {
    let mut flow = Flow::new();
    let rounds: Vec<u64> = (0..4).map(|_| flow.round() / MSS).collect();
    assert_eq!(rounds, [10, 20, 40, 80]);
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut flow = Flow::new();
    for _ in 0..100 {
        assert_eq!(flow.send(5 * MSS), 5 * MSS);
        flow.ack(5 * MSS);
    }
    assert_eq!(flow.window(), 10 * MSS);
}

#[test]
fn what_does_not_fit_waits_for_whole_segments_and_several_of_them() {
    let mut congestion = Congestion::default();
    congestion.begin(MSS as u16, 0);
    for (untold, in_flight, near, far) in [
        (14_600, 0, 14_600, 14_600),
        (16_384, 0, 14_600, 14_600),
        // All that there is to send may go, be it ever so little.
        (100, 14_500, 100, 100),
        // More would follow: the room is not worth a packet yet.
        (16_384, 14_600, 0, 0),
        (16_384, 14_599, 0, 0),
        (16_384, 7 * MSS + 1, 0, 2 * MSS),
        (16_384, 6 * MSS + 1, 3 * MSS, 3 * MSS),
        (16_384, 6 * MSS, 4 * MSS, 4 * MSS),
    ] {
        for (rtt_us, expected) in [(0, near), (1_999, near), (2_000, far)] {
            assert_eq!(
                congestion.allowance(untold, in_flight, rtt_us, 1),
                expected,
                "{untold} to send, {in_flight} in flight, round trip {rtt_us} µs"
            );
        }
    }
}

#[test]
fn with_nothing_in_flight_there_is_always_a_segment_to_send() {
    let mut flow = Flow::new();
    let _ = flow.send(20 * MSS);
    flow.congestion.on_timeout(0, flow.sent);
    flow.acked = flow.sent;
    assert_eq!(flow.send(u64::MAX / 2), MSS);
    flow.acked = flow.sent;
    assert_eq!(flow.send(1), 1);
}

#[test]
fn a_loss_costs_three_tenths_once_in_a_window() {
    let mut flow = Flow::after(3);
    let before = flow.send(u64::MAX / 2);
    assert_eq!(before, 80 * MSS);
    for _ in 0..5 {
        flow.congestion.on_loss(flow.acked, flow.sent);
        flow.ack(10 * MSS);
    }
    assert_eq!(flow.window(), 56 * MSS);
    // The next window is another matter.
    flow.ack(flow.sent - flow.acked);
    let _ = flow.send(u64::MAX / 2);
    flow.congestion.on_loss(flow.acked, flow.sent);
    assert_eq!(flow.window(), 56 * MSS * 7 / 10);
}

/// RFC 9438 section 4.2: concave up to the old window, after K seconds, then convex beyond it.
#[test]
fn after_a_loss_the_window_follows_the_curve() {
    let mut flow = Flow::after(6);
    let plateau = flow.window() as f32;
    let _ = flow.send(u64::MAX / 2);
    flow.congestion.on_loss(flow.acked, flow.sent);
    flow.ack(flow.sent - flow.acked);
    let k = (plateau * 0.3 / (0.4 * MSS as f32)).cbrt();
    let start = flow.now;
    let mut at_half = 0.0;
    while ((flow.now - start) as f32) < k * 1000.0 {
        let _ = flow.round();
        if (flow.now - start) as f32 <= k * 500.0 {
            at_half = flow.window() as f32;
        }
    }
    let at_plateau = flow.window() as f32;
    // Half of the time brings seven eighths of the way.
    let expected = plateau * (1.0 - 0.3 / 8.0);
    assert!(
        (at_half / expected - 1.0).abs() < 0.02,
        "{at_half} {expected}"
    );
    assert!(
        (at_plateau / plateau - 1.0).abs() < 0.02,
        "{at_plateau} {plateau}"
    );
    while ((flow.now - start) as f32) < k * 2000.0 {
        let _ = flow.round();
    }
    assert!(flow.window() as f32 > 1.2 * plateau);
}

#[test]
fn with_short_round_trips_it_is_as_fast_as_reno() {
    let mut flow = Flow::new();
    let _ = flow.send(u64::MAX / 2);
    flow.congestion.on_loss(flow.acked, flow.sent);
    flow.ack(flow.sent - flow.acked);
    let before = flow.window();
    // Ten round trips in a millisecond.
    for _ in 0..1000 {
        let _ = flow.send(u64::MAX / 2);
        flow.ack(flow.sent - flow.acked);
    }
    assert!(
        flow.window() > before + 500 * MSS,
        "{} {before}",
        flow.window()
    );
}

#[test]
fn time_in_which_a_window_is_not_used_does_not_count() {
    let mut flow = Flow::new();
    let _ = flow.round();
    let _ = flow.send(u64::MAX / 2);
    flow.congestion.on_loss(flow.acked, flow.sent);
    flow.ack(flow.sent - flow.acked);
    let _ = flow.round();
    let before = flow.window();
    for _ in 0..100 {
        let _ = flow.send(MSS);
        flow.now += 1000;
        flow.ack(MSS);
    }
    assert_eq!(flow.window(), before);
    let _ = flow.round();
    assert!(flow.window() < before + 3 * MSS);
}

#[test]
fn after_a_timeout_it_starts_slowly_up_to_seven_tenths_of_what_was_in_flight() {
    let mut flow = Flow::after(3);
    let _ = flow.send(u64::MAX / 2);
    for _ in 0..3 {
        flow.congestion.on_timeout(flow.acked, flow.sent);
        assert_eq!(flow.window(), MSS);
    }
    flow.ack(flow.sent - flow.acked);
    let rounds: Vec<u64> = (0..8).map(|_| flow.round() / MSS).collect();
    assert_eq!(rounds, [2, 4, 8, 16, 32, 56, 57, 58]);
}

#[test]
fn a_window_is_forgotten_after_five_minutes() {
    for (idle, window) in [(299_000, 80), (301_000, 10)] {
        let mut flow = Flow::after(3);
        flow.now += idle;
        assert_eq!(flow.send(u64::MAX / 2) / MSS, window);
    }
}

#[test]
fn the_brake_is_on_until_all_is_acknowledged() {
    let mut congestion = Congestion::default();
    assert!(!congestion.releases(100));
    assert!(congestion.brake(100));
    assert!(!congestion.brake(200));
    assert!(!congestion.brake(50));
    assert!(!congestion.releases(199));
    assert!(congestion.releases(200));
    assert!(!congestion.releases(300));
}

#[test]
fn the_segment_size_is_read_from_the_options_of_a_syn() {
    let cases: &[(&[u8], Option<u16>)] = &[
        (&[], None),
        (&[2, 4, 5, 0xb4], Some(1460)),
        (&[1, 1, 2, 4, 5, 0xb4], Some(1460)),
        (&[3, 3, 7, 4, 2, 2, 4, 0x23, 0, 0], Some(8960)),
        (&[0, 2, 4, 5, 0xb4], None),
        // Cut off, or of a length that cannot be.
        (&[2], None),
        (&[2, 4, 5], None),
        (&[2, 3, 5, 0xb4], None),
        (&[8, 0, 2, 4, 5, 0xb4], Some(1460)),
        (&[8, 200, 2, 4, 5, 0xb4], None),
    ];
    for (options, expected) in cases {
        let mut header = vec![0; 20];
        header.extend_from_slice(options);
        assert_eq!(announced_mss(&header), *expected, "{options:?}");
    }
    assert_eq!(announced_mss(&[0; 10]), None);
}
