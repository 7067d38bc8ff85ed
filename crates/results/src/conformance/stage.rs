//! Records for the cases, and checks of stored rows.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::TaskState;
use celeriac_telemetry::clock;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::outcomes::Recorded;
use crate::record::TaskRecord;

/// Longest wait for anything that must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn id(ns: &str, name: &str) -> String {
    format!("{ns}-{name}")
}

/// Returns a time with microseconds. It is in the past, but later than swept times.
pub(super) fn at(step: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_123_456 + step * 61_000_001).unwrap_or_default()
}

/// Returns a record without its optional values.
pub(super) fn bare(ns: &str, name: &str, state: TaskState) -> TaskRecord {
    TaskRecord {
        queue: "celeriac".into(),
        routing_key: "celeriac".to_owned(),
        worker: "worker".into(),
        attempts: 1,
        ..TaskRecord::new(id(ns, name), "conformance", state)
    }
}

pub(super) fn ended(ns: &str, name: &str, state: TaskState) -> TaskRecord {
    TaskRecord {
        result: (state == TaskState::Success).then(|| "[1]".to_owned()),
        finished_at: Some(at(100)),
        ..bare(ns, name, state)
    }
}

pub(super) async fn record(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<Recorded> {
    let mut answers = backend.record(std::slice::from_ref(record)).await?;
    assert_eq!(answers.len(), 1, "one answer a record");
    Ok(answers.remove(0))
}

pub(super) async fn stored(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<()> {
    assert_eq!(self::record(backend, record).await?, Recorded::Stored, "{}", record.id);
    Ok(())
}

pub(super) async fn find(backend: &Arc<dyn Backend>, id: &str) -> Result<TaskRecord> {
    let found = backend.find(id).await?;
    assert!(found.is_some(), "{id} is not known");
    found.ok_or(Error::Closed)
}

pub(super) async fn finished(backend: &Arc<dyn Backend>, id: &str) -> Result<TaskRecord> {
    let told = timeout(DEADLINE, backend.finished(id)).await;
    assert!(told.is_ok(), "{id} was not told within {DEADLINE:?}");
    told.unwrap_or(Err(Error::Closed))
}

pub(super) async fn assert_found(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<()> {
    assert_same(&find(backend, &record.id).await?, record);
    Ok(())
}

/// Asserts that two records are equal. Their documents may be formatted differently.
pub(super) fn assert_same(found: &TaskRecord, expected: &TaskRecord) {
    let plain = |record: &TaskRecord| TaskRecord { args: None, kwargs: None, result: None, ..record.clone() };
    assert_eq!(plain(found), plain(expected));
    for (found, expected) in
        [(&found.args, &expected.args), (&found.kwargs, &expected.kwargs), (&found.result, &expected.result)]
    {
        assert_eq!(value(found), value(expected), "{found:?} and {expected:?}");
    }
}

pub(super) fn value(document: &Option<String>) -> Option<serde_json::Value> {
    document.as_deref().map(|document| serde_json::from_str(document).unwrap_or_else(|_| document.into()))
}

/// Returns the time that has passed since this second.
pub(super) fn since(second: i64) -> Duration {
    let time = Timestamp::from_second(second).unwrap_or_default();
    clock::now().duration_since(time).unsigned_abs()
}
