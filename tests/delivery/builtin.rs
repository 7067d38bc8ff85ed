//! Celery's own tasks on a shared queue.

use celeriac::prelude::*;
use celeriac_tests::Bed;
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::Stage;

/// Adds, on a thread of its own.
#[task(name = "t.sum")]
fn sum(a: i64, #[default(0)] b: i64) -> TaskResult<i64> {
    Ok(a + b)
}

async fn stage(bed: &Bed) -> Stage {
    Stage::with(bed, |program| program.tasks(tasks![sum])).await
}

/// Returns a message for a built-in task with arguments by name, as Celery calls it.
fn letter(task: &str, id: &str, args: &Json, kwargs: &Json) -> Letter {
    Letter::new(task, id, args).body(json!([args, kwargs, {}]).to_string())
}

async fn end(stage: &Stage, letter: Letter, id: &str) -> Json {
    letter.put(&stage.peer).await;
    let row = stage.row(id).await;
    match row.failure {
        None => serde_json::from_str(&row.result.unwrap()).unwrap(),
        Some(failure) => json!(failure.to_string()),
    }
}

/// Returns the ids of a group's members from Celery's group result.
fn members(result: &Json, group: Option<&str>) -> Vec<String> {
    assert!(group.is_none_or(|group| result[0][0] == json!(group)), "{result}");
    assert_eq!(result[0][1], Json::Null, "{result}");
    let tuples = result[1].as_array().unwrap();
    tuples.iter().map(|tuple| tuple[0][0].as_str().unwrap().to_owned()).collect()
}

#[celeriac_tests::test]
async fn ping_and_accumulate_answer_as_celerys_do(bed: Bed) {
    let stage = stage(&bed).await;
    assert_eq!(end(&stage, letter("celery.ping", "ping", &json!([]), &json!({})), "ping").await, json!("pong"));
    let all = letter("celery.accumulate", "all", &json!([1, "two", [3]]), &json!({}));
    assert_eq!(end(&stage, all, "all").await, json!([1, "two", [3]]));
    let second = letter("celery.accumulate", "second", &json!([1, "two", [3]]), &json!({"index": 1}));
    assert_eq!(end(&stage, second, "second").await, json!("two"));
    let last = letter("celery.accumulate", "last", &json!([1, "two", [3]]), &json!({"index": -1}));
    assert_eq!(end(&stage, last, "last").await, json!([3]));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn map_and_starmap_call_async_and_blocking_tasks(bed: Bed) {
    let stage = stage(&bed).await;
    let task = |name: &str| json!({"task": name, "args": [], "kwargs": {}, "options": {}, "subtask_type": null});
    let pairs = json!([[1, 2], [3, 4]]);
    let cases = [
        ("celery.map", "t.sum", json!([5, 6, 7]), json!([5, 6, 7])),
        ("celery.map", "t.see", json!(["a", [1], null]), json!(["a", [1], null])),
        ("celery.starmap", "t.sum", pairs.clone(), json!([3, 7])),
        ("celery.starmap", "t.add", pairs.clone(), json!([3, 7])),
        ("celery.starmap", "t.add", json!([]), json!([])),
        ("celery.map", "t.nope", json!([1]), json!("NotRegistered: no task has the name `t.nope`")),
        ("celery.map", "t.fail", json!([1, 2]), json!("ValueError: no good: 1")),
    ];
    for (index, (which, name, items, expected)) in cases.into_iter().enumerate() {
        let id = format!("{index}");
        let kwargs = json!({"task": task(name), "it": items});
        assert_eq!(end(&stage, letter(which, &id, &json!([]), &kwargs), &id).await, expected, "{which} {name} {items}");
    }
    assert_eq!(stage.finish().await.len(), 3);
}

#[celeriac_tests::test]
async fn chunks_are_run_each_for_itself_and_add_up(bed: Bed) {
    let stage = stage(&bed).await;
    let items: Vec<Json> = (0..10).map(|number| json!([number, 100])).collect();
    let kwargs = json!({"task": {"task": "t.add"}, "it": items, "n": 4});
    let sent = end(&stage, letter("celery.chunks", "one", &json!([]), &kwargs), "one").await;
    let mut all = Vec::new();
    for (index, id) in members(&sent, None).iter().enumerate() {
        let row = stage.row(id).await;
        assert_eq!((row.name.as_str(), row.parent_id.as_deref()), ("celery.starmap", Some("one")), "part {index}");
        assert_eq!(row.group_id.as_deref(), sent[0][0].as_str());
        let part: Vec<i64> = serde_json::from_str(&row.result.unwrap()).unwrap();
        all.push(part);
    }
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(all.concat(), (100..110).collect::<Vec<_>>());
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_group_that_was_left_to_a_worker_is_sent(bed: Bed) {
    let stage = stage(&bed).await;
    let tasks =
        json!([{"task": "t.see", "args": ["a"], "options": {"task_id": "m-1"}}, {"task": "t.see", "args": ["b"]}]);
    let kwargs = json!({"tasks": tasks, "result": [["g", null], []], "group_id": "g", "partial_args": [7]});
    let sent = end(&stage, letter("celery.group", "one", &json!([]), &kwargs), "one").await;
    let ids = members(&sent, Some("g"));
    assert_eq!((ids.len(), ids[0].as_str()), (2, "m-1"));
    stage.seen(2).await;
    let mut calls = stage.finish().await;
    calls.sort_by_key(|call| call.index);
    for (index, call) in calls.iter().enumerate() {
        assert_eq!((&call.id, call.index, call.group.as_deref()), (&ids[index], Some(index as i64), Some("g")));
        assert_eq!((&call.given.0, call.parent.as_deref()), (&json!(7), Some("one")));
    }
    assert_eq!((&calls[0].given.1, &calls[1].given.1, calls.len()), (&json!("a"), &json!("b"), 2));
}

#[celeriac_tests::test(real)]
async fn a_clean_up_deletes_what_is_older_than_it_is_kept_and_nothing_else(bed: Bed) {
    let stage = stage(&bed).await;
    for id in ["old", "young"] {
        end(&stage, letter("celery.ping", id, &json!([]), &json!({})), id).await;
    }
    let mut database = stage.bed.database().await;
    sqlx::query("UPDATE celeriac.tasks SET finished_at = finished_at - interval '8 days' WHERE id = 'old'")
        .execute(&mut database)
        .await
        .unwrap();
    let clean = letter("celery.backend_cleanup", "clean", &json!([]), &json!({}));
    assert_eq!(end(&stage, clean, "clean").await, Json::Null);
    let left: Vec<String> = sqlx::query_scalar("SELECT id FROM celeriac.tasks WHERE name <> 't.add' ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(left, ["clean", "young"]);
    stage.finish().await;
}

#[celeriac_tests::test]
async fn what_is_not_served_is_dead_lettered_and_says_why(bed: Bed) {
    let stage = stage(&bed).await;
    let names = ["celery.chain", "celery.chord_unlock"];
    for name in names {
        letter(name, name, &json!([]), &json!({})).put(&stage.peer).await;
        let dead = stage.dead(1).await.remove(0);
        assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("unsupported"), "{name}");
        let error = dead.header("celeriac-dead-error").unwrap();
        assert!(error.starts_with(&format!("NotImplementedError: task `{name}` is not supported: ")), "{error}");
        let (state, failure) = stage.end(name).await;
        assert_eq!((state, failure.unwrap().kind.as_str()), (TaskState::Failure, "NotImplementedError"), "{name}");
    }
    stage.finish().await;
}
