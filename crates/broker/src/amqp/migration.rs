//! Moving a queue: a new one is bound beside, the old one is drained into it and goes.
//!
//! Messages are moved as they are, with every property and header, each published and confirmed before it is acknowledged.
//! A move that is killed leaves the last few on both queues: nothing is lost, the ids of tasks are the same, and the second of each
//! says that it may be one.

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

/// How many messages are on their way at the same time.
const WINDOW: u16 = 512;

/// How many are acknowledged together.
const GROUP: u64 = 64;

/// Between two looks whether the queue is empty.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of the queue that was moved from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueDeletion {
    /// It is gone.
    Deleted,
    /// Somebody consumes it still.
    InUse {
        /// How many.
        consumers: u32,
    },
    /// Somebody sends to it by its name still.
    NotEmpty {
        /// How many messages wait.
        ready: u32,
    },
}

impl AmqpBroker {
    /// Sends to the new queue what came to the old one through exchanges: by the bindings of the new one, and what is
    /// delayed to the old one by its name.
    ///
    /// A message that is published in the moment when both are bound is on both.
    ///
    /// # Errors
    /// When something cannot be bound.
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

    /// Moves everything from one queue to another, and tells how much was moved so far. Ends when there is no more.
    ///
    /// # Errors
    /// When the connection is lost, or the other queue takes no more: what was not moved is where it was.
    pub async fn move_messages(&self, from: &str, to: &str, mut progress: impl FnMut(u64)) -> Result<u64> {
        let (consuming, publishing) = (self.channel().await?, self.channel().await?);
        let moved = Mover { consuming: &consuming, publishing: &publishing, from, to };
        let moved = moved.run(&mut progress).await;
        close(publishing).await;
        close(consuming).await;
        moved
    }

    /// Deletes a queue that is empty and that nobody consumes.
    ///
    /// A classic queue is deleted only if that holds at the very moment. RabbitMQ cannot do so for others: what is
    /// published to them between the look and the end is lost, so nobody may send to them any more.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
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
    // What waits for its time is addressed to the old queue by its name.
    let late = delivery_binding(from);
    short(&late, "binding key")?;
    answered(bind(delivery, &late, FieldTable::default())).await?.map_err(|error| client_error(&doing(), error))?;
    let unbind =
        |source: &str, key: &str, arguments| channel.queue_unbind(from.into(), source.into(), key.into(), arguments);
    answered(unbind(delivery, &late, FieldTable::default())).await?.map_err(|error| client_error(&doing(), error))?;
    for BindingObject { source, key, arguments, .. } in bindings.filter(|binding| binding.source != delivery) {
        // Unbinding what is not bound is no error.
        answered(unbind(source, key, table(arguments))).await?.map_err(|error| client_error(&doing(), error))?;
    }
    Ok(())
}

/// One run from one queue to another.
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
        // Under load there is always one more; that nothing waits at a look is the end.
        let mut looks = tokio::time::interval_at(Instant::now() + PAUSE, PAUSE);
        loop {
            tokio::select! {
                biased;
                // In the order in which they came, so that one acknowledgement is for all before it, too.
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
                // Behind the deliveries: one that has arrived and was not taken is not ready on the queue either.
                _ = looks.tick(), if flying.is_empty() => {
                    if depth(self.consuming, self.from).await?.is_none_or(|depth| depth.ready == 0) {
                        return Ok(moved);
                    }
                }
            }
        }
    }

    /// Publishes a message as it is; its tag once the broker has it on the other queue.
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

/// Properties of a message that may have been moved before, by a run that was cut short.
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
