//! Cases of values in rows.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Failure, TaskState, Value};
use jiff::Timestamp;

use super::stage::{assert_found, assert_same, at, bare, ended, find, finished, id, since, stored};
use crate::backend::Backend;
use crate::error::Result;
use crate::record::TaskRecord;

pub(super) async fn every_field_survives(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = TaskRecord {
        name: "orders.charge".to_owned(),
        state: TaskState::Failure,
        args: Some(r#"[1, "two", [3.5, null]]"#.to_owned()),
        kwargs: Some(r#"{"cents": -1299, "order": {"id": 18446744073709551615}}"#.to_owned()),
        result: Some("true".to_owned()),
        failure: Some(Failure {
            kind: "Declined".to_owned(),
            module: Some("shop.errors".to_owned()),
            message: "no funds".to_owned(),
            args: Some(vec!["no funds\0".into(), u64::MAX.into(), Value::Bytes(vec![0, 255]), Value::Null].into()),
            trace: Some("bank\ncard".to_owned()),
        }),
        queue: "billing".into(),
        exchange: "orders".to_owned(),
        routing_key: "billing.charge".to_owned(),
        worker: "worker@host".into(),
        attempts: u32::MAX,
        replays: u32::MAX,
        root_id: Some("root".to_owned()),
        parent_id: Some("parent".to_owned()),
        group_id: Some("group".to_owned()),
        eta: Some(at(1)),
        expires: Some(at(2)),
        sent_at: Some(at(3)),
        received_at: Some(at(4)),
        started_at: Some(at(5)),
        finished_at: Some(at(6)),
        runtime: Some(Duration::from_micros(1_234_567)),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..ended(ns, "all", TaskState::Failure)
    };
    stored(&backend, &record).await?;
    assert_found(&backend, &record).await
}

pub(super) async fn a_state_of_a_tasks_own_ends_with_the_task(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let started = |custom_state: &str, result: &str| TaskRecord {
        custom_state: Some(custom_state.to_owned()),
        result: Some(result.to_owned()),
        attempts: 1,
        ..bare(ns, "progress", TaskState::Started)
    };
    for (state, result) in [("PROGRESS", r#"{"done": 1}"#), ("NEARLY", r#"{"done": 9}"#)] {
        let record = started(state, result);
        stored(&backend, &record).await?;
        assert_found(&backend, &record).await?;
    }
    let end = TaskRecord { attempts: 1, ..ended(ns, "progress", TaskState::Success) };
    stored(&backend, &end).await?;
    let found = find(&backend, &end.id).await?;
    assert_eq!((found.state, found.custom_state, found.result), (TaskState::Success, None, end.result));
    Ok(())
}

pub(super) async fn missing_fields_stay_missing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in TaskState::ALL {
        let record = bare(ns, state.as_str(), state);
        stored(&backend, &record).await?;
        assert_found(&backend, &record).await?;
    }
    Ok(())
}

pub(super) async fn unicode_survives(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let text = "Ænima 東京 🦀 \u{301} \u{202e} ' \" \\ % \n\t $1 ?1";
    let record = TaskRecord {
        name: text.to_owned(),
        args: Some(serde_json::json!([text]).to_string()),
        kwargs: Some(r#"{"python writes": "\ud83e\udd80 \u00e9"}"#.to_owned()),
        failure: Some(Failure { trace: Some(text.to_owned()), ..Failure::new(text, text) }),
        queue: text.into(),
        worker: text.into(),
        ..ended(ns, "unicode", TaskState::Failure)
    };
    stored(&backend, &record).await?;
    assert_found(&backend, &record).await
}

pub(super) async fn nul_and_half_surrogates_survive_in_documents(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = TaskRecord {
        args: Some(r#"["\u0000"]"#.to_owned()),
        kwargs: Some(r#"{"half": "\ud83e", "vast": 1e99999}"#.to_owned()),
        result: Some(r#""a\u0000b""#.to_owned()),
        ..ended(ns, "nul", TaskState::Success)
    };
    stored(&backend, &record).await?;
    let found = find(&backend, &record.id).await?;
    assert_eq!((found.args, found.kwargs, found.result), (record.args, record.kwargs, record.result), "to the letter");
    Ok(())
}

pub(super) async fn nul_in_text_is_replaced(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = TaskRecord {
        failure: Some(Failure::new("Io\0Error", "read \0")),
        ..ended(ns, "nul in text", TaskState::Failure)
    };
    stored(&backend, &record).await?;
    let found = find(&backend, &record.id).await?;
    assert_eq!(found.failure, Some(Failure::new("Io\u{fffd}Error", "read \u{fffd}")));
    Ok(())
}

pub(super) async fn an_id_may_be_any_text(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for odd in ["two\nlines", "quote'\"", "a,b", " ", "{}", "東京", &"x".repeat(255 - ns.len() - 1)] {
        let record = ended(ns, odd, TaskState::Success);
        let (told, recorded) = futures::join!(finished(&backend, &record.id), stored(&backend, &record));
        recorded?;
        assert_same(&told?, &record);
        assert_found(&backend, &record).await?;
    }
    Ok(())
}

pub(super) async fn deep_documents_survive(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for depth in [100, 1_000, 100_000] {
        let document = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let record = TaskRecord { result: Some(document), ..ended(ns, &format!("{depth} deep"), TaskState::Success) };
        stored(&backend, &record).await?;
        assert_eq!(find(&backend, &record.id).await?.result, record.result);
    }
    Ok(())
}

pub(super) async fn large_results_survive(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let document = format!("\"{}\"", "0123456789abcdef".repeat(1 << 16));
    let record = TaskRecord { result: Some(document), ..ended(ns, "large", TaskState::Success) };
    let (told, recorded) = futures::join!(finished(&backend, &record.id), stored(&backend, &record));
    recorded?;
    assert_eq!(told?.result, record.result);
    assert_eq!(find(&backend, &record.id).await?.result, record.result);
    Ok(())
}

pub(super) async fn an_unknown_task_is_not_found(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    assert_eq!(backend.find(&id(ns, "unknown")).await?, None);
    Ok(())
}

pub(super) async fn a_forgotten_task_is_gone(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "forgotten", TaskState::Success);
    stored(&backend, &record).await?;
    assert!(backend.forget(&record.id).await?);
    assert!(!backend.forget(&record.id).await?, "there is nothing any more");
    assert_eq!(backend.find(&record.id).await?, None);
    Ok(())
}

pub(super) async fn only_old_ends_are_swept(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    // Long before the times of other cases.
    let time = |second| Timestamp::from_second(second).unwrap_or_default();
    let aged = |name: &str, state, second| TaskRecord { finished_at: Some(time(second)), ..bare(ns, name, state) };
    let records = [
        aged("oldest", TaskState::Success, 100),
        aged("older", TaskState::Failure, 200),
        aged("old", TaskState::Revoked, 300),
        aged("unfinished", TaskState::Retry, 100),
        aged("new", TaskState::Success, 400),
    ];
    backend.record(&records).await?;
    assert_eq!(backend.sweep(since(399), 2).await?, 2, "no more than asked for");
    assert_eq!(backend.find(&records[0].id).await?, None, "the oldest goes first");
    assert_found(&backend, &records[2]).await?;
    assert_eq!(backend.sweep(since(399), 100).await?, 1);
    assert_eq!(backend.find(&records[2].id).await?, None);
    assert_found(&backend, &records[3]).await?;
    assert_found(&backend, &records[4]).await
}
