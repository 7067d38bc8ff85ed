//! Resolves the times of a call when it is sent.

use std::time::Duration;

use jiff::Timestamp;

use crate::call::{CallOptions, Expiry, When};
use crate::error::{Error, Result};

/// Shortest delay that the broker holds, because delay levels count whole seconds. The worker waits
/// out shorter ones.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// The times of a message.
pub(super) struct SendTimes {
    pub(super) eta: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    /// Time that the message waits in delay levels.
    pub(super) hold: Option<Duration>,
    /// Longest time that the message may be in a queue.
    pub(super) expiration: Option<Duration>,
}

impl SendTimes {
    /// Resolves the times of a call. `otherwise` is the expiry of a call that has none. Waits count
    /// from `now`.
    pub(super) fn resolve(
        task: &str,
        options: &CallOptions,
        otherwise: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self> {
        let expires = options.expires.or(otherwise.map(Expiry::After));
        if options.when == When::Now && expires.is_none() {
            return Ok(Self { eta: None, expires: None, hold: None, expiration: None });
        }
        let too_far = || Error::Call { task: task.to_owned(), reason: "a time beyond the year 9999".to_owned() };
        let after = |wait: Duration| now.checked_add(wait).map_err(|_| too_far());
        let eta = match options.when {
            When::Now => None,
            When::After(wait) => Some(after(wait)?),
            When::At(time) => Some(time),
        };
        let expires = match expires {
            None => None,
            Some(Expiry::After(wait)) => Some(after(wait)?),
            Some(Expiry::At(time)) => Some(time),
        };
        let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO);
        let hold = eta.map(until).filter(|wait| *wait >= SHORTEST_HOLD);
        // RabbitMQ would apply an expiration to the delay levels too, so a held message expires by
        // its header alone.
        let expiration = if hold.is_some() { None } else { expires.map(until) };
        Ok(Self { eta, expires, hold, expiration })
    }
}
