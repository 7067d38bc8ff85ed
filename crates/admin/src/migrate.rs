//! Moves bindings and messages of a queue to another queue, then deletes the old queue.

use celeriac_broker::{AmqpBroker, Broker, BrokerHealth, BrokerOptions, Depth, QueueDeletion};
use celeriac_topology::Topology;
use tokio::sync::watch;

use crate::error::{Error, Result};

/// Moves messages from one queue to another.
#[derive(Debug)]
pub struct QueueMigration {
    broker: AmqpBroker,
}

impl QueueMigration {
    /// Creates a migration on this broker. `name` is the connection name that the broker lists.
    ///
    /// # Errors
    /// Returns an error if the URL is invalid or `memory://`.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        if options.url.expose().starts_with("memory://") {
            let reason = "memory:// is a broker inside this process, with nothing to migrate".to_owned();
            return Err(Error::Invalid { key: "broker.url".to_owned(), reason });
        }
        Ok(Self { broker: AmqpBroker::new(options, name)? })
    }

    /// Returns the numbers of messages and consumers of a queue, or `None` if the queue does not
    /// exist.
    ///
    /// # Errors
    /// Returns an error if the broker does not answer.
    pub async fn depth(&self, queue: &str) -> Result<Option<Depth>> {
        Ok(self.broker.depth(queue).await?)
    }

    /// Declares the new queue, and moves the bindings of the old queue to it.
    ///
    /// # Errors
    /// As [`AmqpBroker::redirect`]. Also returns an error if an object cannot be declared.
    pub async fn redirect(&self, topology: &Topology, from: &str, to: &str) -> Result<()> {
        self.broker.declare(topology).await?;
        Ok(self.broker.redirect(topology, from, to).await?)
    }

    /// Moves all messages from one queue to another. Calls `progress` with the number moved so far.
    ///
    /// # Errors
    /// As [`AmqpBroker::move_messages`].
    pub async fn drain(&self, from: &str, to: &str, progress: impl FnMut(u64)) -> Result<u64> {
        Ok(self.broker.move_messages(from, to, progress).await?)
    }

    /// Deletes a queue that is empty and has no consumers.
    ///
    /// # Errors
    /// As [`AmqpBroker::delete_unused`].
    pub async fn delete(&self, queue: &str) -> Result<QueueDeletion> {
        Ok(self.broker.delete_unused(queue).await?)
    }

    /// Returns a watch of the broker's health.
    pub fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.broker.health()
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.broker.close().await;
    }
}
