//! Cases of joins.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::signature::{ChordPolicy, ChordRules};
use celeriac_protocol::{Failure, TaskState};

use super::stage::{ended, id};
use crate::backend::Backend;
use crate::error::Result;
use crate::joins::{Arrival, FiredJoin, JoinMember, JoinResults, NOBODY, NewJoin, Turn};
use crate::record::TaskRecord;

const BODY: &str = r#"{"task": "body"}"#;
const FIRST: Turn = Turn::Fire { again: false };
const AGAIN: Turn = Turn::Fire { again: true };

pub(super) async fn the_last_member_fires_the_join(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 3).await?;
    assert_eq!(backend.find_fired(&id(ns, "join"), 100).await?, None);
    assert_eq!(arrive(&backend, &[succeeded(ns, 2)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Done]);
    assert_eq!(backend.find_fired(&id(ns, "join"), 100).await?, None);
    assert_eq!(arrive(&backend, &[succeeded(ns, 1)]).await?, [FIRST]);
    let results = JoinResults::All(vec!["[0]".to_owned(), "[1]".to_owned(), "[2]".to_owned()]);
    let fired = FiredJoin { body: BODY.to_owned(), results };
    assert_eq!(backend.find_fired(&id(ns, "join"), 100).await?, Some(fired), "in the order of the group");
    Ok(())
}

pub(super) async fn a_member_counts_once_however_often_it_arrives(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 3).await?;
    for _ in 0..3 {
        assert_eq!(arrive(&backend, &[succeeded(ns, 0), succeeded(ns, 0)]).await?, [Turn::Done, Turn::Done]);
    }
    assert_eq!(arrive(&backend, &[failed(ns, 0, "late")]).await?, [Turn::Done], "its first end stays");
    let turns = arrive(&backend, &[succeeded(ns, 2), succeeded(ns, 1)]).await?;
    assert_eq!(turns.iter().filter(|turn| **turn == FIRST).count(), 1, "one of a batch fires: {turns:?}");
    assert!(matches!(
        backend.find_fired(&id(ns, "join"), 100).await?,
        Some(FiredJoin { results: JoinResults::All(results), .. }) if results.len() == 3
    ));
    Ok(())
}

pub(super) async fn a_position_that_the_join_does_not_have_counts_nothing(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    add(&backend, ns, 2).await?;
    assert_eq!(arrive(&backend, &[succeeded(ns, -1), succeeded(ns, 2)]).await?, [Turn::Done, Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 1)]).await?, [FIRST]);
    let results = JoinResults::All(vec!["[0]".to_owned(), "[1]".to_owned()]);
    let fired = FiredJoin { body: BODY.to_owned(), results };
    assert_eq!(backend.find_fired(&id(ns, "join"), 100).await?, Some(fired));
    Ok(())
}

pub(super) async fn the_member_that_fired_is_told_so_again(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 2).await?;
    assert_eq!(arrive(&backend, &[succeeded(ns, 1)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [FIRST]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [AGAIN]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 1), succeeded(ns, 0)]).await?, [Turn::Done, AGAIN]);
    Ok(())
}

pub(super) async fn the_first_failed_member_in_order_is_found(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 3).await?;
    arrive(&backend, &[failed(ns, 2, "third"), succeeded(ns, 0), failed(ns, 1, "second")]).await?;
    let fired = backend.find_fired(&id(ns, "join"), 100).await?;
    let results = JoinResults::Failed { task: id(ns, "1"), failure: Failure::new("ValueError", "second") };
    assert_eq!(fired, Some(FiredJoin { body: BODY.to_owned(), results }));
    Ok(())
}

pub(super) async fn results_beyond_the_limit_are_not_read(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 2).await?;
    arrive(&backend, &[succeeded(ns, 0), succeeded(ns, 1)]).await?;
    for (largest, results) in
        [(6, JoinResults::All(vec!["[0]".to_owned(), "[1]".to_owned()])), (5, JoinResults::TooLarge { size: 6 })]
    {
        let fired = backend.find_fired(&id(ns, "join"), largest).await?;
        assert_eq!(fired, Some(FiredJoin { body: BODY.to_owned(), results }));
    }
    Ok(())
}

pub(super) async fn what_is_no_join_has_no_members(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Unknown]);
    add(&backend, ns, 1).await?;
    // Nothing was left of it.
    assert_eq!(backend.fire(&[member(ns, 0)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [FIRST]);
    assert_eq!(arrive(&backend, &[]).await?, []);
    Ok(())
}

pub(super) async fn a_join_that_was_given_up_does_not_fire(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 1).await?;
    backend.give_up_join(&id(ns, "join"), "0 of 1 sent").await?;
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Done]);
    assert_eq!(backend.find_fired(&id(ns, "join"), 100).await?, None);
    let fired = format!("{ns}-fired");
    add(&backend, &fired, 1).await?;
    assert_eq!(arrive(&backend, &[succeeded(&fired, 0)]).await?, [FIRST]);
    backend.give_up_join(&id(&fired, "join"), "too late").await?;
    assert_eq!(arrive(&backend, &[succeeded(&fired, 0)]).await?, [AGAIN], "it had fired before");
    Ok(())
}

pub(super) async fn only_joins_that_fired_long_ago_are_swept(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (fired, open) = (format!("{ns}-fired"), format!("{ns}-open"));
    add(&backend, &fired, 1).await?;
    add(&backend, &open, 2).await?;
    arrive(&backend, &[succeeded(&fired, 0), succeeded(&open, 0)]).await?;
    backend.sweep_joins(Duration::from_secs(600), 10).await?;
    assert!(backend.find_fired(&id(&fired, "join"), 100).await?.is_some());
    while backend.sweep_joins(Duration::ZERO, 10).await? > 0 {}
    assert_eq!(backend.find_fired(&id(&fired, "join"), 100).await?, None);
    assert_eq!(arrive(&backend, &[succeeded(&fired, 0)]).await?, [Turn::Unknown]);
    assert_eq!(arrive(&backend, &[succeeded(&open, 1)]).await?, [FIRST], "an open join stays with its members");
    Ok(())
}

pub(super) async fn a_join_is_swept_in_pieces(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 25).await?;
    let members: Vec<_> = (0..25).map(|index| succeeded(ns, index)).collect();
    arrive(&backend, &members).await?;
    let mut sweeps = 0;
    while backend.sweep_joins(Duration::ZERO, 10).await? > 0 {
        sweeps += 1;
    }
    assert!(sweeps >= 3, "ten arrivals at a time: {sweeps}");
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Unknown]);
    Ok(())
}

pub(super) async fn a_join_whose_sender_is_gone_ends_and_tells_how_many_were_sent(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let join = id(ns, "join");
    backend
        .add_join(&NewJoin { patience: Some(Duration::from_secs(600)), ..NewJoin::new(&join, 100_000, BODY) })
        .await?;
    assert!(backend.touch_join(&join, 31_204, Some(Duration::from_secs(600))).await?);
    backend.end_overdue_join(&join).await?;
    assert_eq!(backend.fire(&[nobody(ns)]).await?, [Turn::Done], "its sender is at work");
    assert!(backend.touch_join(&join, 31_204, Some(Duration::ZERO)).await?);
    assert_eq!(arrive(&backend, &[succeeded(ns, 0)]).await?, [Turn::Done]);
    assert!(backend.overdue_joins(1_000).await?.contains(&join));
    for _ in 0..2 {
        backend.end_overdue_join(&join).await?;
        assert_eq!(backend.fire(&[nobody(ns)]).await?, [AGAIN], "a worker may have died after the first one");
    }
    assert_eq!(arrive(&backend, &[succeeded(ns, 1)]).await?, [Turn::Done], "a late member");
    let reason = "its sender is gone: 31,204 of 100,000 sent".to_owned();
    assert_eq!(results(&backend, ns).await?, Some(JoinResults::Over { reason }));
    assert!(!backend.touch_join(&join, 40_000, None).await?, "the sender hears of it");
    assert!(!backend.overdue_joins(1_000).await?.contains(&join));
    Ok(())
}

pub(super) async fn a_join_whose_sender_is_at_work_stays_open(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let join = id(ns, "join");
    backend.add_join(&NewJoin { patience: Some(Duration::ZERO), ..NewJoin::new(&join, 2, BODY) }).await?;
    assert!(backend.touch_join(&join, 2, None).await?, "all are sent");
    assert!(!backend.overdue_joins(1_000).await?.contains(&join));
    backend.end_overdue_join(&join).await?;
    assert_eq!(arrive(&backend, &[succeeded(ns, 0), succeeded(ns, 1)]).await?, [FIRST, Turn::Done]);
    assert!(backend.touch_join(&join, 2, None).await?, "it has fired, which is no error");
    Ok(())
}

pub(super) async fn a_join_fails_at_its_deadline_unless_it_is_decided(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let rules = ChordRules { deadline: Some(Duration::ZERO), ..ChordRules::default() };
    backend.add_join(&NewJoin { rules, ..NewJoin::new(id(ns, "join"), 3, BODY) }).await?;
    arrive(&backend, &[succeeded(ns, 0), failed(ns, 2, "no")]).await?;
    assert!(backend.overdue_joins(1_000).await?.contains(&id(ns, "join")));
    backend.end_overdue_join(&id(ns, "join")).await?;
    let reason = "its deadline has passed: 2 of 3 members have ended".to_owned();
    assert_eq!(results(&backend, ns).await?, Some(JoinResults::Over { reason }));

    // Its last member was lost between its arrival and its look.
    let lost = format!("{ns}-lost");
    backend.add_join(&NewJoin { rules, ..NewJoin::new(id(&lost, "join"), 1, BODY) }).await?;
    backend.record_arrivals(&[succeeded(&lost, 0)]).await?;
    backend.end_overdue_join(&id(&lost, "join")).await?;
    assert_eq!(backend.fire(&[nobody(&lost)]).await?, [FIRST]);
    assert_eq!(results(&backend, &lost).await?, Some(JoinResults::All(vec!["[0]".to_owned()])));
    Ok(())
}

pub(super) async fn the_policy_of_a_join_decides_when_it_fires_and_what_its_body_gets(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let open = async |name: &str, policy| {
        let ns = format!("{ns}-{name}");
        let rules = ChordRules { policy, ..ChordRules::default() };
        let join = NewJoin { rules, ..NewJoin::new(id(&ns, "join"), 3, BODY) };
        backend.add_join(&join).await.map(|()| ns)
    };
    let fast = open("fast", ChordPolicy::FailFast).await?;
    assert_eq!(arrive(&backend, &[succeeded(&fast, 0)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[failed(&fast, 1, "no")]).await?, [FIRST]);
    assert!(matches!(results(&backend, &fast).await?, Some(JoinResults::Failed { .. })));
    assert_eq!(arrive(&backend, &[succeeded(&fast, 2)]).await?, [Turn::Done], "a late member");

    let settled = open("settled", ChordPolicy::Settled).await?;
    assert_eq!(arrive(&backend, &[failed(&settled, 1, "\"no\"")]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(&settled, 0)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(&settled, 2)]).await?, [FIRST]);
    let ends = [
        format!(r#"{{"id":"{}","ok":true,"result":[0]}}"#, id(&settled, "0")),
        format!(r#"{{"id":"{}","ok":false,"error":{{"type":"ValueError","message":"\"no\""}}}}"#, id(&settled, "1")),
        format!(r#"{{"id":"{}","ok":true,"result":[2]}}"#, id(&settled, "2")),
    ];
    assert_eq!(results(&backend, &settled).await?, Some(JoinResults::All(ends.to_vec())));

    let some = open("some", ChordPolicy::AtLeast(2)).await?;
    assert_eq!(arrive(&backend, &[failed(&some, 0, "no")]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(&some, 2)]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[succeeded(&some, 1)]).await?, [FIRST]);
    let both = vec!["[1]".to_owned(), "[2]".to_owned()];
    assert_eq!(results(&backend, &some).await?, Some(JoinResults::All(both)));

    let few = open("few", ChordPolicy::AtLeast(2)).await?;
    assert_eq!(arrive(&backend, &[failed(&few, 0, "no")]).await?, [Turn::Done]);
    assert_eq!(arrive(&backend, &[failed(&few, 2, "no")]).await?, [FIRST], "two can no longer succeed");
    assert!(matches!(results(&backend, &few).await?, Some(JoinResults::Failed { task, .. }) if task == id(&few, "0")));
    Ok(())
}

async fn results(backend: &Arc<dyn Backend>, ns: &str) -> Result<Option<JoinResults>> {
    Ok(backend.find_fired(&id(ns, "join"), 1_000).await?.map(|fired| fired.results))
}

fn nobody(ns: &str) -> JoinMember {
    member(ns, NOBODY)
}

pub(super) async fn the_record_of_a_member_counts_its_end(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    add(&backend, ns, 4).await?;
    let record = |index: i64, state| TaskRecord {
        member: Some(Box::new(member(ns, index))),
        ..ended(ns, &index.to_string(), state)
    };
    let failed = TaskRecord { failure: Some(Failure::new("ValueError", "no")), ..record(3, TaskState::Failure) };
    let huge = TaskRecord { result: Some("[1e99999]".to_owned()), ..record(1, TaskState::Success) };
    let none = TaskRecord { result: None, ..record(2, TaskState::Success) };
    let plain = ended(ns, "plain", TaskState::Success);
    backend.record(&[failed.clone(), plain, record(0, TaskState::Success), none, huge]).await?;
    // What is not written counts nothing, and neither does what is written again.
    let late = TaskRecord { replays: 1, ..record(3, TaskState::Success) };
    backend.record(&[failed, late]).await?;
    assert_eq!(backend.fire(&[member(ns, 2), member(ns, 0)]).await?.len(), 2);
    let fired = backend.find_fired(&id(ns, "join"), 100).await?;
    let results = JoinResults::Failed { task: id(ns, "3"), failure: Failure::new("ValueError", "no") };
    assert_eq!(fired, Some(FiredJoin { body: BODY.to_owned(), results }));

    let all = format!("{ns}-all");
    add(&backend, &all, 2).await?;
    let record = |index: i64, result: &str| TaskRecord {
        member: Some(Box::new(member(&all, index))),
        result: Some(result.to_owned()),
        ..ended(&all, &index.to_string(), TaskState::Success)
    };
    backend.record(&[record(1, r#"{"b": 1.50, "a": "\u0000"}"#)]).await?;
    assert_eq!(backend.fire(&[member(&all, 1)]).await?, [Turn::Done]);
    backend.record(&[record(0, "[1e99999]")]).await?;
    assert_eq!(backend.fire(&[member(&all, 0)]).await?, [FIRST]);
    let results = JoinResults::All(vec!["[1e99999]".to_owned(), r#"{"b": 1.50, "a": "\u0000"}"#.to_owned()]);
    let fired = backend.find_fired(&id(&all, "join"), 100).await?;
    assert_eq!(fired, Some(FiredJoin { body: BODY.to_owned(), results }), "as exact as they were");
    Ok(())
}

async fn add(backend: &Arc<dyn Backend>, ns: &str, size: u64) -> Result<()> {
    let join = NewJoin::new(id(ns, "join"), size, BODY);
    backend.add_join(&join).await?;
    // Again, after an answer that was lost.
    backend.add_join(&join).await
}

async fn arrive(backend: &Arc<dyn Backend>, arrivals: &[Arrival]) -> Result<Vec<Turn>> {
    backend.record_arrivals(arrivals).await?;
    let members: Vec<_> = arrivals.iter().map(|arrival| arrival.member.clone()).collect();
    backend.fire(&members).await
}

fn member(ns: &str, index: i64) -> JoinMember {
    JoinMember { join: id(ns, "join"), index }
}

fn succeeded(ns: &str, index: i64) -> Arrival {
    Arrival { member: member(ns, index), task: id(ns, &index.to_string()), outcome: Ok(format!("[{index}]")) }
}

fn failed(ns: &str, index: i64, message: &str) -> Arrival {
    Arrival { outcome: Err(Failure::new("ValueError", message)), ..succeeded(ns, index) }
}
