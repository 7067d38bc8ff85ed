//! Every step of a delivery in order, from its arrival to its settlement. Each is a function in the
//! file of its name.
//!
//! A delivery is settled last: an acknowledged task is recorded, and its follow-ups are on their
//! queues. If the process dies earlier, the message is redelivered to another worker, which finds
//! the recorded outcome in the store.
//!
//! An attempt is one future, made and moved for every delivery. Steps that a plain success does not
//! need are boxed at their `await`. Otherwise each future would be as large as the largest path,
//! many times the memory that it needs.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;

use celeriac_broker::Delivery;
use futures::FutureExt;

use crate::attempt::{
    Attempt, AttemptStep, Disposition, Processed, admission, complete, crash, decide, decode, end_chord, execute,
    follow_up_check, hooks, long_run, rate, reject, revocation, settle, transaction,
};
use crate::runtime::WorkerRuntime;
use crate::slots::TaskSlot;
use crate::task::definition::TaskDefinition;

/// Processes a delivery from its arrival to its settlement.
pub(crate) async fn process_delivery(runtime: Arc<WorkerRuntime>, delivery: Delivery, slot: TaskSlot) {
    let mut attempt = match decode::read_headers(&runtime, delivery, slot) {
        Ok(attempt) => attempt,
        Err(invalid) => {
            let mut rejected = Box::pin(reject::dead_letter_invalid(&runtime, &invalid));
            let disposition = until_aborted(&runtime, rejected.as_mut()).await;
            drop(rejected);
            return settle::settle(invalid.settlement, disposition);
        }
    };
    let received = Arc::clone(&attempt.received);
    let processed = until_aborted(&runtime, pin!(runtime.running.observe(received, pin!(process(&mut attempt))))).await;
    settle::finish(attempt, &processed);
}

/// Runs the steps between arrival and settlement.
async fn process(attempt: &mut Attempt<'_>) -> Processed {
    let panic = match AssertUnwindSafe(steps(attempt)).catch_unwind().await {
        Ok(Ok(processed) | Err(processed)) => return processed,
        Err(panic) => panic,
    };
    // Users' code is contained where it is called, so this is a defect of the worker. The message
    // must not return to its queue, from which it would come again at once.
    Box::pin(reject::reject_panicked(attempt, panic)).await
}

async fn steps(attempt: &mut Attempt<'_>) -> AttemptStep<Processed> {
    // A task that runs already waits at the broker.
    long_run::check_not_running(attempt).await?;
    // The start of a redelivered task is recorded until the task ends, so that one that crashes
    // workers is quarantined. It comes first, because reading the body can be the cause.
    let crash = crash::track(attempt).await?;
    let (Ok(processed) | Err(processed)) = tracked(attempt).await;
    long_run::end(attempt).await;
    crash::clear(crash, &processed).await;
    Ok(processed)
}

/// Runs the steps of a delivery whose start is recorded.
async fn tracked(attempt: &mut Attempt<'_>) -> AttemptStep<Processed> {
    // A message that ends a chord is no task.
    end_chord::end_chord(attempt).await?;
    // A task that this worker does not know is dead-lettered.
    let task = decode::find_task(attempt).await?;
    // A task that has expired, is revoked, is recorded already or is not due ends here.
    admission::check(attempt).await?;
    // A task over its rate waits here for less than a second, or at the broker.
    rate::wait_for_start(attempt).await?;
    // The message of a task that runs for long returns to its queue, and waits there.
    let watch = long_run::watch(attempt);
    long_run::during(watch, pin!(run(attempt, task))).await
}

/// Runs the steps from the body to the outcome.
async fn run<'a>(attempt: &mut Attempt<'a>, task: &'a TaskDefinition) -> AttemptStep<Processed> {
    let body = decode::read_body(attempt).await?;
    follow_up_check::check(attempt).await?;
    // The task can be terminated from this point on.
    let running = revocation::check_not_revoked(attempt).await?;
    settle::acknowledge_if_early(attempt);
    let call = execute::prepare(attempt, task, body, running.as_ref());
    if task.is_transactional() {
        // The same steps, within a transaction.
        return Ok(Box::pin(transaction::run(attempt, call)).await);
    }
    let (result, hooked) = execute::run(attempt, call).await?;
    let decision = decide::decide(attempt, task, result);
    let decision = hooks::review(attempt, hooked, decision).await?;
    attempt.release_slot();
    // Row, dead letter, next attempt, follow-ups and reply, in the order that the invariants
    // require.
    Ok(complete::apply(attempt, task, decision).await)
}

/// Runs `steps` until the worker aborts. The delivery then returns to its queue, as after a crash.
async fn until_aborted<T: From<Disposition>>(runtime: &WorkerRuntime, steps: Pin<&mut impl Future<Output = T>>) -> T {
    runtime.abort.run_until_cancelled(steps).await.unwrap_or_else(|| Disposition::Requeue.into())
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;
    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::testing::{QUEUE, TestWorker, follow_up};

    fn size_of_output<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Processes a message as a worker does.
    async fn processed(worker: &TestWorker, how: &str) {
        worker.send(how, |_, _| {}).await;
        let delivery = worker.take(QUEUE).await;
        let slot = worker.slot().await;
        process_delivery(Arc::clone(&worker.runtime), delivery, slot).await;
    }

    #[tokio::test]
    async fn a_delivery_ends_with_its_row_and_its_acknowledgement() {
        let cases = [("succeed", Some(TaskState::Success)), ("fail", Some(TaskState::Failure)), ("ignore", None)];
        for (how, state) in cases {
            let worker = TestWorker::new().await;
            processed(&worker, how).await;
            assert_eq!(worker.row().await.map(|row| row.state), state, "{how}");
            let next = worker.deliver("next").await;
            assert!(!next.received.origin.redelivered, "{how}: it was acknowledged");
        }
    }

    #[tokio::test]
    async fn a_worker_that_gives_up_leaves_the_delivery_to_another() {
        let worker = TestWorker::new().await;
        worker.runtime.abort.cancel();
        processed(&worker, "succeed").await;
        assert_eq!(worker.row().await, None);
        assert!(worker.receive().await.received.origin.redelivered);
    }

    #[tokio::test]
    async fn a_slot_is_free_after_each_delivery() {
        let worker = TestWorker::new().await;
        for how in ["succeed", "fail", "reject", "panic"] {
            processed(&worker, how).await;
        }
        let all = worker.runtime.slots.all();
        let free: Vec<_> = futures::future::join_all((0..all).map(|_| worker.slot())).await;
        assert_eq!(free.len(), all);
    }

    #[tokio::test]
    async fn a_delivery_that_makes_the_worker_panic_is_dead_lettered() {
        for (panics, reason) in [(1, Some("panicked")), (2, None)] {
            let worker = TestWorker::new().await;
            worker.panic_at_publishes(panics);
            worker.send("succeed", |call, _| call.follow.callbacks.push(follow_up("told"))).await;
            let delivery = worker.take(QUEUE).await;
            let slot = worker.slot().await;

            process_delivery(Arc::clone(&worker.runtime), delivery, slot).await;

            let dead = worker.take("celeriac.dead").await;
            assert_eq!(dead.message.headers.text(names::DEAD_REASON), reason, "the broker has no reason");
            dead.settlement.ack();
            let next = worker.deliver("next").await;
            assert!(!next.received.origin.redelivered, "it did not return to its queue");
        }
    }

    #[test]
    fn the_future_of_a_delivery_stays_small() {
        let size = size_of_output(process_delivery);
        assert!(
            size <= 4_500,
            "{size} bytes are moved for every delivery: box what is not on the way of a plain success"
        );
    }
}
