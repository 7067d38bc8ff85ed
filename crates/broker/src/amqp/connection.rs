//! Connections: made where they are needed, from the first node that answers.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool::managed::{self, Hook, PoolConfig, PoolError};
use futures::{Stream, StreamExt};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Channel, ErrorKind, Event};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::dial::Dialer;
use super::ground::Ground;
use super::health::Board;
use super::tls::{self, Tls};
use super::url::Node;
use crate::error::{Error, Result};

/// How long the broker may take over one answer on a connection that stands.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a connection is for. A broker that is short of memory stops reading from connections that publish, so everything
/// else has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Publish,
    /// To consume, and to declare.
    Consume,
}

impl Purpose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }
}

/// What all connections of a broker share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) name: Arc<str>,
    pub(super) nodes: Arc<[Node]>,
    pub(super) tls: Tls,
    pub(super) ground: Arc<Ground>,
    pub(super) connect_timeout: Duration,
    pub(super) board: Arc<Board>,
    pub(super) tracker: TaskTracker,
    pub(super) closing: CancellationToken,
}

type Pool = managed::Pool<Dialer>;

/// The connections for one purpose: one at a time, on the first node that answers.
pub(super) struct Connections {
    purpose: Purpose,
    around: Surroundings,
    /// One pool for each node, with room for one connection. Made at the first use, since that is where the runtime is.
    pools: OnceLock<Vec<Pool>>,
    /// The node that answered last.
    preferred: AtomicUsize,
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// Why there is no channel.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt will not do better.
    Final(Error),
    /// Another attempt may.
    Passing(String),
}

impl Connections {
    pub(super) fn new(purpose: Purpose, around: Surroundings) -> Self {
        Self { purpose, around, pools: OnceLock::new(), preferred: AtomicUsize::new(0) }
    }

    pub(super) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// The nodes, without passwords.
    pub(super) fn shown(&self) -> String {
        shown(&self.around.nodes)
    }

    /// A channel, however long it takes: the caller brings the deadline.
    ///
    /// # Errors
    /// When the broker refuses access, or this program has closed it.
    pub(super) async fn channel(&self) -> Result<Channel> {
        let mut backoff = Backoff::default();
        loop {
            match self.try_channel().await {
                Ok(channel) => return Ok(channel),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(_)) => self.unless_closing(backoff.wait()).await?,
            }
        }
    }

    /// A channel at the first attempt: one round over the nodes.
    pub(super) async fn try_channel(&self) -> Result<Channel, Failure> {
        // Boxed, so that the futures of those who seldom need a channel stay small.
        match self.unless_closing(Box::pin(self.round())).await {
            Ok(result) => result,
            Err(closed) => Err(Failure::Final(closed)),
        }
    }

    async fn round(&self) -> Result<Channel, Failure> {
        let pools = self.pools().map_err(Failure::Final)?;
        let first = self.preferred.load(Ordering::Relaxed);
        let (mut refused, mut reasons) = (Vec::new(), Vec::new());
        for index in (0..pools.len()).map(|offset| (first + offset) % pools.len()) {
            let shown = self.around.nodes[index].shown();
            match self.open(&pools[index], shown).await {
                Ok(channel) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(channel);
                }
                Err(Failure::Final(Error::Closed)) => return Err(Failure::Final(Error::Closed)),
                Err(Failure::Final(error)) => {
                    reasons.push(error.to_string());
                    refused.push(error);
                }
                Err(Failure::Passing(reason)) => reasons.push(format!("{shown}: {reason}")),
            }
        }
        let reason = reasons.join("; ");
        self.around.board.failed(self.purpose, &reason);
        Err(verdict(refused, pools.len(), reason))
    }

    async fn open(&self, pool: &Pool, shown: &str) -> Result<Channel, Failure> {
        let waited = self.around.connect_timeout;
        let unanswered = |_| Failure::Passing(format!("no answer within {waited:?}"));
        let connection = timeout(waited, pool.get()).await.map_err(unanswered)?.map_err(|error| match error {
            PoolError::Backend(error) => refusal(&error, shown),
            PoolError::Closed => Failure::Final(Error::Closed),
            other => Failure::Passing(other.to_string()),
        })?;
        // The connection goes back to its pool and lives on there; the channel keeps what it needs of it.
        let channel = timeout(ANSWER.max(waited), connection.create_channel()).await.map_err(unanswered)?;
        channel.map_err(|error| Failure::Passing(error.to_string()))
    }

    fn pools(&self) -> Result<&[Pool]> {
        if let Some(pools) = self.pools.get() {
            return Ok(pools);
        }
        let pools: Result<Vec<Pool>> = self.around.nodes.iter().map(|node| self.pool(node)).collect();
        let pools = pools?;
        Ok(self.pools.get_or_init(|| pools))
    }

    fn pool(&self, node: &Node) -> Result<Pool> {
        let name = format!("{} {}", self.around.name, self.purpose.name());
        let tls = node.speaks_tls().then(|| self.around.tls.clone());
        let builder = Pool::builder(Dialer::new(node.uri().clone(), name, tls, Arc::clone(&self.around.ground)));
        let (purpose, around) = (self.purpose, self.around.clone());
        let listen = Hook::sync_fn(move |connection: &mut lapin::Connection, _| {
            let generation = around.board.up(purpose);
            let news = news(connection.events_listener(), Arc::clone(&around.board), purpose, generation);
            let closing = around.closing.clone();
            around.tracker.spawn(async move { closing.run_until_cancelled(news).await });
            Ok(())
        });
        let builder = builder.config(PoolConfig::new(1)).post_create(listen);
        builder
            .build()
            .map_err(|error| Error::Amqp { doing: "making a pool of connections".to_owned(), source: Box::new(error) })
    }

    /// Says goodbye on every connection.
    pub(super) async fn close(&self) {
        for pool in self.pools.get().into_iter().flatten() {
            let connections = pool.retain(|_, _| false).removed;
            pool.close();
            for connection in connections {
                // One that does not answer is dropped, which ends it as well.
                let _ = timeout(GOODBYE, connection.close(200, "goodbye".into())).await;
            }
        }
    }

    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.around.closing.run_until_cancelled(work).await.ok_or(Error::Closed)
    }
}

/// The URLs of several nodes, without passwords.
pub(super) fn shown(nodes: &[Node]) -> String {
    nodes.iter().map(Node::shown).collect::<Vec<_>>().join(",")
}

/// Passes on what a connection says of itself, until it ends.
async fn news(mut events: impl Stream<Item = Event> + Unpin, board: Arc<Board>, purpose: Purpose, generation: u64) {
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => board.block(purpose, generation, Some(reason)),
            Event::ConnectionUnblocked => board.block(purpose, generation, None),
            // The end of one channel is news only to those who use it.
            Event::Error(error) if !error.is_amqp_soft_error() => {
                board.lost(purpose, generation, &error.to_string());
                return;
            }
            _ => {}
        }
    }
    board.lost(purpose, generation, "the connection was closed");
}

/// What to make of a round in which no node let us in. A refusal is final only when all refuse: one that is reset, or has
/// another certificate, must not end those who wait for the others.
fn verdict(refused: Vec<Error>, nodes: usize, reason: String) -> Failure {
    let all = refused.len() == nodes;
    match refused.into_iter().next() {
        Some(error) if all => Failure::Final(error),
        _ => Failure::Passing(reason),
    }
}

/// Whether the broker let us know that it does not want us: then asking again does not help.
fn refusal(error: &lapin::Error, shown: &str) -> Failure {
    if let ErrorKind::ProtocolError(said) = error.kind()
        && matches!(
            said.kind(),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
        )
    {
        return Failure::Final(Error::Denied { url: shown.to_owned(), reason: said.get_message().to_string() });
    }
    match tls::fault(error) {
        Some(fault) => Failure::Final(Error::Untrusted { url: shown.to_owned(), fault }),
        None => Failure::Passing(error.to_string()),
    }
}
