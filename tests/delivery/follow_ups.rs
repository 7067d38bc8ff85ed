//! Callbacks and errbacks.

use celeriac::prelude::*;
use celeriac::protocol::Value;
use celeriac::{Chain, Failure};
use celeriac_tests::Bed;
use serde_json::{Value as Json, json};

use crate::stage::{Call, Stage, add, fail, flaky, see, send};

/// Returns the signature of a task that records its arguments. `own` is its own argument.
fn told(own: &str) -> Signature {
    Signature::new("t.see").arg(own)
}

/// Returns the parent and the root of a call.
fn kin(call: &Call) -> (Option<&str>, &str) {
    (call.parent.as_deref(), call.root.as_str())
}

fn given(calls: &[Call]) -> Vec<(Json, Json)> {
    let mut given: Vec<_> = calls.iter().map(|call| call.given.clone()).collect();
    given.sort_by_key(|given| format!("{given:?}"));
    given
}

#[celeriac_tests::test]
async fn a_link_is_called_once_with_the_result_and_is_a_child(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let task = add(1, 2).task_id("one").link(told("own"));
    assert_eq!(task.submit(stage.client()).await.unwrap().get().await.unwrap(), 3);
    let calls = stage.seen(1).await;
    let row = stage.row(&calls[0].id).await;
    assert_eq!((row.parent_id.as_deref(), row.root_id.as_deref()), (Some("one"), Some("one")));
    let calls = stage.finish().await;
    assert_eq!(given(&calls), [(json!(3), json!("own"))]);
    assert_eq!((kin(&calls[0]), calls[0].group.as_deref()), ((Some("one"), "one"), None));
}

#[celeriac_tests::test]
async fn several_links_are_a_group_of_their_own(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let task = add(1, 2).task_id("one").link(told("a")).link(told("b")).link(told("c"));
    task.submit(stage.client()).await.unwrap();
    stage.seen(3).await;
    let mut calls = stage.finish().await;
    calls.sort_by_key(|call| call.index);
    assert_eq!(calls.iter().map(|call| call.index).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(given(&calls), [(json!(3), json!("a")), (json!(3), json!("b")), (json!(3), json!("c"))]);
    let group = calls[0].group.as_deref();
    assert!(group.is_some_and(|group| group != "one"), "{group:?}");
    for call in &calls {
        assert_eq!((call.group.as_deref(), kin(call)), (group, (Some("one"), "one")));
    }
}

#[celeriac_tests::test]
async fn a_link_that_is_a_chain_runs_all_its_steps(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let chain = Chain::new(Signature::new("t.add").arg(10_i64)).then(told("end")).link(told("after"));
    add(1, 2).task_id("one").link(chain).submit(stage.client()).await.unwrap();
    stage.seen(2).await;
    let calls = stage.finish().await;
    assert_eq!(given(&calls), [(json!(13), json!("after")), (json!(13), json!("end"))]);
    let (parent, root) = kin(&calls[0]);
    assert_eq!(root, "one");
    assert!(parent.is_some_and(|parent| parent != "one"), "its parent is the step before it");
    assert_eq!(kin(&calls[1]), (Some(calls[0].id.as_str()), "one"));
}

#[celeriac_tests::test]
async fn a_link_that_is_a_group_is_called_as_that_group_beside_the_other_links(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let members = Value::List(vec![told("a").into(), told("b").into()]);
    let group = Signature::new("celery.group").kwarg("tasks", members).option("task_id", "the-group");
    add(1, 2).task_id("one").link(group).link(told("alone")).submit(stage.client()).await.unwrap();
    stage.seen(3).await;
    let calls = stage.finish().await;
    let mut seen: Vec<_> = calls
        .iter()
        .map(|call| (call.given.1.as_str().unwrap(), call.group.as_deref(), call.index, kin(call)))
        .collect();
    seen.sort();
    let kin = (Some("one"), "one");
    let expected = [("a", Some("the-group"), Some(0), kin), ("alone", None, None, kin)];
    assert_eq!(seen, [expected[0], expected[1], ("b", Some("the-group"), Some(1), kin)]);
    assert!(calls.iter().all(|call| call.given.0 == json!(3)));
}

#[celeriac_tests::test]
async fn an_immutable_link_takes_nothing_of_its_caller(bed: Bed) {
    let stage = Stage::start(&bed).await;
    add(1, 2).link(told("own").immutable()).submit(stage.client()).await.unwrap();
    stage.seen(1).await;
    assert_eq!(given(&stage.finish().await), [(json!("own"), Json::Null)]);
}

#[celeriac_tests::test]
async fn a_chain_hands_each_result_on_and_ends_with_the_last(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let step = |id, number: i64| Signature::new("t.add").arg(number).option("task_id", id);
    let first = add(1, 2).task_id("c-1").signature().unwrap();
    let chain = Chain::new(first).then(step("c-2", 3)).then(step("c-3", 4)).link(told("after"));
    let handle = chain.submit(stage.client()).await.unwrap();
    assert_eq!((handle.id(), handle.get().await.unwrap()), ("c-3", json!(10)));
    for (id, parent, result) in [("c-1", None, "3"), ("c-2", Some("c-1"), "6"), ("c-3", Some("c-2"), "10")] {
        let row = stage.row(id).await;
        assert_eq!((row.parent_id.as_deref(), row.result.as_deref(), row.attempts), (parent, Some(result), 1), "{id}");
        assert!(row.root_id.is_none_or(|root| root == "c-1"), "{id}");
    }
    stage.seen(1).await;
    let calls = stage.finish().await;
    assert_eq!((given(&calls), kin(&calls[0])), (vec![(json!(10), json!("after"))], (Some("c-3"), "c-1")));
}

#[celeriac_tests::test]
async fn a_chain_whose_second_step_fails_ends_with_its_error_and_calls_the_errbacks_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let second = Signature::new("t.fail").option("task_id", "c-2");
    let third = told("third").option("task_id", "c-3");
    let chain = Chain::new(add(1, 2).task_id("c-1").signature().unwrap()).then(second).then(third);
    let last = told("fourth").option("task_id", "c-4");
    let chain = chain.then(last).link(told("link")).on_error(told("errback")).on_error(told("other"));
    let handle = chain.submit(stage.client()).await.unwrap();
    let failure = Failure::new("ValueError", "no good: 3");
    for id in ["c-2", "c-3", handle.id()] {
        assert_eq!(stage.end(id).await, (TaskState::Failure, Some(failure.clone())), "{id}");
    }
    for (id, name) in [("c-3", "t.see"), ("c-4", "t.see")] {
        let row = stage.row(id).await;
        assert_eq!((row.name.as_str(), row.attempts, row.started_at), (name, 0, None), "{id}");
        assert_eq!((row.parent_id.as_deref(), row.root_id.as_deref()), (Some("c-2"), Some("c-1")), "{id}");
    }
    stage.seen(2).await;
    let mut calls = stage.finish().await;
    calls.sort_by_key(|call| call.index);
    assert_eq!(given(&calls), [(json!("c-2"), json!("errback")), (json!("c-2"), json!("other"))]);
    assert_eq!((calls[0].index, calls[1].index), (Some(0), Some(1)));
    assert!(calls[0].group.is_some() && calls[0].group == calls[1].group, "errbacks are a group, as Celery has it");
    assert!(calls.iter().all(|call| kin(call) == (Some("c-2"), "c-1")));
}

#[celeriac_tests::test]
async fn a_chain_whose_second_step_cannot_take_what_it_is_called_with_ends_with_that_error(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let second = Signature::new("t.add").arg("three").option("task_id", "c-2");
    let first = add(1, 2).task_id("c-1").signature().unwrap();
    let chain = Chain::new(first).then(second).then(told("third").option("task_id", "c-3")).on_error(told("errback"));
    chain.submit(stage.client()).await.unwrap();
    let (state, failure) = stage.end("c-2").await;
    assert_eq!((state, failure.as_ref().unwrap().kind.as_str()), (TaskState::Failure, "ArgumentError"));
    assert_eq!(stage.end("c-3").await, (state, failure), "who awaits the last step hears of it");
    assert_eq!(stage.dead(1).await[0].header("celeriac-dead-reason").as_deref(), Some("wrong-arguments"));
    stage.seen(1).await;
    let calls = stage.finish().await;
    assert_eq!((given(&calls), kin(&calls[0])), (vec![(json!("c-2"), json!("errback"))], (Some("c-2"), "c-1")));
}

#[celeriac_tests::test]
async fn a_failure_calls_errbacks_alone_and_one_errback_is_a_group_too(bed: Bed) {
    let stage = Stage::start(&bed).await;
    fail(json!(1)).task_id("one").link(told("link")).on_error(told("errback")).submit(stage.client()).await.unwrap();
    stage.seen(1).await;
    let calls = stage.finish().await;
    assert_eq!(given(&calls), [(json!("one"), json!("errback"))]);
    assert_eq!((calls[0].index, kin(&calls[0])), (Some(0), (Some("one"), "one")));
    assert!(calls[0].group.is_some());
}

#[celeriac_tests::test]
async fn an_exhausted_task_is_dead_lettered_and_its_errback_called_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let task = flaky(99).task_id("one").link(told("link")).on_error(told("errback"));
    task.submit(stage.client()).await.unwrap();
    assert_eq!(stage.end("one").await.1, Some(Failure::new("TaskError", "attempt 3 failed")));
    let dead = stage.dead(1).await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("exhausted"));
    stage.seen(4).await;
    let calls = stage.finish().await;
    assert_eq!(calls.len(), 4, "three attempts and one errback");
    assert_eq!((calls[3].given.clone(), kin(&calls[3])), ((json!("one"), json!("errback")), (Some("one"), "one")));
}

#[celeriac_tests::test]
async fn what_follows_is_called_once_after_the_last_attempt_and_keeps_its_family(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let second = Signature::new("t.flaky").option("task_id", "c-2").link(told("link")).on_error(told("errback"));
    let first = add(1, 2).task_id("c-1").signature().unwrap();
    let chain = Chain::new(first).then(second).then(told("third").option("task_id", "c-3"));
    assert_eq!(chain.submit(stage.client()).await.unwrap().get().await.unwrap(), json!(3));
    let row = stage.row("c-2").await;
    let family = (row.parent_id.as_deref(), row.root_id.as_deref());
    assert_eq!((row.attempts, family), (3, (Some("c-1"), Some("c-1"))), "a retried task keeps its parent");
    stage.seen(5).await;
    let calls = stage.finish().await;
    assert_eq!(calls.len(), 5, "three attempts, a link and a step");
    assert!(calls[..3].iter().all(|call| call.id == "c-2"));
    let mut after: Vec<_> = calls[3..].to_vec();
    after.sort_by_key(|call| call.given.1.to_string());
    assert_eq!(given(&after), [(json!(3), json!("link")), (json!(3), json!("third"))]);
    assert!(after.iter().all(|call| kin(call) == (Some("c-2"), "c-1")));
}

#[celeriac_tests::test]
async fn a_task_that_a_task_sends_is_its_child(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let first = see(json!("sent"), Json::Null).task_id("c-1").signature().unwrap();
    let second = Signature::new("t.send").option("task_id", "c-2");
    Chain::new(first).then(second).submit(stage.client()).await.unwrap();
    send(json!("alone")).task_id("other").submit(stage.client()).await.unwrap();
    stage.seen(3).await;
    let calls = stage.finish().await;
    let sent: Vec<_> = calls.iter().filter(|call| call.id != "c-1").collect();
    assert_eq!(sent.len(), 2);
    for call in sent {
        let expected = if call.given.0 == json!("sent") { (Some("c-2"), "c-1") } else { (Some("other"), "other") };
        assert_eq!(kin(call), expected);
    }
}
