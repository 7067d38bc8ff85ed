//! The contract in process: exchanges, queues, delays and acknowledgements without a server.
//!
//! For first steps, tests and small tools. Its messages are lost when the process ends.
//!
//! - `host`: the state that all brokers of one URL share;
//! - `vhost`: all exchanges and queues; small steps under one lock;
//! - `queue`, `stored`: the messages and consumers of one queue;
//! - `death`: the headers of a dead-lettered message;
//! - `timeline`: events at a point in time;
//! - `browser`: reads a queue without a change;
//! - `consumer`: applies the settlements of one consumer.

mod bounds;
mod browser;
mod compare;
mod consumer;
mod death;
mod exchanges;
mod host;
mod queue;
mod stored;
mod timeline;
mod vhost;

use std::fmt;
use std::sync::Arc;

use celeriac_telemetry::Supervisor;
use celeriac_topology::{Ladder, Topology};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{Broker, BrokerHealth, Consumer, Depth, Outgoing, Subscription, TransientQueue};
use crate::browse::Browser;
use crate::error::{Error, Result};
use crate::headers;
use crate::options::BrokerOptions;
use browser::MemoryBrowser;
use host::MemoryHost;

/// A broker inside this process.
///
/// Brokers with the same URL share exchanges and queues, as connections to one server do. So a
/// client and a worker that are built separately share `memory://`. `memory://any-name` is separate
/// from it. The content is dropped with the last broker and consumer of its URL.
pub struct MemoryBroker {
    host: Arc<MemoryHost>,
    ladder: Ladder,
    health: watch::Sender<BrokerHealth>,
    closed: CancellationToken,
    drivers: TaskTracker,
    services: Supervisor,
}

impl MemoryBroker {
    /// Returns a broker at the URL of the options. Of the other options only the prefix of delays
    /// applies.
    pub fn new(options: &BrokerOptions) -> Self {
        Self {
            host: MemoryHost::at(options.url.expose()),
            ladder: Ladder::new(&options.delay_prefix),
            health: watch::Sender::new(BrokerHealth::Connected),
            closed: CancellationToken::new(),
            drivers: TaskTracker::new(),
            services: Supervisor::default(),
        }
    }

    fn still_open(&self) -> Result<()> {
        if self.closed.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    fn publish_now(&self, outgoing: Outgoing) -> Result<()> {
        self.still_open()?;
        headers::check_published(&outgoing.message.headers)?;
        self.host.lock().publish(outgoing, &self.ladder, Instant::now())
    }

    fn replies_now(&self, queue: &str) -> Result<Consumer> {
        self.still_open()?;
        self.host.lock().declare_replies(queue)?;
        self.consume_now(&Subscription::to_replies(queue))
    }

    fn consume_transient_now(&self, queue: &TransientQueue) -> Result<Consumer> {
        self.still_open()?;
        self.host.lock().declare_transient(queue)?;
        self.consume_now(&Subscription::to_transient(queue))
    }

    fn consume_now(&self, subscription: &Subscription) -> Result<Consumer> {
        self.still_open()?;
        let Subscription { queue, prefetch, most, .. } = subscription;
        let (deliveries, arriving) = mpsc::channel(queue::most(*prefetch).max(usize::from(*most)));
        let (verdicts, settled) = mpsc::unbounded_channel();
        let (id, queue) = self.host.lock().subscribe(queue, *prefetch, deliveries, verdicts, Instant::now())?;
        let (consuming, watched) = watch::channel(true);
        let wanted = watch::Sender::new(*prefetch);
        let stop = CancellationToken::new();
        let subscribed = consumer::MemoryConsumer { host: Arc::clone(&self.host), id, consuming };
        let driver = consumer::drive(subscribed, wanted.subscribe(), settled, stop.clone(), self.closed.clone());
        let driven = self.services.watch(&format!("subscription to queue `{queue}`"), driver);
        Ok(Consumer::new(queue, arriving, wanted, watched, stop, self.drivers.spawn(driven.map(drop))))
    }
}

impl Broker for MemoryBroker {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.still_open()?;
            self.host.lock().declare(topology)
        })
    }

    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // Nothing here waits, so without this a loop of publishers would keep consumers from
            // running.
            tokio::task::coop::consume_budget().await;
            self.publish_now(outgoing)
        })
    }

    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move { self.consume_now(&subscription) })
    }

    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>> {
        Box::pin(async move { self.replies_now(queue) })
    }

    fn consume_transient(&self, queue: TransientQueue) -> BoxFuture<'_, Result<Consumer>> {
        Box::pin(async move { self.consume_transient_now(&queue) })
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>>> {
        Box::pin(async move {
            self.still_open()?;
            Ok(self.host.lock().depth(queue, Instant::now()))
        })
    }

    fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    fn browse<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Box<dyn Browser>>> {
        Box::pin(async move {
            self.still_open()?;
            let browser = MemoryBrowser::new(Arc::clone(&self.host), queue)?;
            Ok(Box::new(browser) as Box<dyn Browser>)
        })
    }

    fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.health.subscribe()
    }

    fn services(&self) -> &Supervisor {
        &self.services
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closed.cancel();
            self.drivers.close();
            self.drivers.wait().await;
            self.health.send_replace(BrokerHealth::Disconnected { reason: None });
        })
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryBroker").field("closed", &self.closed.is_cancelled()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
