//! Puts another task, or a canvas, in the place of a task that has run.
//!
//! The last task of the replacement has the id of the task, so its outcome is that of the task. The
//! run of the replaced task has a row of its own, under a derived id. It is written after the
//! messages of the replacement are confirmed: a delivery that finds it has nothing left to do. If
//! the worker dies before it, the task runs again, and its replacement has the same ids.

use celeriac_broker::Settlement;
use celeriac_protocol::{Failure, Signature, TaskHeaders, TaskState, Value};
use celeriac_results::TaskRecord;
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::completion::OutcomeNotRecorded;
use celeriac_telemetry::events::worker::task::TaskReplaced;

use crate::attempt::duplicate::may_be_duplicate;
use crate::attempt::follow_up::error::NotSent;
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::replaced::record_replaced;
use crate::attempt::stored::find_row;
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
use crate::task::definition::TaskDefinition;

/// Sends a replacement, and records that the task was replaced. The inner error is the failure of a
/// task whose replacement can never be sent.
pub(crate) async fn replace(
    attempt: &mut Attempt<'_>,
    task: &TaskDefinition,
    replacement: Signature,
) -> AttemptStep<Result<Processed, Failure>> {
    let impossible = |reason: String| Ok(Err(Failure::new("Fatal", format!("it cannot be replaced: {reason}"))));
    if task.is_transactional() {
        return impossible("its transaction is rolled back".to_owned());
    }
    if attempt.settlement.as_ref().is_some_and(Settlement::is_void) {
        // The broker redelivers the message, and that delivery sends the replacement.
        return Ok(Ok(Processed::new(Disposition::Superseded, TaskState::Ignored)));
    }
    let by = replacement.task.clone();
    let replacement = match in_place(attempt, replacement) {
        Ok(replacement) => replacement,
        Err(reason) => return impossible(reason),
    };
    if let Err(error) = FollowUps::check_replacement(attempt, &replacement).await {
        return impossible(error.to_string());
    }
    forget_attempts(attempt).await?;
    let is_repeated = may_be_duplicate(attempt) || attempt.is_taken_back();
    let sent = match FollowUps::replacement(attempt, &replacement) {
        Ok(follow_ups) => follow_ups.send(is_repeated).await,
        Err(error) => Err(NotSent::Impossible(error.to_string())),
    };
    match sent {
        Ok(_) => {}
        Err(NotSent::Impossible(reason)) => return impossible(reason),
        Err(NotSent::Interrupted) => return Err(Disposition::Requeue.into()),
    }
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskReplaced { task, id, by: &by });
    record_replaced(attempt).await?;
    Ok(Ok(Processed::new(Disposition::Done, TaskState::Ignored)))
}

/// Returns the replacement with everything that the task was to others.
fn in_place(attempt: &Attempt<'_>, replacement: Signature) -> Result<Signature, String> {
    let TaskHeaders { id, group, group_index, replaced_task_nesting, .. } = attempt.headers();
    let embed = &attempt.embed;
    let mut replacement = replacement.accumulated().map_err(|error| error.to_string())?;
    for (option, signatures) in [("link", &embed.callbacks), ("link_error", &embed.errbacks)] {
        let signatures = Value::List(signatures.iter().cloned().map(Value::from).collect());
        replacement.link_all(option, &signatures).map_err(|error| error.to_string())?;
    }
    let is_chained = !embed.chain.is_empty();
    let nesting = replaced_task_nesting.saturating_add(1);
    let reply_to = attempt.received.message.properties.reply_to.clone().filter(|queue| !queue.is_empty());
    let mut has_chord = false;
    let has_end = replacement.change_end(&mut |end: &mut Signature| {
        has_chord = end.options.contains_key("chord");
        let mut put = |name: &str, value: Value| end.options.insert(name.to_owned(), value);
        put("task_id", id.as_str().into());
        put("replaced_task_nesting", nesting.into());
        if let Some(reply_to) = &reply_to {
            put("reply_to", reply_to.as_str().into());
        }
        if let Some(group) = group {
            put("group_id", group.as_str().into());
        }
        if let Some(index) = group_index {
            put("group_index", (*index).into());
        }
        // A task with steps behind it is no member: the last of them is.
        if let Some(chord) = embed.chord.as_ref().filter(|_| !is_chained) {
            put("chord", Signature::clone(chord).into());
        }
    });
    match (has_end, has_chord) {
        (true, false) => Ok(replacement),
        (true, true) => Err("it is a member of another chord".to_owned()),
        (false, _) => Err("it has no last task".to_owned()),
    }
}

/// Deletes the row that earlier attempts have left. Its state `RETRY` would keep attempts of the
/// replacement, which are counted from 1, from being recorded.
async fn forget_attempts(attempt: &Attempt<'_>) -> AttemptStep<()> {
    let Some(results) = attempt.runtime.results.as_ref().filter(|_| attempt.headers().retries > 0) else {
        return Ok(());
    };
    let is_own = |row: &TaskRecord| {
        row.name == attempt.headers().task && row.state == TaskState::Retry && row.attempts <= attempt.headers().retries
    };
    if !find_row(attempt).await?.is_some_and(|row| is_own(&row)) {
        return Ok(());
    }
    match results.backend.forget(&attempt.headers().id).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let TaskHeaders { task, id, .. } = attempt.headers();
            let error = ErrorChain(&error).to_string();
            attempt.span.emit(&OutcomeNotRecorded { task, id, error: &error });
            Err(Disposition::Requeue.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::time::Duration;

    use celeriac_protocol::headers::names;
    use futures::FutureExt;

    use super::*;
    use crate::attempt::complete::apply;
    use crate::attempt::decide::Decision;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::duplicate::find_recorded_outcome;
    use crate::attempt::testing::{ID, Published, TestWorker, follow_up, redelivered};
    use crate::task::derived_id::derived_id;

    /// Delivers a task with a callback, an errback, a step behind it and a caller.
    async fn deliver(worker: &TestWorker, again: bool) -> Attempt<'_> {
        let mut attempt = worker
            .deliver_changed("act", |call, message| {
                call.follow.callbacks.push(follow_up("told"));
                call.follow.errbacks.push(follow_up("failed"));
                call.follow.steps.push(follow_up("next").option("task_id", "2"));
                message.properties.reply_to = Some("caller".to_owned());
                if again {
                    redelivered(call, message);
                }
            })
            .await;
        find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        attempt
    }

    async fn replaced(attempt: &mut Attempt<'_>, by: Signature) -> Processed {
        let task = attempt.task.unwrap();
        apply(attempt, task, Decision::Replace(Box::new(by))).await
    }

    fn ids(published: &[Published]) -> Vec<Option<&str>> {
        published.iter().map(|sent| sent.header(names::ID)).collect()
    }

    fn chain() -> Signature {
        let steps = [Signature::new("a"), Signature::new("b")].map(Value::from).to_vec();
        let mut chain = Signature::new("celery.chain").kwarg("tasks", Value::List(steps));
        chain.subtask_type = Some("chain".to_owned());
        chain
    }

    #[tokio::test]
    async fn a_replacement_has_the_id_of_the_task_and_what_follows_from_it() {
        let worker = TestWorker::new().await;
        let mut attempt = deliver(&worker, false).await;

        let processed = replaced(&mut attempt, Signature::new("other").arg(7)).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Ignored));
        let published = worker.published();
        let sent = &published[0];
        assert_eq!((published.len(), sent.header(names::TASK)), (1, Some("other")));
        assert_eq!((sent.header(names::ID), sent.header(names::PARENT_ID)), (Some(ID), Some(ID)));
        assert_eq!(sent.message.headers.get(names::REPLACED_TASK_NESTING), Some(&Value::Int(1)));
        assert_eq!(sent.message.properties.reply_to.as_deref(), Some("caller"));
        let (body, embed) = sent.message.read_body(&worker.runtime.limits).unwrap();
        assert_eq!(body.args, [Value::Int(7)], "it does not get a result");
        let tasks = [&embed.callbacks, &embed.errbacks, &embed.chain].map(|list| list[0].task.as_str());
        assert_eq!(tasks, ["told", "failed", "next"]);
        assert_eq!(worker.row().await, None, "the replacement has the outcome");
    }

    #[tokio::test]
    async fn a_delivery_of_a_replaced_task_does_nothing_again() {
        let worker = TestWorker::new().await;
        let mut attempt = deliver(&worker, false).await;
        replaced(&mut attempt, Signature::new("other")).await;
        attempt.settlement.take().unwrap().ack();

        // The message of the replacement is on the same queue.
        worker.receive().await.settlement.take().unwrap().ack();
        let mut again = deliver(&worker, true).await;

        assert_eq!(find_recorded_outcome(&mut again).await, Some(Disposition::Done));
        assert_eq!(worker.published().len(), 1);
    }

    #[tokio::test]
    async fn a_worker_that_dies_before_the_row_leaves_a_task_that_runs_again_with_the_same_ids() {
        let worker = TestWorker::new().await;
        let mut attempt = deliver(&worker, false).await;
        replaced(&mut attempt, chain()).await;
        attempt.settlement.take().unwrap().ack();
        let row = worker.backend.find(&derived_id(ID, "replaced/0")).await.unwrap().unwrap();
        assert_eq!((row.state, row.name.as_str(), row.parent_id.as_deref()), (TaskState::Ignored, "act", Some(ID)));
        assert!(worker.backend.forget(&row.id).await.unwrap());

        let mut again = worker.receive().await;
        while again.headers().task != "a" {
            again = worker.receive().await;
        }
        again.settlement.take().unwrap().ack();
        let mut again = deliver(&worker, true).await;
        assert_eq!(find_recorded_outcome(&mut again).await, None, "it runs again");
        replaced(&mut again, chain()).await;

        let published = worker.published();
        assert_eq!(ids(&published)[0], ids(&published)[1]);
        let repeated: Vec<_> =
            published.iter().map(|sent| sent.message.headers.get(names::REPEATED).is_some()).collect();
        assert_eq!(repeated, [false, true]);
        let (_, embed) = published[1].message.read_body(&worker.runtime.limits).unwrap();
        assert_eq!(embed.chain[0].options["task_id"], ID, "the last step of the replacement is the task");
        assert_eq!(embed.chain[1].task, "next");
    }

    #[tokio::test]
    async fn a_worker_that_dies_before_it_sends_leaves_the_task_as_it_was() {
        let worker = TestWorker::new().await;
        worker.panic_at_publishes(1);
        let mut attempt = deliver(&worker, false).await;
        let died = AssertUnwindSafe(replaced(&mut attempt, chain())).catch_unwind().await;
        assert!(died.is_err());
        drop(attempt);

        let mut again = worker.receive().await;
        assert!(again.received.origin.redelivered);
        assert_eq!(find_recorded_outcome(&mut again).await, None);
        assert_eq!(worker.row().await, None);
    }

    #[tokio::test]
    async fn attempts_before_a_replacement_do_not_count_for_it() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt =
            worker.deliver_changed("act", |_, message| message.headers.insert(names::RETRIES, 2_i64)).await;
        worker.record_elsewhere(&mut attempt, TaskState::Retry, |row| row.attempts = 2).await;
        find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();

        replaced(&mut attempt, Signature::new("act")).await;

        assert_eq!(worker.row().await, None);
        assert_eq!(worker.published()[0].message.headers.get(names::RETRIES), None);
    }

    #[tokio::test]
    async fn a_replacement_that_cannot_be_sent_is_a_failure() {
        let empty = || {
            let mut chain = Signature::new("celery.chain");
            chain.subtask_type = Some("chain".to_owned());
            chain
        };
        let member = Signature::new("other").option("chord", Value::from(Signature::new("body")));
        for (by, reason) in [(empty(), "it has no last task"), (member, "it is a member of another chord")] {
            let worker = TestWorker::new().await;
            let mut attempt = deliver(&worker, false).await;
            let processed = replaced(&mut attempt, by).await;
            assert_eq!(processed.state, TaskState::Failure);
            let failure = worker.row().await.unwrap().failure.unwrap();
            assert_eq!(failure.message, format!("it cannot be replaced: {reason}"));
        }
    }
}
