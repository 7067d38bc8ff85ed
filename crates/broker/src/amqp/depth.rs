//! A look at a queue that leaves it as it is.

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, ErrorKind};
use tokio::time::timeout;

use super::connection::ANSWER;
use super::publish::amqp;
use crate::broker::Depth;
use crate::error::{Error, Result};

/// How it stands with a queue. `None` when there is no such queue; the channel has ended then.
pub(super) async fn depth(channel: &Channel, queue: &str) -> Result<Option<Depth>> {
    let doing = format!("looking at queue `{queue}`");
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let looked = channel.queue_declare(queue.into(), options, FieldTable::default());
    let Ok(looked) = timeout(ANSWER, looked).await else {
        return Err(Error::Amqp { doing, source: format!("no answer within {ANSWER:?}").into() });
    };
    match looked {
        Ok(found) => Ok(Some(Depth { ready: found.message_count(), consumers: found.consumer_count() })),
        Err(error) if is_soft(&error, AMQPSoftError::NOTFOUND) => Ok(None),
        Err(error) => Err(amqp(&doing, error)),
    }
}

/// Whether the broker refused a request so.
pub(super) fn is_soft(error: &lapin::Error, soft: AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if *said.kind() == AMQPErrorKind::Soft(soft))
}
