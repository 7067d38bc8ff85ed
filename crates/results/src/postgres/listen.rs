//! Tells those who wait when their tasks have ended.
//!
//! One connection listens for everybody in this process, and fetches what has ended for many at once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Acquire;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{fault, read};
use crate::backoff::StoreBackoff;
use crate::waiters::Waiters;

const CHANNEL: &str = "celeriac_finished";

/// The time between two looks at everything awaited, whatever is heard: they find a connection that died in silence, what a
/// connection pooler between here and the server kept from this one, and the end of a task whose worker died before it could
/// announce it.
const LOOK: Duration = Duration::from_secs(15);

/// The longest that the end of the connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Most tasks fetched by one query: with ids of the usual length it stays within one record of TLS, since this connection
/// has no [bridge](super::bridge).
const MOST: usize = 300;

/// The way to a connection that listens.
#[derive(Debug, Clone)]
pub(super) struct Listening {
    pub(super) options: PgConnectOptions,
    pub(super) url: String,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// Serves those who wait until `stop`, through every loss of the connection.
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
            tracing::warn!("waiting for outcomes is interrupted, trying again: {}", error.chain());
            listening.renew(&mut pool).await;
            sleep(backoff.next_wait()).await;
        }
    };
    stop.run_until_cancelled(Box::pin(served)).await;
    listening.end(&pool).await;
}

impl Listening {
    /// The driver listens on a connection of a pool only: this pool has that one.
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
        // A lost connection shows as `None`; what comes then is decided here.
        listener.eager_reconnect(false);
        self.within(listener.listen(channel)).await?;
        Ok(listener)
    }

    /// A connection that has died in silence does not come back to its pool.
    pub(super) async fn renew(&self, pool: &mut PgPool) {
        let old = std::mem::replace(pool, self.pool());
        self.end(&old).await;
    }

    /// The server keeps the connection open for no longer than this program.
    pub(super) async fn end(&self, pool: &PgPool) {
        let _ = timeout(FAREWELL, pool.close()).await;
    }

    /// Serves those who wait until the connection is lost, and tells why.
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

    /// Everything awaited, when the connection shows that it lives.
    async fn look_around(&self, listener: &mut PgListener, waiting: &Waiters) -> sqlx::Result<Vec<String>> {
        self.within(async { sqlx::query("SELECT 1").execute(listener.acquire().await?).await }).await?;
        Ok(waiting.awaited())
    }

    /// Fetches those of these tasks that have ended, and hands them out.
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
