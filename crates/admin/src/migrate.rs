//! Moves a queue: a new one is bound beside, the old one is drained into it and goes.

use celeriac_broker::{AmqpBroker, Broker, BrokerOptions, Depth, QueueDeletion};
use celeriac_topology::Topology;

use crate::error::{Error, Result};

/// Moves messages from one queue to another.
#[derive(Debug)]
pub struct QueueMigration {
    broker: AmqpBroker,
}

impl QueueMigration {
    /// A migration on this broker. `name` is what the broker's list of connections shows.
    ///
    /// # Errors
    /// When the URL is not that of a RabbitMQ, or cannot be understood.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        if options.url.expose().starts_with("memory://") {
            let reason = "memory:// is a broker inside this process, with nothing to migrate".to_owned();
            return Err(Error::Invalid { key: "broker.url".to_owned(), reason });
        }
        Ok(Self { broker: AmqpBroker::new(options, name)? })
    }

    /// Messages and consumers of a queue. `None` when there is no such queue.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn depth(&self, queue: &str) -> Result<Option<Depth>> {
        Ok(self.broker.depth(queue).await?)
    }

    /// Makes the new queue, and sends to it what came to the old one through exchanges.
    ///
    /// # Errors
    /// As [`AmqpBroker::redirect`], and when something cannot be declared.
    pub async fn redirect(&self, topology: &Topology, from: &str, to: &str) -> Result<()> {
        self.broker.declare(topology).await?;
        Ok(self.broker.redirect(topology, from, to).await?)
    }

    /// Moves everything from one queue to another, and tells how much was moved so far. Ends when there is no more.
    ///
    /// # Errors
    /// As [`AmqpBroker::move_messages`].
    pub async fn drain(&self, from: &str, to: &str, progress: impl FnMut(u64)) -> Result<u64> {
        Ok(self.broker.move_messages(from, to, progress).await?)
    }

    /// Deletes a queue that is empty and that nobody consumes.
    ///
    /// # Errors
    /// As [`AmqpBroker::delete_unused`].
    pub async fn delete(&self, queue: &str) -> Result<QueueDeletion> {
        Ok(self.broker.delete_unused(queue).await?)
    }

    /// Ends the connections.
    pub async fn close(&self) {
        self.broker.close().await;
    }
}
