//! Crash tracking: quarantines a task that repeatedly crashes its worker.
//!
//! A crashed process cannot name the task. The store has the attempts that started and did not end,
//! because the start of each redelivered attempt is recorded before the task runs. The record
//! includes tasks that merely ran beside the cause. So a task that is suspect a second time runs
//! alone among suspects, one at a time on each worker. Harmless tasks end, and their records are
//! cleared. Only the count of the cause grows.
//!
//! The start is recorded right after the headers are read, before anything reads the body: the run,
//! the follow-ups of a recorded outcome, and those of a task that is revoked or unknown. A
//! quarantine reads only a small body.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::task::AckMode;
use celeriac_protocol::{Failure, TaskHeaders, TaskState, Value};
use celeriac_results::{AttemptKey, CrashCheck, CrashCount, Finished};
use celeriac_telemetry::events::worker::completion::{FailureNotRecorded, OutcomeNotRecorded};
use celeriac_telemetry::events::worker::task::TaskQuarantined;
use tokio::sync::OwnedSemaphorePermit;

use crate::attempt::dead_letter::dead_letter;
use crate::attempt::embed::read_small_embed;
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::follow_up::{FollowUpMode, after_failure};
use crate::attempt::record::{Recording, record_row, tell_recorded};
use crate::attempt::resend::hold_suspect;
use crate::attempt::row::{RowDetails, row};
use crate::attempt::stored_outcome::arrive_superseded;
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
use crate::runtime::ResultStore;
use crate::task::definition::TaskDefinition;

/// Celery's name for the error.
pub(crate) const WORKER_LOST: &str = "WorkerLostError";

/// Number of recorded starts, which omit the first delivery, from which a suspect runs alone.
const MAX_CONCURRENT_STARTS: u32 = 2;

/// Wait of a suspect at the broker while another one runs alone. The broker counts whole seconds.
const UNTIL_ITS_TURN: Duration = Duration::from_secs(1);

/// The decision on a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CrashDecision {
    /// It runs.
    Run,
    /// It runs when no other suspect of this worker runs.
    RunAlone,
    /// It never runs again: this many starts may have crashed a worker.
    Quarantine(u32),
}

/// Returns the number of recorded starts up to which a suspect runs beside others: zero if few
/// deliveries are allowed.
fn concurrent_starts(most: u32) -> u32 {
    most.saturating_sub(1).clamp(1, MAX_CONCURRENT_STARTS) - 1
}

/// Decides from the recorded count, which omits the first delivery.
fn judge(CrashCount { starts, begins }: CrashCount, most: u32) -> CrashDecision {
    match begins {
        true => CrashDecision::Run,
        false if starts.saturating_add(1) >= most => CrashDecision::Quarantine(starts.saturating_add(1)),
        false => CrashDecision::RunAlone,
    }
}

/// A recorded attempt. Its record must be cleared when it has ended.
pub(crate) struct CrashRecord<'a> {
    results: &'a ResultStore,
    attempt: AttemptKey,
    /// Held while the suspect runs alone.
    _turn: Option<OwnedSemaphorePermit>,
}

/// Records the start of a suspect, delays it until it can run alone, or quarantines it.
pub(crate) async fn track<'a>(attempt: &mut Attempt<'a>) -> AttemptStep<Option<CrashRecord<'a>>> {
    let is_suspect = attempt.received.is_redelivered() && is_late(attempt);
    match attempt.runtime.results.as_ref().filter(|_| is_suspect) {
        Some(results) => Box::pin(track_suspect(attempt, results)).await.map(Some),
        None => Ok(None),
    }
}

/// Returns `true` if the delivery is acknowledged after the task has run.
pub(crate) fn is_late(attempt: &Attempt<'_>) -> bool {
    definition(attempt).is_none_or(|task| task.options.acks == AckMode::Late)
}

/// Returns the definition of the task, if this worker has one.
fn definition<'a>(attempt: &Attempt<'a>) -> Option<&'a TaskDefinition> {
    attempt.runtime.registry.get(&attempt.headers().task)
}

/// Clears the record of an attempt that ended. An attempt that a stop of the worker interrupted, or
/// whose message was sent for later, keeps the count of its earlier starts.
pub(crate) async fn clear(record: Option<CrashRecord<'_>>, processed: &Processed) {
    let Some(record) = record else { return };
    let interrupted = processed.disposition == Disposition::Requeue || processed.held;
    Box::pin(record.results.crashes.clear(Finished { attempt: record.attempt, interrupted })).await;
}

async fn track_suspect<'a>(attempt: &mut Attempt<'a>, results: &'a ResultStore) -> AttemptStep<CrashRecord<'a>> {
    let declared = definition(attempt).and_then(|task| task.options.crash_limit);
    let most = declared.unwrap_or(attempt.runtime.crash_limit).max(2);
    let key = attempt_key(attempt);
    let record = |turn| CrashRecord { results, attempt: key, _turn: turn };
    match judge(put_on_record(attempt, results, concurrent_starts(most)).await?, most) {
        CrashDecision::Run => Ok(record(None)),
        CrashDecision::Quarantine(times) => Err(quarantine(attempt, results, times).await),
        CrashDecision::RunAlone => {
            let turn = tokio::select! {
                biased;
                turn = attempt.runtime.suspects.take() => turn,
                () = attempt.runtime.interrupt().cancelled() => return Err(Disposition::Requeue.into()),
            };
            let Some(turn) = turn else {
                // The suspect waits at the broker. A longer wait here would occupy the slot.
                return Err(hold_suspect(attempt, UNTIL_ITS_TURN).await);
            };
            match judge(put_on_record(attempt, results, most - 1).await?, most) {
                CrashDecision::Quarantine(times) => Err(quarantine(attempt, results, times).await),
                CrashDecision::Run | CrashDecision::RunAlone => Ok(record(Some(turn))),
            }
        }
    }
}

async fn put_on_record(attempt: &Attempt<'_>, results: &ResultStore, max_starts: u32) -> AttemptStep<CrashCount> {
    let worker = Arc::clone(&attempt.runtime.name);
    let check = CrashCheck { attempt: attempt_key(attempt), worker, max_starts };
    tokio::select! {
        biased;
        count = results.crashes.count_start(check) => count.map_err(|_| Disposition::Requeue.into()),
        () = attempt.runtime.interrupt().cancelled() => Err(Disposition::Requeue.into()),
    }
}

/// Dead-letters the message and then records a failure, as for every dead letter.
///
/// An outcome that another delivery has recorded stands. Its follow-ups may be what brings workers
/// down, so they are left to a replay of the dead letter. Its chord counts it, because a chord
/// waits for every member. A message that has nothing left to do is acknowledged: it was a late
/// copy, and workers were lost for other reasons.
async fn quarantine(attempt: &mut Attempt<'_>, results: &ResultStore, times: u32) -> Processed {
    if Box::pin(is_complete(attempt, results)).await {
        results.crashes.clear(Finished { attempt: attempt_key(attempt), interrupted: false }).await;
        return Disposition::Superseded.into();
    }
    let failure = Failure::new(WORKER_LOST, format!("its worker was lost {times} times while it ran"));
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskQuarantined { task, id, deliveries: times, failure: &failure });
    let dead_lettered = dead_letter(attempt, "poison", &failure.to_string()).await;
    if dead_lettered == Disposition::Requeue {
        return Disposition::Requeue.into();
    }
    let details = RowDetails { failure: Some(failure.clone()), begun: true, ..RowDetails::default() };
    let recorded = record_row(results, Box::new(row(attempt, TaskState::Failure, details))).await;
    tell_recorded(attempt, TaskState::Failure, &recorded);
    let TaskHeaders { task, id, .. } = attempt.headers();
    match &recorded {
        Recording::Unwritten { error } => {
            attempt.span.emit(&OutcomeNotRecorded { task, id, error });
            return Disposition::Requeue.into();
        }
        Recording::Refused { reason } => attempt.span.emit(&FailureNotRecorded { task, id, error: reason }),
        Recording::Stored | Recording::Repeated | Recording::Superseded => {}
    }
    results.crashes.clear(Finished { attempt: attempt_key(attempt), interrupted: false }).await;
    if recorded == Recording::Superseded {
        let counted = arrive_superseded(attempt, &failure).await;
        return Processed::failed(dead_lettered.and(counted), TaskState::Failure, failure);
    }
    attempt.embed = read_small_embed(attempt).await.unwrap_or_default();
    let followed = after_failure(attempt, &failure, FollowUpMode::First).await;
    Processed::failed(dead_lettered.and(followed), TaskState::Failure, failure)
}

/// Returns `true` if the store has an outcome of this task, and one of each task that follows from
/// it, so that this delivery has nothing left to do.
///
/// Returns `false` if that is uncertain: the message is a replay, its body is large, the caller
/// waits for a reply, a chord counts the task, or steps of its chain may have to end with it.
async fn is_complete(attempt: &Attempt<'_>, results: &ResultStore) -> bool {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let Ok(Some(row)) = results.backend.find(id).await else { return false };
    let is_replay = attempt.message_headers().replays() > 0;
    if row.name != *task || is_replay || attempt.is_awaited() || attempt.member().is_some() {
        return false;
    }
    let Some(embed) = read_small_embed(attempt).await else { return false };
    let follow_ups = match row.state {
        TaskState::Success => FollowUps::after_success(attempt, &embed, &Value::Null),
        TaskState::Failure if embed.chain.is_empty() => FollowUps::after_failure(attempt, &embed),
        _ => return false,
    };
    match follow_ups {
        Ok(follow_ups) => follow_ups.have_run().await,
        Err(_) => false,
    }
}

fn attempt_key(attempt: &Attempt<'_>) -> AttemptKey {
    let TaskHeaders { id, retries, .. } = attempt.headers();
    AttemptKey { id: id.clone(), retries: *retries, replays: attempt.message_headers().replays() }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;
    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::decode::find_task;
    use crate::attempt::testing::{TestWorker, follow_up, member, redelivered};
    use crate::task::hooks::HookList;

    async fn worker(crash_limit: u32) -> TestWorker {
        TestWorker::with(|options| options.crash_limit = Some(crash_limit), HookList::default()).await
    }

    async fn suspect(worker: &TestWorker) -> Attempt<'_> {
        let mut attempt = worker.deliver_changed("succeed", redelivered).await;
        find_task(&mut attempt).await.unwrap();
        attempt
    }

    #[tokio::test]
    async fn a_first_delivery_is_no_suspect() {
        let worker = worker(2).await;
        let mut attempt = worker.deliver("succeed").await;
        find_task(&mut attempt).await.unwrap();
        assert!(track(&mut attempt).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_suspect_that_ends_is_cleared_and_begins_again_as_often_as_it_comes() {
        let worker = worker(2).await;
        for _ in 0..3 {
            let mut attempt = suspect(&worker).await;
            let record = track(&mut attempt).await.unwrap();
            assert!(record.is_some());
            clear(record, &Processed::new(Disposition::Done, TaskState::Success)).await;
        }
        assert!(worker.published().is_empty());
    }

    #[tokio::test]
    async fn a_suspect_that_never_ends_is_quarantined_with_its_message_before_its_row() {
        let worker = worker(2).await;
        let mut first = suspect(&worker).await;
        let lost = track(&mut first).await.unwrap();
        assert!(lost.is_some());
        // The worker dies here: the record stays, and the semaphore is released.
        drop(lost);
        let mut second = worker
            .deliver_changed("succeed", |call, message| {
                redelivered(call, message);
                call.follow.errbacks.push(follow_up("told"));
            })
            .await;
        find_task(&mut second).await.unwrap();

        let ended = track(&mut second).await.err().unwrap();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Failure));
        let published = worker.published();
        let told: Vec<_> = published.iter().map(|sent| (sent.header(names::DEAD_REASON), sent.row)).collect();
        assert_eq!(told, [(Some("poison"), None), (None, Some(TaskState::Failure))], "dead letter, row, errback");
        let row = worker.row().await.unwrap();
        assert_eq!((row.failure.unwrap().kind.as_str(), row.attempts), (WORKER_LOST, 1));
    }

    #[tokio::test]
    async fn a_copy_of_an_ended_task_is_quarantined_only_if_a_follow_up_has_not_run() {
        for (state_behind, expected) in [(TaskState::Sent, 1), (TaskState::Success, 0)] {
            let worker = worker(2).await;
            let mut lost = worker
                .deliver_changed("succeed", |call, message| {
                    redelivered(call, message);
                    call.follow.callbacks.push(follow_up("next").option("task_id", "behind"));
                })
                .await;
            find_task(&mut lost).await.unwrap();
            drop(track(&mut lost).await.unwrap());
            worker.record_elsewhere(&mut lost, TaskState::Success, |_| {}).await;
            worker
                .record_elsewhere(&mut lost, state_behind, |row| {
                    (row.id, row.name) = ("behind".to_owned(), "next".to_owned());
                })
                .await;
            drop(lost);
            let mut again = worker.receive().await;
            find_task(&mut again).await.unwrap();

            let ended = track(&mut again).await.err().unwrap();

            let dead = worker.published().iter().filter(|sent| sent.header(names::DEAD_REASON).is_some()).count();
            assert_eq!((dead, worker.row().await.unwrap().state), (expected, TaskState::Success), "{ended:?}");
        }
    }

    #[tokio::test]
    async fn a_chord_counts_a_member_that_is_quarantined_after_another_delivery_has_recorded_it() {
        let worker = worker(2).await;
        let mut lost = worker
            .deliver_changed("succeed", |call, message| {
                redelivered(call, message);
                member(call, message);
            })
            .await;
        find_task(&mut lost).await.unwrap();
        drop(track(&mut lost).await.unwrap());
        worker.add_chord().await;
        worker.record_elsewhere(&mut lost, TaskState::Success, |_| {}).await;
        drop(lost);
        let mut again = worker.receive().await;
        find_task(&mut again).await.unwrap();

        let ended = track(&mut again).await.err().unwrap();

        assert_eq!(ended.disposition, Disposition::Done);
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.header(names::DEAD_REASON)).collect();
        assert_eq!(sent, [Some("poison"), None], "its letter, then the body");
        assert_eq!(published[1].header(names::ID), Some("body"));
    }

    #[tokio::test]
    async fn a_suspect_waits_on_the_broker_while_another_runs_alone() {
        let worker = worker(3).await;
        let mut first = suspect(&worker).await;
        // The worker dies here.
        drop(track(&mut first).await.unwrap());
        drop(first);
        let mut again = worker.receive().await;
        find_task(&mut again).await.unwrap();
        let other = worker.runtime.suspects.take().await.unwrap();

        let ended = track(&mut again).await.err().unwrap();

        assert_eq!(ended.disposition, Disposition::Done);
        let published = worker.published();
        assert_eq!((published.len(), published[0].row), (1, None));
        assert!(published[0].message.headers.get(names::SUSPECTED).is_some());
        drop(other);
        assert!(track(&mut again).await.unwrap().is_some(), "now it is its turn");
    }

    #[tokio::test]
    async fn a_suspect_waits_in_its_slot_for_another_that_ends_soon() {
        let worker = worker(2).await;
        let other = worker.runtime.suspects.take().await.unwrap();
        let mut suspect = suspect(&worker).await;

        let turns = &worker.runtime.suspects;
        let free = turns.free_places();
        let ended = async {
            while turns.free_places() == free {
                tokio::task::yield_now().await;
            }
            drop(other);
        };
        let tracked = async { tokio::join!(track(&mut suspect), ended) };
        let (record, ()) = tokio::time::timeout(Duration::from_secs(10), tracked).await.expect("it waits, and begins");

        assert!(record.unwrap().is_some());
        assert!(worker.published().is_empty(), "its message stays where it is");
    }

    /// Returns the decision at each delivery after the first, for a task that always crashes its
    /// worker.
    fn poison(most: u32) -> Vec<CrashDecision> {
        let (mut starts, mut judgements) = (0, Vec::new());
        loop {
            let begins = starts < concurrent_starts(most);
            let judgement = judge(CrashCount { starts: starts + u32::from(begins), begins }, most);
            judgements.push(judgement);
            if matches!(judgement, CrashDecision::Quarantine(_)) {
                return judgements;
            }
            starts += 1;
        }
    }

    #[test]
    fn poison_runs_as_often_as_it_may_and_only_once_beside_other_suspects() {
        use CrashDecision::{Quarantine, Run, RunAlone};
        // With the first delivery, which has no decision, the task runs as often as the limit
        // allows.
        assert_eq!(poison(2), [RunAlone, Quarantine(2)]);
        assert_eq!(poison(3), [Run, RunAlone, Quarantine(3)]);
        assert_eq!(poison(5), [Run, RunAlone, RunAlone, RunAlone, Quarantine(5)]);
    }
}
