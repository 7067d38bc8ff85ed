//! The broker on RabbitMQ, split by duty.
//!
//! - `url`, `connection`, `backoff`, `health`: nodes, connections to them, and how it stands with them;
//! - `convert`: messages into AMQP and out of it;
//! - `publish`, `line`, `flights`: a message is on a queue, or its sender has an error;
//! - `consume`, `subscription`: deliveries out, verdicts in, through lost connections;
//! - `arguments`, `declare`, `verify`: what has to exist is made or adopted, or its difference is told;
//! - `inspect`: what differs, as far as AMQP shows it, with nothing made.
//!
//! Nothing of the client library's own recovery is used: what is published again, subscribed again and given up is decided
//! here.

mod arguments;
mod backoff;
mod connection;
mod consume;
mod convert;
mod declare;
mod flights;
mod health;
mod inspect;
mod line;
mod policy_watch;
mod publish;
mod subscription;
mod url;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Connections, Purpose, Surroundings};
use self::declare::Declarer;
use self::health::Board;
pub(crate) use self::inspect::Inspection;
use self::publish::Publisher;
use self::subscription::Owner;
pub(crate) use self::url::Node;
use crate::broker::{Broker, Consumer, Health, Outgoing, Subscription};
use crate::error::{Error, Result};
use crate::management::{Management, management};
use crate::options::BrokerOptions;
use crate::topology::{Part, Topology};

/// How long the tasks of a broker may take to end.
const WIND_UP: Duration = Duration::from_secs(10);

/// A broker that is a RabbitMQ server or cluster.
///
/// It publishes on one connection and does everything else on another. Both are made at their first use, and made again
/// when they are lost.
pub struct AmqpBroker {
    around: Surroundings,
    publishing: Arc<Connections>,
    consuming: Arc<Connections>,
    publisher: Publisher,
    declarer: Declarer,
    /// Where policies can be seen, if there are to be any.
    management: Option<Management>,
    /// How long a sender waits.
    patience: Duration,
}

impl AmqpBroker {
    /// A broker that connects where it is needed. `name` is what the server's list of connections shows.
    ///
    /// # Errors
    /// When a URL cannot be understood.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        let around = Surroundings {
            name: Arc::from(name),
            nodes: Node::all(options)?.into(),
            connect_timeout: options.connect_timeout,
            board: Arc::new(Board::new()),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        let publishing = Arc::new(Connections::new(Purpose::Publish, around.clone()));
        let consuming = Arc::new(Connections::new(Purpose::Consume, around.clone()));
        Ok(Self {
            publisher: Publisher::new(Arc::clone(&publishing), options),
            declarer: Declarer::new(Arc::clone(&consuming), options),
            management: management(options).filter(|_| options.policies),
            patience: options.publish_timeout,
            around,
            publishing,
            consuming,
        })
    }

    /// What differs of these parts, as far as AMQP shows it. Nothing is made.
    pub(crate) async fn inspect(&self, parts: &[Part]) -> Result<Inspection> {
        self.declarer.inspect(parts).await
    }

    /// Makes these parts exist.
    pub(crate) async fn make(&self, parts: &[Part]) -> Result<()> {
        arguments::check(parts)?;
        self.declarer.make(parts).await
    }

    /// How many messages wait in a queue, and how many consumers it has, at this moment. `None`: it is not there.
    pub(crate) async fn load(&self, queue: &str) -> Result<Option<(u32, u32)>> {
        self.declarer.load(queue).await
    }

    async fn consume_replies(&self, queue: &str) -> Result<Consumer> {
        let began = Instant::now();
        let subscription = Subscription::to_replies(queue);
        let consuming = consume::consume(Arc::clone(&self.consuming), &subscription, Owner::Consumer);
        timeout(self.patience, consuming).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                url: self.consuming.shown(),
                waited: began.elapsed(),
                source: self.around.board.trouble(Purpose::Consume).map(Into::into),
            })
        })
    }
}

/// Whether the URLs can be understood.
pub(crate) fn check(options: &BrokerOptions) -> Result<()> {
    Node::all(options).map(drop)
}

impl fmt::Debug for AmqpBroker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AmqpBroker").field("url", &self.publishing.shown()).finish_non_exhaustive()
    }
}

impl Broker for AmqpBroker {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.declarer.declare(topology).await?;
            if let Some(management) = &self.management {
                policy_watch::tell(management, topology).await;
            }
            Ok(())
        })
    }

    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.publisher.publish(outgoing))
    }

    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move { consume::consume(Arc::clone(&self.consuming), &subscription, Owner::Others).await })
    }

    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>> {
        Box::pin(self.consume_replies(queue))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.around.board.watch()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.around.closing.cancel();
            self.publisher.close();
            self.around.tracker.close();
            // Consumers tell the broker what is settled before their connection goes.
            let _ = timeout(WIND_UP, self.around.tracker.wait()).await;
            futures::join!(self.publishing.close(), self.consuming.close());
            self.around.board.closed();
        })
    }
}

impl Drop for AmqpBroker {
    fn drop(&mut self) {
        self.around.closing.cancel();
    }
}
