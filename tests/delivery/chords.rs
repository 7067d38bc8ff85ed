//! Groups and chords.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Chain, DynamicCall, Failure, Group, GroupCounts, MemberEnd, PgConnection};
use celeriac_results::NewJoin;
use celeriac_tests::{Bed, eventually};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::command_line::run;
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
    let group = first.with(Group::new([next(10), next(20)]).signature().unwrap()).submit(stage.client()).await.unwrap();
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
async fn a_chord_fails_at_its_deadline_and_calls_its_errback_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let later = next(1).option("countdown", 3_600_i64);
    let chord = Group::new([next(1), later]).then(collect()).on_error(Signature::new("t.see").arg("errback"));
    let chord = chord.deadline(Duration::from_millis(100)).submit(stage.client()).await.unwrap();
    let failure = Failure::new("ChordError", "its deadline has passed: 1 of 2 members have ended");
    assert_eq!(stage.end(chord.id()).await, (TaskState::Failure, Some(failure)));
    stage.seen(1).await;
    // The chord of a chain has a deadline too.
    let slow = Group::new([more(1), more(2).option("countdown", 3_600_i64)]);
    let slow = slow.then(collect()).deadline(Duration::from_millis(100));
    let chain = Chain::new(next(1)).then(slow).submit(stage.client()).await.unwrap();
    assert_eq!(stage.end(chain.id()).await.1.unwrap().kind, "ChordError");
    let id = chord.id().to_owned();
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!(id), json!("errback"))]);
}

#[celeriac_tests::test]
async fn a_chord_whose_sender_dies_between_two_members_fails_and_tells_how_many_were_sent(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let store = stage.client().results().unwrap();
    for sent in [0_u64, 1] {
        let group = format!("half-sent-{sent}");
        let body = collect().option("task_id", format!("body-{sent}")).option("group_id", group.as_str());
        let body = body.on_error(Signature::new("t.see").arg("errback")).body_of_join(&group, 3);
        let text = serde_json::to_string(&celeriac::protocol::Value::from(body.clone())).unwrap();
        let join = NewJoin { patience: Some(Duration::ZERO), ..NewJoin::new(&group, 3, text) };
        store.add_join(&join).await.unwrap();
        for index in 0..sent {
            let member = next(1).option("group_id", group.as_str()).option("group_index", index as i64);
            let member = member.option("chord", celeriac::protocol::Value::from(body.clone()));
            let call = DynamicCall::from_signature(member, stage.client().topology()).unwrap();
            stage.client().submit_dynamic(call).await.unwrap();
        }
        // The sender dies here.
        let failure = Failure::new("ChordError", format!("its sender is gone: {sent} of 3 sent"));
        assert_eq!(stage.end(&format!("body-{sent}")).await, (TaskState::Failure, Some(failure)));
    }
    stage.seen(2).await;
    assert_eq!(stage.finish().await.len(), 2, "each errback is called once");
}

#[celeriac_tests::test]
async fn the_policy_of_a_chord_decides_what_its_body_gets(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let failing = || fail(json!(7)).signature().unwrap();
    let later = || next(5).option("countdown", 3_600_i64);

    let fast = Group::new([later(), failing()]).then(collect()).fail_fast().submit(stage.client()).await.unwrap();
    assert_failed(&stage, &fast, 1, "ValueError('no good: 7')").await;

    let settled = Group::new([next(1), failing()]).settled().then(collect()).submit(stage.client()).await.unwrap();
    let got = settled.get().await.unwrap();
    let ends: Vec<MemberEnd<i64>> = serde_json::from_value(got).unwrap();
    let ids: Vec<_> = settled.header().members().iter().map(|member| member.id()).collect();
    assert_eq!(ends.iter().map(|end| end.id.as_str()).collect::<Vec<_>>(), ids);
    assert_eq!(ends[0].outcome, Ok(2));
    assert_eq!(ends[1].outcome, Err(Failure::new("ValueError", "no good: 7")));

    let some = Group::new([later(), failing(), next(1), next(2)]).then(collect()).at_least(2);
    let some = some.submit(stage.client()).await.unwrap();
    assert_eq!(some.get().await.unwrap(), numbers([2, 3]));

    let few = Group::new([failing(), later(), failing()]).then(collect()).at_least(2);
    let few = few.submit(stage.client()).await.unwrap();
    let (state, failure) = stage.end(few.id()).await;
    assert_eq!((state, failure.unwrap().kind.as_str()), (TaskState::Failure, "ChordError"));

    // In a chain, the rules travel with the signature of the chord.
    let inner = Group::new([more(10), Signature::new("t.fail")]).settled().then(collect());
    let chain = Chain::new(next(1)).then(inner).submit(stage.client()).await.unwrap();
    assert_eq!(chain.get().await.unwrap()[0]["result"], json!(12));
    assert_eq!(stage.finish().await.len(), 3, "three bodies");
}

#[celeriac_tests::test]
async fn handles_are_made_again_from_their_ids(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let failing = fail(json!(7)).signature().unwrap();
    let later = next(1).option("countdown", 10_i64);
    let chord = Group::new([next(1), failing, later]).then(collect()).submit(stage.client()).await.unwrap();
    let id = chord.header().id().to_owned();
    assert!(matches!(stage.client().group(&id).await, Err(celeriac::ClientError::Unknown { .. })), "it is not saved");
    chord.save().await.unwrap();
    chord.save().await.unwrap();

    let client = bed.client(bed.program([]).set("client.result_timeout", "40s")).await;
    let (group, again) = (client.group(&id).await.unwrap(), client.chord(&id).await.unwrap());
    let ids = |group: &celeriac::GroupHandle| -> Vec<_> {
        group.members().iter().map(|member| member.id().to_owned()).collect()
    };
    assert_eq!((ids(&group), again.id()), (ids(chord.header()), chord.id()));
    assert_eq!(group.members()[0].get().await.unwrap(), json!(2));
    let counted = async || group.counts().await.unwrap();
    let expected = GroupCounts { waiting: 1, successful: 1, failed: 1 };
    eventually("two members end", counted, |counts| *counts == expected).await;
    let failure = Failure::new("ValueError", "no good: 7");
    let first = group.first_error().await.unwrap().map(|(index, failure)| (index, failure.kind));
    assert_eq!(first, Some((1, failure.kind)));
    again.revoke().await.unwrap();
    assert_eq!(stage.end(chord.id()).await.0, TaskState::Failure, "all members have ended");
    assert_eq!(group.counts().await.unwrap().waiting, 0);

    let group = Group::new([next(1)]).submit(stage.client()).await.unwrap();
    group.save().await.unwrap();
    assert!(client.chord(group.id()).await.is_err(), "it has no body");
    assert_eq!(client.group(group.id()).await.unwrap().get().await.unwrap(), [json!(2)]);
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_workflow_is_read_as_a_tree_from_any_of_its_tasks_and_from_its_chord(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let chain = Chain::new(next(1).option("task_id", "root")).then(fork()).then(collect());
    let last = chain.submit(stage.client()).await.unwrap();
    last.get().await.unwrap();
    let store = stage.client().results().unwrap();
    let tree = store.workflow("root", 100).await.unwrap();
    let depths: Vec<_> = tree.iter().map(|task| (task.depth, task.name.as_str())).collect();
    assert_eq!(depths.len(), 4, "{depths:?}");
    assert_eq!(depths[0], (0, "t.add"));
    assert!(depths.contains(&(2, "t.see")), "the body stands under the member that fired: {depths:?}");
    assert_eq!(store.workflow(last.id(), 100).await.unwrap(), tree);
    assert_eq!(store.workflow("root", 2).await.unwrap().len(), 2);

    let group = tree.iter().find_map(|task| task.group_id.clone()).unwrap();
    assert_eq!(store.workflow(&group, 100).await.unwrap().len(), 3, "two members and the body");
    let chords = store.chords(&[group, "nothing".to_owned()]).await.unwrap();
    assert_eq!((chords.len(), chords[0].size, chords[0].ok, chords[0].failed), (1, 2, 2, 0));
    assert!(chords[0].fired_at.is_some() && chords[0].error.is_none());
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_body_that_cannot_be_sent_is_refused_before_a_member_runs(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let member = see(json!(1), Json::Null).signature().unwrap();
    let body = collect().option("time_limit", 1.0).option("soft_time_limit", 2.0);
    let chord = Group::new([member]).then(Chain::new(collect()).then(body)).submit(stage.client()).await;
    let Err(error) = chord else { panic!("it is refused") };
    assert!(error.to_string().contains("is never reached"), "{error}");
    assert_eq!(stage.finish().await, []);

    let limited = |program: celeriac::Builder| program.set("worker.allow_follow_ups_to", "[celeriac]");
    let stage = Stage::with(&bed, limited).await;
    let member = see(json!(1), Json::Null).signature().unwrap();
    let chord = Group::new([member]).then(collect().queue("elsewhere")).submit(stage.client()).await.unwrap();
    assert_eq!(stage.end(chord.header().members()[0].id()).await.1.unwrap().kind, "PermissionError");
    assert_eq!(stage.finish().await, [], "the member has not run");
}

#[celeriac_tests::test]
async fn members_and_bodies_may_be_chains(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let member = || Chain::new(next(1)).then(more(10)).then(more(100));
    let body = Chain::new(collect()).then(Signature::new("t.see").arg("last"));
    let chord = Group::new([member(), Chain::new(next(5)), member()]).then(body);
    let chord = chord.submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([112, 6, 112]));
    assert_eq!(chord.header().get().await.unwrap(), [112, 6, 112].map(Json::from));

    let broken = Chain::new(next(1)).then(Signature::new("t.fail")).then(more(1)).then(more(2));
    let chord = Group::new([Chain::new(next(5)), broken]).then(collect()).submit(stage.client()).await.unwrap();
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
    Group::new([more(10), more(20)]).signature().unwrap()
}

#[celeriac_tests::test]
async fn a_group_before_a_step_of_a_chain_is_a_chord(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let told = |own: &str| Signature::new("t.see").arg(own);
    for (chain, result) in [
        (Chain::new(next(1)).then(fork()).then(collect()).then(told("last")), json!([12, 22])),
        (Chain::new(Group::new([next(1), next(2)])).then(collect()).then(told("last")), json!([2, 3])),
        (Chain::new(next(1)).then(Group::new([more(10), more(20)]).then(collect())), json!([12, 22])),
        (Chain::new(next(1)).then(Group::new([more(10)])).then(more(100)), json!(112)),
        (
            Chain::new(next(1)).then(fork()).then(Group::new([told("a"), told("b")])).then(collect()),
            json!([[12, 22], [12, 22]]),
        ),
        (Chain::new(next(1)).then(Group::default().then(collect())), json!([])),
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
    let chord = Group::new([inner(), Chain::new(next(5)), inner()]).then(collect());
    let chord = chord.submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!([[12, 22], 6, [12, 22]]));
    assert_eq!(chord.header().get().await.unwrap(), [json!([12, 22]), json!(6), json!([12, 22])]);

    let broken = Group::new([more(10), Signature::new("t.fail")]);
    let broken = Chain::new(next(1)).then(broken).then(collect());
    let chord = Group::new([Chain::new(next(5)), broken]).then(collect()).submit(stage.client()).await.unwrap();
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
    let chain = Chain::new(next(1)).then(Group::new([more(1), Signature::new("t.fail")])).then(collect());
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
        (group().then(group()).submit(&client).await.err(), "a group cannot be the last step of a chain yet"),
    ];
    for (error, reason) in refused {
        let error = error.unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let without = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = group().then(collect()).submit(&without).await.unwrap_err().to_string();
    assert!(error.contains("a chord needs a result store"), "{error}");
}

#[celeriac_tests::test(real)]
async fn a_command_shows_a_workflow(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let chain = Chain::new(next(1).option("task_id", "shown")).then(fork()).then(collect());
    chain.submit(stage.client()).await.unwrap().get().await.unwrap();
    let environment = bed.environment();
    let (code, said) = run(&["workflow", "show", "shown"], &environment).await;
    assert_eq!(code, 0, "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("shown t.add SUCCESS at "), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("    ") && line.contains(" t.see SUCCESS")), "{said}");
    assert!(said.contains(": 2 members, 2 succeeded, 0 failed, 0 waiting; decided at "), "{said}");
    let (code, said) = run(&["workflow", "show", "shown", "--json"], &environment).await;
    let shown: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((code, shown["tasks"].as_array().unwrap().len(), &shown["chords"][0]["size"]), (0, 4, &json!(2)));
    let (code, said) = run(&["workflow", "show", "shown", "--mermaid"], &environment).await;
    assert!(code == 0 && said.starts_with("flowchart TD\n"), "{said}");
    let (code, said) = run(&["workflow", "show", "nothing"], &environment).await;
    assert_eq!(code, 65, "{said}");
    stage.finish().await;
}
