//! Queries that change nothing: the depth of a queue, and its binding to the delay ladder.
//!
//! AMQP has no query for a binding. A delayed message passes every exchange of the ladder, and is
//! returned if no queue takes it. So a program that may not bind a queue sends a probe without
//! delay: `celery.accumulate`, which does nothing here, and which every worker knows, including
//! Celery's.

use celeriac_config::duration;
use celeriac_protocol::headers::HeaderMap;
use celeriac_protocol::{Body, Codec, Message, Properties, TaskHeaders};
use celeriac_topology::{BindingObject, BindingTarget, Ladder, TopologyObject};
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::AMQPSoftError;
use lapin::types::FieldTable;
use tokio::time::timeout;

use crate::amqp::connection::ANSWER;
use crate::amqp::error::{client_error, is_soft};
use crate::broker::{Depth, Outgoing};
use crate::error::{Error, Result};

/// A binding that this program may not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnverifiedBinding {
    pub(crate) queue: String,
    pub(crate) exchange: String,
    pub(crate) key: String,
}

impl UnverifiedBinding {
    /// Returns the binding in `object`, which counts as present but cannot be verified. Returns
    /// `None` for an object of another kind.
    pub(crate) fn of(object: &TopologyObject) -> Option<Self> {
        let TopologyObject::Binding(BindingObject {
            source,
            destination: BindingTarget::Queue(queue),
            routing_key: key,
            ..
        }) = object
        else {
            return None;
        };
        Some(Self { queue: queue.clone(), exchange: source.clone(), key: key.clone() })
    }

    /// Returns the probe, which is returned if the binding is missing.
    ///
    /// # Errors
    /// Returns an error if the probe cannot be encoded, which does not happen.
    pub(crate) fn probe(&self, ladder: &Ladder) -> Result<Outgoing> {
        let headers = TaskHeaders {
            task: "celery.accumulate".to_owned(),
            id: format!("celeriac-probe-{}", self.queue),
            ignore_result: Some(true),
            ..TaskHeaders::default()
        };
        let mut written = HeaderMap::default();
        headers.write(&mut written, None);
        let codec = Codec::Json;
        let body = codec.encode(&Body::default()).map_err(|error| Error::Amqp {
            doing: format!("proving that queue `{}` takes delayed messages", self.queue),
            source: Box::new(error),
        })?;
        let properties = Properties {
            content_type: Some(codec.content_type().to_owned()),
            content_encoding: Some(codec.content_encoding().to_owned()),
            ..Properties::default()
        };
        let (exchange, routing_key) = ladder.undelayed_address(&self.queue);
        let message = Message { headers: written, properties, body: body.into() };
        Ok(Outgoing { exchange: exchange.into(), routing_key, message, mandatory: true })
    }

    /// Returns the error for a probe that was returned.
    pub(crate) fn missing(self) -> Error {
        let Self { queue, exchange, key } = self;
        Error::NotBound { queue, exchange, key }
    }
}

/// Returns the depth of a queue, or `None` if the queue does not exist. In that case RabbitMQ has
/// closed the channel.
pub(crate) async fn depth(channel: &Channel, queue: &str) -> Result<Option<Depth>> {
    let doing = format!("looking at queue `{queue}`");
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let looked = channel.queue_declare(queue.into(), options, FieldTable::default());
    let Ok(looked) = timeout(ANSWER, looked).await else {
        return Err(Error::Amqp {
            doing,
            source: format!("no answer within {}", duration::approximate(ANSWER)).into(),
        });
    };
    match looked {
        Ok(found) => Ok(Some(Depth { ready: found.message_count(), consumers: found.consumer_count() })),
        Err(error) if is_soft(&error, AMQPSoftError::NOTFOUND) => Ok(None),
        Err(error) => Err(client_error(&doing, error)),
    }
}
