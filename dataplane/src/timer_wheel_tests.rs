use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn fired(wheel: &mut TimerWheel, now: u64) -> Vec<u32> {
    let mut ids = Vec::new();
    assert_eq!(
        wheel.expire(now, usize::MAX, |id| ids.push(id.0)),
        Progress::Done
    );
    ids.sort_unstable();
    ids
}

/// How many steps it takes to expire everything due at `now`.
fn steps(wheel: &mut TimerWheel, now: u64) -> usize {
    (0..)
        .find(|_| wheel.expire(now, 1, |_| ()) == Progress::Done)
        .unwrap()
}

#[test]
fn fires_in_the_very_millisecond_at_every_distance() {
    for start in [
        0,
        1,
        255,
        256,
        0xffff,
        0xff_ffff,
        (1 << 32) - 1,
        1 << 32,
        1 << 50,
    ] {
        for after in [
            1,
            2,
            255,
            256,
            257,
            511,
            65_535,
            65_536,
            65_537,
            16_777_215,
            16_777_216,
            (1 << 32) - 1,
            1 << 32,
            (1 << 32) + 12_345,
            1 << 40,
        ] {
            let mut wheel = TimerWheel::new(1, start);
            wheel.arm(TimerId(0), start + after);
            assert_eq!(
                fired(&mut wheel, start + after - 1),
                [],
                "{start} + {after}"
            );
            assert_eq!(wheel.deadline(TimerId(0)), Some(start + after));
            assert_eq!(fired(&mut wheel, start + after), [0], "{start} + {after}");
            assert_eq!(wheel.deadline(TimerId(0)), None);
            assert_eq!(fired(&mut wheel, start + 2 * after + (1 << 33)), []);
        }
    }
}

#[test]
fn polled_every_millisecond_none_is_late() {
    let mut wheel = TimerWheel::new(5000, 777);
    for i in 0..5000 {
        wheel.arm(TimerId(i), 777 + u64::from(i * 37 % 70_000));
    }
    let mut count = 0;
    for now in 777..777 + 70_000 {
        for id in fired(&mut wheel, now) {
            assert_eq!(777 + u64::from(id * 37 % 70_000), now);
            count += 1;
        }
    }
    assert_eq!(count, 5000);
}

#[test]
fn past_deadlines_fire_next_and_the_time_does_not_run_back() {
    let mut wheel = TimerWheel::new(3, 1000);
    wheel.arm(TimerId(0), 10);
    wheel.arm(TimerId(1), 1000);
    wheel.arm(TimerId(2), 1001);
    assert_eq!(fired(&mut wheel, 5), [0, 1]);
    assert_eq!(fired(&mut wheel, 999), []);
    assert_eq!(fired(&mut wheel, 1001), [2]);
}

#[test]
fn the_end_of_time_is_far_but_reached() {
    let mut wheel = TimerWheel::new(2, 0);
    wheel.arm(TimerId(0), u64::MAX);
    wheel.arm(TimerId(1), 1 << 45);
    assert_eq!(fired(&mut wheel, (1 << 45) - 1), []);
    assert_eq!(fired(&mut wheel, 1 << 45), [1]);
    assert_eq!(fired(&mut wheel, u64::MAX), [0]);
    wheel.arm(TimerId(0), 0);
    assert_eq!(fired(&mut wheel, u64::MAX), [0]);
}

#[test]
fn moving_a_deadline_later_files_nothing() {
    let mut wheel = TimerWheel::new(1000, 0);
    for round in 0..1000 {
        for id in 0..1000 {
            wheel.arm(TimerId(id), 200 + round);
        }
    }
    // Two slots are opened, at 200 and then at 1024, and the 1000 timers are filed anew from each.
    assert_eq!(steps(&mut wheel, 1198), 2 * (1 + 1000));
    assert_eq!(fired(&mut wheel, 1199).len(), 1000);
}

#[test]
fn a_timer_armed_and_disarmed_again_and_again_is_looked_at_once() {
    let mut wheel = TimerWheel::new(1, 0);
    for now in 0..200 {
        wheel.arm(TimerId(0), now + 200);
        wheel.disarm(TimerId(0));
        assert_eq!(fired(&mut wheel, now), []);
    }
    assert_eq!(wheel.next_visit(), Some(200));
    assert_eq!(steps(&mut wheel, 200), 2);
    assert_eq!(wheel.next_visit(), None);
}

#[test]
fn empty_time_is_not_walked() {
    let mut wheel = TimerWheel::new(1, 3);
    assert_eq!(steps(&mut wheel, 1 << 40), 0);
    wheel.arm(TimerId(0), (1 << 41) + 5);
    // The last slot again and again, 2³² ms apart less one slot, then one slot for each level, and the timer each time.
    assert!(steps(&mut wheel, 1 << 41) <= 2 * (1 << 8) + 20);
    assert!(steps(&mut wheel, (1 << 41) + 5) <= 10);
    assert_eq!(wheel.deadline(TimerId(0)), None);
}

#[test]
fn the_work_of_a_call_does_not_grow_with_the_timers_that_wait() {
    for timers in [100, 100_000] {
        let mut wheel = TimerWheel::new(timers as usize, 0);
        for id in 0..timers {
            wheel.arm(TimerId(id), 1_000_000 + u64::from(id));
        }
        let total: usize = (1..60_000).map(|now| steps(&mut wheel, now)).sum();
        assert_eq!(total, 0, "{timers} timers");
    }
}

#[test]
fn a_small_budget_loses_nothing() {
    let mut wheel = TimerWheel::new(1000, 0);
    for id in 0..1000 {
        wheel.arm(TimerId(id), u64::from(id / 2));
    }
    let (mut count, mut calls) = (0, 0);
    while wheel.expire(10_000, 7, |_| count += 1) == Progress::More {
        calls += 1;
        assert!(count <= calls * 7);
        // Timers armed in the middle of it are not lost either.
        if calls == 5 {
            wheel.arm(TimerId(0), 20_000);
        }
    }
    assert_eq!(count, 1000);
    assert_eq!(fired(&mut wheel, 20_000), [0]);
}

#[derive(Clone, Debug)]
enum Op {
    Arm(u32, u64),
    ArmPast(u32, u64),
    Disarm(u32),
    Advance(u64, usize),
}

fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..4u64,
        6 => 0..600u64,
        3 => 0..200_000u64,
        2 => 0..1u64 << 25,
        1 => 0..1u64 << 34,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let budget = prop_oneof![0..6usize, Just(usize::MAX)];
    prop_oneof![
        6 => (0..40u32, distance()).prop_map(|(id, after)| Op::Arm(id, after)),
        1 => (0..40u32, distance()).prop_map(|(id, before)| Op::ArmPast(id, before)),
        2 => (0..40u32).prop_map(Op::Disarm),
        5 => (distance(), budget).prop_map(|(after, budget)| Op::Advance(after, budget)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn behaves_like_a_sorted_map(
        start in prop_oneof![Just(0u64), 0..1u64 << 33, (1u64 << 32) - 300..(1 << 32) + 300],
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut wheel = TimerWheel::new(40, start);
        let mut armed: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = start;
        for op in ops {
            match op {
                Op::Arm(id, after) => {
                    wheel.arm(TimerId(id), now + after);
                    let _ = armed.insert(id, now + after);
                }
                Op::ArmPast(id, before) => {
                    let deadline = now.saturating_sub(before);
                    wheel.arm(TimerId(id), deadline);
                    let _ = armed.insert(id, deadline);
                }
                Op::Disarm(id) => {
                    wheel.disarm(TimerId(id));
                    let _ = armed.remove(&id);
                }
                Op::Advance(after, budget) => {
                    now += after;
                    let mut ids = Vec::new();
                    let progress = wheel.expire(now, budget, |id| ids.push(id.0));
                    prop_assert!(ids.len() <= budget);
                    for id in ids {
                        let deadline = armed.remove(&id);
                        prop_assert!(deadline.is_some_and(|d| d <= now), "{} at {}: {:?}", id, now, deadline);
                    }
                    if progress == Progress::Done {
                        prop_assert!(armed.values().all(|d| *d > now), "late at {}: {:?}", now, armed);
                    }
                }
            }
            let first = armed.values().min().copied().unwrap_or(NEVER);
            prop_assert!(wheel.next_visit().unwrap_or(NEVER) <= first);
            for id in 0..40 {
                prop_assert_eq!(wheel.deadline(TimerId(id)), armed.get(&id).copied());
            }
        }
        // Whatever is left fires at its time, not before.
        while let Some(next) = armed.values().min().copied().filter(|next| *next > now) {
            let early: Vec<_> = armed.iter().filter(|(_, d)| **d < next).map(|(id, _)| *id).collect();
            prop_assert_eq!(fired(&mut wheel, next - 1), early);
            let due: Vec<_> = armed.iter().filter(|(_, d)| **d == next).map(|(id, _)| *id).collect();
            prop_assert_eq!(fired(&mut wheel, next), due);
            armed.retain(|_, d| *d > next);
            now = next;
        }
    }
}
