//! The suite that every store passes.
//!
//! Each case gets a name of its own to put before its ids, so that cases run beside each other in one store.

mod attempts;

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Failure, State};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, try_join_all};
use jiff::Timestamp;
use tokio::time::timeout;

use self::attempts::{
    an_attempt_of_what_is_not_written_is_not_on_record, an_attempt_that_is_written_again_stands_once,
    attempts_go_with_their_task, every_attempt_is_on_record, the_attempts_of_a_replay_are_counted_anew,
    what_has_not_run_is_no_attempt,
};
use crate::backend::{Backend, Recorded};
use crate::error::Result;
use crate::record::TaskRecord;
use crate::revocations::{Begun, Revocations, Revoke, Revoked};
use crate::suspects::{AttemptKey, Cleared, Suspect, Suspicion};

/// A case: what it shows, and how.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it shows, as a name.
    pub name: &'static str,
    /// Shows it. The text begins the ids that the case uses.
    pub run: for<'a> fn(Arc<dyn Backend>, &'a str) -> BoxFuture<'a, Result<()>>,
}

macro_rules! cases {
    ($($case:ident,)*) => {
        /// Every case.
        pub const CASES: &[Case] = &[
            $(Case { name: stringify!($case), run: |backend, ns| $case(backend, ns).boxed() },)*
        ];
    };
}

cases! {
    every_field_survives,
    missing_fields_stay_missing,
    unicode_survives,
    nul_and_half_surrogates_survive_in_documents,
    nul_in_text_is_replaced,
    an_id_may_be_any_text,
    deep_documents_survive,
    large_results_survive,
    an_unknown_task_is_not_found,
    what_is_forgotten_is_gone,
    the_first_success_stays,
    a_failure_gives_way_to_a_success_only,
    an_ignored_end_stays,
    a_replay_begins_anew_whatever_the_failure_before_it,
    what_came_before_a_replay_changes_nothing,
    a_success_is_not_replayed_away,
    a_retry_gives_way_to_a_success,
    an_older_attempt_changes_nothing,
    a_state_never_goes_back_within_an_attempt,
    what_is_known_stays_where_the_new_record_is_silent,
    the_same_outcome_again_counts_as_stored,
    an_id_twice_in_a_call_is_written_twice,
    a_thousand_records_in_one_call,
    nothing_to_record_is_fine,
    what_cannot_be_stored_leaves_its_neighbours_alone,
    writers_of_the_same_tasks_do_not_disturb_each_other,
    only_old_ends_are_swept,
    every_attempt_is_on_record,
    an_attempt_that_is_written_again_stands_once,
    the_attempts_of_a_replay_are_counted_anew,
    what_has_not_run_is_no_attempt,
    an_attempt_of_what_is_not_written_is_not_on_record,
    attempts_go_with_their_task,
    an_end_before_the_wait_is_told,
    an_end_during_the_wait_is_told,
    only_an_end_ends_the_wait,
    two_waiters_are_told,
    a_thousand_waiters_are_told,
    who_stops_waiting_disturbs_nobody,
    what_is_revoked_never_begins,
    only_a_termination_reaches_what_runs,
    a_revocation_holds_for_the_longer_of_two_times_and_ends,
    only_revocations_that_no_longer_hold_are_swept,
    what_can_be_no_id_is_not_revoked,
    a_suspect_begins_as_often_as_it_may,
    another_attempt_has_a_clean_record,
    what_has_ended_is_off_the_record,
    what_was_only_interrupted_is_not_counted,
    five_hundred_suspects_at_once,
}

/// Longest wait for anything that has to happen.
const DEADLINE: Duration = Duration::from_secs(20);

async fn every_field_survives(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = TaskRecord {
        name: "orders.charge".to_owned(),
        state: State::Failure,
        args: Some(r#"[1, "two", [3.5, null]]"#.to_owned()),
        kwargs: Some(r#"{"cents": -1299, "order": {"id": 18446744073709551615}}"#.to_owned()),
        result: Some("true".to_owned()),
        failure: Some(Failure {
            kind: "Declined".to_owned(),
            module: None,
            message: "no funds".to_owned(),
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
        ..ended(ns, "all", State::Failure)
    };
    stored(&backend, &record).await?;
    assert_found(&backend, &record).await
}

async fn missing_fields_stay_missing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in State::ALL {
        let record = bare(ns, state.as_str(), state);
        stored(&backend, &record).await?;
        assert_found(&backend, &record).await?;
    }
    Ok(())
}

async fn unicode_survives(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let text = "Ænima 東京 🦀 \u{301} \u{202e} ' \" \\ % \n\t $1 ?1";
    let record = TaskRecord {
        name: text.to_owned(),
        args: Some(serde_json::json!([text]).to_string()),
        kwargs: Some(r#"{"python writes": "\ud83e\udd80 \u00e9"}"#.to_owned()),
        failure: Some(Failure { trace: Some(text.to_owned()), ..Failure::new(text, text) }),
        queue: text.into(),
        worker: text.into(),
        ..ended(ns, "unicode", State::Failure)
    };
    stored(&backend, &record).await?;
    assert_found(&backend, &record).await
}

async fn nul_and_half_surrogates_survive_in_documents(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = TaskRecord {
        args: Some(r#"["\u0000"]"#.to_owned()),
        kwargs: Some(r#"{"half": "\ud83e", "vast": 1e99999}"#.to_owned()),
        result: Some(r#""a\u0000b""#.to_owned()),
        ..ended(ns, "nul", State::Success)
    };
    stored(&backend, &record).await?;
    let found = find(&backend, &record.id).await?;
    assert_eq!((found.args, found.kwargs, found.result), (record.args, record.kwargs, record.result), "to the letter");
    Ok(())
}

async fn nul_in_text_is_replaced(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record =
        TaskRecord { failure: Some(Failure::new("Io\0Error", "read \0")), ..ended(ns, "nul in text", State::Failure) };
    stored(&backend, &record).await?;
    let found = find(&backend, &record.id).await?;
    assert_eq!(found.failure, Some(Failure::new("Io\u{fffd}Error", "read \u{fffd}")));
    Ok(())
}

async fn an_id_may_be_any_text(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for odd in ["two\nlines", "quote'\"", "a,b", " ", "{}", "東京", &"x".repeat(255 - ns.len() - 1)] {
        let record = ended(ns, odd, State::Success);
        let (told, recorded) = futures::join!(finished(&backend, &record.id), stored(&backend, &record));
        recorded?;
        assert_same(&told?, &record);
        assert_found(&backend, &record).await?;
    }
    Ok(())
}

async fn deep_documents_survive(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for depth in [100, 1_000, 100_000] {
        let document = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let record = TaskRecord { result: Some(document), ..ended(ns, &format!("{depth} deep"), State::Success) };
        stored(&backend, &record).await?;
        assert_eq!(find(&backend, &record.id).await?.result, record.result);
    }
    Ok(())
}

async fn large_results_survive(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let document = format!("\"{}\"", "0123456789abcdef".repeat(1 << 16));
    let record = TaskRecord { result: Some(document), ..ended(ns, "large", State::Success) };
    let (told, recorded) = futures::join!(finished(&backend, &record.id), stored(&backend, &record));
    recorded?;
    assert_eq!(told?.result, record.result);
    assert_eq!(find(&backend, &record.id).await?.result, record.result);
    Ok(())
}

async fn an_unknown_task_is_not_found(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    assert_eq!(backend.find(&id(ns, "unknown")).await?, None);
    Ok(())
}

async fn what_is_forgotten_is_gone(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "forgotten", State::Success);
    stored(&backend, &record).await?;
    assert!(backend.forget(&record.id).await?);
    assert!(!backend.forget(&record.id).await?, "there is nothing any more");
    assert_eq!(backend.find(&record.id).await?, None);
    Ok(())
}

async fn the_first_success_stays(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = ended(ns, "first", State::Success);
    stored(&backend, &first).await?;
    for state in State::ALL {
        let later = TaskRecord { attempts: 9, worker: "another".into(), ..ended(ns, "first", state) };
        assert_eq!(record(&backend, &later).await?, Recorded::Kept(State::Success), "{state}");
    }
    assert_found(&backend, &first).await
}

async fn a_failure_gives_way_to_a_success_only(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for end in [State::Failure, State::Revoked, State::Rejected] {
        let first = ended(ns, end.as_str(), end);
        stored(&backend, &first).await?;
        for state in State::ALL.into_iter().filter(|&state| state != State::Success) {
            let later = TaskRecord { attempts: 9, worker: "another".into(), ..ended(ns, end.as_str(), state) };
            assert_eq!(record(&backend, &later).await?, Recorded::Kept(end), "{state} after {end}");
        }
        assert_found(&backend, &first).await?;
        let replayed = TaskRecord { worker: "another".into(), ..ended(ns, end.as_str(), State::Success) };
        stored(&backend, &replayed).await?;
        assert_found(&backend, &replayed).await?;
    }
    Ok(())
}

async fn a_replay_begins_anew_whatever_the_failure_before_it(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for end in [State::Failure, State::Revoked, State::Rejected] {
        let name = end.as_str();
        stored(&backend, &TaskRecord { attempts: 9, ..ended(ns, name, end) }).await?;
        let replay = |state, replays| TaskRecord { replays, worker: "another".into(), ..bare(ns, name, state) };
        for (state, replays) in [(State::Retry, 1), (State::Started, 2), (State::Failure, 3), (State::Failure, 4)] {
            stored(&backend, &replay(state, replays)).await?;
            assert_found(&backend, &replay(state, replays)).await?;
        }
        stored(&backend, &replay(State::Success, 4)).await?;
    }
    Ok(())
}

async fn what_came_before_a_replay_changes_nothing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let replay = TaskRecord { replays: 2, ..bare(ns, "replay", State::Retry) };
    stored(&backend, &replay).await?;
    for state in State::ALL.into_iter().filter(|&state| state != State::Success) {
        let earlier = TaskRecord { replays: 1, attempts: 9, worker: "late".into(), ..ended(ns, "replay", state) };
        assert_eq!(record(&backend, &earlier).await?, Recorded::Kept(State::Retry), "{state}");
    }
    assert_found(&backend, &replay).await?;
    // The work is done, whichever copy of it was faster.
    let earlier = TaskRecord { replays: 1, ..ended(ns, "replay", State::Success) };
    stored(&backend, &earlier).await
}

async fn a_success_is_not_replayed_away(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for end in [State::Success, State::Ignored] {
        let first = ended(ns, end.as_str(), end);
        stored(&backend, &first).await?;
        for state in State::ALL {
            let replay = TaskRecord { replays: 1, worker: "another".into(), ..bare(ns, end.as_str(), state) };
            assert_eq!(record(&backend, &replay).await?, Recorded::Kept(end), "{state} after {end}");
        }
        assert_found(&backend, &first).await?;
    }
    Ok(())
}

async fn an_ignored_end_stays(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let first = ended(ns, "ignored", State::Ignored);
    stored(&backend, &first).await?;
    let later = TaskRecord { worker: "another".into(), ..ended(ns, "ignored", State::Success) };
    assert_eq!(record(&backend, &later).await?, Recorded::Kept(State::Ignored));
    Ok(())
}

async fn a_retry_gives_way_to_a_success(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let retry = TaskRecord { failure: Some(Failure::new("Timeout", "")), ..bare(ns, "retried", State::Retry) };
    stored(&backend, &retry).await?;
    let success = TaskRecord { attempts: 2, ..ended(ns, "retried", State::Success) };
    stored(&backend, &success).await?;
    // The failure of an attempt is not the task's.
    assert_found(&backend, &success).await
}

async fn an_older_attempt_changes_nothing(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let third = TaskRecord { attempts: 3, ..bare(ns, "attempts", State::Retry) };
    stored(&backend, &third).await?;
    for state in [State::Pending, State::Started, State::Retry] {
        let second = TaskRecord { attempts: 2, ..bare(ns, "attempts", state) };
        assert_eq!(record(&backend, &second).await?, Recorded::Kept(State::Retry));
    }
    assert_found(&backend, &third).await?;
    let fourth = TaskRecord { attempts: 4, ..bare(ns, "attempts", State::Started) };
    stored(&backend, &fourth).await?;
    assert_found(&backend, &fourth).await
}

async fn a_state_never_goes_back_within_an_attempt(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let steps = [State::Pending, State::Started, State::Retry];
    for (index, state) in steps.into_iter().enumerate() {
        stored(&backend, &bare(ns, "steps", state)).await?;
        for earlier in &steps[..index] {
            assert_eq!(record(&backend, &bare(ns, "steps", *earlier)).await?, Recorded::Kept(state));
        }
        stored(&backend, &bare(ns, "steps", state)).await?;
    }
    Ok(())
}

async fn what_is_known_stays_where_the_new_record_is_silent(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let sent = TaskRecord {
        args: Some("[1]".to_owned()),
        kwargs: Some(r#"{"nul": "\u0000"}"#.to_owned()),
        root_id: Some("root".to_owned()),
        eta: Some(at(1)),
        sent_at: Some(at(2)),
        ..bare(ns, "sent", State::Pending)
    };
    stored(&backend, &sent).await?;
    let success = ended(ns, "sent", State::Success);
    stored(&backend, &success).await?;
    let known = TaskRecord {
        args: sent.args,
        kwargs: sent.kwargs,
        root_id: sent.root_id,
        eta: sent.eta,
        sent_at: sent.sent_at,
        ..success
    };
    let found = find(&backend, &known.id).await?;
    assert_eq!(found.kwargs, known.kwargs);
    assert_same(&found, &known);
    Ok(())
}

async fn the_same_outcome_again_counts_as_stored(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in State::ALL {
        let outcome = ended(ns, state.as_str(), state);
        stored(&backend, &outcome).await?;
        stored(&backend, &outcome).await?;
        assert_found(&backend, &outcome).await?;
    }
    Ok(())
}

async fn an_id_twice_in_a_call_is_written_twice(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let other = ended(ns, "other", State::Success);
    let retry = bare(ns, "twice", State::Retry);
    let success = TaskRecord { attempts: 2, ..ended(ns, "twice", State::Success) };
    let failure = TaskRecord { worker: "another".into(), ..ended(ns, "twice", State::Failure) };
    let answers = backend.record(&[retry, other.clone(), success.clone(), failure]).await?;
    assert_eq!(answers, [Recorded::Stored, Recorded::Stored, Recorded::Stored, Recorded::Kept(State::Success)]);
    assert_found(&backend, &other).await?;
    assert_found(&backend, &success).await
}

async fn a_thousand_records_in_one_call(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let records: Vec<_> = (0..1_000).map(|number| ended(ns, &number.to_string(), State::Success)).collect();
    let kept = TaskRecord { worker: "another".into(), ..records[500].clone() };
    stored(&backend, &kept).await?;
    let answers = backend.record(&records).await?;
    assert_eq!(answers.len(), records.len());
    for (index, answer) in answers.iter().enumerate() {
        let expected = if index == 500 { Recorded::Kept(State::Success) } else { Recorded::Stored };
        assert_eq!(*answer, expected, "record {index}");
    }
    assert_found(&backend, &kept).await?;
    for record in [&records[0], &records[499], &records[999]] {
        assert_found(&backend, record).await?;
    }
    Ok(())
}

async fn nothing_to_record_is_fine(backend: Arc<dyn Backend>, _ns: &str) -> Result<()> {
    assert_eq!(backend.record(&[]).await?, []);
    Ok(())
}

async fn what_cannot_be_stored_leaves_its_neighbours_alone(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let mut records: Vec<_> = (0..20).map(|number| ended(ns, &number.to_string(), State::Success)).collect();
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

async fn writers_of_the_same_tasks_do_not_disturb_each_other(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let write = |writer: usize| {
        let worker: Arc<str> = format!("writer {writer}").into();
        let record = |number: usize| TaskRecord {
            worker: Arc::clone(&worker),
            ..ended(ns, &((number * 37 + writer * 11) % 100).to_string(), State::Success)
        };
        let records: Vec<_> = (0..100).map(record).collect();
        let backend = Arc::clone(&backend);
        async move { backend.record(&records).await }
    };
    let answers = try_join_all((0..8).map(write)).await?;
    let stored = answers.iter().flatten().filter(|answer| **answer == Recorded::Stored).count();
    let kept = answers.iter().flatten().filter(|answer| **answer == Recorded::Kept(State::Success)).count();
    assert_eq!((stored, kept), (100, 700));
    Ok(())
}

async fn only_old_ends_are_swept(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    // Long before anything that another case writes.
    let time = |second| Timestamp::from_second(second).unwrap_or_default();
    let aged = |name: &str, state, second| TaskRecord { finished_at: Some(time(second)), ..bare(ns, name, state) };
    let records = [
        aged("oldest", State::Success, 100),
        aged("older", State::Failure, 200),
        aged("old", State::Revoked, 300),
        aged("unfinished", State::Retry, 100),
        aged("new", State::Success, 400),
    ];
    backend.record(&records).await?;
    assert_eq!(backend.sweep(time(400), 2).await?, 2, "no more than asked for");
    assert_eq!(backend.find(&records[0].id).await?, None, "the oldest goes first");
    assert_found(&backend, &records[2]).await?;
    assert_eq!(backend.sweep(time(400), 100).await?, 1);
    assert_eq!(backend.find(&records[2].id).await?, None);
    assert_found(&backend, &records[3]).await?;
    assert_found(&backend, &records[4]).await
}

async fn an_end_before_the_wait_is_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for state in State::ALL.into_iter().filter(|state| state.is_final()) {
        let record = ended(ns, state.as_str(), state);
        stored(&backend, &record).await?;
        assert_same(&finished(&backend, &record.id).await?, &record);
    }
    Ok(())
}

async fn an_end_during_the_wait_is_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for number in 0..50 {
        let record = ended(ns, &number.to_string(), State::Success);
        let mut wait = std::pin::pin!(finished(&backend, &record.id));
        assert!(futures::poll!(&mut wait).is_pending(), "nothing has ended yet");
        stored(&backend, &record).await?;
        assert_same(&wait.await?, &record);
    }
    Ok(())
}

async fn only_an_end_ends_the_wait(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let success = TaskRecord { attempts: 2, ..ended(ns, "steps", State::Success) };
    let mut wait = std::pin::pin!(finished(&backend, &success.id));
    assert!(futures::poll!(&mut wait).is_pending(), "nothing is known yet");
    for state in [State::Pending, State::Started, State::Retry] {
        stored(&backend, &bare(ns, "steps", state)).await?;
        // Somebody else's end, told after that, shows that the step has been seen by then.
        let other = ended(ns, state.as_str(), State::Success);
        let (told, recorded) = futures::join!(finished(&backend, &other.id), stored(&backend, &other));
        recorded?;
        told?;
        assert!(futures::poll!(&mut wait).is_pending(), "{state} is no end");
    }
    stored(&backend, &success).await?;
    assert_same(&wait.await?, &success);
    Ok(())
}

async fn two_waiters_are_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "both", State::Failure);
    let waits = [finished(&backend, &record.id), finished(&backend, &record.id)];
    let (told, recorded) = futures::join!(try_join_all(waits), stored(&backend, &record));
    recorded?;
    for told in told? {
        assert_same(&told, &record);
    }
    Ok(())
}

async fn a_thousand_waiters_are_told(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let records: Vec<_> = (0..1_000).map(|number| ended(ns, &number.to_string(), State::Success)).collect();
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

async fn who_stops_waiting_disturbs_nobody(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let record = ended(ns, "given up", State::Success);
    let mut patient = std::pin::pin!(finished(&backend, &record.id));
    assert!(futures::poll!(&mut patient).is_pending());
    assert!(finished(&backend, &record.id).now_or_never().is_none());
    stored(&backend, &record).await?;
    assert_same(&patient.await?, &record);
    Ok(())
}

fn id(ns: &str, name: &str) -> String {
    format!("{ns}-{name}")
}

/// A time with microseconds, long ago but not as long as what is swept.
fn at(step: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_123_456 + step * 61_000_001).unwrap_or_default()
}

/// A record with nothing in it that may be missing.
fn bare(ns: &str, name: &str, state: State) -> TaskRecord {
    TaskRecord {
        id: id(ns, name),
        name: "conformance".to_owned(),
        state,
        args: None,
        kwargs: None,
        result: None,
        failure: None,
        queue: "celeriac".into(),
        exchange: String::new(),
        routing_key: "celeriac".to_owned(),
        worker: "worker".into(),
        attempts: 1,
        replays: 0,
        root_id: None,
        parent_id: None,
        group_id: None,
        eta: None,
        expires: None,
        sent_at: None,
        received_at: None,
        started_at: None,
        finished_at: None,
        runtime: None,
        trace_id: None,
    }
}

fn ended(ns: &str, name: &str, state: State) -> TaskRecord {
    TaskRecord {
        result: (state == State::Success).then(|| "[1]".to_owned()),
        finished_at: Some(at(100)),
        ..bare(ns, name, state)
    }
}

async fn what_is_revoked_never_begins(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let revocations = backend.revocations();
    let ids: Vec<_> = (0..3_000).map(|number| format!("{ns}/{number}")).collect();
    // One at a time as well as many at once, and one of them twice in a call.
    let again = [&ids[1..], &ids[1..2]].concat();
    tokio::try_join!(backend.revoke(&ids[..1], WHOLLY), backend.revoke(&again, WHOLLY), backend.revoke(&[], WHOLLY))?;
    for id in &ids {
        assert_eq!(begin(revocations, id).await.err(), Some(Revoked { terminate: false }), "{id}");
    }
    assert!(begin(revocations, &format!("{ns}/other")).await.is_ok());
    Ok(())
}

async fn only_a_termination_reaches_what_runs(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (revocations, id) = (backend.revocations(), format!("{ns}/runs"));
    let begun = begin(revocations, &id).await.ok();
    assert!(begun.is_some());
    let Some(begun) = begun else { return Ok(()) };
    backend.revoke(std::slice::from_ref(&id), WHOLLY).await?;
    assert!(!begun.terminated().is_cancelled());
    backend.revoke(std::slice::from_ref(&id), Revoke { terminate: true, lasts: None }).await?;
    let told = timeout(DEADLINE, begun.terminated().cancelled()).await;
    assert!(told.is_ok(), "it was not told within {DEADLINE:?}");
    // Once asked for, a termination stays.
    backend.revoke(std::slice::from_ref(&id), WHOLLY).await?;
    assert_eq!(begin(revocations, &id).await.err(), Some(Revoked { terminate: true }));
    Ok(())
}

async fn a_revocation_holds_for_the_longer_of_two_times_and_ends(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let ids = ["long", "short"].map(|name| format!("{ns}/{name}"));
    let lasting = |lasts| Revoke { terminate: false, lasts: Some(lasts) };
    backend.revoke(&ids[..1], lasting(Duration::from_secs(3_600))).await?;
    backend.revoke(&ids, lasting(Duration::from_millis(1))).await?;
    let revocations = backend.revocations();
    assert!(begin(revocations, &ids[0]).await.is_err());
    assert!(begin(revocations, &ids[1]).await.is_ok());
    // Longer than time is counted.
    backend.revoke(&ids[1..], lasting(Duration::MAX)).await?;
    assert!(begin(revocations, &ids[1]).await.is_err());
    Ok(())
}

async fn only_revocations_that_no_longer_hold_are_swept(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let gone: Vec<_> = (0..5).map(|number| format!("{ns}/gone/{number}")).collect();
    let held = [format!("{ns}/held")];
    backend.revoke(&gone, Revoke { terminate: false, lasts: Some(Duration::from_millis(1)) }).await?;
    backend.revoke(&held, WHOLLY).await?;
    assert_eq!(backend.sweep_passed(2).await?, 2);
    while backend.sweep_passed(100).await? > 0 {}
    assert!(begin(backend.revocations(), &held[0]).await.is_err());
    Ok(())
}

async fn what_can_be_no_id_is_not_revoked(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for wrong in ["", "a\0b", &"x".repeat(256)] {
        let ids = [format!("{ns}/good"), wrong.to_owned()];
        let refused = backend.revoke(&ids, WHOLLY).await;
        assert!(matches!(refused, Err(crate::Error::Invalid { .. })), "{refused:?}");
    }
    assert!(begin(backend.revocations(), &format!("{ns}/good")).await.is_ok());
    Ok(())
}

async fn a_suspect_begins_as_often_as_it_may(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (first, second) = (suspect(ns, "a", 0, 1), suspect(ns, "b", 0, 3));
    for (expected_first, expected_second) in [((1, true), (1, true)), ((1, false), (2, true)), ((1, false), (3, true))]
    {
        let told = backend.suspect(&[first.clone(), second.clone()]).await?;
        let expected = [expected_first, expected_second].map(|(starts, begins)| Suspicion { starts, begins });
        assert_eq!(told, expected);
    }
    // A wider bound lets it begin again, and none at all does not even the first time.
    let told = backend.suspect(&[suspect(ns, "c", 0, 0), suspect(ns, "a", 0, 4)]).await?;
    assert_eq!(told, [Suspicion { starts: 0, begins: false }, Suspicion { starts: 2, begins: true }]);
    Ok(())
}

async fn another_attempt_has_a_clean_record(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let second = suspect(ns, "a", 1, 9);
    let replayed = Suspect { attempt: AttemptKey { replays: 1, ..second.attempt.clone() }, ..second.clone() };
    for (suspect, starts) in [(suspect(ns, "a", 0, 9), 1), (second.clone(), 1), (second, 2), (replayed, 1)] {
        assert_eq!(backend.suspect(&[suspect]).await?, [Suspicion { starts, begins: true }]);
    }
    Ok(())
}

async fn what_has_ended_is_off_the_record(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects = [suspect(ns, "a", 0, 9), suspect(ns, "b", 0, 9)];
    backend.suspect(&suspects).await?;
    let ended = |suspect: &Suspect| Cleared { attempt: suspect.attempt.clone(), interrupted: false };
    // An end of another attempt says nothing of this one.
    let other = AttemptKey { retries: 1, ..suspects[1].attempt.clone() };
    backend.clear(&[ended(&suspects[0]), Cleared { attempt: other, interrupted: false }]).await?;
    let told = backend.suspect(&suspects).await?;
    assert_eq!(told.iter().map(|told| told.starts).collect::<Vec<_>>(), [1, 2]);
    backend.clear(&[]).await
}

async fn what_was_only_interrupted_is_not_counted(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects = [suspect(ns, "once", 0, 9), suspect(ns, "twice", 0, 9)];
    backend.suspect(&suspects).await?;
    backend.suspect(&suspects[1..]).await?;
    let interrupted =
        suspects.each_ref().map(|suspect| Cleared { attempt: suspect.attempt.clone(), interrupted: true });
    backend.clear(&interrupted).await?;
    let told = backend.suspect(&suspects).await?;
    assert_eq!(told.iter().map(|told| told.starts).collect::<Vec<_>>(), [1, 2]);
    Ok(())
}

async fn five_hundred_suspects_at_once(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let suspects: Vec<_> = (0..500).rev().map(|number| suspect(ns, &number.to_string(), 0, number % 2)).collect();
    let told = backend.suspect(&suspects).await?;
    let expected: Vec<_> = suspects.iter().map(|suspect| suspect.below == 1).collect();
    assert_eq!(told.iter().map(|told| told.begins).collect::<Vec<_>>(), expected);
    Ok(())
}

fn suspect(ns: &str, name: &str, retries: u32, below: u32) -> Suspect {
    let attempt = AttemptKey { id: format!("{ns}/{name}"), retries, replays: 0 };
    Suspect { attempt, worker: "worker".into(), below }
}

/// For as long as rows are kept.
const WHOLLY: Revoke = Revoke { terminate: false, lasts: None };

async fn begin(revocations: &Arc<Revocations>, id: &str) -> Result<Begun, Revoked> {
    let begun = timeout(DEADLINE, revocations.begin(id)).await;
    assert!(begun.is_ok(), "nobody looked at the store within {DEADLINE:?}");
    begun.unwrap_or(Err(Revoked { terminate: false }))
}

async fn record(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<Recorded> {
    let mut answers = backend.record(std::slice::from_ref(record)).await?;
    assert_eq!(answers.len(), 1, "one answer a record");
    Ok(answers.remove(0))
}

async fn stored(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<()> {
    assert_eq!(self::record(backend, record).await?, Recorded::Stored, "{}", record.id);
    Ok(())
}

async fn find(backend: &Arc<dyn Backend>, id: &str) -> Result<TaskRecord> {
    let found = backend.find(id).await?;
    assert!(found.is_some(), "{id} is not known");
    found.ok_or(crate::Error::Closed)
}

async fn finished(backend: &Arc<dyn Backend>, id: &str) -> Result<TaskRecord> {
    let told = timeout(DEADLINE, backend.finished(id)).await;
    assert!(told.is_ok(), "{id} was not told within {DEADLINE:?}");
    told.unwrap_or(Err(crate::Error::Closed))
}

async fn assert_found(backend: &Arc<dyn Backend>, record: &TaskRecord) -> Result<()> {
    assert_same(&find(backend, &record.id).await?, record);
    Ok(())
}

/// The same record; its documents may be written differently.
fn assert_same(found: &TaskRecord, expected: &TaskRecord) {
    let plain = |record: &TaskRecord| TaskRecord { args: None, kwargs: None, result: None, ..record.clone() };
    assert_eq!(plain(found), plain(expected));
    for (found, expected) in
        [(&found.args, &expected.args), (&found.kwargs, &expected.kwargs), (&found.result, &expected.result)]
    {
        assert_eq!(value(found), value(expected), "{found:?} and {expected:?}");
    }
}

fn value(document: &Option<String>) -> Option<serde_json::Value> {
    document.as_deref().map(|document| serde_json::from_str(document).unwrap_or_else(|_| document.into()))
}
