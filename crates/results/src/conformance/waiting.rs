//! Cases of waits for the end of a task.

use std::sync::Arc;

use celeriac_protocol::TaskState;
use futures::FutureExt;
use futures::future::{join_all, try_join_all};

use super::stage::{assert_same, bare, ended, finished, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::record::TaskRecord;

pub(super) async fn an_end_before_the_wait_is_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in TaskState::ALL.into_iter().filter(|state| state.is_final()) {
        let record = ended(ns, state.as_str(), state);
        stored(&backend, &record).await?;
        assert_same(&finished(&backend, &record.id).await?, &record);
    }
    Ok(())
}

pub(super) async fn an_end_during_the_wait_is_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for number in 0..50 {
        let record = ended(ns, &number.to_string(), TaskState::Success);
        let mut wait = std::pin::pin!(finished(&backend, &record.id));
        assert!(futures::poll!(&mut wait).is_pending(), "nothing has ended yet");
        stored(&backend, &record).await?;
        assert_same(&wait.await?, &record);
    }
    Ok(())
}

pub(super) async fn only_an_end_ends_the_wait(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let success = TaskRecord { attempts: 2, ..ended(ns, "steps", TaskState::Success) };
    let mut wait = std::pin::pin!(finished(&backend, &success.id));
    assert!(futures::poll!(&mut wait).is_pending(), "nothing is known yet");
    for state in [TaskState::Pending, TaskState::Started, TaskState::Retry] {
        stored(&backend, &bare(ns, "steps", state)).await?;
        // Deliveries are in order: when this task is delivered, the record before it has been
        // handled.
        let other = ended(ns, state.as_str(), TaskState::Success);
        let (told, recorded) = futures::join!(finished(&backend, &other.id), stored(&backend, &other));
        recorded?;
        told?;
        assert!(futures::poll!(&mut wait).is_pending(), "{state} is no end");
    }
    stored(&backend, &success).await?;
    assert_same(&wait.await?, &success);
    Ok(())
}

pub(super) async fn two_waiters_are_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "both", TaskState::Failure);
    let waits = [finished(&backend, &record.id), finished(&backend, &record.id)];
    let (told, recorded) = futures::join!(try_join_all(waits), stored(&backend, &record));
    recorded?;
    for told in told? {
        assert_same(&told, &record);
    }
    Ok(())
}

pub(super) async fn a_thousand_waiters_are_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let records: Vec<_> = (0..1_000).map(|number| ended(ns, &number.to_string(), TaskState::Success)).collect();
    let waits = join_all(records.iter().map(|record| finished(&backend, &record.id)));
    let write = async {
        for batch in records.chunks(100) {
            backend.record(batch).await?;
        }
        Ok::<_, crate::Error>(())
    };
    let (told, recorded) = futures::join!(waits, write);
    recorded?;
    for (told, record) in told.into_iter().zip(&records) {
        assert_same(&told?, record);
    }
    Ok(())
}

pub(super) async fn a_cancelled_wait_does_not_affect_others(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "given up", TaskState::Success);
    let mut patient = std::pin::pin!(finished(&backend, &record.id));
    assert!(futures::poll!(&mut patient).is_pending());
    assert!(finished(&backend, &record.id).now_or_never().is_none());
    stored(&backend, &record).await?;
    assert_same(&patient.await?, &record);
    Ok(())
}
