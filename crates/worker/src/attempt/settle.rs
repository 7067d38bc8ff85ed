//! Settles a delivery: acknowledges it, rejects it, or requeues it.

use celeriac_broker::{EarlyAck, Settlement};
use celeriac_protocol::TaskHeaders;
use celeriac_protocol::task::AckMode;

use crate::attempt::{Attempt, Disposition, Processed};
use crate::task::received::MessagePlace;

/// Acknowledges a task with `acks = "early"` before it runs. A crash after that loses the task.
pub(crate) fn acknowledge_if_early(attempt: &mut Attempt<'_>) {
    let is_early = attempt.task.is_some_and(|task| task.options.acks == AckMode::Early);
    if let Some(settlement) = attempt.settlement.take_if(|_| is_early) {
        settlement.ack();
        let TaskHeaders { task, id, .. } = attempt.headers();
        attempt.span.record_settlement(task, id, "ack");
    }
}

/// Acknowledges the delivery of a running attempt whose message was published to its queue again.
pub(crate) fn acknowledge_returned(delivery: &EarlyAck) {
    delivery.ack();
}

/// Settles an attempt that has ended, and ends its span.
pub(crate) fn finish(attempt: Attempt<'_>, processed: &Processed) {
    let Attempt { settlement, span, received, .. } = attempt;
    let Processed { disposition, state, failure, .. } = processed;
    // Only a confirmed message may replace the delivery.
    let is_unsure = received.place() == MessagePlace::Returning;
    let disposition = if is_unsure { Disposition::Requeue } else { *disposition };
    if let Some(settlement) = settlement {
        settle(settlement, disposition);
        let TaskHeaders { task, id, .. } = &received.headers;
        span.record_settlement(task, id, as_str(disposition));
    }
    span.end(*state, failure.as_ref());
}

/// Settles a delivery.
pub(crate) fn settle(settlement: Settlement, disposition: Disposition) {
    match disposition {
        Disposition::Done | Disposition::Superseded => settlement.ack(),
        Disposition::Requeue => settlement.requeue(),
        Disposition::Reject => settlement.reject(),
    }
}

/// Returns AMQP's method for a disposition.
fn as_str(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Done | Disposition::Superseded => "ack",
        Disposition::Requeue => "nack",
        Disposition::Reject => "reject",
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;

    use super::*;
    use crate::attempt::decode::find_task;
    use crate::attempt::testing::{QUEUE, TestWorker};
    use crate::task::hooks::HookList;

    fn ended(disposition: Disposition) -> Processed {
        Processed::new(disposition, TaskState::Success)
    }

    #[tokio::test]
    async fn each_disposition_has_its_settlement() {
        let worker = TestWorker::new().await;

        let requeued = worker.deliver("succeed").await;
        finish(requeued, &ended(Disposition::Requeue));
        let again = worker.receive().await;
        assert!(again.received.origin.redelivered);

        finish(again, &ended(Disposition::Reject));
        let dead = worker.take("celeriac.dead").await;
        dead.settlement.ack();

        let done = worker.deliver("succeed").await;
        finish(done, &ended(Disposition::Done));
        let superseded = worker.deliver("succeed").await;
        finish(superseded, &ended(Disposition::Superseded));
        // The settlements of a queue are sent in order, so this one shows that the others were
        // sent.
        let last = worker.deliver("succeed").await;
        assert!(!last.received.origin.redelivered, "what was acknowledged does not come again");
        assert_eq!(worker.depth(QUEUE).await, 0);
    }

    #[tokio::test]
    async fn only_a_task_that_asks_for_it_is_acknowledged_early() {
        let late = TestWorker::new().await;
        let mut attempt = late.deliver("succeed").await;
        find_task(&mut attempt).await.unwrap();
        acknowledge_if_early(&mut attempt);
        assert!(attempt.settlement.is_some());

        let early = TestWorker::with(|options| options.acks = AckMode::Early, HookList::default()).await;
        let mut attempt = early.deliver("succeed").await;
        find_task(&mut attempt).await.unwrap();
        acknowledge_if_early(&mut attempt);
        assert!(attempt.settlement.is_none());
        finish(attempt, &ended(Disposition::Requeue));
        let next = early.deliver("other").await;
        assert!(!next.received.origin.redelivered, "what was acknowledged does not come again");
    }
}
