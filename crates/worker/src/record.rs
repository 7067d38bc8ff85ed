//! What is written down of a task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_broker::Origin;
use celeriac_protocol::{Body, Codec, Failure, State, TaskHeaders, sent_at};
use celeriac_results::TaskRecord;
use celeriac_telemetry::clock;
use jiff::Timestamp;

use crate::lifecycle::{Core, Life, Outcome};

/// Arguments as JSON text.
#[derive(Debug)]
pub(crate) struct Arguments {
    args: Option<String>,
    kwargs: Option<String>,
}

impl Arguments {
    pub(crate) fn of(body: &Body) -> Self {
        // A value that came out of a codec goes into JSON; one that did not would be recorded as unknown.
        Self { args: json(&body.args), kwargs: json(&body.kwargs) }
    }

    /// Those that stand in a row.
    pub(crate) fn of_row(row: TaskRecord) -> Self {
        Self { args: row.args, kwargs: row.kwargs }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Option<String> {
    String::from_utf8(Codec::Json.encode(value).ok()?).ok()
}

/// When an attempt began, and how long it took.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    pub(crate) started_at: Timestamp,
    began: Instant,
    pub(crate) runtime: Duration,
}

impl Timing {
    pub(crate) fn begin() -> Self {
        Self { started_at: clock::now(), began: Instant::now(), runtime: Duration::ZERO }
    }

    pub(crate) fn end(self) -> Self {
        Self { runtime: self.began.elapsed(), ..self }
    }
}

/// The row of a task.
pub(crate) fn row(life: &Life<'_>, state: State, outcome: Outcome) -> TaskRecord {
    let TaskHeaders { task, id, retries, eta, expires, root_id, parent_id, group, .. } = &life.received.headers;
    let Arguments { args, kwargs } = outcome.arguments.unwrap_or(Arguments { args: None, kwargs: None });
    TaskRecord {
        args,
        kwargs,
        result: outcome.result,
        failure: outcome.failure,
        attempts: retries.saturating_add(u32::from(outcome.begun || outcome.timing.is_some())),
        root_id: root_id.clone(),
        parent_id: parent_id.clone(),
        group_id: group.clone(),
        eta: outcome.eta.or(*eta),
        expires: *expires,
        started_at: outcome.timing.as_ref().map(|timing| timing.started_at),
        runtime: outcome.timing.as_ref().map(|timing| timing.runtime),
        trace_id: life.span.trace_id(),
        replays: life.received.message.headers.replays(),
        ..bare_row(life.core, &life.received.origin, id.clone(), task.clone(), state, life.received_at)
    }
}

/// The row of a later step of a chain that will never run.
pub(crate) fn step_row(life: &Life<'_>, id: String, task: String, state: State, failure: Failure) -> TaskRecord {
    TaskRecord {
        failure: Some(failure),
        root_id: Some(life.received.root_id().to_owned()),
        parent_id: Some(life.received.headers.id.clone()),
        trace_id: life.span.trace_id(),
        received_at: None,
        replays: life.received.message.headers.replays(),
        ..bare_row(life.core, &life.received.origin, id, task, state, life.received_at)
    }
}

/// The row of a message that could not even be read, as far as anything is known of it.
pub(crate) fn unread_row(
    core: &Core,
    origin: &Origin,
    id: String,
    task: String,
    failure: Failure,
    replays: u32,
    received_at: Timestamp,
) -> TaskRecord {
    TaskRecord { failure: Some(failure), replays, ..bare_row(core, origin, id, task, State::Rejected, received_at) }
}

fn bare_row(
    core: &Core,
    origin: &Origin,
    id: String,
    name: String,
    state: State,
    received_at: Timestamp,
) -> TaskRecord {
    TaskRecord {
        sent_at: sent_at(&id),
        id,
        name,
        state,
        args: None,
        kwargs: None,
        result: None,
        failure: None,
        queue: Arc::clone(&origin.queue),
        exchange: origin.exchange.clone(),
        routing_key: origin.routing_key.clone(),
        worker: Arc::clone(&core.name),
        attempts: 0,
        replays: 0,
        root_id: None,
        parent_id: None,
        group_id: None,
        eta: None,
        expires: None,
        received_at: Some(received_at),
        started_at: None,
        finished_at: state.is_final().then(clock::now),
        runtime: None,
        trace_id: None,
    }
}
