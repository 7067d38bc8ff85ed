//! The broker on RabbitMQ, split by duty.
//!
//! - `connection`: nodes, connections to them, and how it stands with them;
//! - `convert`: messages into AMQP and out of it;
//! - `publish`: a message is on a queue, or its sender has an error;
//! - `consume`: deliveries out, verdicts in, through lost connections;
//! - `declare`: what has to exist is made or adopted, or its difference is told;
//! - `browse`: a look through a queue; `migration`: a queue is moved to another;
//! - `error`: what the broker said, in the client library's errors.
//!
//! Nothing of the client library's own recovery is used: what is published again, subscribed again and given up is decided
//! here.

mod browse;
mod connection;
mod consume;
mod convert;
mod declare;
mod error;
mod migration;
mod publish;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::BindingAssumed;
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
use crate::broker::{Broker, Consumer, Depth, Health, Outgoing, Subscription};
use crate::browse::Browser;
use crate::error::{Error, Result};
use crate::options::BrokerOptions;
use crate::startup::StartupChecks;

pub use self::connection::{AmqpPool, NodeAddress, nodes};
pub(crate) use self::connection::{check_nodes, problems_of_tls};
pub use self::declare::Inspection;
pub use self::migration::QueueDeletion;

/// How long the tasks of a broker may take to end.
const WIND_UP: Duration = Duration::from_secs(10);

/// A broker that is a RabbitMQ server or cluster.
///
/// It publishes on one connection and does everything else on another. Both are made at their first use, and made again
/// when they are lost.
pub struct AmqpBroker {
    context: ConnectionContext,
    publishing: Arc<ChannelProvider>,
    consuming: Arc<ChannelProvider>,
    publisher: Publisher,
    declarer: Declarer,
    ladder: Ladder,
    checks: Option<Arc<dyn StartupChecks>>,
    /// How long a sender waits.
    patience: Duration,
}

impl AmqpBroker {
    /// A broker that connects where it is needed. `name` is what the server's list of connections shows.
    ///
    /// # Errors
    /// When a URL cannot be understood.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        Ok(Self::from_origin(&ConnectionOrigin::nodes(options, name)?, options))
    }

    /// A broker on a pool that the program has already. Of the options everything counts but the URL, TLS, heartbeat.
    ///
    /// The pool has to hold two connections for it, besides those that the program uses: one publishes, which the broker may
    /// block, and the other does everything else. They are kept as long as they stand. [`Broker::close`] ends the channels and
    /// leaves the connections to the pool.
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

    /// The same broker, which is looked at with these checks once everything is declared.
    #[must_use]
    pub fn with_checks(mut self, checks: Option<Arc<dyn StartupChecks>>) -> Self {
        self.checks = checks;
        self
    }

    /// Compares these objects with the broker, as far as AMQP shows them. Makes nothing.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn inspect(&self, objects: &[TopologyObject]) -> Result<Inspection> {
        self.declarer.inspect(objects).await
    }

    /// Makes these objects exist.
    ///
    /// # Errors
    /// When one of them cannot be declared.
    pub async fn make(&self, objects: &[TopologyObject]) -> Result<()> {
        check_names(objects)?;
        self.declarer.make(objects).await.map(drop)
    }

    /// A channel for looks and small changes, within the publish timeout.
    async fn channel(&self) -> Result<Channel> {
        self.in_time(self.consuming.open_channel()).await
    }

    /// How it stands with a queue at this moment. `None`: it is not there.
    pub(crate) async fn look(&self, queue: &str) -> Result<Option<Depth>> {
        short(queue, "queue")?;
        let channel = self.channel().await?;
        let found = depth(&channel, queue).await?;
        if found.is_some() {
            let _ = timeout(ANSWER, channel.close(200, "looked".into())).await;
        }
        Ok(found)
    }

    /// Finds out whether a queue takes what was delayed. Of other bindings nothing can be found out.
    async fn prove(&self, unverified: UnverifiedBinding) -> Result<()> {
        if unverified.exchange == self.ladder.delivery_exchange() {
            match self.publisher.publish(unverified.probe(&self.ladder)?).await {
                Ok(()) => return Ok(()),
                Err(Error::Unroutable { .. }) => return Err(unverified.missing()),
                // Who may not delay anything need not know.
                Err(Error::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let UnverifiedBinding { queue, exchange, key } = &unverified;
        BindingAssumed { queue, exchange, key }.emit();
        Ok(())
    }

    async fn consume_replies(&self, queue: &str) -> Result<Consumer> {
        let subscription = Subscription::to_replies(queue);
        self.in_time(consume::consume(Arc::clone(&self.consuming), &subscription, QueueOwner::Consumer)).await
    }

    /// Does something on the connection that consumes, for which somebody waits.
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
        Box::pin(self.publisher.publish(outgoing))
    }

    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move { consume::consume(Arc::clone(&self.consuming), &subscription, QueueOwner::Others).await })
    }

    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>> {
        Box::pin(self.consume_replies(queue))
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

    fn health(&self) -> watch::Receiver<Health> {
        self.context.health.watch()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.context.closing.cancel();
            self.publisher.close();
            self.context.tracker.close();
            // Consumers tell the broker what is settled before their connection goes.
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
