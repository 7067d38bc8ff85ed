//! The answer to whoever awaits it: Celery's `rpc://`.
//!
//! The queue is the caller's own. It is never declared here, and a caller who has left gets no answer, which is as it
//! should be: the row tells the outcome to everybody else.

use std::borrow::Cow;

use bytes::Bytes;
use celeriac_broker::{Error as BrokerError, Outgoing};
use celeriac_protocol::meta::ResultMeta;
use celeriac_protocol::{Codec, Failure, HeaderMap, Message, Properties, State, TaskHeaders, Value};
use celeriac_telemetry::clock;

use super::{Backoff, Unsent};
use crate::lifecycle::Life;

/// How a task stands, for the one who awaits it.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) state: State,
    /// The result of a success.
    pub(crate) result: Option<&'a Value>,
    pub(crate) failure: Option<&'a Failure>,
    /// Tasks that were sent by it, or because of it.
    pub(crate) children: Vec<String>,
}

/// Answers, if anybody awaits it.
///
/// # Errors
/// When the worker stops.
pub(crate) async fn answer(life: &Life<'_>, answer: &Answer<'_>) -> Result<(), Unsent> {
    let properties = &life.received.message.properties;
    let Some(reply_to) = properties.reply_to.as_deref().filter(|queue| !queue.is_empty()) else { return Ok(()) };
    let TaskHeaders { id, parent_id, group, .. } = &life.received.headers;
    // A retried task is its own parent, as Celery has it.
    let meta = meta(id, answer, parent_id.clone(), group.clone());
    let correlation_id = properties.correlation_id.as_deref().unwrap_or(id);
    reply(life, reply_to, correlation_id, meta).await
}

/// Tells whoever awaits a step that will never run how it has ended instead.
///
/// # Errors
/// When the worker stops.
pub(crate) async fn answer_step(
    life: &Life<'_>,
    reply_to: &str,
    id: &str,
    state: State,
    failure: &Failure,
) -> Result<(), Unsent> {
    let answer = Answer { state, result: None, failure: Some(failure), children: Vec::new() };
    reply(life, reply_to, id, meta(id, &answer, None, None)).await
}

fn meta(id: &str, answer: &Answer<'_>, parent_id: Option<String>, group_id: Option<String>) -> ResultMeta {
    let tuple = |id: &String| {
        let result = Value::List(vec![Value::from(id.as_str()), Value::Null]);
        Value::List(vec![result, Value::Null])
    };
    ResultMeta {
        task_id: id.to_owned(),
        status: answer.state.as_str().to_owned(),
        result: answer.result.cloned().unwrap_or_default(),
        failure: answer.failure.cloned(),
        children: Value::List(answer.children.iter().map(tuple).collect()),
        date_done: answer.state.is_final().then(clock::now),
        parent_id,
        group_id,
    }
}

async fn reply(life: &Life<'_>, reply_to: &str, correlation_id: &str, meta: ResultMeta) -> Result<(), Unsent> {
    let id = meta.task_id.clone();
    let body = match Codec::Json.encode(&meta.to_value()) {
        Ok(body) => body,
        Err(error) => {
            // Cannot be: what comes here has been written as JSON before.
            tracing::error!(%error, id, "the answer cannot be written");
            return Ok(());
        }
    };
    let message = Message {
        headers: HeaderMap::new(),
        properties: Properties {
            content_type: Some(Codec::Json.content_type().to_owned()),
            content_encoding: Some(Codec::Json.content_encoding().to_owned()),
            transient: true,
            priority: Some(0),
            correlation_id: Some(correlation_id.to_owned()),
            ..Properties::default()
        },
        body: Bytes::from(body),
    };
    let outgoing =
        Outgoing { exchange: Cow::Borrowed(""), routing_key: reply_to.to_owned(), message, mandatory: false };
    let mut backoff = Backoff::default();
    loop {
        match life.core.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error @ (BrokerError::TooLarge { .. } | BrokerError::Invalid { .. })) => {
                tracing::warn!(error = &error as &dyn std::error::Error, id, reply_to, "the answer cannot be sent");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    id,
                    "the answer is not sent yet; trying again"
                );
            }
        }
        life.doze(backoff.next()).await?;
    }
}
