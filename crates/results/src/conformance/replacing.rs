//! Cases of existing rows, which are replaced or kept by the rules.

use std::sync::Arc;

use celeriac_protocol::{Failure, TaskState};

use super::stage::{assert_found, assert_same, at, bare, ended, find, record, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::outcomes::Recorded;
use crate::record::TaskRecord;

pub(super) async fn the_first_success_stays(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = ended(ns, "first", TaskState::Success);
    stored(&backend, &first).await?;
    for state in TaskState::ALL {
        let later = TaskRecord { attempts: 9, worker: "another".into(), ..ended(ns, "first", state) };
        assert_eq!(record(&backend, &later).await?, Recorded::Kept(TaskState::Success), "{state}");
    }
    assert_found(&backend, &first).await
}

pub(super) async fn a_failure_gives_way_to_a_success_only(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for end in [TaskState::Failure, TaskState::Revoked, TaskState::Rejected] {
        let first = ended(ns, end.as_str(), end);
        stored(&backend, &first).await?;
        for state in TaskState::ALL.into_iter().filter(|&state| state != TaskState::Success) {
            let later = TaskRecord { attempts: 9, worker: "another".into(), ..ended(ns, end.as_str(), state) };
            assert_eq!(record(&backend, &later).await?, Recorded::Kept(end), "{state} after {end}");
        }
        assert_found(&backend, &first).await?;
        let replayed = TaskRecord { worker: "another".into(), ..ended(ns, end.as_str(), TaskState::Success) };
        stored(&backend, &replayed).await?;
        assert_found(&backend, &replayed).await?;
    }
    Ok(())
}

pub(super) async fn an_ignored_end_stays(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = ended(ns, "ignored", TaskState::Ignored);
    stored(&backend, &first).await?;
    let later = TaskRecord { worker: "another".into(), ..ended(ns, "ignored", TaskState::Success) };
    assert_eq!(record(&backend, &later).await?, Recorded::Kept(TaskState::Ignored));
    Ok(())
}

pub(super) async fn a_replay_begins_anew_whatever_the_failure_before_it(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    for end in [TaskState::Failure, TaskState::Revoked, TaskState::Rejected] {
        let name = end.as_str();
        stored(&backend, &TaskRecord { attempts: 9, ..ended(ns, name, end) }).await?;
        let replay = |state, replays| TaskRecord { replays, worker: "another".into(), ..bare(ns, name, state) };
        for (state, replays) in
            [(TaskState::Retry, 1), (TaskState::Started, 2), (TaskState::Failure, 3), (TaskState::Failure, 4)]
        {
            stored(&backend, &replay(state, replays)).await?;
            assert_found(&backend, &replay(state, replays)).await?;
        }
        stored(&backend, &replay(TaskState::Success, 4)).await?;
    }
    Ok(())
}

pub(super) async fn a_record_of_an_earlier_replay_changes_nothing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let replay = TaskRecord { replays: 2, ..bare(ns, "replay", TaskState::Retry) };
    stored(&backend, &replay).await?;
    for state in TaskState::ALL.into_iter().filter(|&state| state != TaskState::Success) {
        let earlier = TaskRecord { replays: 1, attempts: 9, worker: "late".into(), ..ended(ns, "replay", state) };
        assert_eq!(record(&backend, &earlier).await?, Recorded::Kept(TaskState::Retry), "{state}");
    }
    assert_found(&backend, &replay).await?;
    // A success is stored, even if it is of an earlier replay.
    let earlier = TaskRecord { replays: 1, ..ended(ns, "replay", TaskState::Success) };
    stored(&backend, &earlier).await
}

pub(super) async fn a_replay_does_not_replace_a_success(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for end in [TaskState::Success, TaskState::Ignored] {
        let first = ended(ns, end.as_str(), end);
        stored(&backend, &first).await?;
        for state in TaskState::ALL {
            let replay = TaskRecord { replays: 1, worker: "another".into(), ..bare(ns, end.as_str(), state) };
            assert_eq!(record(&backend, &replay).await?, Recorded::Kept(end), "{state} after {end}");
        }
        assert_found(&backend, &first).await?;
    }
    Ok(())
}

pub(super) async fn a_retry_gives_way_to_a_success(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let retry = TaskRecord { failure: Some(Failure::new("Timeout", "")), ..bare(ns, "retried", TaskState::Retry) };
    stored(&backend, &retry).await?;
    let success = TaskRecord { attempts: 2, ..ended(ns, "retried", TaskState::Success) };
    stored(&backend, &success).await?;
    // The failure of an attempt is not the failure of its task.
    assert_found(&backend, &success).await
}

pub(super) async fn an_older_attempt_changes_nothing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let third = TaskRecord { attempts: 3, ..bare(ns, "attempts", TaskState::Retry) };
    stored(&backend, &third).await?;
    for state in [TaskState::Pending, TaskState::Started, TaskState::Retry] {
        let second = TaskRecord { attempts: 2, ..bare(ns, "attempts", state) };
        assert_eq!(record(&backend, &second).await?, Recorded::Kept(TaskState::Retry));
    }
    assert_found(&backend, &third).await?;
    let fourth = TaskRecord { attempts: 4, ..bare(ns, "attempts", TaskState::Started) };
    stored(&backend, &fourth).await?;
    assert_found(&backend, &fourth).await
}

pub(super) async fn a_state_never_goes_back_within_an_attempt(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let steps = [TaskState::Pending, TaskState::Started, TaskState::Retry];
    for (index, state) in steps.into_iter().enumerate() {
        stored(&backend, &bare(ns, "steps", state)).await?;
        for earlier in &steps[..index] {
            assert_eq!(record(&backend, &bare(ns, "steps", *earlier)).await?, Recorded::Kept(state));
        }
        stored(&backend, &bare(ns, "steps", state)).await?;
    }
    Ok(())
}

pub(super) async fn values_stay_that_the_new_record_lacks(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let sent = TaskRecord {
        args: Some("[1]".to_owned()),
        kwargs: Some(r#"{"nul": "\u0000"}"#.to_owned()),
        root_id: Some("root".to_owned()),
        eta: Some(at(1)),
        sent_at: Some(at(2)),
        ..bare(ns, "sent", TaskState::Pending)
    };
    stored(&backend, &sent).await?;
    let success = ended(ns, "sent", TaskState::Success);
    stored(&backend, &success).await?;
    let known = TaskRecord {
        args: sent.args,
        kwargs: sent.kwargs,
        root_id: sent.root_id,
        eta: sent.eta,
        sent_at: sent.sent_at,
        ..success
    };
    let found = find(&backend, &known.id).await?;
    assert_eq!(found.kwargs, known.kwargs);
    assert_same(&found, &known);
    Ok(())
}

pub(super) async fn the_same_outcome_again_counts_as_stored(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in TaskState::ALL {
        let outcome = ended(ns, state.as_str(), state);
        stored(&backend, &outcome).await?;
        stored(&backend, &outcome).await?;
        assert_found(&backend, &outcome).await?;
    }
    Ok(())
}
