//! Cases of many records in one call.

use std::sync::Arc;

use celeriac_protocol::TaskState;
use futures::future::try_join_all;

use super::stage::{assert_found, bare, ended, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::outcomes::Recorded;
use crate::record::TaskRecord;

pub(super) async fn an_id_twice_in_a_call_is_written_twice(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let other = ended(ns, "other", TaskState::Success);
    let retry = bare(ns, "twice", TaskState::Retry);
    let success = TaskRecord { attempts: 2, ..ended(ns, "twice", TaskState::Success) };
    let failure = TaskRecord { worker: "another".into(), ..ended(ns, "twice", TaskState::Failure) };
    let answers = backend.record(&[retry, other.clone(), success.clone(), failure]).await?;
    assert_eq!(answers, [Recorded::Stored, Recorded::Stored, Recorded::Stored, Recorded::Kept(TaskState::Success)]);
    assert_found(&backend, &other).await?;
    assert_found(&backend, &success).await
}

pub(super) async fn a_thousand_records_in_one_call(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let records: Vec<_> = (0..1_000).map(|number| ended(ns, &number.to_string(), TaskState::Success)).collect();
    let kept = TaskRecord { worker: "another".into(), ..records[500].clone() };
    stored(&backend, &kept).await?;
    let answers = backend.record(&records).await?;
    assert_eq!(answers.len(), records.len());
    for (index, answer) in answers.iter().enumerate() {
        let expected = if index == 500 { Recorded::Kept(TaskState::Success) } else { Recorded::Stored };
        assert_eq!(*answer, expected, "record {index}");
    }
    assert_found(&backend, &kept).await?;
    for record in [&records[0], &records[499], &records[999]] {
        assert_found(&backend, record).await?;
    }
    Ok(())
}

pub(super) async fn nothing_to_record_is_fine(backend: Arc<dyn Backend>, _ns: &str) -> Result<()> {
    assert_eq!(backend.record(&[]).await?, []);
    Ok(())
}

pub(super) async fn a_refused_record_does_not_affect_others(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let mut records: Vec<_> = (0..20).map(|number| ended(ns, &number.to_string(), TaskState::Success)).collect();
    records[3].id = format!("{ns}{}", "x".repeat(256));
    records[7].id.push('\0');
    records[11].result = Some("no JSON".to_owned());
    records[12].args = Some("[1,".to_owned());
    records[19].id.clear();
    let bad = [3, 7, 11, 12, 19];
    let answers = backend.record(&records).await?;
    for (index, (answer, record)) in answers.iter().zip(&records).enumerate() {
        if bad.contains(&index) {
            assert!(matches!(answer, Recorded::Refused { reason } if !reason.is_empty()), "record {index}: {answer:?}");
        } else {
            assert_eq!(*answer, Recorded::Stored, "record {index}");
            assert_found(&backend, record).await?;
        }
    }
    Ok(())
}

pub(super) async fn writers_of_the_same_tasks_do_not_disturb_each_other(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let write = |writer: usize| {
        let worker: Arc<str> = format!("writer {writer}").into();
        let record = |number: usize| TaskRecord {
            worker: Arc::clone(&worker),
            ..ended(ns, &((number * 37 + writer * 11) % 100).to_string(), TaskState::Success)
        };
        let records: Vec<_> = (0..100).map(record).collect();
        let backend = Arc::clone(&backend);
        async move { backend.record(&records).await }
    };
    let answers = try_join_all((0..8).map(write)).await?;
    let stored = answers.iter().flatten().filter(|answer| **answer == Recorded::Stored).count();
    let kept = answers.iter().flatten().filter(|answer| **answer == Recorded::Kept(TaskState::Success)).count();
    assert_eq!((stored, kept), (100, 700));
    Ok(())
}
