//! The broker on RabbitMQ, one module for each part.
//!
//! - `connection`: the nodes, the connections to them, and their health;
//! - `convert`: converts messages to AMQP and back;
//! - `publish`: puts a message on a queue, or returns an error to its sender;
//! - `consume`: delivers messages and settles them, across lost connections;
//! - `declare`: declares or adopts the objects of the topology, and reports differences;
//! - `browse`: reads a queue without a change; `migration`: moves a queue to another;
//! - `error`: reads the broker's replies in the errors of the client library;
//! - `wire`: messages as bytes, for the fuzz tests.
//!
//! The client library's own recovery is not used. This module reconnects, subscribes and publishes
//! again itself.

mod browse;
mod connection;
mod consume;
mod convert;
mod declare;
mod error;
mod migration;
mod publish;
#[cfg(feature = "conformance")]
pub mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::events::broker::{BindingAssumed, MessageNotPublished, MessagePublished};
use celeriac_telemetry::{Event, Supervisor, are_counted};
use celeriac_topology::{Ladder, Topology, TopologyObject};
use futures::future::BoxFuture;
use lapin::Channel;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::connection::{ANSWER, ChannelProvider, ConnectionContext, ConnectionOrigin, ConnectionPurpose};
use self::consume::QueueOwner;
use self::convert::short;
use self::declare::{Declarer, UnverifiedBinding, check_names, depth};
use self::publish::Publisher;
use crate::broker::{Broker, BrokerHealth, Consumer, Depth, Outgoing, Subscription, TransientQueue};
use crate::browse::Browser;
use crate::error::{Error, Result};
use crate::options::BrokerOptions;
use crate::startup::StartupChecks;

pub use self::connection::{AmqpPool, NodeAddress, nodes};
pub(crate) use self::connection::{check_nodes, problems_of_tls};
pub use self::declare::Inspection;
pub use self::migration::QueueDeletion;

/// Longest time that the tasks of a broker may take to end at its close.
const WIND_UP: Duration = Duration::from_secs(10);

/// A broker that is a RabbitMQ server or cluster.
///
/// It publishes on one connection and does everything else on another. It makes each connection at
/// its first use, and again after a loss.
pub struct AmqpBroker {
    context: ConnectionContext,
    publishing: Arc<ChannelProvider>,
    consuming: Arc<ChannelProvider>,
    publisher: Publisher,
    declarer: Declarer,
    ladder: Ladder,
    checks: Option<Arc<dyn StartupChecks>>,
    /// Longest wait of a sender.
    patience: Duration,
}

impl AmqpBroker {
    /// Returns a broker that connects at its first use. The server lists its connections as `name`.
    ///
    /// # Errors
    /// Returns an error if a URL cannot be parsed.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        Ok(Self::from_origin(&ConnectionOrigin::nodes(options, name)?, options))
    }

    /// Returns a broker that uses the program's own pool.
    ///
    /// All options apply except the URL, TLS and the heartbeat.
    ///
    /// The pool must have room for two connections beside those that the program uses: one
    /// publishes, and the broker may block it; the other does everything else. The broker holds
    /// both until they are lost. [`Broker::close`] closes the channels and leaves the connections
    /// to the pool.
    pub fn on_pool(pool: AmqpPool, options: &BrokerOptions) -> Self {
        Self::from_origin(&ConnectionOrigin::Shared(pool), options)
    }

    fn from_origin(origin: &ConnectionOrigin, options: &BrokerOptions) -> Self {
        let context = ConnectionContext::new(options.connect_timeout);
        let channels = |purpose| Arc::new(ChannelProvider::new(purpose, context.clone(), origin.clone()));
        let publishing = channels(ConnectionPurpose::Publish);
        let consuming = channels(ConnectionPurpose::Consume);
        Self {
            publisher: Publisher::new(Arc::clone(&publishing), options),
            declarer: Declarer::new(Arc::clone(&consuming), options),
            ladder: Ladder::new(&options.delay_prefix),
            checks: None,
            patience: options.publish_timeout,
            context,
            publishing,
            consuming,
        }
    }

    /// Returns the same broker, which runs `checks` after each declaration.
    #[must_use]
    pub fn with_checks(mut self, checks: Option<Arc<dyn StartupChecks>>) -> Self {
        self.checks = checks;
        self
    }

    /// Compares `objects` with the broker, as far as AMQP shows them. Changes nothing.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached or refuses the request.
    pub async fn inspect(&self, objects: &[TopologyObject]) -> Result<Inspection> {
        self.declarer.inspect(objects).await
    }

    /// Declares `objects`.
    ///
    /// # Errors
    /// Returns an error if one of them cannot be declared.
    pub async fn make(&self, objects: &[TopologyObject]) -> Result<()> {
        check_names(objects)?;
        self.declarer.make(objects).await.map(drop)
    }

    /// Opens a channel for queries and small changes, within the publish timeout.
    async fn channel(&self) -> Result<Channel> {
        self.in_time(self.consuming.open_channel()).await
    }

    /// Returns the present depth of a queue, or `None` if the queue does not exist.
    pub(crate) async fn look(&self, queue: &str) -> Result<Option<Depth>> {
        short(queue, "queue")?;
        let channel = self.channel().await?;
        let found = depth(&channel, queue).await?;
        if found.is_some() {
            let _ = timeout(ANSWER, channel.close(200, "looked".into())).await;
        }
        Ok(found)
    }

    /// Tests that a queue receives delayed messages. AMQP has no test for other bindings.
    async fn prove(&self, unverified: UnverifiedBinding) -> Result<()> {
        if unverified.exchange == self.ladder.delivery_exchange() {
            match self.publisher.publish(unverified.probe(&self.ladder)?).await {
                Ok(()) => return Ok(()),
                Err(Error::Unroutable { .. }) => return Err(unverified.missing()),
                // A program that may not publish to the delay exchange sends no delayed messages,
                // so it needs no binding.
                Err(Error::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let UnverifiedBinding { queue, exchange, key } = &unverified;
        BindingAssumed { queue, exchange, routing_key: key }.emit();
        Ok(())
    }

    /// Publishes a message, and records the time.
    async fn publish_timed(&self, outgoing: Outgoing) -> Result<()> {
        let (exchange, routing_key) = (outgoing.exchange.clone(), outgoing.routing_key.clone());
        let begun = Instant::now();
        let published = self.publisher.publish(outgoing).await;
        let (exchange, routing_key, took) = (&*exchange, &*routing_key, begun.elapsed());
        match &published {
            Ok(()) => MessagePublished { exchange, routing_key, took }.emit(),
            Err(error) => {
                let kind = error.publish_fault().name();
                MessageNotPublished { exchange, routing_key, kind, took }.emit();
            }
        }
        published
    }

    async fn consume_replies(&self, queue: &str) -> Result<Consumer> {
        let subscription = Subscription::to_replies(queue);
        self.in_time(consume::consume(Arc::clone(&self.consuming), &subscription, QueueOwner::Consumer)).await
    }

    /// Runs `work` on the consuming connection, within the time that a caller waits.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        timeout(self.patience, work).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                url: self.consuming.shown(),
                waited: began.elapsed(),
                source: self.context.health.trouble(ConnectionPurpose::Consume).map(Into::into),
            })
        })
    }
}

impl fmt::Debug for AmqpBroker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AmqpBroker").field("url", &self.publishing.shown()).finish_non_exhaustive()
    }
}

impl Broker for AmqpBroker {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for unverified in self.declarer.declare(topology).await? {
                self.prove(unverified).await?;
            }
            if let Some(checks) = &self.checks {
                checks.check(topology).await;
            }
            Ok(())
        })
    }

    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<()>> {
        match are_counted() {
            true => Box::pin(self.publish_timed(outgoing)),
            false => Box::pin(self.publisher.publish(outgoing)),
        }
    }

    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move { consume::consume(Arc::clone(&self.consuming), &subscription, QueueOwner::Others).await })
    }

    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>> {
        Box::pin(self.consume_replies(queue))
    }

    fn consume_transient(&self, queue: TransientQueue) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move {
            let subscription = Subscription::to_transient(&queue);
            let owner = QueueOwner::Connection(Arc::new(queue));
            self.in_time(consume::consume(Arc::clone(&self.consuming), &subscription, owner)).await
        })
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>>> {
        Box::pin(self.look(queue))
    }

    fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    fn browse<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Box<dyn Browser>>> {
        Box::pin(async move {
            let browser = browse::begin(Arc::clone(&self.consuming), queue);
            let browser = self.in_time(Box::pin(browser)).await?;
            Ok(Box::new(browser) as Box<dyn Browser>)
        })
    }

    fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.context.health.watch()
    }

    fn services(&self) -> &Supervisor {
        &self.context.services
    }

    fn blocked_time(&self) -> Duration {
        self.context.health.blocked_time()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.context.closing.cancel();
            self.publisher.close();
            self.context.tracker.close();
            // Consumers send their last acknowledgements before their connection closes.
            let _ = timeout(WIND_UP, self.context.tracker.wait()).await;
            futures::join!(self.publishing.close(), self.consuming.close());
            self.context.health.closed();
        })
    }
}

impl Drop for AmqpBroker {
    fn drop(&mut self) {
        self.context.closing.cancel();
    }
}
