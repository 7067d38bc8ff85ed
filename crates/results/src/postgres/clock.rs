//! Keeps the clock of the store right.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::pool::PostgresPool;
use super::server_time;
use crate::error::Result;

/// Time between two measurements. In a minute a monotonic clock drifts by less than ten
/// milliseconds.
const INTERVAL: Duration = Duration::from_secs(60);

/// Shortest time between two measurements.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures the clock of the server until `stop`: at intervals, and when the machine's own clock
/// was set.
pub(super) async fn keep(connections: PostgresPool, stop: CancellationToken) {
    let kept = async {
        loop {
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = connections.clock().measurement_requested() => {}
            }
            // The pool logs that the server is unavailable. A doubtful clock asks again.
            let _ = measure(&connections).await;
            sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(Box::pin(kept)).await;
}

async fn measure(connections: &PostgresPool) -> Result<()> {
    let mut lease = connections.lease().await?;
    let asked = Instant::now();
    let answer = connections.within(server_time::read(&mut lease.connection)).await;
    let store = lease.conclude(answer).map_err(|cause| connections.error("reading the clock", cause))?;
    connections.clock().measure(connections.url(), asked, store);
    Ok(())
}
