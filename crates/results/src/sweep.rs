//! Deletes what is older than it is kept.

use std::time::Duration;

use celeriac_telemetry::clock;

use crate::backend::Backend;
use crate::error::Result;

/// Rows deleted by one statement: few enough not to hold up those who write.
const PIECE: u32 = 1_000;

/// The shortest and the longest time between two looks.
const EVERY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Deletes what ended longer ago than `keep`, now and then, for as long as it is polled, and what
/// nobody needs any more of revocations and suspects. Zero keeps every outcome.
///
/// Every worker does so. They do not wait for each other: one skips what another is deleting.
pub(crate) async fn sweep(backend: &dyn Backend, keep: Duration) {
    let every = if keep.is_zero() { EVERY.1 } else { (keep / 20).clamp(EVERY.0, EVERY.1) };
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = clear(backend, keep).await {
            tracing::warn!("old results stay a while longer: {}", error.chain());
        }
    }
}

async fn clear(backend: &dyn Backend, keep: Duration) -> Result<()> {
    while backend.sweep_passed(PIECE).await? == u64::from(PIECE) {}
    let Ok(ended_before) = clock::now().checked_sub(keep) else { return Ok(()) };
    if keep.is_zero() {
        return Ok(());
    }
    while backend.sweep(ended_before, PIECE).await? == u64::from(PIECE) {}
    Ok(())
}
