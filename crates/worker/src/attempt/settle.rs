//! Settles a delivery: acknowledges it, rejects it, or requeues it.

use celeriac_broker::Settlement;
use celeriac_protocol::task::AckMode;

use crate::attempt::{Attempt, Disposition, Processed};

/// Acknowledges a task that must not run twice before it runs: from there on a crash is the end of it.
pub(crate) fn acknowledge_if_early(attempt: &mut Attempt<'_>) {
    let is_early = attempt.task.is_some_and(|task| task.options.acks == AckMode::Early);
    if let Some(settlement) = attempt.settlement.take_if(|_| is_early) {
        settlement.ack();
    }
}

/// Settles an attempt that has ended, and ends its span.
pub(crate) fn finish(attempt: Attempt<'_>, processed: &Processed) {
    let Attempt { settlement, span, .. } = attempt;
    let Processed { disposition, state, failure } = processed;
    if let Some(settlement) = settlement {
        settle(settlement, *disposition);
    }
    span.record_settlement(as_str(*disposition));
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

/// AMQP's word for it.
fn as_str(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Done | Disposition::Superseded => "ack",
        Disposition::Requeue => "nack",
        Disposition::Reject => "reject",
    }
}
