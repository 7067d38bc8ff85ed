//! Waits with a deadline, in the only place that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(25);

/// Returns the flag that ends every wait for a server early.
///
/// A signal handler sets it, so that Ctrl-C during a start takes effect at once, and started
/// servers are still ended in order.
pub fn interruption() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// Calls `look` until it returns a value. Fails if `look` fails, after `within`, and on
/// [`interruption`].
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if interruption().load(Ordering::Relaxed) {
            bail!("interrupted while waiting for {what}");
        }
        if begun.elapsed() > within {
            bail!("gave up after {within:?} waiting for {what}");
        }
        pause();
    }
}

/// Calls `look` until it returns `true` or `within` is over, and returns the last result. It is
/// never interrupted, because it serves the ending of servers.
pub(crate) fn patiently(within: Duration, mut look: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !look() {
        if begun.elapsed() > within {
            return false;
        }
        pause();
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime here, and processes can only be polled")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_success_says_what_it_waited_for() {
        let error = until::<()>("spring", Duration::from_millis(30), || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "gave up after 30ms waiting for spring");
    }

    #[test]
    fn a_failed_look_ends_the_wait() {
        let error = until::<()>("spring", Duration::from_secs(60), || bail!("frozen")).unwrap_err();
        assert_eq!(error.to_string(), "frozen");
    }
}
