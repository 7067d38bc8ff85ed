//! States that a running task gives itself: Celery's `update_state`.

use std::sync::Arc;

use celeriac_client::Client;
use celeriac_protocol::meta::{ResultMeta, is_custom_state};
use celeriac_protocol::{Codec, TaskHeaders, TaskState, Value};
use celeriac_results::{Recorded, Recorder, TaskRecord};
use celeriac_telemetry::events::worker::completion::ReplyDropped;
use celeriac_telemetry::events::worker::task::TaskStateUpdated;
use celeriac_telemetry::{ErrorChain, Event};
use tokio_util::sync::CancellationToken;

use crate::allowed::AllowedQueues;
use crate::reply_message::reply_message;
use crate::task::error::{TaskError, TaskResult};
use crate::task::received::Received;

/// Longest name of a state, in bytes.
const LONGEST_STATE: usize = 50;

/// The part of a worker that tells of the states of running tasks.
pub(crate) struct ProgressReports {
    /// The name of the worker.
    pub(crate) worker: Arc<str>,
    /// Writes rows. `None` without a store.
    pub(crate) recorder: Option<Recorder>,
    /// Sends replies to callers that name a queue for them.
    pub(crate) replies: bool,
    /// The queues to which it sends replies.
    pub(crate) allowed_replies: AllowedQueues,
}

impl ProgressReports {
    /// Tells the store and then the caller of a state. `interrupt` ends its waits.
    pub(crate) async fn tell(
        &self,
        received: &Received,
        (client, interrupt): (&Client, &CancellationToken),
        state: &str,
        meta: Value,
    ) -> TaskResult<()> {
        if !is_custom_state(state) || state.is_empty() || state.len() > LONGEST_STATE {
            let reason = "give a task a state of its own, in up to 50 bytes, which is not one of Celery's";
            return Err(TaskError::fatal(format!("invalid state `{state}`: {reason}")));
        }
        self.record(received, interrupt, state, &meta).await?;
        self.reply(received, (client, interrupt), state, meta).await;
        let TaskHeaders { task, id, .. } = &received.headers;
        TaskStateUpdated { task, id, state }.emit();
        Ok(())
    }

    async fn record(
        &self,
        received: &Received,
        interrupt: &CancellationToken,
        state: &str,
        meta: &Value,
    ) -> TaskResult<()> {
        let Some(recorder) = &self.recorder else { return Ok(()) };
        let text = String::from_utf8(Codec::Json.encode_value(meta)?)?;
        received.set_has_row();
        let TaskHeaders { task, id, retries, eta, expires, root_id, parent_id, group, .. } = &received.headers;
        let row = TaskRecord {
            custom_state: Some(state.to_owned()),
            result: Some(text),
            queue: Arc::clone(&received.origin.queue),
            exchange: received.origin.exchange.clone(),
            routing_key: received.origin.routing_key.clone(),
            worker: Arc::clone(&self.worker),
            attempts: retries.saturating_add(1),
            replays: received.message.headers.replays(),
            root_id: root_id.clone(),
            parent_id: parent_id.clone(),
            group_id: group.clone(),
            eta: *eta,
            expires: *expires,
            ..TaskRecord::new(id, task, TaskState::Started)
        };
        let recorded = tokio::select! {
            biased;
            recorded = recorder.record(Box::new(row)) => recorded?,
            () = interrupt.cancelled() => {
                return Err(TaskError::of_kind("Interrupted", "the worker stops, and the state is not written"));
            }
        };
        match recorded {
            // Another delivery has ended the task meanwhile.
            Recorded::Stored | Recorded::Kept(_) => Ok(()),
            Recorded::Refused { reason } => Err(TaskError::fatal(format!("the store refuses the state: {reason}"))),
        }
    }

    async fn reply(
        &self,
        received: &Received,
        (client, interrupt): (&Client, &CancellationToken),
        state: &str,
        meta: Value,
    ) {
        let TaskHeaders { task, id, parent_id, group, .. } = &received.headers;
        let properties = &received.message.properties;
        let Some(reply_to) = properties.reply_to.as_deref().filter(|queue| !queue.is_empty()) else { return };
        if !self.replies || !self.allowed_replies.allows(reply_to) {
            return;
        }
        let children = received.client.get().and_then(|client| client.lineage()).map(|own| own.children());
        let meta = ResultMeta {
            task_id: id.clone(),
            status: state.to_owned(),
            result: meta,
            children: children.unwrap_or_default().to_value(),
            parent_id: parent_id.clone(),
            group_id: group.clone(),
            ..ResultMeta::default()
        };
        let Ok(body) = Codec::Json.encode_value(&meta.to_value()) else { return };
        let correlation_id = properties.correlation_id.as_deref().unwrap_or(id);
        let sent = tokio::select! {
            biased;
            sent = client.broker().publish(reply_message(reply_to, correlation_id, body)) => sent,
            () = interrupt.cancelled() => return,
        };
        if let Err(error) = sent {
            let error = ErrorChain(&error).to_string();
            ReplyDropped { task, id, queue: reply_to, error: &error }.emit();
        }
    }
}
