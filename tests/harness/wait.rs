//! Waits for conditions, never for time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longest time for any step before a test fails. It is long, because only a failing test waits for
/// all of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Repeats a query until the answer satisfies `pleases`, and returns it.
///
/// # Panics
/// Panics after [`PATIENCE`], with the last answer.
pub async fn eventually<T: Debug>(what: &str, ask: impl AsyncFnMut() -> T, pleases: impl Fn(&T) -> bool) -> T {
    eventually_within(PATIENCE, what, ask, pleases).await
}

/// Does what [`eventually`] does, with another patience.
///
/// # Panics
/// Panics when the patience is used up, with the last answer.
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
