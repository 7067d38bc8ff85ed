//! Connections to Postgres, lent one at a time.
//!
//! The driver's own pool pings the server each time a connection returns. Here a connection returns
//! only after a whole answer, so it is known to be usable, and is pinged only after it was idle.

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use celeriac_protocol::RetryPolicy;
use celeriac_protocol::retry::Backoff;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

#[cfg(target_os = "linux")]
use super::bridge;
use super::fault;
use crate::error::{Error, Result};

/// Idle time after which a connection is pinged before its use.
const FRESH: Duration = Duration::from_secs(1);

/// Waits between attempts to connect to a server that is starting.
const STARTING: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(25), Duration::from_millis(500));

/// Connections to Postgres, lent one at a time. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct PostgresPool(Arc<PoolState>);

/// The state of a pool: the options for the server, and the idle connections.
#[derive(Debug)]
pub(super) struct PoolState {
    options: PgConnectOptions,
    url: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// Statements at the start of each session.
    session: String,
    permits: Arc<Semaphore>,
    /// The bridges of these connections.
    bridges: TaskTracker,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection on loan. If it is dropped before [`Lease::conclude`], it is closed, because unread
/// answers may still arrive on it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: PgConnection,
    pool: PostgresPool,
    _permit: OwnedSemaphorePermit,
}

impl Deref for PostgresPool {
    type Target = PoolState;
    fn deref(&self) -> &PoolState {
        &self.0
    }
}

impl PostgresPool {
    /// Returns a pool of up to `most` connections. `url` is for messages, without password.
    pub(super) fn new(options: PgConnectOptions, url: String, most: u32, timeouts: (Duration, Duration)) -> Self {
        let session = format!("SET statement_timeout = {}", timeouts.1.as_millis());
        Self::of(options, url, most, timeouts, session)
    }

    /// Returns a pool of up to `most` further connections to the same database. Each session also
    /// starts with `statements`.
    pub(super) fn apart(&self, most: u32, statements: &str) -> Self {
        let PoolState { options, url, connect_timeout, statement_timeout, session, .. } = &*self.0;
        let session = format!("{session}; {statements}");
        Self::of(options.clone(), url.clone(), most, (*connect_timeout, *statement_timeout), session)
    }

    fn of(options: PgConnectOptions, url: String, most: u32, timeouts: (Duration, Duration), session: String) -> Self {
        let (connect_timeout, statement_timeout) = timeouts;
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(most));
        let (bridges, idle) = (TaskTracker::new(), Mutex::default());
        Self(Arc::new(PoolState { options, url, connect_timeout, statement_timeout, session, permits, bridges, idle }))
    }

    /// Returns an idle connection, or a new one. Ends within the connect timeout.
    pub(super) async fn lease(&self) -> Result<Lease> {
        let deadline = Instant::now() + self.connect_timeout;
        let _permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::Closed),
            Err(_) => return Err(self.unreachable("all connections are in use")),
        };
        let connection = match self.idle().await {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        Ok(Lease { connection, pool: self.clone(), _permit })
    }

    /// Returns an answer of the database, or an error if it takes too long.
    ///
    /// The server itself ends a statement a moment earlier. This limit is for a server that no
    /// longer answers.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        match timeout(self.statement_timeout + FRESH, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))),
        }
    }

    /// Converts an error of the driver.
    pub(super) fn error(&self, doing: &'static str, cause: sqlx::Error) -> Error {
        fault::error(&self.url, doing, cause)
    }

    /// Returns the URL of the database, without password.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns a new connection outside of the pool. Tries until the deadline while the server is
    /// starting.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<PgConnection> {
        let mut backoff = Backoff::new(STARTING);
        loop {
            let cause = match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(cause)) => cause,
                Err(_) => return Err(self.unreachable("no answer in time")),
            };
            let pause = backoff.next_wait(0.0);
            if !fault::is_starting(&cause) || Instant::now() + pause >= deadline {
                return Err(fault::error(&self.url, "connecting", cause));
            }
            sleep(pause).await;
        }
    }

    /// Closes all connections, and lends no more.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for Idle { connection, .. } in idle {
            // A failed close ends the connection too.
            let _ = timeout(FRESH, connection.close()).await;
        }
        self.bridges.close();
        // A connection on loan still has its bridge, which ends with it.
        let _ = timeout(FRESH, self.bridges.wait()).await;
    }

    async fn attempt(&self) -> sqlx::Result<PgConnection> {
        #[cfg(target_os = "linux")]
        let options = bridge::open(&self.options, self.connect_timeout, &self.bridges).await?;
        #[cfg(not(target_os = "linux"))]
        let options = &self.options;
        let mut connection = options.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(self.session.clone())).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Returns an idle connection that works.
    async fn idle(&self) -> Option<PgConnection> {
        loop {
            let Idle { mut connection, since } = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < FRESH || matches!(timeout(FRESH, connection.ping()).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    fn unreachable(&self, reason: &'static str) -> Error {
        Error::Unreachable { url: self.url.clone(), source: reason.into() }
    }
}

impl Lease {
    /// Ends the loan with the answer to its last statement. Keeps the connection if it is still
    /// usable.
    pub(super) fn conclude<T>(self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        let usable = match &answer {
            Ok(_) => true,
            Err(cause @ sqlx::Error::Database(_)) => !fault::is_lost(cause),
            Err(_) => false,
        };
        if usable && !self.pool.permits.is_closed() {
            let idle = Idle { connection: self.connection, since: Instant::now() };
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that closes connections before its first answer, as a proxy does while its server
    /// is starting.
    #[tokio::test]
    async fn a_server_that_ends_connections_before_its_first_answer_is_asked_again() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://u@{}/d", server.local_addr().unwrap());
        let options = PgConnectOptions::from_str(&url).unwrap();
        let pool = PostgresPool::new(options, url, 1, (Duration::from_secs(20), Duration::from_secs(20)));
        let closes_twice = async {
            for _ in 0..2 {
                let (mut connection, _) = server.accept().await.unwrap();
                let _ = connection.read(&mut [0; 8]).await;
            }
            server.accept().await.unwrap()
        };
        tokio::select! {
            lent = pool.lease() => panic!("{:?}", lent.map(drop)),
            _third = closes_twice => {}
        }
    }
}
