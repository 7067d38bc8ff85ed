//! Notifies waits when their tasks have ended.
//!
//! One connection listens for the whole process, and fetches the ended tasks of many waits at once.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{NotificationsLost, StoreAwaited};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{Acquire, AssertSqlSafe};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::notification::{self, OutcomeSeal};
use super::server::PostgresServer;
use super::{bridge, failover, read};
use crate::backoff::StoreBackoff;
use crate::waiters::Waiters;

const CHANNEL: &str = "celeriac_finished";

/// Longest time between two checks of all awaited tasks.
///
/// They find a connection that died silently, a notification that a connection pooler held back,
/// and the end of a task whose worker died before it could announce it.
const LOOK: Duration = Duration::from_secs(15);

/// Longest time that closing the connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Most tasks in one query.
const MOST: usize = 300;

/// A service's own connection, which listens. It is made again after each loss.
#[derive(Debug)]
pub(super) struct Listening {
    server: PostgresServer,
    /// The pool of the present connection, because the driver listens only on a connection of a
    /// pool.
    pool: Option<PgPool>,
    /// Doubts of the server when the connection was made.
    doubts: u64,
}

/// Serves the waits until `stop`. Reconnects after each loss of the connection.
pub(super) async fn listen(
    mut listening: Listening,
    waiting: Arc<Waiters>,
    seal: Arc<OutcomeSeal>,
    stop: CancellationToken,
) {
    let mut backoff = StoreBackoff::new();
    let served = async {
        loop {
            let cause = match listening.connect(CHANNEL).await {
                Ok(mut listener) => {
                    backoff.reset();
                    listening.serve(&mut listener, &waiting, &seal).await
                }
                Err(cause) => cause,
            };
            let error = listening.server.error("waiting for outcomes", cause);
            let retry_in = backoff.next_wait();
            let told = error.to_string();
            match error.is_connection_lost() {
                true => StoreAwaited { work: "notifications", retry_in, error: &told }.emit(),
                false => NotificationsLost { retry_in, error: &told }.emit(),
            }
            listening.end().await;
            sleep(retry_in).await;
        }
    };
    stop.run_until_cancelled(Box::pin(served)).await;
    listening.end().await;
}

impl Listening {
    pub(super) fn new(server: PostgresServer) -> Self {
        Self { server, pool: None, doubts: 0 }
    }

    pub(super) fn server(&self) -> &PostgresServer {
        &self.server
    }

    /// Returns the time between two looks at what notifications may have missed.
    pub(super) fn look(&self) -> Duration {
        LOOK.min(self.server.quiet())
    }

    /// Opens a connection, and listens on it.
    pub(super) async fn connect(&mut self, channel: &str) -> sqlx::Result<PgListener> {
        let mut listener = self.open().await?;
        self.within(listener.listen(channel)).await?;
        Ok(listener)
    }

    /// Opens a connection.
    pub(super) async fn open(&mut self) -> sqlx::Result<PgListener> {
        self.doubts = self.server.doubts();
        let opening = failover::on_any_host(&self.server, |host| self.open_at(host));
        let opened = timeout(self.server.connect_timeout(), opening).await;
        match opened.unwrap_or_else(|_| Err(lost("no answer in time"))) {
            Ok((listener, pool)) => {
                self.server.health().connected();
                self.pool = Some(pool);
                Ok(listener)
            }
            Err(cause) => {
                self.server.health().connection_failed(&cause.to_string());
                Err(cause)
            }
        }
    }

    async fn open_at(&self, host: PgConnectOptions) -> sqlx::Result<(PgListener, PgPool)> {
        let (limit, session) = (self.server.connect_timeout(), self.server.session());
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            // Its loss is logged here.
            .acquire_slow_threshold(limit)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                let session = sqlx::raw_sql(AssertSqlSafe(session.clone()));
                Box::pin(async move { session.execute(connection).await.map(drop) })
            })
            .connect_lazy_with(bridge::open(&self.server, host).await?);
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection shows as `None`, and this module decides how to continue.
        listener.eager_reconnect(false);
        failover::check_server(&self.server, listener.acquire().await?).await?;
        Ok((listener, pool))
    }

    /// Closes the connection, so that the server does not keep it after the end of this program.
    pub(super) async fn end(&mut self) {
        if let Some(pool) = self.pool.take() {
            let _ = timeout(FAREWELL, pool.close()).await;
        }
    }

    /// Serves the waits until the connection is lost, and returns the reason.
    async fn serve(&self, listener: &mut PgListener, waiting: &Waiters, seal: &OutcomeSeal) -> sqlx::Error {
        let mut ids = waiting.awaited();
        let mut look = interval_at(Instant::now() + self.look(), self.look());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(cause) = self.deliver(listener, waiting, &ids).await {
                return cause;
            }
            ids = tokio::select! {
                heard = listener.try_recv() => match heard {
                    Ok(Some(notification)) => {
                        let mut ids = Vec::new();
                        notification::deliver(seal, waiting, notification.payload(), &mut ids);
                        ids
                    }
                    Ok(None) => return lost("the server ended the connection"),
                    Err(cause) => return cause,
                },
                () = waiting.arrival() => waiting.unchecked(),
                _ = look.tick() => match self.look_around(listener, waiting).await {
                    Ok(ids) => ids,
                    Err(cause) => return cause,
                },
            };
            while let Some(notification) = listener.next_buffered() {
                notification::deliver(seal, waiting, notification.payload(), &mut ids);
            }
            ids.extend(waiting.unchecked());
        }
    }

    /// Returns all awaited ids, after a statement has shown that the connection works.
    async fn look_around(&self, listener: &mut PgListener, waiting: &Waiters) -> sqlx::Result<Vec<String>> {
        self.within(async { sqlx::query("SELECT 1").execute(listener.acquire().await?).await }).await?;
        Ok(waiting.awaited())
    }

    /// Fetches those tasks that have ended, and delivers them. Answers the questions for the
    /// others.
    async fn deliver(&self, listener: &mut PgListener, waiting: &Waiters, ids: &[String]) -> sqlx::Result<()> {
        for ids in ids.chunks(MOST) {
            let deliver = |record| waiting.deliver(&record);
            self.within(async { read::ended(listener.acquire().await?, ids, deliver).await }).await?;
            let asked = waiting.presence_awaited(ids);
            if !asked.is_empty() {
                let present = self.within(async { read::present(listener.acquire().await?, &asked).await }).await?;
                waiting.deliver_presence(&asked, &present);
            }
        }
        Ok(())
    }

    pub(super) async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        if self.doubts != self.server.doubts() {
            return Err(lost("the server may have been replaced"));
        }
        self.server.within(answer).await
    }
}

pub(super) fn lost(reason: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, reason))
}
