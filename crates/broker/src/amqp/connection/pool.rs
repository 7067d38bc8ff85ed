//! A pool of connections to one node, whichever manager makes them.
//!
//! One connection at a time is taken out of it and kept, and channels are opened on that one. When it has ended it goes back, and
//! the pool makes another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

/// The longest time that a connection may take to close.
const GOODBYE: Duration = Duration::from_secs(3);

/// A pool that a program has already, and that its client shares. Cheap to clone.
///
/// It has to hold two connections for this program: one that publishes and one for everything else. They are kept as long as they
/// stand, and are not closed with the client.
#[derive(Clone)]
pub struct AmqpPool(pub(super) Pool<deadpool_lapin::Manager>);

/// Without the manager, whose URL holds the password.
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

/// The reason why there is no channel.
#[derive(Debug)]
pub(crate) enum ConnectFailure {
    /// Another attempt will not do better.
    Permanent(Error),
    /// Another attempt may.
    Transient(String),
}

/// Opens channels on connections to one node.
pub(super) trait NodePool: Send + Sync {
    /// Opens a channel, on a new connection where none stands.
    fn open_channel<'a>(
        &'a self,
        purpose: ConnectionPurpose,
        context: &'a ConnectionContext,
    ) -> BoxFuture<'a, Result<Channel, ConnectFailure>>;

    /// Ends its connections, unless they are somebody else's.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A pool whose connections are made by `M`.
pub(super) struct ManagedPool<M: Manager> {
    pool: Pool<M>,
    /// The connection that is in use.
    held: Mutex<Option<Object<M>>>,
    /// The node, without password.
    shown: String,
    /// Whether the connections are this program's to end.
    owned: bool,
}

impl<M: Manager<Type = lapin::Connection, Error = lapin::Error>> ManagedPool<M> {
    /// A pool of this program's own, with room for one connection.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(super) fn new(manager: M, shown: &str) -> Result<Self> {
        let pool = Pool::builder(manager).config(PoolConfig::new(1)).build().map_err(|error| Error::Amqp {
            doing: "making a pool of connections".to_owned(),
            source: Box::new(error),
        })?;
        Ok(Self { pool, held: Mutex::default(), shown: shown.to_owned(), owned: true })
    }

    /// A pool that somebody else has.
    pub(super) fn shared(pool: Pool<M>, shown: &str) -> Self {
        Self { pool, held: Mutex::default(), shown: shown.to_owned(), owned: false }
    }

    async fn open(&self, purpose: ConnectionPurpose, context: &ConnectionContext) -> Result<Channel, ConnectFailure> {
        let waited = context.connect_timeout;
        let unanswered = |_| ConnectFailure::Transient(format!("no answer within {waited:?}"));
        // Whoever waits for another's attempt has no more time for it than for one of its own.
        let deadline = Instant::now() + waited;
        let mut held = timeout_at(deadline, self.held.lock()).await.map_err(unanswered)?;
        let connection = match held.take().filter(|connection| connection.status().connected()) {
            Some(connection) => held.insert(connection),
            None => {
                let taken = timeout_at(deadline, self.pool.get()).await.map_err(unanswered)?;
                let connection = held.insert(taken.map_err(|error| self.failure(error))?);
                watch(connection, purpose, context);
                connection
            }
        };
        let connection: &lapin::Connection = connection;
        let stands = || connection.status().connected();
        let channel = answer_while(stands, ANSWER.max(waited), connection.create_channel()).await;
        channel.map_err(|error| ConnectFailure::Transient(error.to_string()))
    }

    fn failure(&self, error: PoolError<lapin::Error>) -> ConnectFailure {
        match error {
            PoolError::Backend(error) => refusal(&error, &self.shown),
            PoolError::Closed if self.owned => ConnectFailure::Permanent(Error::Closed),
            PoolError::Closed => ConnectFailure::Permanent(Error::Invalid {
                key: "broker_pool".to_owned(),
                reason: "the pool is closed, and will lend no connection any more".to_owned(),
            }),
            other => ConnectFailure::Transient(other.to_string()),
        }
    }

    async fn end(&self) {
        let held = self.held.lock().await.take();
        if !self.owned {
            return;
        }
        if let Some(connection) = held.map(Object::take) {
            // One that does not answer is dropped, which ends it as well.
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

/// Follows the news of a connection that is new here.
fn watch(connection: &lapin::Connection, purpose: ConnectionPurpose, context: &ConnectionContext) {
    let generation = context.health.up(purpose);
    let news = follow(connection.events_listener(), Arc::clone(&context.health), purpose, generation);
    let closing = context.closing.clone();
    context.tracker.spawn(async move { closing.run_until_cancelled(news).await });
}

/// Passes on what a connection says of itself, until it ends.
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
            // The end of one channel is news only to those who use it.
            Event::Error(error) if !error.is_amqp_soft_error() => {
                health.lost(purpose, generation, &error.to_string());
                return;
            }
            _ => {}
        }
    }
    health.lost(purpose, generation, "the connection was closed");
}

/// Tells a broker that does not want us, where asking again does not help, from one that cannot be reached.
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
    async fn a_lent_pool_shows_no_password() {
        let shown = format!("{:?}", AmqpPool::from(pool()));
        assert!(shown.starts_with("AmqpPool") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_lent_pool_that_is_closed_is_not_waited_for() {
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
