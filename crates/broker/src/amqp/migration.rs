//! Moves a queue: binds the new queue, drains the old one into it, and deletes the old one.
//!
//! Each message keeps all properties and headers. It is published and confirmed before it is
//! acknowledged. If a move is killed, the last few messages are on both queues. No message is lost:
//! both copies have the same task id, and the second is marked as a possible repeat.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::headers::names;
use celeriac_topology::{BindingObject, BindingTarget, SettingsLocation, Topology, TopologyObject, delivery_binding};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind};
use tokio::time::{Instant, timeout};

use super::AmqpBroker;
use super::connection::ANSWER;
use super::convert::short;
use super::declare::{depth, table};
use super::error::{client_error, is_soft};
use crate::broker::{Broker, Depth};
use crate::error::{Error, Result};

/// Number of messages in flight.
const WINDOW: u16 = 512;

/// Number of messages that are acknowledged together.
const GROUP: u64 = 64;

/// Time between two checks that the queue is empty.
const PAUSE: Duration = Duration::from_millis(200);

/// The result of deleting the old queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueDeletion {
    /// The queue is deleted.
    Deleted,
    /// The queue still has consumers.
    InUse {
        /// Number of consumers.
        consumers: u32,
    },
    /// The queue still receives messages, because senders use its name.
    NotEmpty {
        /// Number of ready messages.
        ready: u32,
    },
}

impl AmqpBroker {
    /// Redirects messages from the old queue to the new one: those that reach it through the
    /// bindings of the new queue, and delayed ones that name the old queue.
    ///
    /// A message that is published while both queues are bound is on both.
    ///
    /// # Errors
    /// Returns an error if a binding cannot be made.
    pub async fn redirect(&self, topology: &Topology, from: &str, to: &str) -> Result<()> {
        let channel = self.channel().await?;
        let objects = topology.objects(self.ladder(), SettingsLocation::Arguments);
        let delivery = self.ladder().delivery_exchange();
        let bindings = objects.iter().filter_map(|object| match object {
            TopologyObject::Binding(binding) if binding.destination == BindingTarget::Queue(to.to_owned()) => {
                Some(binding)
            }
            _ => None,
        });
        let result = redirect(&channel, bindings, &delivery, from, to).await;
        close(channel).await;
        result
    }

    /// Moves all messages from one queue to another. Calls `progress` with the number moved so far.
    ///
    /// # Errors
    /// Returns an error if the connection is lost or the other queue refuses a message. Messages
    /// that were not moved stay on the old queue.
    pub async fn move_messages(&self, from: &str, to: &str, mut progress: impl FnMut(u64)) -> Result<u64> {
        let (consuming, publishing) = (self.channel().await?, self.channel().await?);
        let moved = Mover { consuming: &consuming, publishing: &publishing, from, to };
        let moved = moved.run(&mut progress).await;
        close(publishing).await;
        close(consuming).await;
        moved
    }

    /// Deletes a queue that is empty and has no consumers.
    ///
    /// RabbitMQ checks both conditions when it deletes a classic queue. It cannot do so for other
    /// types: a message that is published between the check and the deletion is lost, so all
    /// senders have to use the new queue first.
    ///
    /// # Errors
    /// Returns an error if the broker does not answer, or refuses.
    pub async fn delete_unused(&self, queue: &str) -> Result<QueueDeletion> {
        let channel = self.channel().await?;
        let Some(Depth { ready, consumers }) = depth(&channel, queue).await? else { return Ok(QueueDeletion::Deleted) };
        if consumers > 0 {
            return Ok(QueueDeletion::InUse { consumers });
        }
        if ready > 0 {
            return Ok(QueueDeletion::NotEmpty { ready });
        }
        let guarded = QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
        let (channel, error) = match answered(channel.queue_delete(queue.into(), guarded)).await? {
            Ok(_) => return Ok(QueueDeletion::Deleted),
            Err(error) => (self.channel().await?, error),
        };
        let deleting = || format!("deleting queue `{queue}`");
        if refused_in_use(&error) {
            let depth = depth(&channel, queue).await?.unwrap_or(Depth { ready: 0, consumers: 0 });
            return Ok(match depth {
                Depth { consumers: 0, ready } => QueueDeletion::NotEmpty { ready },
                Depth { consumers, .. } => QueueDeletion::InUse { consumers },
            });
        }
        if !not_implemented(&error) {
            return Err(client_error(&deleting(), error));
        }
        let deleted = answered(channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await?;
        deleted.map_err(|error| client_error(&deleting(), error))?;
        Ok(QueueDeletion::Deleted)
    }
}

async fn redirect(
    channel: &Channel,
    bindings: impl Iterator<Item = &BindingObject>,
    delivery: &str,
    from: &str,
    to: &str,
) -> Result<()> {
    let bind = |source: &str, key: &str, arguments| {
        let options = QueueBindOptions::default();
        channel.queue_bind(to.into(), source.into(), key.into(), options, arguments)
    };
    let doing = || format!("binding queue `{to}` in place of `{from}`");
    // The routing key of a delayed message ends with the name of the old queue.
    let late = delivery_binding(from);
    short(&late, "binding key")?;
    answered(bind(delivery, &late, FieldTable::default())).await?.map_err(|error| client_error(&doing(), error))?;
    let unbind =
        |source: &str, key: &str, arguments| channel.queue_unbind(from.into(), source.into(), key.into(), arguments);
    answered(unbind(delivery, &late, FieldTable::default())).await?.map_err(|error| client_error(&doing(), error))?;
    for BindingObject { source, routing_key: key, arguments, .. } in
        bindings.filter(|binding| binding.source != delivery)
    {
        // RabbitMQ accepts an unbind without a binding.
        answered(unbind(source, key, table(arguments))).await?.map_err(|error| client_error(&doing(), error))?;
    }
    Ok(())
}

/// One move from one queue to another.
struct Mover<'a> {
    consuming: &'a Channel,
    publishing: &'a Channel,
    from: &'a str,
    to: &'a str,
}

impl Mover<'_> {
    async fn run(&self, progress: &mut impl FnMut(u64)) -> Result<u64> {
        let doing = || format!("moving messages from queue `{}` to queue `{}`", self.from, self.to);
        let failed = |error| client_error(&doing(), error);
        answered(self.publishing.confirm_select(ConfirmSelectOptions::default())).await?.map_err(failed)?;
        answered(self.consuming.basic_qos(WINDOW, BasicQosOptions::default())).await?.map_err(failed)?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = self.consuming.basic_consume(self.from.into(), "migration".into(), options, arguments);
        let mut deliveries = answered(consumer).await?.map_err(failed)?;
        let mut flying = FuturesOrdered::new();
        let mut moved = 0;
        // A busy queue always has one more message. The move ends at a check that finds no ready
        // message.
        let mut looks = tokio::time::interval_at(Instant::now() + PAUSE, PAUSE);
        loop {
            tokio::select! {
                biased;
                // In order of arrival, so that one acknowledgement covers all earlier ones.
                Some(landed) = flying.next(), if !flying.is_empty() => {
                    let tag = landed?;
                    moved += 1;
                    progress(moved);
                    if moved % GROUP == 0 || flying.is_empty() {
                        self.acknowledge(tag).await?;
                    }
                }
                delivery = deliveries.next() => match delivery {
                    Some(Ok(delivery)) => flying.push_back(self.pass_on(delivery)),
                    Some(Err(error)) => return Err(failed(error)),
                    None => return Err(ended(&doing())),
                },
                // Polled after the deliveries, because a delivery that has arrived is not ready on
                // the queue either.
                _ = looks.tick(), if flying.is_empty() => {
                    if depth(self.consuming, self.from).await?.is_none_or(|depth| depth.ready == 0) {
                        return Ok(moved);
                    }
                }
            }
        }
    }

    /// Publishes a message unchanged. Returns its tag after the broker has confirmed it.
    async fn pass_on(&self, delivery: Delivery) -> Result<u64> {
        let doing = || format!("publishing to queue `{}`", self.to);
        let Delivery { delivery_tag, redelivered, properties, data, .. } = delivery;
        let properties = if redelivered { repeated(properties) } else { properties };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = self.publishing.basic_publish("".into(), self.to.into(), options, &data, properties);
        let confirm = answered(sent).await?.map_err(|error| client_error(&doing(), error))?;
        match answered(confirm).await?.map_err(|error| client_error(&doing(), error))? {
            Confirmation::Ack(None) => Ok(delivery_tag),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(Error::Unroutable { exchange: String::new(), routing_key: self.to.to_owned() })
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(Error::Refused { exchange: String::new(), routing_key: self.to.to_owned() })
            }
        }
    }

    async fn acknowledge(&self, tag: u64) -> Result<()> {
        let acknowledged = self.consuming.basic_ack(tag, BasicAckOptions { multiple: true });
        answered(acknowledged).await?.map_err(|error| client_error("acknowledging what was moved", error))
    }
}

/// Returns properties with the mark of a possible repeat, because an interrupted move may have
/// published the message before.
fn repeated(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(names::REPEATED.into(), AMQPValue::Boolean(true));
    properties.with_headers(headers)
}

fn refused_in_use(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::PRECONDITIONFAILED)
}

fn not_implemented(error: &lapin::Error) -> bool {
    let hard = AMQPErrorKind::Hard(AMQPHardError::NOTIMPLEMENTED);
    matches!(error.kind(), ErrorKind::ProtocolError(said) if *said.kind() == hard)
}

fn ended(doing: &str) -> Error {
    Error::Amqp { doing: doing.to_owned(), source: "the broker ended the subscription".into() }
}

async fn answered<T, F: IntoFuture<Output = T>>(request: F) -> Result<T> {
    timeout(ANSWER, request.into_future()).await.map_err(|_| Error::Amqp {
        doing: "migrating".to_owned(),
        source: format!("no answer within {}", duration::format(ANSWER)).into(),
    })
}

async fn close(channel: Channel) {
    let _ = timeout(ANSWER, channel.close(200, "migrated".into())).await;
}
