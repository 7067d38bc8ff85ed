//! Follow-ups that cannot be sent: found before the task runs if possible, and kept otherwise.

use celeriac::prelude::*;
use celeriac::protocol::Value;
use celeriac_tests::{Bed, assert_outcome};
use lapin::types::AMQPValue;
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::{Stage, see};

#[celeriac_tests::test]
async fn a_link_to_a_queue_that_is_missing_is_sent_when_the_dead_letter_is_replayed_and_the_task_does_not_run_again(
    bed: Bed,
) {
    let stage = Stage::start(&bed).await;
    let lost = Signature::new("t.see").arg("own").queue("elsewhere");
    let after = Signature::new("t.see").arg("after");
    see(json!(1), Json::Null).task_id("one").link(lost).link(after).submit(stage.client()).await.unwrap();
    let dead = stage.dead(1).await.remove(0);
    assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("not-followed-up"));
    assert_eq!(
        dead.header("celeriac-dead-error").as_deref(),
        Some("follow-up `t.see` cannot be sent: message unroutable: queue `elsewhere` does not exist")
    );
    assert_eq!(stage.end("one").await, (TaskState::Success, None), "the work was done");
    assert_eq!(stage.seen(1).await.len(), 1);

    stage.peer.declare("elsewhere").await;
    let mut headers = dead.headers.clone();
    headers.insert("celeriac-repeated".into(), AMQPValue::Boolean(true));
    let again = lapin::BasicProperties::default().with_headers(headers).with_content_type("application/json".into());
    stage.peer.put("celeriac", again, &dead.body).await;

    let sent = stage.taken("elsewhere", 1).await;
    assert_eq!((sent.len(), sent[0].header("parent_id").as_deref()), (1, Some("one")));
    assert_eq!(sent[0].headers.inner()["celeriac-repeated"], AMQPValue::Boolean(true));
    let body: Json = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(body[0], json!([1, "own"]), "the result comes from the row");
    stage.seen(2).await;
    let calls = stage.finish().await;
    assert_eq!(calls.iter().filter(|call| call.id == "one").count(), 1, "it ran once");
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (&calls[1].given, calls[1].header("celeriac-repeated")),
        ((&(json!(1), json!("after"))), Some(&Value::Bool(true)))
    );
}

#[celeriac_tests::test]
async fn what_the_broker_never_accepts_is_kept_and_holds_nothing_up(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let callback = |options: Json| json!({"callbacks": [{"task": "t.see", "options": options}]});
    let cases = [
        // Internal: RabbitMQ lets nobody publish to it.
        ("internal", callback(json!({"exchange": "amq.rabbitmq.trace", "routing_key": "x"}))),
        ("copies", callback(json!({"headers": {"CC": "x"}}))),
        ("hidden copies", callback(json!({"headers": {"BCC": [1]}}))),
        ("copies of a step", json!({"chain": [{"task": "t.see", "options": {"headers": {"CC": "x"}}}]})),
    ];
    for (id, embed) in &cases {
        Letter::new("t.see", id, &json!([])).carrying(&json!([1]), embed).put(&stage.peer).await;
    }
    let dead = stage.dead(cases.len()).await;
    for (id, _) in &cases {
        assert_eq!(stage.end(id).await, (TaskState::Success, None), "{id}");
        let found = dead.iter().find(|found| found.header("id").as_deref() == Some(*id)).unwrap();
        assert_eq!(found.header("celeriac-dead-reason").as_deref(), Some("not-followed-up"), "{id}");
    }
    assert_eq!(stage.finish().await.len(), cases.len(), "each has run once, and nothing was published twice");
}

/// Asserts that tasks with these embeds, one each, end without a run.
async fn are_refused(bed: &Bed, cases: &[(&str, Json)], reason: &str, kind: &str) {
    let stage = Stage::start(bed).await;
    for (id, embed) in cases {
        Letter::new("t.see", id, &json!([])).carrying(&json!([1]), embed).put(&stage.peer).await;
    }
    for (id, _) in cases {
        assert_outcome!(stage.row(id).await, Failure, kind: kind);
    }
    let dead = stage.dead(cases.len()).await;
    for (id, _) in cases {
        let found = dead.iter().find(|found| found.header("id").as_deref() == Some(*id)).unwrap();
        assert_eq!(found.header("celeriac-dead-reason").as_deref(), Some(reason), "{id}");
    }
    assert_eq!(stage.finish().await, [], "none of them has run, and nothing has followed");
}

#[celeriac_tests::test]
async fn a_chord_that_cannot_be_counted_is_refused_before_it_runs(bed: Bed) {
    let step =
        json!({"task": "t.see", "args": [], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false});
    let group = json!({"task": "celery.group", "kwargs": {"tasks": [step]}, "subtask_type": "group"});
    let chord = |header: &Json, body: &Json| json!({"task": "celery.chord", "kwargs": {"header": header, "body": body}, "subtask_type": "chord"});
    let ends = json!({"task": "celery.chain", "kwargs": {"tasks": [step, group]}, "subtask_type": "chain"});
    let cases = [
        ("a part of a chord", json!({"chord": step})),
        ("a chord without a body", json!({"callbacks": [step, chord(&group, &Json::Null)]})),
        ("a chord whose header is text", json!({"errbacks": [chord(&json!("x"), &step)]})),
        ("a chord with a member that ends with a group", json!({"chain": [chord(&json!([ends]), &step)]})),
        (
            "a chord with a member that expires never",
            json!({"chain": [chord(
            &json!([{"task": "t.see", "options": {"expires": []}}]), &step)]}),
        ),
    ];
    are_refused(&bed, &cases, "unsupported", "NotImplementedError").await;
}

#[celeriac_tests::test]
async fn what_cannot_be_read_afterwards_is_refused_before_it_runs(bed: Bed) {
    let cases = [
        ("callbacks that are text", json!({"callbacks": "t.see"})),
        ("callbacks of numbers", json!({"callbacks": [7]})),
        ("an errback without a name", json!({"errbacks": [{"args": []}]})),
        ("a chain that is true", json!({"chain": true})),
        ("a chord that is a list", json!({"chord": []})),
    ];
    are_refused(&bed, &cases, "unreadable", "DecodeError").await;
}

#[celeriac_tests::test]
async fn what_cannot_be_sent_afterwards_is_refused_before_it_runs(bed: Bed) {
    let cases = [
        ("a callback that expires never", json!({"callbacks": [{"task": "t.see", "options": {"expires": []}}]})),
        ("a callback in YAML", json!({"callbacks": [{"task": "t.see", "options": {"serializer": "yaml"}}]})),
        (
            "a callback that is an empty chain",
            json!({"callbacks": [{"task": "celery.chain", "kwargs": {"tasks": []}}]}),
        ),
    ];
    are_refused(&bed, &cases, "unsupported", "NotImplementedError").await;
}
