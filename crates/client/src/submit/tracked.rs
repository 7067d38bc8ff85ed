//! The rows of confirmed messages, where the states of a task are tracked from its sending.

use std::sync::Arc;

use celeriac_broker::Outgoing;
use celeriac_protocol::headers::names;
use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{HeaderMap, TaskOptions, Value, sent_at};
use celeriac_results::outbox::OutboxMessage;
use celeriac_results::{Backend, SentRecord, SentTasks};
use jiff::Timestamp;

use super::prepare::PreparedTask;
use crate::client::Client;

impl Client {
    /// Returns the states of a task that are written. `declared` are the options of its
    /// declaration.
    #[doc(hidden)]
    pub fn tracked_states(&self, task: &str, declared: TaskOptions) -> TrackedStates {
        self.inner.overrides.apply(task, declared).track.unwrap_or(self.inner.track)
    }

    /// Returns `true` if tasks have a row from their confirm on, unless their options differ.
    pub(crate) fn records_sent(&self) -> bool {
        self.inner.track == TrackedStates::Sent
    }

    /// Returns the row of a message that will be sent, if its sending is tracked.
    #[doc(hidden)]
    pub fn sent_task(&self, prepared: &PreparedTask) -> Option<Box<SentRecord>> {
        let PreparedTask { task, id, outgoing: Outgoing { message, .. }, destination, eta, expires, track, .. } =
            prepared;
        self.row(*track, (task, id), &message.headers, || {
            let queue = match &*destination.queues {
                [queue] => queue.to_string(),
                _ => destination.routing_key.clone(),
            };
            (queue, destination.exchange.to_string(), destination.routing_key.clone(), *eta, *expires)
        })
    }

    /// Returns the row of a message of the outbox, if its sending is tracked.
    #[doc(hidden)]
    pub fn sent_from_outbox(&self, entry: &OutboxMessage, track: TrackedStates) -> Option<Box<SentRecord>> {
        let OutboxMessage { task, id, exchange, routing_key, queue, eta, expires, message, .. } = entry;
        self.row(track, (task, id), &message.headers, || {
            let queue = queue.as_ref().unwrap_or(routing_key).clone();
            (queue, exchange.clone(), routing_key.clone(), *eta, *expires)
        })
    }

    /// Writes the row of a confirmed message soon, if it has one. Does not fail: see [`SentTasks`].
    #[doc(hidden)]
    pub async fn record_sent(&self, sent: Option<Box<SentRecord>>) {
        if let (Some(sent), Some(results)) = (sent, &self.inner.results) {
            let tasks = self.inner.sent_tasks.get_or_init(|| SentTasks::start(Arc::<dyn Backend>::clone(results)));
            // Boxed, so that a send without a row does not carry its state.
            Box::pin(tasks.add(*sent)).await;
        }
    }

    fn row(
        &self,
        track: TrackedStates,
        (task, id): (&str, &str),
        headers: &HeaderMap,
        address: impl FnOnce() -> (String, String, String, Option<Timestamp>, Option<Timestamp>),
    ) -> Option<Box<SentRecord>> {
        // A success whose result is ignored has no row, which would leave this one.
        let is_ignored = headers.get(names::IGNORE_RESULT) == Some(&Value::Bool(true));
        if track < TrackedStates::Sent || self.inner.results.is_none() || is_ignored {
            return None;
        }
        let (queue, exchange, routing_key, eta, expires) = address();
        let text = |name| headers.text(name).map(str::to_owned);
        Some(Box::new(SentRecord {
            id: id.to_owned(),
            name: task.to_owned(),
            queue,
            exchange,
            routing_key,
            sent_at: sent_at(id).unwrap_or_else(|| self.inner.clock.now()),
            eta,
            expires,
            root_id: text(names::ROOT_ID),
            parent_id: text(names::PARENT_ID),
            group_id: text(names::GROUP),
        }))
    }
}
