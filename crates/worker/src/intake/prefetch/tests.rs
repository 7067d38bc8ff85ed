//! Tests of the prefetch for short and long tasks, and that it does not oscillate.

use proptest::prelude::*;

use super::*;

/// Returns the use of a queue that has all slots, after many of its tasks have ended.
fn alone(run_time: Duration, concurrency: usize) -> SlotsObserved {
    SlotsObserved { run_time: Some(run_time), ended: 1000.0, busy: concurrency as f64, free: 0.0, queues: 1 }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_prefetch_is_large_for_short_tasks_and_small_for_long_ones() {
    let cases = [
        // run time, slots, present prefetch, expected prefetch
        (Duration::from_micros(50), 8, 8, Some(1024)),
        (millis(1), 8, 8, Some(1024)),
        (millis(1), 8, 500, Some(1024)),
        (millis(1), 8, 600, None),
        (millis(1), 1, 1, Some(201)),
        (millis(20), 8, 8, Some(88)),
        (millis(20), 8, 80, None),
        (millis(100), 8, 8, Some(24)),
        (millis(100), 64, 64, Some(192)),
        (millis(500), 8, 8, None),
        (millis(500), 8, 1024, Some(12)),
        (millis(999), 8, 1024, Some(10)),
        (millis(1000), 8, 1024, Some(8)),
        (Duration::from_secs(60), 8, 1024, Some(8)),
        (Duration::from_secs(60), 8, 10, None),
        (Duration::from_secs(60), 8, 11, Some(8)),
        (Duration::from_secs(60), 8, 8, None),
        (Duration::from_secs(60), 8, 4, Some(8)),
        (Duration::MAX, 8, 1024, Some(8)),
        (Duration::ZERO, 8, 8, Some(1024)),
        (millis(1), 2000, 2000, None),
        (millis(1), 100_000, 1024, Some(u16::MAX)),
    ];
    for (run_time, concurrency, current, expected) in cases {
        let chosen = choose(&alone(run_time, concurrency), concurrency, current);
        assert_eq!(chosen.map(|chosen| chosen.prefetch), expected, "{run_time:?} {concurrency} {current}");
    }
}

#[test]
fn a_worker_begins_with_what_it_can_run() {
    assert_eq!([0, 1, 8, 64, 100_000].map(first), [1, 1, 8, 64, u16::MAX]);
}

#[test]
fn without_anything_seen_nothing_changes() {
    let nothing = SlotsObserved { run_time: None, ended: 0.0, busy: 0.0, free: 8.0, queues: 0 };
    assert_eq!(choose(&nothing, 8, 8), None);
    assert_eq!(choose(&nothing, 8, 1024), None);
}

#[test]
fn a_few_short_tasks_do_not_raise_the_prefetch() {
    let few = SlotsObserved { ended: 5.0, ..alone(millis(1), 8) };
    assert_eq!(choose(&few, 8, 8), None);
}

#[test]
fn queues_share_the_slots_that_all_of_them_want() {
    let long = |busy, free, queues| SlotsObserved { busy, free, queues, ..alone(Duration::from_secs(60), 8) };
    let cases = [
        // Two queues with half of the slots each.
        (long(4.0, 0.0, 2), 16, Some(4)),
        (long(4.0, 0.0, 2), 5, None),
        // The other queue uses few slots, and leaves the rest to this one.
        (long(7.5, 0.0, 2), 8, None),
        (long(4.0, 3.5, 2), 4, Some(8)),
        // Three queues, of which this one uses little.
        (long(0.5, 0.0, 3), 8, Some(3)),
    ];
    for (observed, current, expected) in cases {
        let chosen = choose(&observed, 8, current);
        assert_eq!(chosen.map(|chosen| chosen.prefetch), expected, "{observed:?} {current}");
    }
}

#[test]
fn what_is_beyond_a_lower_bound_goes_back_and_of_long_tasks_all_that_has_not_begun() {
    let kept = |run_time, current| choose(&alone(run_time, 8), 8, current).unwrap().keep;
    assert_eq!(kept(Duration::from_secs(60), 17), Some(0));
    assert_eq!(kept(millis(1000), 1024), Some(0));
    assert_eq!(kept(millis(500), 1024), Some(12));
    assert_eq!(kept(millis(1), 8), None);
}

#[test]
fn a_reason_is_given() {
    let reason = |observed: &SlotsObserved, current| choose(observed, 8, current).unwrap().reason;
    assert_eq!(reason(&alone(millis(1), 8), 8), PrefetchReason::Short);
    assert_eq!(reason(&alone(millis(1000), 8), 64), PrefetchReason::Longer);
    assert_eq!(reason(&alone(millis(1000), 8), 5), PrefetchReason::Free);
}

#[test]
fn tasks_of_about_a_second_return_no_messages_when_they_vary() {
    // Settled at 797 ms and then measured as one second. The second case has few slots, where one
    // message more is a large share.
    let cases = [
        // slots, settled at, held then, later measured as
        (45, 797.471, 57, 1_000.03),
        (45, 905.0, 55, 1_150.0),
        (45, 999.0, 55, 1_290.0),
        (1, 900.0, 2, 1_000.0),
        (2, 999.0, 3, 1_298.0),
        (3, 770.0, 4, 1_001.0),
    ];
    for (concurrency, settled, held, seen) in cases {
        let at = |millis: f64| alone(Duration::from_secs_f64(millis / 1_000.0), concurrency);
        let first = choose(&at(settled), concurrency, u16::MAX).map(|chosen| chosen.prefetch);
        assert_eq!(first, Some(held), "{concurrency} {settled}");
        assert_eq!(choose(&at(seen), concurrency, held), None, "{concurrency} {settled} {seen}");
    }
}

#[test]
fn messages_held_for_tasks_that_became_long_are_returned() {
    let chosen = |run_time, current| choose(&alone(run_time, 45), 45, current).map(|chosen| chosen.prefetch);
    // More than tasks of two thirds of a second would need.
    assert_eq!(chosen(millis(1_000), 60), Some(45));
    assert_eq!(chosen(millis(1_000), 59), None);
    // These tasks are long, even with the largest error of the measurement.
    assert_eq!(chosen(millis(1_500), 57), Some(45));
}

fn observed() -> impl Strategy<Value = (SlotsObserved, usize)> {
    // Often about a second with few slots, where the prefetch changes in steps.
    let run_time = prop_oneof![(0_u64..2_000_000), (700_000_u64..1_600_000), (0..u64::MAX / 1000)];
    let run_time = run_time.prop_map(Duration::from_micros);
    (prop_oneof![1_usize..3000, 1_usize..10], run_time, 0.0..1e6, 0.0..1.0, 0.0..1.0, 1_usize..20).prop_map(
        |(concurrency, run_time, ended, used, of_these, queues)| {
            let used = concurrency as f64 * used;
            let busy = used * of_these;
            let free = concurrency as f64 - used;
            (SlotsObserved { run_time: Some(run_time), ended, busy, free, queues }, concurrency)
        },
    )
}

proptest! {
    #[test]
    fn a_choice_is_within_bounds_and_stands((observed, concurrency) in observed(), current in 1..u16::MAX) {
        let Some(chosen) = choose(&observed, concurrency, current) else { return Ok(()) };
        prop_assert!(chosen.prefetch >= 1);
        prop_assert!(usize::from(chosen.prefetch) <= concurrency.max(usize::from(MOST)));
        prop_assert_ne!(chosen.prefetch, current);
        // The same measurement causes no further change, so the prefetch does not oscillate. It may
        // still grow after more tasks have ended.
        let evident = SlotsObserved { ended: EVIDENCE, ..observed };
        let mut current = chosen.prefetch;
        let mut changes = 0;
        while let Some(chosen) = choose(&evident, concurrency, current) {
            current = chosen.prefetch;
            changes += 1;
            prop_assert!(changes <= 1);
        }
    }

    #[test]
    fn measurements_that_vary_by_half_change_nothing((observed, concurrency) in observed(), by in 0.75..1.3) {
        let evident = SlotsObserved { ended: EVIDENCE, ..observed };
        let Some(settled) = choose(&evident, concurrency, u16::MAX).or(choose(&evident, concurrency, 1)) else {
            return Ok(());
        };
        let wavered = Duration::try_from_secs_f64(observed.run_time.unwrap_or_default().as_secs_f64() * by);
        let wavered = SlotsObserved { run_time: Some(wavered.unwrap_or(Duration::MAX)), ..evident };
        prop_assert_eq!(choose(&wavered, concurrency, settled.prefetch), None);
    }

    #[test]
    fn every_slot_that_is_free_can_be_used((observed, concurrency) in observed(), current in 1..u16::MAX) {
        let now = choose(&observed, concurrency, current).map_or(current, |chosen| chosen.prefetch);
        let usable = (observed.busy + observed.free).min(f64::from(u16::MAX));
        prop_assert!(f64::from(now) >= usable.min(concurrency as f64).floor(), "{} of {}", now, usable);
    }
}
