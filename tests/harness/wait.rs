//! Waiting for what happens, never for time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. Generous: it is only ever used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until the answer pleases, and returns it.
///
/// # Panics
/// After [`PATIENCE`], with the last answer.
pub async fn eventually<T: Debug>(what: &str, ask: impl AsyncFnMut() -> T, pleases: impl Fn(&T) -> bool) -> T {
    eventually_within(PATIENCE, what, ask, pleases).await
}

/// [`eventually`] with a patience of the caller's own.
///
/// # Panics
/// When the patience is used up, with the last answer.
pub async fn eventually_within<T: Debug>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> T,
    pleases: impl Fn(&T) -> bool,
) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if pleases(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < patience, "{what}: still {answer:?} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
