//! Connections to Postgres, lent one at a time.
//!
//! The driver's own pool pings the server each time a connection returns. Here a connection returns
//! only after a whole answer, so it is known to be usable, and is pinged only after it was idle.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_protocol::RetryPolicy;
use celeriac_protocol::retry::Backoff;
use celeriac_telemetry::ErrorChain;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::server::PostgresServer;
use super::{bridge, failover, fault, pooler, server_time};
use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::health::StoreHealth;

/// Idle time after which a connection is pinged before its use, and the longest time of that ping.
const FRESH: Duration = Duration::from_secs(1);

/// Waits between attempts to connect to a server that is starting.
const STARTING: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(25), Duration::from_millis(500));

/// Connections to Postgres, lent one at a time. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct PostgresPool(Arc<PoolState>);

/// The state of a pool: the server, and the idle connections.
#[derive(Debug)]
pub(super) struct PoolState {
    server: PostgresServer,
    /// Statements at the start of each session.
    session: String,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
    /// Doubts of the server when the connection was made.
    doubts: u64,
}

/// A connection on loan. If it is dropped before [`Lease::conclude`], it is closed, because unread
/// answers may still arrive on it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: PgConnection,
    pool: PostgresPool,
    doubts: u64,
    _permit: OwnedSemaphorePermit,
}

impl Deref for PostgresPool {
    type Target = PoolState;
    fn deref(&self) -> &PoolState {
        &self.0
    }
}

impl PostgresPool {
    /// Returns a pool of up to `most` connections.
    pub(super) fn new(server: PostgresServer, most: u32) -> Self {
        let session = server.session();
        Self::of(server, most, session)
    }

    /// Returns a pool of up to `most` further connections to the same database. Each session also
    /// starts with `statements`.
    pub(super) fn apart(&self, most: u32, statements: &str) -> Self {
        Self::of(self.server.clone(), most, format!("{}; {statements}", self.session))
    }

    fn of(server: PostgresServer, most: u32, session: String) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (permits, idle) = (Arc::new(Semaphore::new(most)), Mutex::default());
        Self(Arc::new(PoolState { server, session, permits, idle }))
    }

    /// Opens the first connections. Refuses a pooler that gives each transaction another session:
    /// prepared statements, settings and notifications belong to a session.
    ///
    /// # Errors
    /// Returns an error for such a pooler, or if the database cannot be reached. If there is no
    /// second session, it is unknown if there is such a pooler, and the store opens.
    pub(super) async fn refuse_pooler(&self) -> Result<()> {
        let deadline = Instant::now() + self.server.connect_timeout();
        let doubts = self.server.doubts();
        // No setting precedes the check, because it would stay in a session of others.
        let mut one = self.connect(deadline, "").await?;
        let shares_sessions = async {
            let mut other = self.attempt("").await?;
            let shares_sessions = pooler::share_sessions(&mut one, &mut other).await?;
            other.close().await?;
            Ok::<_, sqlx::Error>(shares_sessions)
        };
        match timeout(FRESH, shares_sessions).await {
            Ok(Ok(true)) => Err(Error::Pooled { doing: "connecting", url: self.url().to_owned() }),
            Ok(Ok(false)) => {
                let prepared = self.within(self.begin(&mut one, &self.session)).await;
                prepared.map_err(|cause| self.error("connecting", cause))?;
                self.lock_idle().push(Idle { connection: one, since: Instant::now(), doubts });
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Returns an idle connection, or a new one. Ends within the connect timeout.
    pub(super) async fn lease(&self) -> Result<Lease> {
        let deadline = Instant::now() + self.server.connect_timeout();
        let _permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::Closed),
            Err(_) => {
                return Err(Error::Busy {
                    doing: "waiting for a connection",
                    source: "all connections of results.pool are in use".into(),
                });
            }
        };
        let doubts = self.server.doubts();
        let connection = match self.idle(doubts).await {
            Some(connection) => {
                self.server.health().connected();
                connection
            }
            None => self.connect(deadline, &self.session).await?,
        };
        Ok(Lease { connection, pool: self.clone(), doubts, _permit })
    }

    /// Returns an answer of the database, or an error if it takes too long.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        self.server.within(answer).await
    }

    /// Converts an error of the driver.
    pub(super) fn error(&self, doing: &'static str, cause: sqlx::Error) -> Error {
        self.server.error(doing, cause)
    }

    pub(super) fn health(&self) -> &StoreHealth {
        self.server.health()
    }

    /// Returns the server.
    pub(super) fn server(&self) -> &PostgresServer {
        &self.server
    }

    /// Returns the URL of the database, without password.
    pub(super) fn url(&self) -> &str {
        self.server.url()
    }

    /// Returns the clock of the server.
    pub(super) fn clock(&self) -> &StoreClock {
        self.server.clock()
    }

    /// Returns a new connection whose session starts with `statements`. Tries until the deadline
    /// while the server is starting.
    async fn connect(&self, deadline: Instant, statements: &str) -> Result<PgConnection> {
        match self.connect_until(deadline, statements).await {
            Ok(connection) => {
                self.server.health().connected();
                Ok(connection)
            }
            Err(error) => {
                self.server.health().connection_failed(&error.to_string());
                Err(error)
            }
        }
    }

    async fn connect_until(&self, deadline: Instant, statements: &str) -> Result<PgConnection> {
        let (mut backoff, mut before) = (Backoff::new(STARTING), None);
        loop {
            let cause = match timeout_at(deadline, self.attempt(statements)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(cause)) => cause,
                // An earlier attempt may have the reason.
                Err(_) => match before {
                    Some(cause) => return Err(self.server.error("connecting", cause)),
                    None => return Err(self.unreachable("no answer in time")),
                },
            };
            let pause = backoff.next_wait(0.0);
            if !fault::is_starting(&cause) || Instant::now() + pause >= deadline {
                return Err(self.server.error("connecting", cause));
            }
            self.server.last_error().set(&ErrorChain(&cause));
            before = Some(cause);
            sleep(pause).await;
        }
    }

    /// Closes all connections, and lends no more.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.lock_idle());
        for Idle { connection, .. } in idle {
            // A failed close ends the connection too.
            let _ = timeout(FRESH, connection.close()).await;
        }
    }

    async fn attempt(&self, statements: &str) -> sqlx::Result<PgConnection> {
        failover::on_any_host(&self.server, |host| self.attempt_at(host, statements)).await
    }

    async fn attempt_at(&self, host: PgConnectOptions, statements: &str) -> sqlx::Result<PgConnection> {
        let mut connection = bridge::open(&self.server, host).await?.connect().await?;
        self.begin(&mut connection, statements).await?;
        failover::check_server(&self.server, &mut connection).await?;
        Ok(connection)
    }

    /// Begins a session with these statements, and reads the clock of the server.
    async fn begin(&self, connection: &mut PgConnection, statements: &str) -> sqlx::Result<()> {
        let (asked, time) = server_time::open(connection, statements).await?;
        self.clock().measure(self.url(), asked, time);
        Ok(())
    }

    /// Returns an idle connection that works.
    async fn idle(&self, doubts: u64) -> Option<PgConnection> {
        loop {
            let Idle { mut connection, since, doubts: known } = self.lock_idle().pop()?;
            if known != doubts {
                continue;
            }
            if since.elapsed() < FRESH {
                return Some(connection);
            }
            match timeout(FRESH, connection.ping()).await {
                Ok(Ok(())) => return Some(connection),
                Ok(Err(_)) => {}
                // The others take the same path, and would cost as much time each.
                Err(_) => self.lock_idle().clear(),
            }
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, reason: &'static str) -> Error {
        Error::Unreachable { url: self.url().to_owned(), source: reason.into() }
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
        let Self { connection, pool, doubts, .. } = self;
        if usable && doubts == pool.server.doubts() && !pool.permits.is_closed() {
            let idle = Idle { connection, since: Instant::now(), doubts };
            pool.lock_idle().push(idle);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::last_error::LastError;
    use crate::options::ResultsOptions;

    /// A server that closes connections before its first answer, as a proxy does while its server
    /// is starting.
    #[tokio::test]
    async fn a_server_that_ends_connections_before_its_first_answer_is_asked_again() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Secret::new(format!("postgres://u@{}/d", server.local_addr().unwrap()));
        let options = ResultsOptions { url, connect_timeout: Duration::from_secs(20), ..ResultsOptions::default() };
        let last_error = LastError::default();
        let pool = PostgresPool::new(PostgresServer::new(&options, last_error.clone()).unwrap(), 1);
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
        assert!(last_error.get().is_some(), "somebody who waits can read the reason");
    }
}
