//! Stamps whose tasks are revoked, in the memory of this worker.
//!
//! As in Celery, they do not outlive the worker, and end after three hours. A revocation by id is
//! durable; one by a stamp names tasks that are not sent yet, so no row can have them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use celeriac_protocol::{Map, Value};
use indexmap::IndexMap;
use tokio::time::Instant;

/// Time that a stamp stays revoked (`REVOKE_EXPIRES` in Celery).
const LASTS: Duration = Duration::from_secs(10_800);

/// Most revoked stamps. The oldest ones make room (`REVOKES_MAX` in Celery).
const MOST: usize = 50_000;

/// The revoked stamps.
#[derive(Debug, Default)]
pub(crate) struct RevokedStamps {
    /// Name and value of each stamp, the oldest first, with its time.
    stamps: Mutex<IndexMap<(String, String), Instant>>,
    /// True once there is one.
    any: AtomicBool,
}

impl RevokedStamps {
    /// Revokes the tasks with a stamp of this name and one of these values.
    pub(crate) fn add(&self, name: &str, values: &[String]) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            let stamp = (name.to_owned(), value.clone());
            stamps.shift_remove(&stamp);
            stamps.insert(stamp, Instant::now());
        }
        let surplus = stamps.len().saturating_sub(MOST);
        stamps.drain(..surplus);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if a task with these stamps is revoked.
    pub(crate) fn include(&self, stamps: &Map) -> bool {
        if stamps.is_empty() || !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let revoked = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let is_revoked = |name: &String, value: &Value| {
            let held = revoked.get(&(name.clone(), stamp_text(value)));
            held.is_some_and(|since| since.elapsed() < LASTS)
        };
        stamps.iter().any(|(name, value)| stamp_values(value).iter().any(|value| is_revoked(name, value)))
    }
}

/// Returns the values of a stamp, which may be a list.
pub(crate) fn stamp_values(value: &Value) -> &[Value] {
    value.as_list().unwrap_or(std::slice::from_ref(value))
}

/// Returns a value of a stamp as text, in which a command line names it.
pub(crate) fn stamp_text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(value).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(value: impl Into<Value>) -> Map {
        [("tenant".to_owned(), value.into())].into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stamp_is_revoked_by_name_and_value_for_a_while() {
        let revoked = RevokedStamps::default();
        assert!(!revoked.include(&stamps("7")));
        revoked.add("tenant", &["7".to_owned(), "8".to_owned()]);
        assert!(revoked.include(&stamps("7")) && revoked.include(&stamps(8)));
        assert!(revoked.include(&stamps(["6", "7"])) && !revoked.include(&stamps("9")));
        tokio::time::advance(LASTS).await;
        assert!(!revoked.include(&stamps("7")));
    }

    #[tokio::test]
    async fn the_oldest_stamps_make_room() {
        let revoked = RevokedStamps::default();
        let values: Vec<_> = (0..=MOST).map(|value| value.to_string()).collect();
        revoked.add("tenant", &values);
        assert!(!revoked.include(&stamps("0")) && revoked.include(&stamps("1")));
        assert_eq!(revoked.stamps.lock().unwrap().len(), MOST);
    }
}
