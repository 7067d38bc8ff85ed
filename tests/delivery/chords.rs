//! Groups and chords.

use celeriac::prelude::*;
use celeriac::{Chain, Failure, Group, GroupCounts, PgConnection};
use celeriac_tests::{Bed, eventually};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::stage::{Stage, add, fail, flaky, see};

/// Returns the signature of the body: it records the results, and its own argument.
fn collect() -> Signature {
    Signature::new("t.see").arg("body")
}

/// Returns the signature of a member that adds one.
fn next(number: i64) -> Signature {
    add(number, 1).signature().unwrap()
}

fn numbers(numbers: impl IntoIterator<Item = i64>) -> Json {
    numbers.into_iter().collect::<Vec<_>>().into()
}

/// Asserts that a chord has failed because of this member, and that its body has not run.
async fn assert_failed(stage: &Stage, chord: &celeriac::ChordHandle, member: usize, raised: &str) {
    let id = chord.header().members()[member].id();
    let failure = Failure::new("ChordError", format!("Dependency {id} raised {raised}"));
    assert_eq!(stage.end(chord.id()).await, (TaskState::Failure, Some(failure)));
    assert_eq!(stage.row(chord.id()).await.attempts, 0, "it has not run");
}

#[celeriac_tests::test]
async fn a_group_runs_all_its_members_and_its_handle_awaits_them(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let first: Group = (0..3).map(next).collect();
    let group = first.with(Group::new([next(10), next(20)]).into()).submit(stage.client()).await.unwrap();
    assert_eq!(group.get().await.unwrap(), [1, 2, 3, 11, 21].map(Json::from));
    assert_eq!((group.len(), group.is_empty()), (5, false));
    let mut ended: Vec<_> = group.completed().collect().await;
    ended.sort_by_key(|(index, _)| *index);
    assert_eq!(ended.into_iter().map(|(_, result)| result.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 11, 21]);
    assert_eq!(group.counts().await.unwrap(), GroupCounts { waiting: 0, successful: 5, failed: 0 });
    for member in group.members() {
        assert_eq!(stage.row(member.id()).await.group_id.as_deref(), Some(group.id()));
    }
    let seen = |own: &str| see(json!(own), Json::Null).signature().unwrap();
    Group::new([seen("a"), seen("b")]).submit(stage.client()).await.unwrap();
    let mut calls = stage.seen(2).await;
    calls.sort_by_key(|call| call.index);
    assert_eq!(calls.iter().map(|call| call.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(calls[0].given.0, json!("a"));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_group_without_members_has_no_results_and_its_chord_runs_at_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let group = Group::default().submit(stage.client()).await.unwrap();
    assert_eq!(group.get().await.unwrap(), Vec::<Json>::new());
    assert_eq!(group.counts().await.unwrap(), GroupCounts::default());
    let chord = Group::default().then(collect()).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([]));
    assert!(chord.header().is_empty());
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!([]), json!("body"))]);
}

#[celeriac_tests::test]
async fn the_body_of_a_chord_runs_once_with_all_results_in_order(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let header: Group = (0..100).map(next).collect();
    let chord = (header | collect()).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), numbers(1..=100));
    assert_eq!(chord.header().get().await.unwrap().len(), 100);
    let row = stage.row(chord.id()).await;
    let members: Vec<_> = chord.header().members().iter().map(|member| member.id().to_owned()).collect();
    assert!(row.parent_id.is_some_and(|parent| members.contains(&parent)), "its parent is the member that fired it");
    assert_eq!(row.group_id.as_deref(), Some(chord.header().id()));
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(numbers(1..=100), json!("body"))]);
}

#[celeriac_tests::test]
async fn a_chord_with_members_that_fail_fails_when_all_have_ended(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let failing = |given: i64| fail(json!(given)).signature().unwrap();
    let header = Group::new([next(1), failing(7), next(2), failing(8)]);
    let chord = header.then(collect()).then(collect()).on_error(Signature::new("t.see").arg("errback"));
    let chord = chord.submit(stage.client()).await.unwrap();
    assert_failed(&stage, &chord, 1, "ValueError('no good: 7')").await;
    let Err(error) = chord.get().await else { panic!("the caller hears of it") };
    assert!(error.to_string().contains("ChordError: Dependency "), "{error}");
    assert_eq!(chord.header().counts().await.unwrap(), GroupCounts { waiting: 0, successful: 2, failed: 2 });
    stage.seen(1).await;
    let id = chord.id().to_owned();
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!(id), json!("errback"))]);
}

#[celeriac_tests::test]
async fn a_retry_is_not_the_end_of_a_member_and_an_exhausted_one_is(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let flaky = |succeeds_at: u32| flaky(succeeds_at).signature().unwrap();
    let chord = Group::new([flaky(3), next(1)]).then(collect()).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([3, 2]));
    let chord = Group::new([next(1), flaky(99)]).then(collect()).submit(stage.client()).await.unwrap();
    assert_failed(&stage, &chord, 1, "TaskError('attempt 3 failed')").await;
    assert_eq!(stage.dead(1).await[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
    assert_eq!(stage.finish().await.len(), 7, "six attempts and one body");
}

#[celeriac_tests::test]
async fn a_member_that_does_not_run_ends_its_chord_too(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let expired = next(1).option("expires", "2020-01-01T00:00:00Z");
    let unknown = Signature::new("t.nobody").queue("celeriac");
    let unfitting = Signature::new("t.add").arg("one").arg("two");
    for (member, raised) in [
        (expired, "TaskRevokedError('expired')"),
        (unknown, "NotRegistered('no task has the name `t.nobody`"),
        (unfitting, "TypeError("),
    ] {
        let chord = Group::new([next(1), member]).then(collect()).submit(stage.client()).await.unwrap();
        let (state, failure) = stage.end(chord.id()).await;
        let message = failure.unwrap().message;
        assert_eq!(state, TaskState::Failure);
        let id = chord.header().members()[1].id();
        assert!(message.starts_with(&format!("Dependency {id} raised {raised}")), "{message}");
    }
    assert_eq!(stage.finish().await, []);
}

#[celeriac_tests::test]
async fn a_revoked_member_ends_its_chord(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let later = next(1).option("countdown", 2_i64);
    let chord = Group::new([next(1), later]).then(collect()).submit(stage.client()).await.unwrap();
    chord.header().members()[1].revoke().await.unwrap();
    assert_failed(&stage, &chord, 1, "TaskRevokedError('revoked')").await;
    assert_eq!(stage.finish().await, []);
}

#[celeriac_tests::test]
async fn a_member_whose_result_is_ignored_counts_with_its_result(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let ignored = add(1, 2).ignore_result().signature().unwrap();
    let chord = Group::new([ignored, next(1)]).then(collect()).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([3, 2]));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn members_and_bodies_may_be_chains(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let more = |number: i64| Signature::new("t.add").arg(number);
    let member = || Chain::new(next(1)).then(more(10)).then(more(100));
    let body = Chain::new(collect()).then(Signature::new("t.see").arg("last"));
    let chord = Group::new([member().into(), next(5), member().into()]).then(body.into());
    let chord = chord.submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([112, 6, 112]));
    assert_eq!(chord.header().get().await.unwrap(), [112, 6, 112].map(Json::from));

    let broken = Chain::new(next(1)).then(Signature::new("t.fail")).then(more(1)).then(more(2));
    let chord = Group::new([next(5), broken.into()]).then(collect()).submit(stage.client()).await.unwrap();
    assert_failed(&stage, &chord, 1, "ValueError('no good: 2')").await;
    let calls = stage.finish().await;
    let own: Vec<_> = calls.iter().map(|call| call.given.1.clone()).collect();
    assert_eq!(own, ["body", "last"]);
}

#[celeriac_tests::test]
async fn a_task_can_send_a_chord_and_its_members_are_its_children(bed: Bed) {
    #[task(name = "t.fan_out")]
    async fn fan_out(ctx: TaskContext, count: i64) -> TaskResult<String> {
        let header: Group = (0..count).map(next).collect();
        Ok(header.then(collect()).submit(ctx.client()).await?.id().to_owned())
    }
    let stage = Stage::with(&bed, |program| program.tasks(tasks![fan_out])).await;
    let sent = fan_out(4).task_id("parent").submit(stage.client()).await.unwrap();
    let body = sent.get().await.unwrap();
    assert_eq!(stage.client().handle::<Json>(body).get().await.unwrap(), json!([1, 2, 3, 4]));
    let calls = stage.finish().await;
    assert_eq!((calls.len(), calls[0].root.as_str()), (1, "parent"));
}

#[celeriac_tests::test(real)]
async fn transactional_members_and_bodies_count_like_others(bed: Bed) {
    #[task(name = "t.book", transactional)]
    async fn book(tx: &mut PgConnection, number: i64) -> TaskResult<i64> {
        sqlx::query("INSERT INTO booked VALUES ($1)").bind(number).execute(tx).await?;
        Ok(number)
    }
    #[task(name = "t.close", transactional)]
    async fn close(tx: &mut PgConnection, numbers: Vec<i64>) -> TaskResult<i64> {
        let booked = sqlx::query_scalar("SELECT count(*) FROM booked WHERE number = ANY ($1)").bind(numbers);
        Ok(booked.fetch_one(tx).await?)
    }
    sqlx::raw_sql("CREATE TABLE booked (number bigint)").execute(&mut bed.database().await).await.unwrap();
    let stage = Stage::with(&bed, |program| program.tasks(tasks![book, close])).await;
    let header: Group = (0..20).map(|number| book(number).signature().unwrap()).collect();
    let ignored = book(20).ignore_result().signature().unwrap();
    let chord = header.with(ignored).then(Signature::new("t.close")).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!(21), "the body begins after every commit");
    stage.finish().await;
}

#[celeriac_tests::test(real)]
async fn open_chords_are_shown_with_the_members_that_have_ended(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let later = next(1).option("countdown", 600_i64);
    let failing = fail(json!(1)).signature().unwrap();
    let chord = Group::new([next(1), failing, later]).then(collect()).submit(stage.client()).await.unwrap();
    let open = async || {
        let open = "SELECT size, ended, failed FROM celeriac.open_joins WHERE id = $1";
        let open = sqlx::query_as::<_, (i64, i64, i64)>(open).bind(chord.header().id());
        open.fetch_optional(&mut bed.database().await).await.unwrap()
    };
    eventually("two members have ended", open, |open| *open == Some((3, 2, 1))).await;
    assert_eq!(chord.header().counts().await.unwrap(), GroupCounts { waiting: 1, successful: 1, failed: 1 });
    chord.header().members()[2].revoke().await.unwrap();
}

#[celeriac_tests::test]
async fn what_is_not_supported_yet_and_what_has_no_store_is_refused_before_anything_is_sent(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let chord = || Signature::new("celery.chord");
    let group = || Group::new([next(1)]);
    let refused = [
        (group().with(chord()).submit(&client).await.err(), "chords cannot be members of a group yet"),
        (Chain::new(next(1)).then(chord()).submit(&client).await.err(), "cannot be steps of a chain yet"),
        (group().then(chord()).submit(&client).await.err(), "cannot be steps of a chain yet"),
        (group().then(group().into()).submit(&client).await.err(), "cannot be steps of a chain yet"),
    ];
    for (error, reason) in refused {
        let error = error.unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let without = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = group().then(collect()).submit(&without).await.unwrap_err().to_string();
    assert!(error.contains("a chord needs a result store"), "{error}");
}
