//! Cases of the rows of sent tasks.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::TaskState;
use celeriac_telemetry::clock;
use jiff::Timestamp;

use super::stage::{assert_found, at, bare, ended, find, id, record, since, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::outcomes::Recorded;
use crate::record::{SentRecord, TaskRecord};

fn sent(ns: &str, name: &str, sent_at: Timestamp) -> SentRecord {
    SentRecord {
        id: id(ns, name),
        name: "conformance".to_owned(),
        queue: "celeriac".to_owned(),
        exchange: "ex\0change".to_owned(),
        routing_key: "key".to_owned(),
        sent_at,
        eta: Some(at(9)),
        expires: Some(at(99)),
        root_id: Some("root".to_owned()),
        parent_id: None,
        group_id: Some("group".to_owned()),
    }
}

/// Returns the row of a sent task.
fn row_of(sent: &SentRecord) -> TaskRecord {
    TaskRecord {
        queue: sent.queue.as_str().into(),
        exchange: "ex\u{fffd}change".to_owned(),
        routing_key: sent.routing_key.clone(),
        sent_at: Some(sent.sent_at),
        eta: sent.eta,
        expires: sent.expires,
        root_id: sent.root_id.clone(),
        group_id: sent.group_id.clone(),
        ..TaskRecord::new(sent.id.clone(), sent.name.clone(), TaskState::Sent)
    }
}

pub(super) async fn a_sent_task_has_a_row_until_anything_is_known_of_it(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    for state in TaskState::ALL.into_iter().filter(|state| !matches!(state, TaskState::Sent | TaskState::Pending)) {
        let sent = sent(ns, state.as_str(), at(1));
        backend.record_sent(&[sent.clone(), sent.clone()]).await?;
        assert_found(&backend, &row_of(&sent)).await?;
        let next = TaskRecord { sent_at: None, ..ended(ns, state.as_str(), state) };
        stored(&backend, &next).await?;
        let found = find(&backend, &next.id).await?;
        assert_eq!((found.state, found.sent_at, found.root_id.as_deref()), (state, Some(at(1)), Some("root")));
    }
    backend.record_sent(&[]).await
}

pub(super) async fn a_late_row_of_a_sent_task_turns_nothing_back(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Sent) {
        let first = ended(ns, state.as_str(), state);
        stored(&backend, &first).await?;
        let late = sent(ns, state.as_str(), at(1));
        backend.record_sent(std::slice::from_ref(&late)).await?;
        for replays in [0, 3] {
            let late = TaskRecord { attempts: 9, replays, ..row_of(&late) };
            assert_eq!(record(&backend, &late).await?, Recorded::Kept(state));
        }
        assert_found(&backend, &first).await?;
    }
    Ok(())
}

pub(super) async fn only_sent_tasks_that_were_due_long_ago_are_swept(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let now = clock::now();
    let lost = SentRecord { eta: None, ..sent(ns, "lost", at(0)) };
    let delayed = SentRecord { eta: Some(now), ..sent(ns, "delayed", at(0)) };
    let fresh = SentRecord { eta: None, ..sent(ns, "fresh", now) };
    backend.record_sent(&[lost.clone(), delayed.clone(), fresh.clone()]).await?;
    stored(&backend, &bare(ns, "running", TaskState::Started)).await?;
    backend.sweep(since(1_700_000_000) - Duration::from_secs(3_600), 1).await?;
    assert_eq!(backend.find(&lost.id).await?, None);
    for id in [&delayed.id, &fresh.id, &id(ns, "running")] {
        assert!(backend.find(id).await?.is_some(), "{id}");
    }
    Ok(())
}
