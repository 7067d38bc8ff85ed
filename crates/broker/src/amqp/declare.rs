//! Declares objects, and adopts those that exist.
//!
//! All declarations are sent together on one channel. RabbitMQ closes the channel at the first
//! difference. Only then the objects are declared one by one, and each difference is examined.
//!
//! - `arguments`: arguments in AMQP's terms;
//! - `mismatch`: RabbitMQ's message about an object that differs;
//! - `checks`: queries that change nothing;
//! - `inspect`: reports differences and makes nothing.

mod arguments;
mod checks;
mod inspect;
mod mismatch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use celeriac_config::duration;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::QueueAdopted;
use celeriac_topology::{
    Argument, BindingObject, BindingTarget, ExchangeObject, Ladder, QueueKind, QueueObject, SettingsLocation, Topology,
    TopologyObject, delay_ladder,
};
use futures::future::try_join_all;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};
use tokio::time::{Instant, timeout, timeout_at};

use self::arguments::check;
use super::connection::{ANSWER, ChannelProvider, ConnectionPurpose, ReconnectBackoff};
use super::error::{client_error, lost_its_connection, protocol_error};
use crate::broker::TransientQueue;
use crate::error::{Error, Result};
use crate::options::BrokerOptions;

pub(super) use self::arguments::{check as check_names, reply_queue, table, transient_queue};
pub(super) use self::checks::{UnverifiedBinding, depth};
pub use self::inspect::Inspection;
pub(super) use self::mismatch::Inequivalent;

/// Largest number of arguments that are compared. A queue with more differences is used as it is.
pub(super) const MOST_DIFFERENCES: usize = 12;

/// Declares topologies.
#[derive(Debug)]
pub(super) struct Declarer {
    channels: Arc<ChannelProvider>,
    ladder: Ladder,
    ladder_kind: QueueKind,
    /// The place of queue settings: arguments or policies.
    settings: SettingsLocation,
    /// True if this program declares the objects that it needs.
    making: bool,
    /// True once this process has declared the ladder.
    ladder_stands: AtomicBool,
    timeout: Duration,
}

impl Declarer {
    pub(super) fn new(channels: Arc<ChannelProvider>, options: &BrokerOptions) -> Self {
        Self {
            channels,
            ladder: Ladder::new(&options.delay_prefix),
            ladder_kind: options.delay_queue_type,
            settings: options.settings_location(),
            making: options.declare,
            ladder_stands: AtomicBool::new(false),
            timeout: options.publish_timeout,
        }
    }

    /// Declares `topology`, and the delay ladder if there are queues. Begins anew if the connection
    /// is lost meanwhile, within the publish timeout.
    ///
    /// Returns the bindings that this program may not declare and assumes to exist.
    pub(super) async fn declare(&self, topology: &Topology) -> Result<Vec<UnverifiedBinding>> {
        let until = Instant::now() + self.timeout;
        let mut backoff = ReconnectBackoff::default();
        let mut declared = self.declare_once(topology).await;
        while let Err(error) = &declared
            && lost_its_connection(error)
            && Instant::now() < until
        {
            backoff.wait().await;
            match timeout_at(until, self.declare_once(topology)).await {
                Ok(again) => declared = again,
                Err(_) => break,
            }
        }
        declared
    }

    async fn declare_once(&self, topology: &Topology) -> Result<Vec<UnverifiedBinding>> {
        let objects = topology.objects(&self.ladder, self.settings);
        check(&objects)?;
        if !self.making {
            return self.look(topology, objects).await;
        }
        if !topology.queues.is_empty() && !self.ladder_stands.load(Ordering::Acquire) {
            self.make(&delay_ladder(&self.ladder, self.ladder_kind)).await?;
            self.ladder_stands.store(true, Ordering::Release);
        }
        self.make(&objects).await
    }

    /// Checks that every object of this program exists. Queues that belong to the program alone are
    /// declared in any case.
    async fn look(&self, topology: &Topology, objects: Vec<TopologyObject>) -> Result<Vec<UnverifiedBinding>> {
        let own = |name: &str| topology.queues.get(name).is_some_and(|queue| queue.own);
        let (own, mut wanted): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| match object {
            TopologyObject::Queue(QueueObject { name, .. }) => own(name),
            TopologyObject::Binding(BindingObject { destination: BindingTarget::Queue(name), .. }) => own(name),
            _ => false,
        });
        let mut unverified: Vec<_> = wanted.iter().filter_map(UnverifiedBinding::of).collect();
        if !topology.queues.is_empty() && !self.ladder_stands.load(Ordering::Acquire) {
            wanted.extend(delay_ladder(&self.ladder, self.ladder_kind));
        }
        let absent = self.absent(&wanted).await?;
        if !absent.is_empty() {
            return Err(Error::Absent { objects: absent.iter().map(|object| object.to_string()).collect() });
        }
        self.ladder_stands.store(true, Ordering::Release);
        if !own.is_empty() {
            unverified.extend(self.make(&own).await?);
        }
        Ok(unverified)
    }

    /// Declares `objects`.
    pub(super) async fn make(&self, objects: &[TopologyObject]) -> Result<Vec<UnverifiedBinding>> {
        let channel = self.channel().await?;
        let together = try_join_all(objects.iter().map(|object| declare(&channel, object)));
        if let Ok(Ok(_)) = timeout(ANSWER, together).await {
            close(channel).await;
            return Ok(Vec::new());
        }
        let mut unverified = Vec::new();
        let mut channel = self.channel().await?;
        for object in objects {
            if let Err(error) = answered(declare(&channel, object)).await? {
                channel = self.channel().await?;
                unverified.extend(self.look_into(object, error).await?);
            }
        }
        close(channel).await;
        Ok(unverified)
    }

    pub(super) async fn channel(&self) -> Result<Channel> {
        let began = Instant::now();
        timeout_at(began + self.timeout, self.channels.open_channel()).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                url: self.channels.shown(),
                waited: began.elapsed(),
                source: self.channels.context().health.trouble(ConnectionPurpose::Consume).map(Into::into),
            })
        })
    }

    /// Examines a declaration that RabbitMQ refused. Returns an error unless the existing object is
    /// sufficient.
    async fn look_into(&self, object: &TopologyObject, error: lapin::Error) -> Result<Option<UnverifiedBinding>> {
        let Some(said) = protocol_error(&error) else { return Err(client_error(&doing(object), error)) };
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => self.adopt(object, error).await.map(|()| None),
            // A user without permission to declare an object may still use it.
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                let there = self.exists(object).await?;
                if there { Ok(UnverifiedBinding::of(object)) } else { Err(self.denied(said)) }
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Err(missing(object, said, &error)),
            _ => Err(client_error(&doing(object), error)),
        }
    }

    fn denied(&self, said: &AMQPError) -> Error {
        Error::Denied { url: self.channels.shown(), reason: said.get_message().to_string() }
    }

    pub(super) async fn exists(&self, object: &TopologyObject) -> Result<bool> {
        Ok(match object {
            TopologyObject::Exchange(exchange) => self.exchange_exists(&exchange.name).await?,
            TopologyObject::Queue(queue) => self.queue_exists(&queue.name).await?,
            // AMQP has no query for a binding.
            TopologyObject::Binding(BindingObject { source, destination, .. }) => {
                let destination_exists = match destination {
                    BindingTarget::Queue(name) => self.queue_exists(name).await?,
                    BindingTarget::Exchange(name) => self.exchange_exists(name).await?,
                };
                destination_exists && self.exchange_exists(source).await?
            }
        })
    }

    async fn exchange_exists(&self, name: &str) -> Result<bool> {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let channel = self.channel().await?;
        // RabbitMQ ignores the type of the exchange in a passive declaration.
        let look = channel.exchange_declare(name.into(), ExchangeKind::Direct, options, FieldTable::default());
        Ok(answered(look).await?.is_ok())
    }

    async fn queue_exists(&self, name: &str) -> Result<bool> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        Ok(answered(channel.queue_declare(name.into(), options, FieldTable::default())).await?.is_ok())
    }

    async fn adopt(&self, object: &TopologyObject, error: lapin::Error) -> Result<()> {
        let TopologyObject::Queue(queue) = object else {
            let differs = protocol_error(&error).and_then(|said| Inequivalent::read(said.get_message().as_str()));
            return Err(differs.map_or_else(|| client_error(&doing(object), error), |differs| differs.into_error(None)));
        };
        let mut differences = Vec::new();
        let mut queue = queue.clone();
        let mut error = error;
        for _ in 0..MOST_DIFFERENCES {
            let differs = protocol_error(&error).and_then(|said| Inequivalent::read(said.get_message().as_str()));
            let Some(differs) = differs else { return Err(unsupported(&queue, error)) };
            differences.push(differs.argument.clone());
            if !adapt(&mut queue, differs)? {
                // A value that cannot be read cannot be compared. Those that the configuration sets
                // have been compared.
                break;
            }
            let channel = self.channel().await?;
            match answered(declare_queue(&channel, &queue)).await? {
                Ok(()) => break,
                Err(next) => error = next,
            }
        }
        QueueAdopted { queue: &queue.name, differences: &differences.join(", ") }.emit();
        Ok(())
    }
}

/// Adopts the broker's value of an argument. Returns `false` if the value cannot be read.
///
/// # Errors
/// Returns an error if the configuration sets another value.
fn adapt(queue: &mut QueueObject, differs: Inequivalent) -> Result<bool> {
    if let Some(expected) = queue.configured.get(differs.argument.as_str()) {
        return Err(differs.into_error(Some(expected)));
    }
    let name = differs.argument.as_str();
    if !name.starts_with("x-") {
        // These are `durable`, `exclusive` and `auto_delete`, which must not differ.
        return Err(differs.into_error(None));
    }
    Ok(differs.take_over(name, &mut queue.arguments))
}

pub(super) async fn declare(channel: &Channel, object: &TopologyObject) -> lapin::Result<()> {
    match object {
        TopologyObject::Exchange(ExchangeObject { name, kind, arguments, external }) => {
            let options =
                ExchangeDeclareOptions { durable: true, passive: *external, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(name.as_str().into(), exchange_kind(*kind), options, table(arguments)).await
        }
        TopologyObject::Queue(queue) => declare_queue(channel, queue).await,
        TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
            let (source, key) = (source.as_str().into(), key.as_str().into());
            match destination {
                BindingTarget::Queue(queue) => {
                    let options = QueueBindOptions::default();
                    channel.queue_bind(queue.as_str().into(), source, key, options, table(arguments)).await
                }
                BindingTarget::Exchange(exchange) => {
                    let options = ExchangeBindOptions::default();
                    channel.exchange_bind(exchange.as_str().into(), source, key, options, table(arguments)).await
                }
            }
        }
    }
}

async fn declare_queue(channel: &Channel, queue: &QueueObject) -> lapin::Result<()> {
    let options =
        QueueDeclareOptions { durable: queue.durable, passive: queue.external, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name.as_str().into(), options, table(&queue.arguments)).await.map(drop)
}

/// Declares a queue of this connection alone, its binding, and the exchanges of its owner.
pub(super) async fn declare_transient(channel: &Channel, queue: &TransientQueue) -> lapin::Result<()> {
    for exchange in [queue.exchange, queue.publishes_to] {
        let options = ExchangeDeclareOptions::default();
        let kind = exchange_kind(exchange.kind);
        channel.exchange_declare(exchange.name.into(), kind, options, FieldTable::default()).await?;
    }
    let (name, key) = (queue.name.as_str(), queue.routing_key.as_str());
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, table(&transient_queue(queue))).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(name.into(), queue.exchange.name.into(), key.into(), options, FieldTable::default()).await
}

fn exchange_kind(kind: celeriac_topology::ExchangeKind) -> ExchangeKind {
    match kind {
        celeriac_topology::ExchangeKind::Direct => ExchangeKind::Direct,
        celeriac_topology::ExchangeKind::Topic => ExchangeKind::Topic,
        celeriac_topology::ExchangeKind::Fanout => ExchangeKind::Fanout,
        celeriac_topology::ExchangeKind::Headers => ExchangeKind::Headers,
    }
}

pub(super) async fn answered<T>(request: impl Future<Output = lapin::Result<T>>) -> Result<lapin::Result<T>> {
    timeout(ANSWER, request).await.map_err(|_| Error::Amqp {
        doing: "declaring".to_owned(),
        source: format!("no answer within {}", duration::approximate(ANSWER)).into(),
    })
}

pub(super) async fn close(channel: Channel) {
    // All answers have arrived. A channel that does not close here closes with its connection.
    let _ = timeout(ANSWER, channel.close(200, "declared".into())).await;
}

fn missing(object: &TopologyObject, said: &AMQPError, error: &lapin::Error) -> Error {
    let named = |what: &str| {
        let (_, name) = said.get_message().as_str().split_once(&format!("no {what} '"))?;
        name.split_once('\'').map(|(name, _)| name.to_owned())
    };
    if let Some(exchange) = named("exchange") {
        return Error::NoSuchExchange { exchange };
    }
    match named("queue") {
        Some(queue) => Error::NoSuchQueue { queue },
        None => client_error(&doing(object), error.clone()),
    }
}

/// Returns the error for an argument that this server, or this type of queue, does not support.
fn unsupported(queue: &QueueObject, error: lapin::Error) -> Error {
    let doing = format!("declaring queue `{}`", queue.name);
    let argument =
        protocol_error(&error).and_then(|said| refused_argument(said.get_message().as_str()).map(str::to_owned));
    match argument {
        Some(argument) => {
            let value = queue.arguments.get(&argument).map(Argument::to_string).unwrap_or_default();
            let option = format!("{argument} = {value}");
            let reason = protocol_error(&error).map(|said| said.get_message().to_string()).unwrap_or_default();
            Error::Unsupported { queue: queue.name.clone(), option, reason }
        }
        None => client_error(&doing, error),
    }
}

/// Reads the argument in RabbitMQ's `invalid arg 'x-max-priority' for queue 'q' in vhost '/': …`.
fn refused_argument(said: &str) -> Option<&str> {
    let (_, said) = said.split_once("invalid arg '")?;
    said.split_once('\'').map(|(argument, _)| argument)
}

pub(super) fn doing(object: &TopologyObject) -> String {
    match object {
        TopologyObject::Exchange(exchange) => format!("declaring exchange `{}`", exchange.name),
        TopologyObject::Queue(queue) => format!("declaring queue `{}`", queue.name),
        TopologyObject::Binding(BindingObject { source, destination, routing_key: key, .. }) => {
            format!("binding {destination} to exchange `{source}` with key `{key}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_argument_is_read_from_the_brokers_message() {
        let said = "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'mail' in vhost '/' of queue type \
                    rabbit_quorum_queue";
        assert_eq!(refused_argument(said), Some("x-message-ttl"));
        assert_eq!(refused_argument("PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'mail'"), None);
    }
}
