//! Returns the message of a long attempt to its queue while the attempt runs.
//!
//! RabbitMQ closes a channel that has held a delivery for `consumer_timeout`, and redelivers
//! everything that the channel held. So half of that time after the arrival of a delivery, its
//! worker records in the store that it runs the attempt, publishes the message to its queue again,
//! to arrive later, and acknowledges the delivery.
//!
//! A message that arrives while its attempt runs returns to its queue again. The worker of the
//! attempt records the outcome, and sends nothing. The message then finds the outcome, and its
//! delivery sends the follow-ups. If the worker dies, its lease ends, and the message runs the
//! attempt again.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::EarlyAck;
use celeriac_protocol::TaskHeaders;
use celeriac_protocol::retry::Backoff;
use celeriac_results::AttemptKey;
use celeriac_telemetry::events::delivery::{
    AttemptRunsElsewhere, ConsumerTimeoutNear, LongRunReturned, RunLogUnavailable,
};
use celeriac_telemetry::events::worker::completion::TaskAwaitsStore;
use celeriac_telemetry::{ErrorChain, Event};
use futures::future::{BoxFuture, Either, select};
use tokio::time::sleep;

use crate::attempt::crash::is_late;
use crate::attempt::publish::BACKOFF;
use crate::attempt::resend::{hold_running, return_running};
use crate::attempt::settle::acknowledge_returned;
use crate::attempt::{Attempt, AttemptStep};
use crate::runtime::{ResultStore, WorkerRuntime};
use crate::slots::SlotMeter;
use crate::task::received::{MessagePlace, Received};

/// Time after which the message of a running attempt arrives again.
pub(crate) const COMES_BACK: Duration = Duration::from_secs(10);

/// Time for which a worker is taken to run an attempt after it has recorded that.
const LEASE: Duration = Duration::from_secs(60);

/// Time between two renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(15);

/// A running attempt whose delivery the broker limits in time.
struct LongRun<'a> {
    runtime: &'a WorkerRuntime,
    received: Arc<Received>,
    meter: Arc<SlotMeter>,
    delivery: EarlyAck,
}

impl<'a> LongRun<'a> {
    /// Returns the attempt if it is acknowledged after its run.
    fn of(attempt: &Attempt<'a>) -> Option<Self> {
        let settlement = attempt.settlement.as_ref().filter(|_| is_late(attempt))?;
        let (runtime, received) = (attempt.runtime, Arc::clone(&attempt.received));
        let meter = Arc::clone(&attempt.meter);
        Some(Self { runtime, received, meter, delivery: settlement.early_ack() })
    }

    /// Returns the message to its queue if the attempt takes long. Never ends.
    async fn watch(self) -> Infallible {
        sleep((self.runtime.consumer_timeout / 2).saturating_sub(self.held())).await;
        Box::pin(self.outlast()).await
    }

    async fn outlast(&self) -> Infallible {
        // The messages of a lost channel are redelivered already.
        match self.runtime.results.as_ref().filter(|_| !self.delivery.is_void()) {
            None => self.warn(),
            Some(results) => {
                self.renew(results).await;
                self.return_message().await;
                loop {
                    sleep(RENEWAL).await;
                    self.renew(results).await;
                }
            }
        }
        pending().await
    }

    /// Logs that nothing keeps the task from running twice, because there is no store.
    fn warn(&self) {
        if self.delivery.is_void() {
            return;
        }
        let (TaskHeaders { task, id, .. }, queue) = (&self.received.headers, &self.received.origin.queue);
        ConsumerTimeoutNear { task, id, queue, held: self.held(), consumer_timeout: self.runtime.consumer_timeout }
            .emit();
    }

    /// Records that this worker runs the attempt. Tries until it is recorded.
    async fn renew(&self, results: &ResultStore) {
        let TaskHeaders { task, id, .. } = &self.received.headers;
        let key = key_of(&self.received);
        let mut backoff = Backoff::new(BACKOFF);
        while let Err(error) = results.backend.renew_run(&key, &self.runtime.name, LEASE).await {
            let retry_in = backoff.next_wait(fastrand::f64());
            let told = ErrorChain(&error).to_string();
            match error.is_retryable() {
                true => TaskAwaitsStore { task, id, work: "run", retry_in, error: &told }.emit(),
                false => RunLogUnavailable { task, id, retry_in, error: &told }.emit(),
            }
            sleep(retry_in).await;
        }
    }

    async fn return_message(&self) {
        // From here on the message may be on the queue twice, until the delivery is acknowledged.
        self.received.set_place(MessagePlace::Returning);
        if return_running(self.runtime, &self.received, COMES_BACK).await.is_err() {
            return;
        }
        self.meter.add_returned();
        acknowledge_returned(&self.delivery);
        self.received.set_place(MessagePlace::Returned);
        let (TaskHeaders { task, id, .. }, queue) = (&self.received.headers, &self.received.origin.queue);
        LongRunReturned { task, id, queue, held: self.held() }.emit();
    }

    fn held(&self) -> Duration {
        self.delivery.arrived().elapsed()
    }
}

/// Returns a future that returns the message of an attempt to its queue if the attempt takes long.
/// The future never ends. `None` for a task that is acknowledged before it runs.
///
/// Boxed, because few attempts take long, and each holds this future.
pub(crate) fn watch<'a>(attempt: &Attempt<'a>) -> Option<BoxFuture<'a, Infallible>> {
    LongRun::of(attempt).map(|long| Box::pin(long.watch()) as BoxFuture<'a, Infallible>)
}

/// Waits for the steps of an attempt, and runs its `watch` meanwhile.
pub(crate) async fn during<T>(watch: Option<BoxFuture<'_, Infallible>>, steps: Pin<&mut impl Future<Output = T>>) -> T {
    match watch {
        None => steps.await,
        Some(watch) => match select(steps, watch).await {
            Either::Left((ended, _)) => ended,
            Either::Right((never, _)) => match never {},
        },
    }
}

/// Removes an attempt from the record after its end.
pub(crate) async fn end(attempt: &Attempt<'_>) {
    match attempt.received.place() {
        MessagePlace::Held => return,
        MessagePlace::Returning => {}
        MessagePlace::Returned => attempt.meter.remove_returned(),
    }
    if let Some(results) = &attempt.runtime.results {
        // If that fails, the message waits until the lease has ended.
        let _ = Box::pin(results.backend.end_run(&key_of(&attempt.received), &attempt.runtime.name)).await;
    }
}

/// Returns the message to its queue if a worker runs the attempt already.
///
/// This comes before the look for an outcome: a worker records the outcome before it ends its
/// lease, so an attempt without a lease has its outcome, or has none to come.
pub(crate) async fn check_not_running(attempt: &Attempt<'_>) -> AttemptStep<()> {
    let is_possible = attempt.received.is_redelivered() && is_late(attempt);
    let Some(results) = attempt.runtime.results.as_ref().filter(|_| is_possible) else { return Ok(()) };
    match Box::pin(find_worker(attempt, results)).await? {
        None => Ok(()),
        Some(worker) => {
            let TaskHeaders { task, id, .. } = attempt.headers();
            attempt.span.emit(&AttemptRunsElsewhere { task, id, worker: &worker });
            Err(Box::pin(hold_running(attempt, COMES_BACK)).await)
        }
    }
}

/// Returns the worker that runs the attempt. Waits for the store without a limit.
async fn find_worker(attempt: &Attempt<'_>, results: &ResultStore) -> AttemptStep<Option<String>> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let error = match results.backend.find_run(&key_of(&attempt.received)).await {
            Ok(worker) => return Ok(worker),
            Err(error) => error,
        };
        let retry_in = backoff.next_wait(fastrand::f64());
        let told = ErrorChain(&error).to_string();
        match error.is_retryable() {
            true => attempt.span.emit(&TaskAwaitsStore { task, id, work: "run", retry_in, error: &told }),
            false => attempt.span.emit(&RunLogUnavailable { task, id, retry_in, error: &told }),
        }
        attempt.sleep_unless_stopping(retry_in).await?;
    }
}

fn key_of(received: &Received) -> AttemptKey {
    let TaskHeaders { id, retries, .. } = &received.headers;
    AttemptKey { id: id.clone(), retries: *retries, replays: received.message.headers.replays() }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;
    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::decide::Decision;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::testing::{QUEUE, TestWorker, follow_up, redelivered};
    use crate::attempt::{Disposition, complete, settle};
    use crate::task::hooks::HookList;

    /// Returns an attempt with a callback whose message has returned to its queue.
    async fn returned(worker: &TestWorker) -> Attempt<'_> {
        let mut attempt = worker.deliver_changed("act", |call, _| call.follow.callbacks.push(follow_up("next"))).await;
        find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        let long = LongRun::of(&attempt).unwrap();
        let returned = async {
            while attempt.received.place() != MessagePlace::Returned {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = long.outlast() => match never {},
            () = returned => {}
        }
        attempt
    }

    #[tokio::test]
    async fn the_message_of_a_long_run_waits_on_the_broker_while_it_runs() {
        let worker = TestWorker::new().await;
        let attempt = returned(&worker).await;
        let published = worker.published();
        assert_eq!(published.len(), 1);
        assert!(!published[0].exchange.is_empty(), "it goes to a delay level");
        assert!(published[0].message.headers.get(names::SUSPECTED).is_some());
        let mut again = worker.deliver_changed("act", redelivered).await;
        find_task(&mut again).await.unwrap();
        let ended = check_not_running(&again).await.unwrap_err();
        assert_eq!(ended.disposition, Disposition::Done);
        assert_eq!(worker.published().len(), 2, "it goes to a delay level again");

        end(&attempt).await;
        check_not_running(&again).await.unwrap();
    }

    #[tokio::test]
    async fn the_outcome_of_a_long_run_is_recorded_and_its_message_sends_what_follows() {
        let worker = TestWorker::new().await;
        let mut attempt = returned(&worker).await;
        let task = attempt.task.unwrap();

        let processed = complete::apply(&mut attempt, task, Decision::Succeed("1".to_owned())).await;
        assert_eq!((processed.disposition, processed.state), (Disposition::Superseded, TaskState::Success));
        end(&attempt).await;
        settle::finish(attempt, &processed);
        assert_eq!(worker.row().await.unwrap().state, TaskState::Success);
        assert_eq!(worker.published().len(), 1, "nothing but the message itself");
        assert_eq!(worker.depth(QUEUE).await, 0, "the delivery is acknowledged");
    }

    #[tokio::test]
    async fn a_long_run_whose_result_is_ignored_has_a_row_that_its_message_finds() {
        let worker = TestWorker::with(|options| options.ignore_result = true, HookList::default()).await;
        let mut attempt = returned(&worker).await;
        let task = attempt.task.unwrap();
        complete::apply(&mut attempt, task, Decision::Succeed("1".to_owned())).await;
        assert_eq!(worker.row().await.unwrap().state, TaskState::Ignored);
    }

    #[tokio::test]
    async fn a_delivery_whose_message_may_be_missing_is_requeued() {
        let worker = TestWorker::new().await;
        let attempt = worker.deliver("act").await;
        attempt.received.set_place(MessagePlace::Returning);
        settle::finish(attempt, &Disposition::Done.into());
        assert!(worker.receive().await.received.origin.redelivered);
    }
}
