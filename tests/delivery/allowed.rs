//! Lists of the queues that messages may address, and of Celery's own tasks.

use celeriac::prelude::*;
use celeriac_tests::{Bed, assert_outcome};
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::Stage;

async fn stage(bed: &Bed, key: &'static str, list: &'static str) -> Stage {
    Stage::with(bed, |program| program.set(key, list)).await
}

fn callback(options: &Json) -> Json {
    json!({"callbacks": [{"task": "t.see", "options": options}]})
}

#[celeriac_tests::test]
async fn a_task_with_a_follow_up_to_a_queue_that_is_not_listed_does_not_run(bed: Bed) {
    let stage = stage(&bed, "worker.allow_follow_ups_to", "[celeriac, 'mail.*']").await;
    stage.peer.declare("mail.eu").await;
    stage.peer.declare("orders").await;
    let refused = [
        ("queue", callback(&json!({"queue": "orders"})), "queue `orders`"),
        ("exchange", callback(&json!({"exchange": "amq.topic", "routing_key": "celeriac"})), "exchange `amq.topic`"),
        ("errback", json!({"errbacks": [{"task": "t.see", "options": {"queue": "orders"}}]}), "queue `orders`"),
    ];
    for (id, embed, address) in &refused {
        Letter::new("t.see", id, &json!([])).carrying(&json!([1]), embed).put(&stage.peer).await;
        let dead = stage.dead(1).await.remove(0);
        assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("not-allowed"), "{id}");
        let error = dead.header("celeriac-dead-error").unwrap();
        assert!(error.ends_with(&format!("worker.allow_follow_ups_to does not list {address}")), "{error}");
        assert_outcome!(stage.row(id).await, Failure, kind: "PermissionError");
    }
    for (id, queue) in [("mail", "mail.eu"), ("own", "celeriac")] {
        let embed = callback(&json!({"queue": queue}));
        Letter::new("t.see", id, &json!([])).carrying(&json!([1]), &embed).put(&stage.peer).await;
        assert_eq!(stage.end(id).await, (TaskState::Success, None), "{id}");
    }
    assert_eq!(stage.taken("mail.eu", 1).await.len(), 1);
    stage.seen(3).await;
    assert_eq!(stage.peer.ready("orders").await, 0);
    assert_eq!(stage.finish().await.len(), 3, "two tasks, and the callback of one of them");
}

#[celeriac_tests::test]
async fn a_member_of_a_group_for_a_queue_that_is_not_listed_is_not_sent(bed: Bed) {
    let stage = stage(&bed, "worker.allow_follow_ups_to", "[celeriac]").await;
    stage.peer.declare("orders").await;
    let tasks = json!([{"task": "t.see", "options": {"queue": "orders"}}]);
    let body = json!([[], {"tasks": tasks, "group_id": "g", "partial_args": [1]}, {}]).to_string();
    Letter::new("celery.group", "group", &json!([])).body(body).put(&stage.peer).await;
    let dead = stage.dead(1).await.remove(0);
    assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("not-allowed"));
    assert_outcome!(stage.row("group").await, Failure, kind: "PermissionError");
    assert_eq!(stage.peer.ready("orders").await, 0);
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_reply_to_a_queue_that_is_not_listed_is_dropped_and_the_row_stays(bed: Bed) {
    let stage = stage(&bed, "worker.allow_replies_to", "['answers.*']").await;
    for queue in ["elsewhere", "answers.1"] {
        stage.peer.declare_replies(queue).await;
        Letter::new("t.see", queue, &json!([1])).reply_to(queue, Some(queue)).put(&stage.peer).await;
        assert_eq!(stage.end(queue).await, (TaskState::Success, None), "{queue}");
    }
    assert_eq!(stage.taken("answers.1", 1).await.len(), 1);
    assert_eq!(stage.peer.ready("elsewhere").await, 0);
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_task_of_celerys_that_is_not_listed_is_dead_lettered(bed: Bed) {
    let stage = stage(&bed, "worker.builtin_tasks", "[celery.ping]").await;
    Letter::new("celery.backend_cleanup", "clean", &json!([])).put(&stage.peer).await;
    let dead = stage.dead(1).await.remove(0);
    assert_eq!(dead.header("celeriac-dead-reason").as_deref(), Some("unsupported"));
    assert_eq!(
        dead.header("celeriac-dead-error").as_deref(),
        Some(
            "NotImplementedError: task `celery.backend_cleanup` is not supported: worker.builtin_tasks does not list it"
        )
    );
    Letter::new("celery.ping", "ping", &json!([])).put(&stage.peer).await;
    assert_eq!(stage.end("ping").await, (TaskState::Success, None));
    stage.finish().await;
}
