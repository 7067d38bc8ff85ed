//! A pool of connections to one node, for any manager of connections.
//!
//! The pool lends one connection, and all channels are opened on it. After that connection has
//! ended, the pool makes another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_config::duration;
use deadpool::managed::{Manager, Object, Pool, PoolConfig, PoolError};
use futures::future::{BoxFuture, FutureExt};
use futures::{Stream, StreamExt};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Channel, ErrorKind, Event};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{ANSWER, answer_while};
use super::context::ConnectionContext;
use super::health::HealthTracker;
use super::purpose::ConnectionPurpose;
use super::tls;
use crate::error::{Error, Result};

/// Longest time that a connection may take to close.
const GOODBYE: Duration = Duration::from_secs(3);

/// The program's own pool, shared with the client. Cheap to clone.
///
/// The pool must have room for two connections for this client: one publishes, the other does
/// everything else. The client holds both until they are lost, and does not close them.
#[derive(Clone)]
pub struct AmqpPool(pub(super) Pool<deadpool_lapin::Manager>);

/// Omits the manager, because its URL contains the password.
impl fmt::Debug for AmqpPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AmqpPool").field("status", &self.0.status()).finish_non_exhaustive()
    }
}

impl From<deadpool_lapin::Pool> for AmqpPool {
    fn from(pool: deadpool_lapin::Pool) -> Self {
        Self(pool)
    }
}

/// The reason why no channel could be opened.
#[derive(Debug)]
pub(crate) enum ConnectFailure {
    /// A new attempt cannot succeed.
    Permanent(Error),
    /// A new attempt may succeed.
    Transient(String),
}

/// Opens channels on connections to one node.
pub(super) trait NodePool: Send + Sync {
    /// Opens a channel, on a new connection if none is open.
    fn open_channel<'a>(
        &'a self,
        purpose: ConnectionPurpose,
        context: &'a ConnectionContext,
    ) -> BoxFuture<'a, Result<Channel, ConnectFailure>>;

    /// Closes the connections that this crate made.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A pool with connections from `M`.
pub(super) struct ManagedPool<M: Manager> {
    pool: Pool<M>,
    /// The connection in use, and its number.
    held: Mutex<Option<(Object<M>, u64)>>,
    /// The node, without password.
    shown: String,
    /// True if this crate closes the connections.
    owned: bool,
}

impl<M: Manager<Type = lapin::Connection, Error = lapin::Error>> ManagedPool<M> {
    /// Returns a pool of this crate's own, with room for one connection.
    ///
    /// # Errors
    /// Returns an error if the pool cannot be built.
    pub(super) fn new(manager: M, shown: &str) -> Result<Self> {
        let pool = Pool::builder(manager).config(PoolConfig::new(1)).build().map_err(|error| Error::Amqp {
            doing: "making a pool of connections".to_owned(),
            source: Box::new(error),
        })?;
        Ok(Self { pool, held: Mutex::default(), shown: shown.to_owned(), owned: true })
    }

    /// Returns a pool that belongs to the program.
    pub(super) fn shared(pool: Pool<M>, shown: &str) -> Self {
        Self { pool, held: Mutex::default(), shown: shown.to_owned(), owned: false }
    }

    async fn open(&self, purpose: ConnectionPurpose, context: &ConnectionContext) -> Result<Channel, ConnectFailure> {
        let waited = context.connect_timeout;
        let unanswered = |_| ConnectFailure::Transient(format!("no answer within {}", duration::approximate(waited)));
        // The wait for another caller's attempt counts as a part of this one.
        let deadline = Instant::now() + waited;
        let mut held = timeout_at(deadline, self.held.lock()).await.map_err(unanswered)?;
        let (connection, generation) = match held.take().filter(|(connection, _)| connection.status().connected()) {
            Some(existing) => held.insert(existing),
            None => {
                let taken = timeout_at(deadline, self.pool.get()).await.map_err(unanswered)?;
                let connection = taken.map_err(|error| self.failure(error))?;
                let generation = watch(&connection, purpose, context);
                held.insert((connection, generation))
            }
        };
        let connection: &lapin::Connection = connection;
        let stands = || connection.status().connected();
        let channel = answer_while(stands, ANSWER.max(waited), connection.create_channel()).await;
        let channel = channel.map_err(|error| ConnectFailure::Transient(error.to_string()))?;
        context.health.opened(purpose, *generation);
        Ok(channel)
    }

    fn failure(&self, error: PoolError<lapin::Error>) -> ConnectFailure {
        match error {
            PoolError::Backend(error) => refusal(&error, &self.shown),
            PoolError::Closed if self.owned => ConnectFailure::Permanent(Error::Closed),
            PoolError::Closed => ConnectFailure::Permanent(Error::Invalid {
                key: "broker_pool".to_owned(),
                reason: "the pool is closed".to_owned(),
            }),
            other => ConnectFailure::Transient(other.to_string()),
        }
    }

    async fn end(&self) {
        let held = self.held.lock().await.take();
        if !self.owned {
            return;
        }
        if let Some(connection) = held.map(|(connection, _)| Object::take(connection)) {
            // A connection that does not close in time is dropped, which also ends it.
            let _ = timeout(GOODBYE, connection.close(200, "goodbye".into())).await;
        }
        self.pool.close();
    }
}

impl<M: Manager<Type = lapin::Connection, Error = lapin::Error>> NodePool for ManagedPool<M> {
    fn open_channel<'a>(
        &'a self,
        purpose: ConnectionPurpose,
        context: &'a ConnectionContext,
    ) -> BoxFuture<'a, Result<Channel, ConnectFailure>> {
        self.open(purpose, context).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}

/// Starts the task that follows the events of a new connection. Returns its number.
fn watch(connection: &lapin::Connection, purpose: ConnectionPurpose, context: &ConnectionContext) -> u64 {
    let generation = context.health.up(purpose);
    let news = follow(connection.events_listener(), Arc::clone(&context.health), purpose, generation);
    let closing = context.closing.clone();
    let service = format!("events of the {} connection", purpose.name());
    context.tracker.spawn(context.services.watch(&service, async move { closing.run_until_cancelled(news).await }));
    generation
}

/// Records the events of a connection until it ends.
async fn follow(
    mut events: impl Stream<Item = Event> + Unpin,
    health: Arc<HealthTracker>,
    purpose: ConnectionPurpose,
    generation: u64,
) {
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => health.block(purpose, generation, Some(reason)),
            Event::ConnectionUnblocked => health.block(purpose, generation, None),
            // The end of a channel affects only the users of that channel.
            Event::Error(error) if !error.is_amqp_soft_error() => {
                health.lost(purpose, generation, &error.to_string());
                return;
            }
            _ => {}
        }
    }
    health.lost(purpose, generation, "the connection was closed");
}

/// Returns a permanent failure if the broker refuses access, and a transient one if it cannot be
/// reached.
fn refusal(error: &lapin::Error, shown: &str) -> ConnectFailure {
    if let ErrorKind::ProtocolError(said) = error.kind()
        && matches!(
            said.kind(),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
        )
    {
        let reason = said.get_message().to_string();
        return ConnectFailure::Permanent(Error::Denied { url: shown.to_owned(), reason });
    }
    match tls::fault(error) {
        Some(fault) => ConnectFailure::Permanent(Error::Untrusted { url: shown.to_owned(), fault }),
        None => ConnectFailure::Transient(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> deadpool_lapin::Pool {
        let runtime = lapin::runtime::default_runtime().unwrap();
        let url = "amqp://user:hunter2@localhost:1/%2f";
        let manager = deadpool_lapin::Manager::new(url, lapin::ConnectionProperties::default, runtime);
        deadpool_lapin::Pool::builder(manager).max_size(2).build().unwrap()
    }

    #[tokio::test]
    async fn a_shared_pool_shows_no_password() {
        let shown = format!("{:?}", AmqpPool::from(pool()));
        assert!(shown.starts_with("AmqpPool") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_closed_shared_pool_is_not_awaited() {
        let lent = pool();
        let shared = ManagedPool::shared(lent.clone(), "a pool");
        lent.close();
        let context = ConnectionContext::new(Duration::from_secs(10));
        let failure = shared.open(ConnectionPurpose::Publish, &context).await.unwrap_err();
        assert!(matches!(failure, ConnectFailure::Permanent(Error::Invalid { .. })), "{failure:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_an_attempt_of_somebody_else_ends_with_ones_own_patience() {
        let shared = ManagedPool::shared(pool(), "a pool");
        let context = ConnectionContext::new(Duration::from_secs(10));
        let _attempt = shared.held.lock().await;
        let failure = shared.open(ConnectionPurpose::Publish, &context).await.unwrap_err();
        assert!(matches!(failure, ConnectFailure::Transient(_)), "{failure:?}");
    }
}
