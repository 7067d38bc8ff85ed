//! Chords that Celery's clients send, with a task that waits for the members.

use celeriac::Failure;
use celeriac::prelude::*;
use celeriac_tests::{Bed, eventually};
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::Stage;

async fn stage(bed: &Bed) -> Stage {
    Stage::with(bed, |program| program.set("worker.builtin_tasks", "[celery.chord, celery.chord_unlock]")).await
}

fn signature(task: &str, args: &Json, options: &Json) -> Json {
    json!({"task": task, "args": args, "kwargs": {}, "options": options, "subtask_type": null, "immutable": false})
}

/// Returns the body of the chord, which has an errback.
fn body() -> Json {
    let errback = signature("t.see", &json!(["errback"]), &json!({}));
    signature("t.see", &json!(["body"]), &json!({"task_id": "body", "group_id": "chord", "link_error": [errback]}))
}

/// Returns the message of a member, as `chord([…], body).apply_async()` sends it.
fn member(index: usize, task: &str, args: &Json) -> Letter {
    let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": body()});
    Letter::new(task, &format!("member-{index}"), &json!([]))
        .header("group", &json!("chord"))
        .header("group_index", &json!(index))
        .carrying(args, &embed)
}

/// Returns the message that the same call sends before them.
fn unlock(members: usize) -> Letter {
    let result: Vec<_> = (0..members).map(|index| json!([[format!("member-{index}"), null], null])).collect();
    let kwargs =
        json!({"interval": null, "max_retries": null, "result": result, "_chord_unlock_exchange_type": "direct"});
    Letter::new("celery.chord_unlock", "unlock", &json!([]))
        .header("ignore_result", &json!(true))
        .body(json!([["chord", body()], kwargs, {}]).to_string())
}

#[celeriac_tests::test]
async fn the_body_runs_once_when_all_members_have_ended(bed: Bed) {
    let stage = stage(&bed).await;
    unlock(2).put(&stage.peer).await;
    member(1, "t.add", &json!([3, 4])).put(&stage.peer).await;
    let look = async || stage.client().handle::<Json>("unlock").status().await.unwrap();
    eventually("it looks again", look, |state| *state == TaskState::Retry).await;
    member(0, "t.add", &json!([1, 2])).header("ignore_result", &json!(true)).put(&stage.peer).await;
    assert_eq!(stage.client().handle::<Json>("body").get().await.unwrap(), json!([3, 7]));
    assert_eq!(stage.row("unlock").await.state, TaskState::Success);
    let row = stage.row("body").await;
    assert_eq!((row.parent_id.as_deref(), row.group_id.as_deref()), (Some("unlock"), Some("chord")));
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!([3, 7]), json!("body"))]);
}

#[celeriac_tests::test]
async fn the_body_fails_when_a_member_has_failed_and_its_errback_gets_its_id(bed: Bed) {
    let stage = stage(&bed).await;
    for letter in [
        member(0, "t.add", &json!([1, 2])),
        member(1, "t.fail", &json!([7])),
        member(2, "t.add", &json!([1, 2])).header("expires", &json!("2020-01-01T00:00:00+00:00")),
        unlock(3),
    ] {
        letter.put(&stage.peer).await;
    }
    let failure = Failure::new("ChordError", "Dependency member-1 raised ValueError('no good: 7')");
    assert_eq!(stage.end("body").await, (TaskState::Failure, Some(failure)));
    stage.seen(1).await;
    // The errback is sent after the row of the body.
    stage.seen(1).await;
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!("body"), json!("errback"))]);
}

#[celeriac_tests::test]
async fn a_chord_that_is_sent_as_a_task_runs(bed: Bed) {
    let stage = stage(&bed).await;
    let header = json!([signature("t.add", &json!([1]), &json!({})), signature("t.add", &json!([2]), &json!({}))]);
    let args = json!([header, signature("t.see", &json!(["body"]), &json!({"task_id": "body"})), [10]]);
    Letter::new("celery.chord", "sender", &args).put(&stage.peer).await;
    assert_eq!(stage.client().handle::<Json>("body").get().await.unwrap(), json!([11, 12]));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn without_the_task_that_waits_for_them_members_do_not_run(bed: Bed) {
    let stage = Stage::start(&bed).await;
    for letter in [member(0, "t.add", &json!([1, 2])), unlock(1)] {
        letter.put(&stage.peer).await;
        let dead = stage.dead(1).await.remove(0);
        assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("unsupported"));
        let error = dead.header("celeriac-dead-error").unwrap();
        assert!(error.contains("worker.builtin_tasks does not list"), "{error}");
    }
    let (state, failure) = stage.end("body").await;
    assert_eq!((state, failure.unwrap().kind.as_str()), (TaskState::Failure, "NotImplementedError"));
    // The errback is sent after the row of the body.
    stage.seen(1).await;
    let calls = stage.finish().await;
    assert_eq!(calls.iter().map(|call| call.given.clone()).collect::<Vec<_>>(), [(json!("body"), json!("errback"))]);
}
