//! Builds the row of a task from its attempt.

use std::sync::Arc;

use celeriac_broker::DeliveryInfo;
use celeriac_protocol::{Failure, Message, TaskHeaders, TaskState, sent_at};
use celeriac_results::TaskRecord;
use celeriac_telemetry::KeptLog;
use jiff::Timestamp;

use crate::attempt::Attempt;
use crate::attempt::recorded::RecordedArguments;
use crate::runtime::WorkerRuntime;

/// Columns of a row that the attempt does not hold.
#[derive(Debug, Default)]
pub(crate) struct RowDetails {
    pub(crate) result: Option<String>,
    pub(crate) failure: Option<Failure>,
    /// True if the attempt has started and its duration is unknown.
    pub(crate) begun: bool,
    /// Time of the next attempt.
    pub(crate) eta: Option<Timestamp>,
    /// The message of the next attempt, if the row keeps it.
    pub(crate) next_attempt: Option<Message>,
    /// The queue of the next attempt, if it is another one.
    pub(crate) next_queue: Option<String>,
}

/// Largest body that is kept with its row until the next attempt ends, unless the task has changed
/// it.
const LARGEST_KEPT: usize = 1 << 20;

/// Returns `true` if the row keeps a message that can be made again from the one before it.
pub(crate) fn is_kept(message: &Message) -> bool {
    message.body.len() <= LARGEST_KEPT
}

/// Returns the row of a task. Takes the arguments that the attempt has kept for it.
pub(crate) fn row(attempt: &mut Attempt<'_>, state: TaskState, details: RowDetails) -> TaskRecord {
    let arguments = attempt.arguments.take().unwrap_or_default();
    let timing = attempt.timing;
    let TaskHeaders { retries, eta, .. } = attempt.headers();
    let mut row = row_of_message(attempt, state, arguments);
    if let Some(queue) = details.next_queue {
        row.queue = queue.as_str().into();
        (row.exchange, row.routing_key) = (String::new(), queue);
    }
    TaskRecord {
        result: details.result,
        failure: details.failure,
        attempts: retries.saturating_add(u32::from(details.begun || timing.is_some())),
        eta: details.eta.or(*eta),
        next_attempt: details.next_attempt.map(Box::new),
        log: kept_log(attempt),
        member: attempt.member().filter(|_| state.is_final()).map(Box::new),
        started_at: timing.map(|timing| timing.started_at),
        runtime: timing.map(|timing| timing.runtime),
        ..row
    }
}

/// Returns the log lines of an attempt that has run. They are copied, because an outcome that the
/// store refuses is followed by another row.
fn kept_log(attempt: &Attempt<'_>) -> Option<Box<KeptLog>> {
    attempt.timing?;
    attempt.span.kept_log().map(Box::new)
}

/// Returns the row of a task whose attempt starts.
pub(crate) fn start_row(attempt: &Attempt<'_>, started_at: Timestamp) -> TaskRecord {
    let arguments = attempt.arguments.clone().unwrap_or_default();
    TaskRecord {
        attempts: attempt.number(),
        eta: attempt.headers().eta,
        started_at: Some(started_at),
        ..row_of_message(attempt, TaskState::Started, arguments)
    }
}

/// Returns the row of a task with what its message holds.
fn row_of_message(attempt: &Attempt<'_>, state: TaskState, arguments: RecordedArguments) -> TaskRecord {
    let TaskHeaders { task, id, expires, root_id, parent_id, group, .. } = attempt.headers();
    TaskRecord {
        args: arguments.args,
        kwargs: arguments.kwargs,
        root_id: root_id.clone(),
        parent_id: parent_id.clone(),
        group_id: group.clone(),
        expires: *expires,
        trace_id: attempt.span.trace_id(),
        replays: attempt.message_headers().replays(),
        ..bare_row(attempt.runtime, &attempt.received.origin, id.clone(), task.clone(), state, attempt.received_at)
    }
}

/// Returns the row of a later step of a chain, which will never run.
pub(crate) fn step_row(
    attempt: &Attempt<'_>,
    id: String,
    task: String,
    state: TaskState,
    failure: Failure,
) -> TaskRecord {
    TaskRecord {
        failure: Some(failure),
        root_id: Some(attempt.received.root_id().to_owned()),
        parent_id: Some(attempt.headers().id.clone()),
        trace_id: attempt.span.trace_id(),
        received_at: None,
        replays: attempt.message_headers().replays(),
        ..bare_row(attempt.runtime, &attempt.received.origin, id, task, state, attempt.received_at)
    }
}

/// Returns the row of a message that could not be read, with everything that is known of it.
pub(crate) fn invalid_row(
    runtime: &WorkerRuntime,
    origin: &DeliveryInfo,
    id: String,
    task: String,
    failure: Failure,
    replays: u32,
    received_at: Timestamp,
) -> TaskRecord {
    TaskRecord {
        failure: Some(failure),
        replays,
        ..bare_row(runtime, origin, id, task, TaskState::Rejected, received_at)
    }
}

fn bare_row(
    runtime: &WorkerRuntime,
    origin: &DeliveryInfo,
    id: String,
    name: String,
    state: TaskState,
    received_at: Timestamp,
) -> TaskRecord {
    TaskRecord {
        sent_at: sent_at(&id),
        id,
        name,
        state,
        custom_state: None,
        args: None,
        kwargs: None,
        result: None,
        failure: None,
        queue: Arc::clone(&origin.queue),
        exchange: origin.exchange.clone(),
        routing_key: origin.routing_key.clone(),
        worker: Arc::clone(&runtime.name),
        attempts: 0,
        replays: 0,
        root_id: None,
        parent_id: None,
        group_id: None,
        eta: None,
        next_attempt: None,
        log: None,
        member: None,
        expires: None,
        received_at: Some(received_at),
        started_at: None,
        finished_at: state.is_final().then(|| runtime.clock.now()),
        runtime: None,
        trace_id: None,
    }
}
