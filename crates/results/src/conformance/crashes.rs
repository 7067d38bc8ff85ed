//! Cases of attempts that started and did not end.

use std::sync::Arc;

use crate::backend::Backend;
use crate::crash_log::{AttemptKey, CrashCheck, CrashCount, Finished};
use crate::error::Result;

pub(super) async fn a_suspect_begins_as_often_as_it_may(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (first, second) = (check(ns, "a", 0, 1), check(ns, "b", 0, 3));
    for (expected_first, expected_second) in [((1, true), (1, true)), ((1, false), (2, true)), ((1, false), (3, true))]
    {
        let told = backend.count_starts(&[first.clone(), second.clone()]).await?;
        let expected = [expected_first, expected_second].map(|(starts, begins)| CrashCount { starts, begins });
        assert_eq!(told, expected);
    }
    // A higher limit lets the attempt start again. A limit of zero prevents even the first start.
    let told = backend.count_starts(&[check(ns, "c", 0, 0), check(ns, "a", 0, 4)]).await?;
    assert_eq!(told, [CrashCount { starts: 0, begins: false }, CrashCount { starts: 2, begins: true }]);
    Ok(())
}

pub(super) async fn another_attempt_starts_with_a_count_of_zero(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let second = check(ns, "a", 1, 9);
    let replayed = CrashCheck { attempt: AttemptKey { replays: 1, ..second.attempt.clone() }, ..second.clone() };
    for (suspect, starts) in [(check(ns, "a", 0, 9), 1), (second.clone(), 1), (second, 2), (replayed, 1)] {
        assert_eq!(backend.count_starts(&[suspect]).await?, [CrashCount { starts, begins: true }]);
    }
    Ok(())
}

pub(super) async fn an_ended_attempt_has_no_record(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects = [check(ns, "a", 0, 9), check(ns, "b", 0, 9)];
    backend.count_starts(&suspects).await?;
    let ended = |suspect: &CrashCheck| Finished { attempt: suspect.attempt.clone(), interrupted: false };
    // The end of another attempt does not affect this one.
    let other = AttemptKey { retries: 1, ..suspects[1].attempt.clone() };
    backend.clear_finished(&[ended(&suspects[0]), Finished { attempt: other, interrupted: false }]).await?;
    let told = backend.count_starts(&suspects).await?;
    assert_eq!(told.iter().map(|told| told.starts).collect::<Vec<_>>(), [1, 2]);
    backend.clear_finished(&[]).await
}

pub(super) async fn what_was_only_interrupted_is_not_counted(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects = [check(ns, "once", 0, 9), check(ns, "twice", 0, 9)];
    backend.count_starts(&suspects).await?;
    backend.count_starts(&suspects[1..]).await?;
    let interrupted =
        suspects.each_ref().map(|suspect| Finished { attempt: suspect.attempt.clone(), interrupted: true });
    backend.clear_finished(&interrupted).await?;
    let told = backend.count_starts(&suspects).await?;
    assert_eq!(told.iter().map(|told| told.starts).collect::<Vec<_>>(), [1, 2]);
    Ok(())
}

pub(super) async fn five_hundred_suspects_at_once(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects: Vec<_> = (0..500).rev().map(|number| check(ns, &number.to_string(), 0, number % 2)).collect();
    let told = backend.count_starts(&suspects).await?;
    let expected: Vec<_> = suspects.iter().map(|suspect| suspect.max_starts == 1).collect();
    assert_eq!(told.iter().map(|told| told.begins).collect::<Vec<_>>(), expected);
    Ok(())
}

fn check(ns: &str, name: &str, retries: u32, max_starts: u32) -> CrashCheck {
    let attempt = AttemptKey { id: format!("{ns}/{name}"), retries, replays: 0 };
    CrashCheck { attempt, worker: "worker".into(), max_starts }
}
