//! Notifies waits when their tasks have ended.
//!
//! One connection listens for the whole process, and fetches the ended tasks of many waits at once.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::NotificationsLost;
use sqlx::Acquire;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{fault, read};
use crate::backoff::StoreBackoff;
use crate::waiters::Waiters;

const CHANNEL: &str = "celeriac_finished";

/// Time between two checks of all awaited tasks.
///
/// They find a connection that died silently, a notification that a connection pooler held back,
/// and the end of a task whose worker died before it could announce it.
const LOOK: Duration = Duration::from_secs(15);

/// Longest time that closing the connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Most tasks in one query. With ids of the usual length it fits in one TLS record, because this
/// connection has no [bridge](super::bridge).
const MOST: usize = 300;

/// Options of a listening connection.
#[derive(Debug, Clone)]
pub(super) struct Listening {
    pub(super) options: PgConnectOptions,
    pub(super) url: String,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// Serves the waits until `stop`. Reconnects after each loss of the connection.
pub(super) async fn listen(listening: Listening, waiting: Arc<Waiters>, stop: CancellationToken) {
    let mut backoff = StoreBackoff::new();
    let mut pool = listening.pool();
    let served = async {
        loop {
            let cause = match listening.connect(&pool, CHANNEL).await {
                Ok(mut listener) => {
                    backoff.reset();
                    listening.serve(&mut listener, &waiting).await
                }
                Err(cause) => cause,
            };
            let error = fault::error(&listening.url, "waiting for outcomes", cause);
            let retry_in = backoff.next_wait();
            NotificationsLost { retry_in, error: &error.to_string() }.emit();
            listening.renew(&mut pool).await;
            sleep(retry_in).await;
        }
    };
    stop.run_until_cancelled(Box::pin(served)).await;
    listening.end(&pool).await;
}

impl Listening {
    /// Returns a pool of one connection, because the driver listens only on a connection of a pool.
    pub(super) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.connect_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone())
    }

    pub(super) async fn connect(&self, pool: &PgPool, channel: &str) -> sqlx::Result<PgListener> {
        let mut listener = PgListener::connect_with(pool).await?;
        // A lost connection shows as `None`, and this module decides how to continue.
        listener.eager_reconnect(false);
        self.within(listener.listen(channel)).await?;
        Ok(listener)
    }

    /// Replaces the pool. A connection that died silently never returns to its pool.
    pub(super) async fn renew(&self, pool: &mut PgPool) {
        let old = std::mem::replace(pool, self.pool());
        self.end(&old).await;
    }

    /// Closes the connection, so that the server does not keep it after the end of this program.
    pub(super) async fn end(&self, pool: &PgPool) {
        let _ = timeout(FAREWELL, pool.close()).await;
    }

    /// Serves the waits until the connection is lost, and returns the reason.
    async fn serve(&self, listener: &mut PgListener, waiting: &Waiters) -> sqlx::Error {
        let mut ids = waiting.awaited();
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(cause) = self.deliver(listener, waiting, &ids).await {
                return cause;
            }
            ids = tokio::select! {
                heard = listener.try_recv() => match heard {
                    Ok(Some(notification)) => {
                        let mut ids = Vec::new();
                        collect(waiting, notification.payload(), &mut ids);
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
                collect(waiting, notification.payload(), &mut ids);
            }
            ids.extend(waiting.unchecked());
        }
    }

    /// Returns all awaited ids, after a statement has shown that the connection works.
    async fn look_around(&self, listener: &mut PgListener, waiting: &Waiters) -> sqlx::Result<Vec<String>> {
        self.within(async { sqlx::query("SELECT 1").execute(listener.acquire().await?).await }).await?;
        Ok(waiting.awaited())
    }

    /// Fetches those tasks that have ended, and delivers them.
    async fn deliver(&self, listener: &mut PgListener, waiting: &Waiters, ids: &[String]) -> sqlx::Result<()> {
        for ids in ids.chunks(MOST) {
            let deliver = |record| waiting.deliver(&record);
            self.within(async { read::ended(listener.acquire().await?, ids, deliver).await }).await?;
        }
        Ok(())
    }

    pub(super) async fn within<T>(&self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        match timeout(self.statement_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(lost("no answer in time")),
        }
    }
}

fn collect(waiting: &Waiters, payload: &str, ids: &mut Vec<String>) {
    for announced in payload.split('\n') {
        waiting.awaited_of(announced, ids);
    }
}

pub(super) fn lost(reason: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, reason))
}
