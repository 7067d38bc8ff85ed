//! The server of a store: the way to it, and the meaning of its errors.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::identity::ServerIdentity;
use super::{fault, tls};
use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::health::StoreHealth;
use crate::hosts::PostgresHosts;
use crate::last_error::LastError;
use crate::options::ResultsOptions;

/// Longest time that the bridges may take to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The server of a store. Clones share its bridges and its health.
#[derive(Debug, Clone)]
pub(super) struct PostgresServer(Arc<ServerState>);

#[derive(Debug)]
struct ServerState {
    hosts: Vec<PgConnectOptions>,
    /// Index of the host that worked last.
    current: AtomicUsize,
    wants_writes: bool,
    /// The server of the last connection that took writes.
    identity: Mutex<Option<ServerIdentity>>,
    /// Number of reasons so far to doubt all connections.
    doubts: AtomicU64,
    url: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    tcp_user_timeout: Duration,
    bridges: TaskTracker,
    closing: CancellationToken,
    health: Arc<StoreHealth>,
    clock: StoreClock,
    last_error: LastError,
}

impl PostgresServer {
    /// Returns the server of the options. `last_error` keeps the error of each attempt to connect
    /// that another one follows.
    pub(super) fn new(options: &ResultsOptions, last_error: LastError) -> Result<Self> {
        let hosts = PostgresHosts::of(options.url.expose())
            .map_err(|error| Error::Invalid { key: "results.url".to_owned(), reason: error.to_string() })?;
        let own = |host| {
            let host = tls::with_default_mode(host, options.url.expose());
            host.application_name("celeriac").disable_statement_logging()
        };
        let url = options.url.masked();
        Ok(Self(Arc::new(ServerState {
            hosts: hosts.each.into_iter().map(own).collect(),
            current: AtomicUsize::new(0),
            wants_writes: hosts.wants_writes,
            identity: Mutex::new(None),
            doubts: AtomicU64::new(0),
            health: Arc::new(StoreHealth::new(url.clone())),
            url,
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            tcp_user_timeout: options.tcp_user_timeout,
            bridges: TaskTracker::new(),
            clock: StoreClock::default(),
            closing: CancellationToken::new(),
            last_error,
        })))
    }

    /// Returns an answer of the server, or an error if it takes too long.
    ///
    /// The server itself ends a statement earlier, and a silent server is noticed earlier. This
    /// limit is for a server that answers others.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let answer = match timeout(self.statement_timeout() + FAREWELL, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))),
        };
        if let Err(cause) = &answer
            && fault::is_read_only(cause)
        {
            self.found_read_only(&cause.to_string());
        }
        answer
    }

    /// Records that a server takes no writes. A standby may keep its connections although another
    /// server is the primary, so all are made again.
    pub(super) fn found_read_only(&self, error: &str) {
        self.health().read_only(error);
        self.doubt_connections();
    }

    /// Has every connection made again before its next use.
    pub(super) fn doubt_connections(&self) {
        self.0.doubts.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of doubts so far. A connection that was made before the last is not used
    /// again.
    pub(super) fn doubts(&self) -> u64 {
        self.0.doubts.load(Ordering::Relaxed)
    }

    /// Converts an error of the driver.
    pub(super) fn error(&self, doing: &'static str, cause: sqlx::Error) -> Error {
        fault::error(self.url(), doing, cause)
    }

    /// Ends the bridges. All connections must be closed.
    pub(super) async fn close(&self) {
        self.0.closing.cancel();
        self.0.bridges.close();
        // A connection on loan still has its bridge, which ends with it.
        let _ = timeout(FAREWELL, self.0.bridges.wait()).await;
    }

    /// Returns the driver's options for each host.
    pub(super) fn hosts(&self) -> &[PgConnectOptions] {
        &self.0.hosts
    }

    /// Returns the driver's options for the host that worked last.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0.hosts[self.current_host()]
    }

    /// Returns the index of the host that worked last.
    pub(super) fn current_host(&self) -> usize {
        self.0.current.load(Ordering::Relaxed)
    }

    pub(super) fn set_current_host(&self, index: usize) {
        self.0.current.store(index, Ordering::Relaxed);
    }

    /// Returns `true` if only a server that takes writes is meant.
    pub(super) fn wants_writes(&self) -> bool {
        self.0.wants_writes
    }

    /// Returns the server of the last connection that took writes.
    pub(super) fn identity(&self) -> MutexGuard<'_, Option<ServerIdentity>> {
        self.0.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the URL of the database, without password.
    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.0.statement_timeout
    }

    pub(super) fn tcp_user_timeout(&self) -> Duration {
        self.0.tcp_user_timeout
    }

    /// Returns the statements at the start of each session.
    pub(super) fn session(&self) -> String {
        let statement_timeout = self.statement_timeout().as_millis();
        format!("SET statement_timeout = {statement_timeout}; {}", watching(self.tcp_user_timeout()))
    }

    /// Returns a third of the time within which silence is noticed: the time without an answer, the
    /// time for a new connection's answer, or the time between two statements of a connection that
    /// only listens.
    pub(super) fn quiet(&self) -> Duration {
        self.0.tcp_user_timeout / 3
    }

    pub(super) fn health(&self) -> &Arc<StoreHealth> {
        &self.0.health
    }

    pub(super) fn clock(&self) -> &StoreClock {
        &self.0.clock
    }

    pub(super) fn last_error(&self) -> &LastError {
        &self.0.last_error
    }

    #[cfg(target_os = "linux")]
    pub(super) fn bridges(&self) -> &TaskTracker {
        &self.0.bridges
    }

    /// Returns the token that ends bridges which no driver has reached yet.
    #[cfg(target_os = "linux")]
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}

/// Returns the statement that makes the server end a session of a client that it does not reach for
/// this time.
///
/// Without it the server keeps the session, with its locks, for hours: two if the session is idle.
/// The last setting needs version 12 of the server.
pub(super) fn watching(limit: Duration) -> String {
    // The largest values that the kernel and the server take.
    let every = (limit / 3).as_secs().clamp(1, 32_767);
    let limit = limit.as_millis().min(i32::MAX as u128);
    format!(
        "SELECT set_config(name, value, false)
         FROM (VALUES ('tcp_keepalives_idle', '{every}'), ('tcp_keepalives_interval', '{every}'),
                      ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '{limit}')) AS settings (name, value)
         WHERE name <> 'tcp_user_timeout' OR current_setting('server_version_num')::int >= 120000"
    )
}
