use proptest::prelude::*;

use super::*;

/// Takes everything that is due at `now`.
fn take(schedule: &mut Schedule, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| match schedule.next(now) {
        Next::Begin { due_us } => Some(due_us),
        Next::Wait { .. } | Next::Over => None,
    })
    .collect()
}

#[test]
fn a_fixed_rate_hands_out_equal_distances() {
    let mut schedule = Schedule::new(&Pace::new(1000.0, 4, End::AfterUs(5_000)), 70);
    assert_eq!(schedule.next(69), Next::Wait { until_us: 70 });
    assert_eq!(schedule.next(70), Next::Begin { due_us: 70 });
    assert_eq!(schedule.next(70), Next::Wait { until_us: 1_070 });
    assert_eq!(schedule.next_due_us(), Some(1_070));
    assert_eq!(schedule.next(1_100), Next::Begin { due_us: 1_070 });
    // Nobody was free for 2.9 ms: the requests keep their times.
    assert_eq!(take(&mut schedule, 4_000), [2_070, 3_070]);
    assert_eq!(schedule.next(5_069), Next::Begin { due_us: 4_070 });
    assert_eq!(schedule.next(5_069), Next::Wait { until_us: 5_070 });
    assert_eq!(schedule.next(5_070), Next::Over);
    assert_eq!(schedule.begun(), 5);
    assert_eq!(schedule.missed(9_000), 0);
}

#[test]
fn as_fast_as_possible_everything_is_due_now() {
    for qps in [0.0, -1.0, f64::NAN] {
        let mut schedule = Schedule::new(&Pace::new(qps, 1, End::Requests(3)), 10);
        assert_eq!(schedule.next_due_us(), None);
        assert_eq!(schedule.next(5), Next::Wait { until_us: 10 });
        assert_eq!(schedule.next(12), Next::Begin { due_us: 12 });
        assert_eq!(schedule.next(12), Next::Begin { due_us: 12 });
        assert!(!schedule.is_over(12));
        assert_eq!(schedule.next(500), Next::Begin { due_us: 500 });
        assert!(schedule.is_over(500));
        assert_eq!(schedule.next(500), Next::Over);
        assert_eq!(schedule.missed(1_000_000), 0);
    }
}

#[test]
fn the_wait_for_a_request_beyond_the_end_is_the_wait_for_the_end() {
    let mut schedule = Schedule::new(&Pace::new(0.5, 1, End::AfterUs(300)), 0);
    assert_eq!(schedule.next(0), Next::Begin { due_us: 0 });
    assert_eq!(schedule.next(1), Next::Wait { until_us: 300 });
    assert_eq!(schedule.next(300), Next::Over);
}

#[test]
fn what_was_never_begun_is_counted() {
    let mut schedule = Schedule::new(&Pace::new(100.0, 1, End::AfterUs(1_000_000)), 0);
    assert_eq!(schedule.next(0), Next::Begin { due_us: 0 });
    assert_eq!(schedule.missed(0), 0);
    assert_eq!(schedule.missed(10_000), 0, "due at this very moment");
    assert_eq!(schedule.missed(500_001), 50);
    assert_eq!(schedule.missed(7_000_000), 99);
    let mut schedule = Schedule::new(&Pace::new(100.0, 1, End::Requests(10)), 0);
    assert_eq!(schedule.next(0), Next::Begin { due_us: 0 });
    assert_eq!(schedule.missed(7_000_000), 9);
}

#[test]
fn a_run_that_is_stopped_is_over() {
    let mut schedule = Schedule::new(&Pace::new(100.0, 1, End::Never), 1_000_000);
    assert!(!schedule.is_over(u64::MAX));
    assert_eq!(take(&mut schedule, 1_050_000).len(), 6);
    schedule.stop(1_080_000);
    assert_eq!(schedule.next(1_080_000), Next::Over);
    assert_eq!(schedule.missed(9_000_000), 2);
    let mut unpaced = Schedule::new(&Pace::new(0.0, 1, End::Requests(5)), 0);
    unpaced.stop(3);
    assert_eq!(unpaced.next(3), Next::Over);
}

proptest! {
    /// However irregularly somebody asks: requests are taken once each, in order, never early,
    /// and as many as were due.
    #[test]
    fn nothing_is_early_lost_or_repeated(
        qps in 0.1f64..1e7,
        start in 0u64..1 << 50,
        steps in prop::collection::vec(0u64..50_000, 1..200),
    ) {
        let mut schedule = Schedule::new(&Pace::new(qps, 1, End::Never), start);
        let (mut now, mut last, mut taken) = (start, 0, 0u64);
        for step in steps {
            now += step;
            // Bounded, because ten million a second for ten seconds are many.
            for _ in 0..2_000 {
                match schedule.next(now) {
                    Next::Begin { due_us } => {
                        prop_assert!(due_us <= now && due_us >= last && due_us >= start);
                        let exact = taken as f64 * 1e6 / qps;
                        prop_assert!(((due_us - start) as f64 - exact).abs() <= 1.0 + exact * 1e-9);
                        (last, taken) = (due_us, taken + 1);
                    }
                    Next::Wait { until_us } => {
                        prop_assert!(until_us > now);
                        prop_assert_eq!(schedule.missed(now), 0);
                        break;
                    }
                    Next::Over => prop_assert!(false, "it never ends"),
                }
            }
            prop_assert_eq!(schedule.begun(), taken);
        }
    }

    /// Shares of a run are the run: the same connections, requests, and due times.
    #[test]
    fn shares_add_up(
        rate in 1u32..100_000,
        connections in 0u32..5_000,
        requests in 0u64..500,
        shares in 1u32..9,
    ) {
        let whole = Pace::new(rate.into(), connections, End::Requests(requests));
        let late = u64::MAX / 4;
        let mut alone = take(&mut Schedule::new(&whole, 5), late);
        let parts: Vec<Pace> = (0..shares).map(|index| whole.share(index, shares)).collect();
        prop_assert_eq!(parts.iter().map(|part| part.connections).sum::<u32>(), connections);
        let mut together: Vec<u64> = parts
            .iter()
            .flat_map(|part| take(&mut Schedule::new(part, 5), late))
            .collect();
        together.sort_unstable();
        alone.sort_unstable();
        prop_assert_eq!(together.len(), alone.len());
        // Products are rounded differently: by a microsecond at most.
        for (one, other) in together.iter().zip(&alone) {
            prop_assert!(one.abs_diff(*other) <= 1, "{} {}", one, other);
        }
    }
}
