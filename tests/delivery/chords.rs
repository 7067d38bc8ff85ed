//! Groups and chords.

use celeriac::prelude::*;
use celeriac::{Chain, Failure, Group, GroupCounts, PgConnection};
use celeriac_tests::{Bed, eventually};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::letter::Letter;
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

/// Returns the signature of a task that adds to its argument.
fn more(number: i64) -> Signature {
    Signature::new("t.add").arg(number)
}

/// Returns the signature of a group of tasks that add to their argument.
fn fork() -> Signature {
    Group::new([more(10), more(20)]).into()
}

#[celeriac_tests::test]
async fn a_group_before_a_step_of_a_chain_is_a_chord(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let told = |own: &str| Signature::new("t.see").arg(own);
    for (chain, result) in [
        (Chain::new(next(1)).then(fork()).then(collect()).then(told("last")), json!([12, 22])),
        (Chain::new(Group::new([next(1), next(2)]).into()).then(collect()).then(told("last")), json!([2, 3])),
        (Chain::new(next(1)).then(Group::new([more(10), more(20)]).then(collect()).into()), json!([12, 22])),
        (Chain::new(next(1)).then(Group::new([more(10)]).into()).then(more(100)), json!(112)),
        (
            Chain::new(next(1)).then(fork()).then(Group::new([told("a"), told("b")]).into()).then(collect()),
            json!([[12, 22], [12, 22]]),
        ),
        (Chain::new(next(1)).then(Group::default().then(collect()).into()), json!([])),
    ] {
        assert_eq!(chain.submit(stage.client()).await.unwrap().get().await.unwrap(), result);
    }
    let calls = stage.finish().await;
    let mut own: Vec<_> = calls.iter().map(|call| call.given.1.as_str().unwrap().to_owned()).collect();
    own.sort();
    assert_eq!(own, ["a", "b", "body", "body", "body", "body", "body", "last", "last"]);
}

#[celeriac_tests::test]
async fn a_chord_in_a_member_of_a_chord_ends_that_member_with_its_body(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let inner = || Chain::new(next(1)).then(fork()).then(collect());
    let chord = Group::new([inner().into(), next(5), inner().into()]).then(collect());
    let chord = chord.submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([[12, 22], 6, [12, 22]]));
    assert_eq!(chord.header().get().await.unwrap(), [json!([12, 22]), json!(6), json!([12, 22])]);

    let broken = Group::new([more(10), Signature::new("t.fail")]);
    let broken = Chain::new(next(1)).then(broken.into()).then(collect());
    let chord = Group::new([next(5), broken.into()]).then(collect()).submit(stage.client()).await.unwrap();
    let (state, failure) = stage.end(chord.id()).await;
    let (member, message) = (chord.header().members()[1].id(), failure.unwrap().message);
    assert_eq!(state, TaskState::Failure);
    assert!(message.starts_with(&format!("Dependency {member} raised ChordError(")), "{message}");
    assert!(message.contains("raised ValueError("), "{message}");
    assert_eq!(stage.finish().await.len(), 3, "three bodies");
}

#[celeriac_tests::test]
async fn a_chain_that_fails_before_its_chord_ends_with_that_error(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let chain = Chain::new(fail(json!(7)).signature().unwrap()).then(fork()).then(collect()).then(collect());
    let handle = chain.submit(stage.client()).await.unwrap();
    assert_eq!(stage.end(handle.id()).await.1, Some(Failure::new("ValueError", "no good: 7")));
    let chain = Chain::new(next(1)).then(Group::new([more(1), Signature::new("t.fail")]).into()).then(collect());
    let handle = chain.then(collect()).submit(stage.client()).await.unwrap();
    assert_eq!(stage.end(handle.id()).await.1.unwrap().kind, "ChordError");
    assert_eq!(stage.finish().await, []);
}

/// As `chain(add.s(1, 2), chord([add.s(3), add.s(4)], collect.s()), collect.s("end"))` is recorded.
#[celeriac_tests::test]
async fn a_chord_in_a_chain_that_celery_sends_runs(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let signature = |task: &str, args: Json, options: Json| json!({"task": task, "args": args, "kwargs": {}, "options": options, "subtask_type": null, "immutable": false});
    let member = |index: i64| {
        let options = json!({"task_id": format!("member-{index}"), "group_index": index});
        signature("t.add", json!([index + 3]), options)
    };
    let header = json!({"task": "celery.group", "args": [], "kwargs": {"tasks": [member(0), member(1)]},
        "options": {"task_id": "the-group", "root_id": null, "parent_id": null}, "subtask_type": "group",
        "immutable": false});
    let body = signature("t.see", json!(["body"]), json!({"task_id": "the-body"}));
    let chord = json!({"task": "celery.chord", "args": [], "options": {"task_id": "the-group"},
        "kwargs": {"kwargs": {}, "header": header, "body": body}, "subtask_type": "chord", "immutable": false});
    let end = signature("t.see", json!(["end"]), json!({"task_id": "the-end"}));
    let embed = json!({"callbacks": null, "errbacks": null, "chain": [end, chord], "chord": null});
    Letter::new("t.add", "first", &json!([])).carrying(&json!([1, 2]), &embed).put(&stage.peer).await;
    for (id, result) in [("the-end", json!([6, 7])), ("the-body", json!([6, 7])), ("member-1", json!(7))] {
        assert_eq!(stage.client().handle::<Json>(id).get().await.unwrap(), result, "{id}");
    }
    assert_eq!(stage.row("member-0").await.group_id.as_deref(), Some("the-group"));
    assert_eq!(stage.finish().await.len(), 2);
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
    // The chord that follows from a transactional task commits with it.
    let chain = Chain::new(book(21).signature().unwrap()).then(fork()).then(collect());
    assert_eq!(chain.submit(stage.client()).await.unwrap().get().await.unwrap(), json!([31, 41]));
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
        (Chain::new(next(1)).then(chord()).submit(&client).await.err(), "is not a task"),
        (group().then(chord()).submit(&client).await.err(), "is not a task"),
        (group().then(group().into()).submit(&client).await.err(), "a group cannot be the last step of a chain yet"),
    ];
    for (error, reason) in refused {
        let error = error.unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let without = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = group().then(collect()).submit(&without).await.unwrap_err().to_string();
    assert!(error.contains("a chord needs a result store"), "{error}");
}
