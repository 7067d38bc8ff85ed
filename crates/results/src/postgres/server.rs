//! The server of a store: the way to it, and the meaning of its errors.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{fault, tls};
use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::health::StoreHealth;
use crate::last_error::LastError;
use crate::options::ResultsOptions;

/// Longest time that the bridges may take to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The server of a store. Clones share its bridges and its health.
#[derive(Debug, Clone)]
pub(super) struct PostgresServer(Arc<ServerState>);

#[derive(Debug)]
struct ServerState {
    options: PgConnectOptions,
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
        let connect = PgConnectOptions::from_str(options.url.expose())
            .map_err(|error| Error::Invalid { key: "results.url".to_owned(), reason: error.to_string() })?;
        let connect = tls::with_default_mode(connect, options.url.expose())
            .application_name("celeriac")
            .disable_statement_logging();
        let url = options.url.masked();
        Ok(Self(Arc::new(ServerState {
            options: connect,
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
        match timeout(self.statement_timeout() + FAREWELL, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))),
        }
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

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0.options
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
