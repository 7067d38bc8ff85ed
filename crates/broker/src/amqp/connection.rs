//! Connections. Each is made at its first use, to the first node that answers.
//!
//! - `purpose`, `nodes`: the two purposes of connections, and the addresses of nodes;
//! - `tls`, `dial`, `pool`: TLS, making a connection, and keeping it;
//! - `filter`: rewrites messages that lapin cannot parse;
//! - `answer`, `backoff`: the longest wait for an answer, and the waits between attempts to
//!   connect;
//! - `context`, `health`: the state that connections share, and their health.

mod answer;
mod backoff;
mod context;
mod dial;
mod filter;
mod health;
mod nodes;
mod pool;
mod purpose;
mod tls;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use lapin::Channel;

use self::dial::{IoRuntime, NodeManager};
use self::nodes::BrokerNode;
use self::pool::{ManagedPool, NodePool};
use self::tls::Tls;
use crate::error::{Error, Result};
use crate::options::BrokerOptions;

pub(super) use self::answer::{ANSWER, answer_while};
pub(super) use self::backoff::ReconnectBackoff;
pub(super) use self::context::ConnectionContext;
#[cfg(feature = "conformance")]
pub(super) use self::filter::filtered_bytes;
pub(super) use self::health::LogThrottle;
pub(crate) use self::nodes::check as check_nodes;
pub use self::nodes::{NodeAddress, nodes};
pub use self::pool::AmqpPool;
pub(super) use self::pool::ConnectFailure;
pub(super) use self::purpose::ConnectionPurpose;
pub(crate) use self::tls::problems as problems_of_tls;

/// Shown in place of a URL for a pool of the program, whose URL is unknown here.
const SHARED: &str = "the program's own pool";

/// The source of a broker's connections.
#[derive(Clone)]
pub(super) enum ConnectionOrigin {
    /// Connections of this crate to these nodes. They run on a thread of their own.
    Nodes { nodes: Arc<[BrokerNode]>, name: Arc<str>, tls: Tls, io: Arc<IoRuntime> },
    /// The program's own pool.
    Shared(AmqpPool),
}

impl ConnectionOrigin {
    /// Returns an origin of connections of this crate. The server lists them as `name`.
    ///
    /// # Errors
    /// Returns an error if a URL cannot be parsed.
    pub(super) fn nodes(options: &BrokerOptions, name: &str) -> Result<Self> {
        Ok(Self::Nodes {
            nodes: BrokerNode::all(options)?.into(),
            name: Arc::from(name),
            tls: Tls::new(&options.tls),
            io: Arc::default(),
        })
    }

    /// Returns the URLs of the nodes, without passwords.
    fn shown(&self) -> Vec<String> {
        match self {
            Self::Nodes { nodes, .. } => nodes.iter().map(|node| node.shown().to_owned()).collect(),
            Self::Shared(_) => vec![SHARED.to_owned()],
        }
    }

    /// Returns one pool for each node.
    fn pools(&self, purpose: ConnectionPurpose) -> Result<Vec<Box<dyn NodePool>>> {
        match self {
            Self::Shared(AmqpPool(pool)) => Ok(vec![Box::new(ManagedPool::shared(pool.clone(), SHARED))]),
            Self::Nodes { nodes, name, tls, io } => {
                let name = format!("{name} {}", purpose.name());
                nodes.iter().map(|node| node_pool(node, &name, tls, io)).collect()
            }
        }
    }
}

/// Returns a pool of one connection to a node.
fn node_pool(node: &BrokerNode, name: &str, tls: &Tls, io: &Arc<IoRuntime>) -> Result<Box<dyn NodePool>> {
    let tls = Some(tls).filter(|tls| node.speaks_tls() && tls.has_files()).cloned();
    let manager = NodeManager::new(node.uri().clone(), name.to_owned(), tls, Arc::clone(io));
    Ok(Box::new(ManagedPool::new(manager, node.shown())?))
}

/// Opens the channels for one purpose, all on one connection, to the first node that answers.
pub(super) struct ChannelProvider {
    purpose: ConnectionPurpose,
    context: ConnectionContext,
    origin: ConnectionOrigin,
    shown: Vec<String>,
    /// Created at the first use, because before that no runtime may be running.
    pools: OnceLock<Vec<Box<dyn NodePool>>>,
    /// The node that answered last.
    preferred: AtomicUsize,
}

impl fmt::Debug for ChannelProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ChannelProvider").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl ChannelProvider {
    pub(super) fn new(purpose: ConnectionPurpose, context: ConnectionContext, origin: ConnectionOrigin) -> Self {
        let shown = origin.shown();
        Self { purpose, context, origin, shown, pools: OnceLock::new(), preferred: AtomicUsize::new(0) }
    }

    pub(super) fn context(&self) -> &ConnectionContext {
        &self.context
    }

    /// Returns the URLs of the nodes, without passwords.
    pub(super) fn shown(&self) -> String {
        self.shown.join(",")
    }

    /// Opens a channel. Waits without a limit; the caller sets the deadline.
    ///
    /// # Errors
    /// Returns an error if the broker refuses access, or if this program has closed the broker.
    pub(super) async fn open_channel(&self) -> Result<Channel> {
        let mut backoff = ReconnectBackoff::default();
        loop {
            match self.try_open_channel().await {
                Ok(channel) => return Ok(channel),
                Err(ConnectFailure::Permanent(error)) => return Err(error),
                Err(ConnectFailure::Transient(_)) => self.unless_closing(backoff.wait()).await?,
            }
        }
    }

    /// Opens a channel in one attempt: each node is tried once.
    pub(super) async fn try_open_channel(&self) -> Result<Channel, ConnectFailure> {
        // Boxed, because most callers find an open channel and need a small future.
        match self.unless_closing(Box::pin(self.ask_each_node())).await {
            Ok(result) => result,
            Err(closed) => Err(ConnectFailure::Permanent(closed)),
        }
    }

    async fn ask_each_node(&self) -> Result<Channel, ConnectFailure> {
        let pools = self.pools().map_err(ConnectFailure::Permanent)?;
        let first = self.preferred.load(Ordering::Relaxed);
        let (mut refused, mut reasons) = (Vec::new(), Vec::new());
        for index in (0..pools.len()).map(|offset| (first + offset) % pools.len()) {
            match pools[index].open_channel(self.purpose, &self.context).await {
                Ok(channel) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(channel);
                }
                Err(ConnectFailure::Permanent(Error::Closed)) => return Err(ConnectFailure::Permanent(Error::Closed)),
                Err(ConnectFailure::Permanent(error)) => {
                    reasons.push(error.to_string());
                    refused.push(error);
                }
                Err(ConnectFailure::Transient(reason)) => reasons.push(format!("{}: {reason}", self.shown[index])),
            }
        }
        let reason = reasons.join("; ");
        self.context.health.failed(self.purpose, &reason);
        Err(outcome(refused, pools.len(), reason))
    }

    fn pools(&self) -> Result<&[Box<dyn NodePool>]> {
        if let Some(pools) = self.pools.get() {
            return Ok(pools);
        }
        let pools = self.origin.pools(self.purpose)?;
        Ok(self.pools.get_or_init(|| pools))
    }

    /// Closes every connection that this crate made.
    pub(super) async fn close(&self) {
        for pool in self.pools.get().into_iter().flatten() {
            pool.close().await;
        }
    }

    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.context.closing.run_until_cancelled(work).await.ok_or(Error::Closed)
    }
}

/// Returns the error of an attempt in which no node answered.
///
/// It is permanent only if every node refuses access. One node that was reset, or that has another
/// certificate, must not end the wait for the others.
fn outcome(refused: Vec<Error>, nodes: usize, reason: String) -> ConnectFailure {
    let all = refused.len() == nodes;
    match refused.into_iter().next() {
        Some(error) if all => ConnectFailure::Permanent(error),
        _ => ConnectFailure::Transient(reason),
    }
}
