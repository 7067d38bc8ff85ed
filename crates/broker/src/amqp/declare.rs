//! Declaring: makes the planned objects exist, and adopts what exists already.
//!
//! All declarations go out together on one channel, which is all there is to do when nothing differs. RabbitMQ closes the
//! channel at the first one that does; then they are made again one by one, and each difference is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use celeriac_telemetry::Occurrence;
use celeriac_telemetry::occurrences::broker::QueueAdopted;
use futures::future::try_join_all;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, ErrorKind, ExchangeKind};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{ANSWER, Connections, Purpose};
use super::plan::{self, Item, QueueItem, table};
use super::proof::Assumed;
use super::publish::amqp;
use super::verify::Inequivalent;
use crate::delay::Ladder;
use crate::error::{Error, Result};
use crate::options::BrokerOptions;
use crate::topology::{QueueKind, Topology};

/// How many arguments of a queue may differ before it is taken as it is.
const MOST_DIFFERENCES: usize = 12;

/// Declares topologies.
#[derive(Debug)]
pub(super) struct Declarer {
    connections: Arc<Connections>,
    ladder: Ladder,
    ladder_kind: QueueKind,
    /// Whether this process has seen to the ladder.
    ladder_stands: AtomicBool,
    timeout: Duration,
}

impl Declarer {
    pub(super) fn new(connections: Arc<Connections>, options: &BrokerOptions) -> Self {
        Self {
            connections,
            ladder: Ladder::new(&options.delay_prefix),
            ladder_kind: options.delay_queues,
            ladder_stands: AtomicBool::new(false),
            timeout: options.publish_timeout,
        }
    }

    /// Makes everything in `topology` exist, and the delay ladder where there are queues. Tells which queues are only
    /// taken to be bound, since this program may not bind them.
    pub(super) async fn declare(&self, topology: &Topology) -> Result<Vec<Assumed>> {
        let items = plan::topology(topology, &self.ladder)?;
        if !topology.queues.is_empty() && !self.ladder_stands.load(Ordering::Acquire) {
            self.apply(&plan::delay_ladder(&self.ladder, self.ladder_kind)).await?;
            self.ladder_stands.store(true, Ordering::Release);
        }
        self.apply(&items).await
    }

    async fn apply(&self, items: &[Item]) -> Result<Vec<Assumed>> {
        let channel = self.channel().await?;
        let together = try_join_all(items.iter().map(|item| declare(&channel, item)));
        if let Ok(Ok(_)) = timeout(ANSWER, together).await {
            close(channel).await;
            return Ok(Vec::new());
        }
        let mut assumed = Vec::new();
        let mut channel = self.channel().await?;
        for item in items {
            if let Err(error) = answered(declare(&channel, item)).await? {
                channel = self.channel().await?;
                assumed.extend(self.look_into(item, error).await?);
            }
        }
        close(channel).await;
        Ok(assumed)
    }

    async fn channel(&self) -> Result<Channel> {
        let began = Instant::now();
        timeout_at(began + self.timeout, self.connections.channel()).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                url: self.connections.shown(),
                waited: began.elapsed(),
                source: self.connections.around().board.trouble(Purpose::Consume).map(Into::into),
            })
        })
    }

    /// A declaration that RabbitMQ refused: an error for a person, unless what exists will do.
    async fn look_into(&self, item: &Item, error: lapin::Error) -> Result<Option<Assumed>> {
        let Some(said) = refusal(&error) else { return Err(amqp(&doing(item), error)) };
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => self.adopt(item, error).await.map(|()| None),
            // Who may not declare a thing may still use it where it exists.
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                let there = self.exists(item).await?;
                if there { Ok(assumed(item)) } else { Err(self.denied(said)) }
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Err(missing(item, said, &error)),
            _ => Err(amqp(&doing(item), error)),
        }
    }

    fn denied(&self, said: &AMQPError) -> Error {
        Error::Denied { url: self.connections.shown(), reason: said.get_message().to_string() }
    }

    async fn exists(&self, item: &Item) -> Result<bool> {
        Ok(match item {
            Item::Exchange { name, .. } => self.exchange_exists(name).await?,
            Item::Queue(queue) => self.queue_exists(&queue.name).await?,
            // Whether one is bound to the other cannot be asked.
            Item::BindQueue { queue, exchange, .. } => {
                self.queue_exists(queue).await? && self.exchange_exists(exchange).await?
            }
            Item::BindExchange { destination, source, .. } => {
                self.exchange_exists(destination).await? && self.exchange_exists(source).await?
            }
        })
    }

    async fn exchange_exists(&self, name: &str) -> Result<bool> {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let channel = self.channel().await?;
        // The kind is of no importance to RabbitMQ when it only looks.
        let look = channel.exchange_declare(name.into(), ExchangeKind::Direct, options, FieldTable::default());
        Ok(answered(look).await?.is_ok())
    }

    async fn queue_exists(&self, name: &str) -> Result<bool> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        Ok(answered(channel.queue_declare(name.into(), options, FieldTable::default())).await?.is_ok())
    }

    async fn adopt(&self, item: &Item, error: lapin::Error) -> Result<()> {
        let Item::Queue(queue) = item else {
            let differs = refusal(&error).and_then(|said| Inequivalent::read(said.get_message().as_str()));
            return Err(differs.map_or_else(|| amqp(&doing(item), error), |differs| differs.into_error(None)));
        };
        let mut differences = Vec::new();
        let mut queue = queue.clone();
        let mut error = error;
        for _ in 0..MOST_DIFFERENCES {
            let differs = refusal(&error).and_then(|said| Inequivalent::read(said.get_message().as_str()));
            let Some(differs) = differs else { return Err(amqp(&doing(item), error)) };
            differences.push(differs.argument.clone());
            if !adapt(&mut queue, differs)? {
                // What could not be read cannot be compared; what was configured explicitly has been by now.
                break;
            }
            let channel = self.channel().await?;
            match answered(declare_queue(&channel, &queue)).await? {
                Ok(()) => break,
                Err(next) => error = next,
            }
        }
        QueueAdopted { queue: &queue.name, differences: &differences.join(", ") }.tell();
        Ok(())
    }
}

/// Takes an argument over as it is on the broker. False when that cannot be read.
///
/// # Errors
/// When the configuration says otherwise.
fn adapt(queue: &mut QueueItem, differs: Inequivalent) -> Result<bool> {
    if let Some(expected) = queue.configured.get(differs.argument.as_str()) {
        return Err(differs.into_error(Some(expected)));
    }
    /// What a queue may have that we do not know how to configure.
    const KNOWN: [&str; 14] = [
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-expires",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-message-ttl",
        "x-overflow",
        "x-queue-type",
        "x-single-active-consumer",
    ];
    let Some(name) = KNOWN.into_iter().find(|name| *name == differs.argument) else {
        // Whether it is durable, exclusive or deleted automatically: never what we can live with.
        return Err(differs.into_error(None));
    };
    match (&differs.current, differs.current.argument()) {
        (_, Some(value)) => drop(queue.arguments.insert(name, value)),
        (super::verify::Said::Nothing, None) => drop(queue.arguments.remove(name)),
        _ => return Ok(false),
    }
    Ok(true)
}

async fn declare(channel: &Channel, item: &Item) -> lapin::Result<()> {
    match item {
        Item::Exchange { name, kind } => {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(name.as_str().into(), kind.clone(), options, FieldTable::default()).await
        }
        Item::Queue(queue) => declare_queue(channel, queue).await,
        Item::BindQueue { queue, exchange, key } => {
            let (queue, exchange, key) = (queue.as_str().into(), exchange.as_str().into(), key.as_str().into());
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        }
        Item::BindExchange { destination, source, key } => {
            let (destination, source) = (destination.as_str().into(), source.as_str().into());
            let options = ExchangeBindOptions::default();
            channel.exchange_bind(destination, source, key.as_str().into(), options, FieldTable::default()).await
        }
    }
}

async fn declare_queue(channel: &Channel, queue: &QueueItem) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name.as_str().into(), options, table(&queue.arguments)).await.map(drop)
}

async fn answered<T>(request: impl Future<Output = lapin::Result<T>>) -> Result<lapin::Result<T>> {
    timeout(ANSWER, request).await.map_err(|_| Error::Amqp {
        doing: "declaring".to_owned(),
        source: format!("no answer within {ANSWER:?}").into(),
    })
}

async fn close(channel: Channel) {
    // Everything was answered; a channel that does not close is closed with its connection.
    let _ = timeout(ANSWER, channel.close(200, "declared".into())).await;
}

fn assumed(item: &Item) -> Option<Assumed> {
    let Item::BindQueue { queue, exchange, key } = item else { return None };
    Some(Assumed { queue: queue.clone(), exchange: exchange.clone(), key: key.clone() })
}

fn refusal(error: &lapin::Error) -> Option<&AMQPError> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said),
        _ => None,
    }
}

fn missing(item: &Item, said: &AMQPError, error: &lapin::Error) -> Error {
    let named = |what: &str| said.get_message().as_str().contains(&format!("no {what} '"));
    match item {
        Item::BindQueue { exchange, .. } if named("exchange") => Error::NoSuchExchange { exchange: exchange.clone() },
        Item::BindQueue { queue, .. } if named("queue") => Error::NoSuchQueue { queue: queue.clone() },
        _ => amqp(&doing(item), error.clone()),
    }
}

fn doing(item: &Item) -> String {
    match item {
        Item::Exchange { name, .. } => format!("declaring exchange `{name}`"),
        Item::Queue(queue) => format!("declaring queue `{}`", queue.name),
        Item::BindQueue { queue, exchange, key } => {
            format!("binding queue `{queue}` to exchange `{exchange}` with key `{key}`")
        }
        Item::BindExchange { destination, source, key } => {
            format!("binding exchange `{destination}` to exchange `{source}` with key `{key}`")
        }
    }
}
