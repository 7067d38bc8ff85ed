//! Notifies waits when their tasks have ended.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::NotificationsLost;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{fault, read};
use crate::backoff::StoreBackoff;
use crate::waiters::Waiters;

/// Time between two checks for changes by another process, while there are waits.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Serves the waits until `stop`.
pub(super) async fn watch(options: SqliteConnectOptions, url: String, waiting: Arc<Waiters>, stop: CancellationToken) {
    let mut backoff = StoreBackoff::new();
    let served = async {
        loop {
            let cause = match options.connect().await {
                Ok(mut connection) => {
                    backoff.reset();
                    serve(&mut connection, &waiting).await
                }
                Err(cause) => Err(cause),
            };
            let retry_in = backoff.next_wait();
            if let Err(cause) = cause {
                let error = fault::error(&url, "waiting for outcomes", cause);
                NotificationsLost { retry_in, error: &error.to_string() }.emit();
            }
            sleep(retry_in).await;
        }
    };
    stop.run_until_cancelled(served).await;
}

async fn serve(connection: &mut SqliteConnection, waiting: &Waiters) -> sqlx::Result<()> {
    let mut seen = version(connection).await?;
    let mut ids = waiting.awaited();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !ids.is_empty() {
            read::ended(connection, &ids, |record| waiting.deliver(&record)).await?;
        }
        ids = tokio::select! {
            () = waiting.arrival() => waiting.unchecked(),
            _ = looks.tick(), if !waiting.is_empty() => {
                let now = version(connection).await?;
                if std::mem::replace(&mut seen, now) == now { Vec::new() } else { waiting.awaited() }
            }
        };
    }
}

/// Returns a number that changes after another connection has changed the file.
async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query("PRAGMA data_version").fetch_one(connection).await?.try_get(0)
}
