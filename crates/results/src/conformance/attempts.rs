//! Cases of recorded attempts.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Failure, TaskState};
use jiff::Timestamp;

use super::stage::{at, bare, ended, id, record, since, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::outcomes::Recorded;
use crate::record::{AttemptRecord, TaskRecord};

pub(super) async fn every_attempt_is_recorded(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = attempt(ns, "thrice", TaskState::Retry, 1);
    let second = attempt(ns, "thrice", TaskState::Retry, 2);
    let third = TaskRecord { failure: None, eta: None, ..attempt(ns, "thrice", TaskState::Success, 3) };
    // The batch also has records that are not failures.
    let failed = attempt(ns, "failed", TaskState::Failure, 1);
    let plain = TaskRecord { failure: None, ..attempt(ns, "plain", TaskState::Success, 1) };
    backend.record(&[plain.clone(), first.clone(), failed.clone()]).await?;
    backend.record(&[second.clone(), plain.clone()]).await?;
    stored(&backend, &third).await?;
    let attempts = backend.attempts(&third.id).await?;
    assert_eq!(attempts.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    for (found, written) in attempts.iter().zip([&first, &second]) {
        let finished_at = written.started_at.and_then(|began| began.checked_add(written.runtime?).ok());
        assert_eq!((found.state, &found.failure), (TaskState::Retry, &written.failure));
        assert_eq!((Some(found.started_at), found.finished_at), (written.started_at, finished_at));
        assert_eq!((found.runtime, found.next_at, &found.worker), (written.runtime, written.eta, &written.worker));
    }
    assert_eq!((attempts[2].state, &attempts[2].failure, attempts[2].next_at), (TaskState::Success, &None, None));
    let states = |attempts: Vec<AttemptRecord>| attempts.into_iter().map(|attempt| attempt.state).collect::<Vec<_>>();
    assert_eq!(states(backend.attempts(&failed.id).await?), [TaskState::Failure]);
    assert_eq!(states(backend.attempts(&plain.id).await?), [TaskState::Success]);
    Ok(())
}

pub(super) async fn an_attempt_that_is_written_again_stands_once(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = attempt(ns, "again", TaskState::Retry, 1);
    stored(&backend, &first).await?;
    stored(&backend, &first).await?;
    // The first worker died, and another worker ran the attempt again.
    let other = TaskRecord { worker: "another".into(), started_at: Some(at(50)), ..first };
    assert_eq!(record(&backend, &other).await?, Recorded::Kept(TaskState::Retry));
    let shown = async |id: &str| -> Result<Vec<_>> {
        let attempts = backend.attempts(id).await?;
        Ok(attempts.into_iter().map(|attempt| (attempt.attempt, attempt.state, attempt.worker.to_string())).collect())
    };
    assert_eq!(shown(&other.id).await?, [(1, TaskState::Retry, "worker".to_owned())]);
    let end = TaskRecord { worker: "another".into(), ..attempt(ns, "again", TaskState::Failure, 1) };
    stored(&backend, &end).await?;
    assert_eq!(shown(&end.id).await?, [(1, TaskState::Failure, "another".to_owned())]);
    let success = TaskRecord { failure: None, ..attempt(ns, "again", TaskState::Success, 1) };
    stored(&backend, &success).await?;
    assert_eq!(shown(&success.id).await?, [(1, TaskState::Success, "worker".to_owned())]);
    Ok(())
}

pub(super) async fn the_attempts_of_a_replay_are_counted_anew(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let replay = |state, number, replays| TaskRecord { replays, ..attempt(ns, "replayed", state, number) };
    for record in [
        replay(TaskState::Retry, 1, 0),
        replay(TaskState::Failure, 2, 0),
        replay(TaskState::Retry, 1, 1),
        TaskRecord { failure: None, ..replay(TaskState::Success, 2, 1) },
    ] {
        stored(&backend, &record).await?;
    }
    let attempts = backend.attempts(&id(ns, "replayed")).await?;
    let shown: Vec<_> = attempts.iter().map(|attempt| (attempt.replays, attempt.attempt, attempt.state)).collect();
    let expected =
        [(0, 1, TaskState::Retry), (0, 2, TaskState::Failure), (1, 1, TaskState::Retry), (1, 2, TaskState::Success)];
    assert_eq!(shown, expected);
    Ok(())
}

pub(super) async fn a_task_that_has_not_run_has_no_attempt(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let refused = TaskRecord { attempts: 0, ..ended(ns, "refused", TaskState::Failure) };
    stored(&backend, &refused).await?;
    assert_eq!(backend.attempts(&refused.id).await?, []);
    // A later attempt that could not start leaves the earlier one unchanged.
    let first = attempt(ns, "unreadable", TaskState::Retry, 1);
    stored(&backend, &first).await?;
    stored(&backend, &ended(ns, "unreadable", TaskState::Failure)).await?;
    let attempts = backend.attempts(&first.id).await?;
    assert_eq!(attempts.iter().map(|attempt| attempt.state).collect::<Vec<_>>(), [TaskState::Retry]);
    Ok(())
}

pub(super) async fn an_attempt_of_what_is_not_written_is_not_on_record(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let success = TaskRecord { failure: None, ..attempt(ns, "zombie", TaskState::Success, 1) };
    stored(&backend, &success).await?;
    let zombie = TaskRecord { worker: "another".into(), ..attempt(ns, "zombie", TaskState::Failure, 1) };
    let other = attempt(ns, "beside", TaskState::Retry, 1);
    assert_eq!(backend.record(&[zombie, other]).await?, [Recorded::Kept(TaskState::Success), Recorded::Stored]);
    let attempts = backend.attempts(&success.id).await?;
    assert_eq!(attempts.iter().map(|attempt| attempt.state).collect::<Vec<_>>(), [TaskState::Success]);
    Ok(())
}

pub(super) async fn attempts_go_with_their_task(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let stays = attempt(ns, "stays", TaskState::Retry, 1);
    // Long before the times of other cases, except the one that sweeps.
    let old = Timestamp::from_second(50).unwrap_or_default();
    let swept = TaskRecord { finished_at: Some(old), ..attempt(ns, "swept", TaskState::Failure, 2) };
    let forgotten = attempt(ns, "forgotten", TaskState::Retry, 1);
    backend.record(&[attempt(ns, "swept", TaskState::Retry, 1), stays.clone(), forgotten.clone()]).await?;
    stored(&backend, &swept).await?;
    assert_eq!(backend.attempts(&swept.id).await?.len(), 2);
    assert!(backend.forget(&forgotten.id).await?);
    backend.sweep(since(60), 100).await?;
    // The tasks are recorded again, without their attempts.
    for gone in [&swept, &forgotten] {
        stored(&backend, &TaskRecord { id: gone.id.clone(), ..bare(ns, "", TaskState::Pending) }).await?;
        assert_eq!(backend.attempts(&gone.id).await?, [], "{}", gone.id);
    }
    assert_eq!(backend.attempts(&stays.id).await?.len(), 1);
    Ok(())
}

/// Returns an attempt that has run.
fn attempt(ns: &str, name: &str, state: TaskState, number: u32) -> TaskRecord {
    TaskRecord {
        failure: Some(Failure { trace: Some("cause".to_owned()), ..Failure::new("Busy", format!("no {number}")) }),
        attempts: number,
        started_at: Some(at(i64::from(number))),
        runtime: Some(Duration::from_micros(250_001)),
        eta: (state == TaskState::Retry).then(|| at(i64::from(number) + 1)),
        finished_at: state.is_final().then(|| at(100)),
        ..bare(ns, name, state)
    }
}
