//! Callers with a reply queue get replies as from Celery's workers. A bare client sends the tasks
//! and reads the replies.

use std::time::Duration;

use celeriac::Chain;
use celeriac::prelude::*;
use celeriac::protocol::Value;
use celeriac_protocol::{BigInt, Body};
use celeriac_tests::Bed;
use celeriac_tests::peer::Found;
use lapin::types::FieldTable;
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::{Stage, see};

/// Returns one of the values that JSON cannot represent.
#[task(name = "t.odd")]
async fn odd(which: String) -> TaskResult<Value> {
    Ok(match which.as_str() {
        "nan" => Value::Float(f64::NAN),
        "infinity" => Value::Float(f64::NEG_INFINITY),
        "bytes" => Value::Bytes(vec![0xff, 0x00]),
        "text bytes" => Value::Bytes(b"ab".to_vec()),
        "big" => Value::BigInt(BigInt::new("123456789012345678901234567890123456789012345678901234567890")?),
        _ => Value::Null,
    })
}

/// Sends two tasks, and succeeds at the second attempt.
#[task(name = "t.family", max_retries = 3, retry_backoff = "10ms..20ms")]
async fn family(ctx: TaskContext) -> TaskResult<Vec<String>> {
    if ctx.attempt() == 1 {
        return Err(TaskError::of_kind("ConnectionError", "not yet"));
    }
    let mut ids = Vec::new();
    for number in [1, 2] {
        ids.push(see(json!(number), Json::Null).submit(ctx.client()).await?.id().to_owned());
    }
    Ok(ids)
}

/// Ignores its result.
#[task(name = "t.quiet", ignore_result)]
async fn quiet() -> TaskResult<u32> {
    Ok(1)
}

async fn stage(bed: &Bed) -> Stage {
    let stage = Stage::with(bed, |program| program.tasks(tasks![odd, family, quiet])).await;
    for queue in ["replies", "others"] {
        stage.peer.declare_replies(queue).await;
    }
    stage
}

/// Returns the replies, once there are this many.
async fn answers(stage: &Stage, queue: &str, count: usize) -> Vec<(Found, Json)> {
    let found = stage.taken(queue, count).await;
    assert_eq!(found.len(), count);
    found
        .into_iter()
        .map(|found| (serde_json::from_slice(&found.body).unwrap(), found))
        .map(|(json, found)| (found, json))
        .collect()
}

fn asked(task: &str, id: &str, args: &Json) -> Letter {
    Letter::new(task, id, args).reply_to("replies", Some(id))
}

/// Sends a task, and returns its one reply.
async fn answer(stage: &Stage, letter: Letter) -> (Found, Json) {
    letter.put(&stage.peer).await;
    answers(stage, "replies", 1).await.remove(0)
}

fn exception(kind: &str, message: &str, module: &str) -> Json {
    json!({"exc_type": kind, "exc_message": [message], "exc_module": module})
}

#[celeriac_tests::test]
async fn a_success_is_answered_with_its_result_and_its_children_and_stands_in_a_row_too(bed: Bed) {
    let stage = stage(&bed).await;
    let link = json!({"callbacks": [{"task": "t.see"}], "chain": [{"task": "t.see", "options": {"task_id": "next"}}]});
    let letter = Letter::new("t.add", "one", &json!([])).carrying(&json!([1, 2]), &link);
    let letter =
        letter.reply_to("replies", Some("another")).header("parent_id", &json!("dad")).header("group", &json!("g"));
    let (found, meta) = answer(&stage, letter).await;
    assert_eq!(found.correlation_id.as_deref(), Some("another"), "it is the caller's word");
    assert_eq!((found.headers, found.reply_to), (FieldTable::default(), None));
    let link = stage.seen(2).await.into_iter().find(|call| call.id != "next").unwrap().id;
    let expected = json!({
        "status": "SUCCESS", "result": 3, "traceback": null, "task_id": "one", "parent_id": "dad", "group_id": "g",
        "children": [[[link, null], null], [["next", null], null]], "date_done": meta["date_done"],
    });
    assert_eq!(meta, expected);
    let done: jiff::Timestamp = meta["date_done"].as_str().unwrap().parse().unwrap();
    let row = stage.row("one").await;
    assert_eq!((row.state, row.result.as_deref()), (TaskState::Success, Some("3")));
    let between = done.duration_since(row.finished_at.unwrap()).abs();
    assert!(between < jiff::SignedDuration::from_secs(30), "{between}");
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_retry_is_answered_and_so_is_the_success_after_it_with_what_the_task_has_sent(bed: Bed) {
    let stage = stage(&bed).await;
    asked("t.family", "one", &json!([])).put(&stage.peer).await;
    let answers = answers(&stage, "replies", 2).await;
    let (first, second) = (&answers[0].1, &answers[1].1);
    assert_eq!((&first["status"], &first["date_done"]), (&json!("RETRY"), &Json::Null));
    assert_eq!(first["result"], exception("ConnectionError", "not yet", "builtins"));
    assert_eq!((&second["status"], &second["parent_id"]), (&json!("SUCCESS"), &json!("one")));
    let tuple = |id: &Json| json!([[id, null], null]);
    let children: Vec<_> = second["result"].as_array().unwrap().iter().map(tuple).collect();
    assert_eq!((children.len(), &second["children"]), (2, &Json::from(children.clone())));
    stage.seen(2).await;
    stage.finish().await;
}

#[celeriac_tests::test]
async fn what_does_not_succeed_is_answered_with_an_exception_that_python_knows(bed: Bed) {
    let stage = stage(&bed).await;
    let expired = asked("t.add", "expired", &json!([1, 2])).header("expires", &json!("2026-01-01T00:00:00+00:00"));
    let cases = [
        (asked("t.fail", "fails", &json!([1])), "FAILURE", "ValueError", "no good: 1", "builtins"),
        (expired, "REVOKED", "TaskRevokedError", "expired", "celery.exceptions"),
        (asked("t.nope", "unknown", &json!([1])), "FAILURE", "NotRegistered", "t.nope", "celery.exceptions"),
        (asked("t.add", "wrong", &json!([1])), "FAILURE", "TypeError", "", "builtins"),
        (asked("celery.chord_unlock", "chord", &json!([])), "FAILURE", "NotImplementedError", "", "builtins"),
        (asked("t.add", "unreadable", &json!([])).body("[[1"), "FAILURE", "DecodeError", "", "celeriac"),
    ];
    for (letter, status, kind, message, module) in cases {
        let (found, meta) = answer(&stage, letter).await;
        let id = found.correlation_id.unwrap();
        assert_eq!((&meta["status"], &meta["task_id"]), (&json!(status), &json!(id)));
        let said = meta["result"]["exc_message"][0].as_str().unwrap();
        let message = if message.is_empty() { said } else { message };
        assert_eq!(meta["result"], exception(kind, message, module), "{id}");
        let row = stage.row(&id).await;
        let recorded = row.failure.unwrap().message;
        // Celery builds the message from the task's name. The row has the whole message.
        let told =
            if kind == "NotRegistered" { "no task has the name `t.nope`, did you mean `t.see`?" } else { message };
        assert_eq!((row.state.as_str(), recorded.as_str()), (status, told));
    }
    stage.finish().await;
}

#[celeriac_tests::test]
async fn an_exhausted_task_is_answered_at_each_attempt_and_at_its_end(bed: Bed) {
    let stage = stage(&bed).await;
    asked("t.flaky", "one", &json!([99])).put(&stage.peer).await;
    let told: Vec<_> = answers(&stage, "replies", 3).await.into_iter().map(|(_, meta)| meta).collect();
    let statuses: Vec<_> = told.iter().map(|meta| meta["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["RETRY", "RETRY", "FAILURE"]);
    assert_eq!(told[2]["result"], exception("TaskError", "attempt 3 failed", "celeriac"));
    stage.finish().await;
}

#[celeriac_tests::test(real)]
async fn nobody_is_answered_whose_result_is_ignored(bed: Bed) {
    let stage = stage(&bed).await;
    asked("t.quiet", "declared", &json!([])).put(&stage.peer).await;
    asked("t.see", "asked", &json!([1])).header("ignore_result", &json!(true)).put(&stage.peer).await;
    asked("t.quiet", "wanted", &json!([])).header("ignore_result", &json!(false)).put(&stage.peer).await;
    let (found, _) = answers(&stage, "replies", 1).await.remove(0);
    assert_eq!(found.correlation_id.as_deref(), Some("wanted"));
    stage.seen(1).await;
    let Stage { bed, peer, .. } = &stage;
    let rows: Vec<String> = sqlx::query_scalar("SELECT id FROM celeriac.tasks WHERE name <> 't.add'")
        .fetch_all(&mut bed.database().await)
        .await
        .unwrap();
    assert_eq!((rows, peer.ready("replies").await), (vec!["wanted".to_owned()], 0));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_caller_who_has_left_does_not_hold_the_task_up(bed: Bed) {
    let stage = stage(&bed).await;
    Letter::new("t.see", "one", &json!([1])).reply_to("gone", Some("one")).put(&stage.peer).await;
    Letter::new("t.fail", "two", &json!([1])).reply_to("gone", Some("two")).put(&stage.peer).await;
    assert_eq!((stage.row("one").await.state, stage.row("two").await.state), (TaskState::Success, TaskState::Failure));
    assert_eq!(stage.peer.ready("celeriac.dead").await, 0);
    assert_eq!(stage.finish().await.len(), 1, "both are acknowledged, and ran once");
}

#[celeriac_tests::test]
async fn an_answer_bears_the_id_where_the_caller_gave_no_other_word(bed: Bed) {
    let stage = stage(&bed).await;
    let letter = Letter::new("t.add", "one", &json!([1, 2])).reply_to("replies", None);
    let (found, meta) = answer(&stage, letter).await;
    assert_eq!((found.correlation_id.as_deref(), &meta["result"]), (Some("one"), &json!(3)));
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_result_is_written_as_celery_writes_what_json_has_no_word_for(bed: Bed) {
    let stage = stage(&bed).await;
    let cases = [
        ("nan", r#""result": NaN"#),
        ("infinity", r#""result": -Infinity"#),
        ("bytes", r#""result": {"__type__": "base64", "__value__": "/wA="}"#),
        ("text bytes", r#""result": {"__type__": "bytes", "__value__": "ab"}"#),
        ("big", r#""result": 123456789012345678901234567890123456789012345678901234567890"#),
    ];
    for (which, expected) in cases {
        asked("t.odd", which, &json!([which])).put(&stage.peer).await;
        let found = stage.taken("replies", 1).await.remove(0);
        let text = String::from_utf8(found.body).unwrap();
        let spaced = |text: &str| text.replace(' ', "");
        assert!(spaced(&text).contains(&spaced(expected)), "{which}: {text}");
    }
    stage.finish().await;
}

#[celeriac_tests::test]
async fn a_chain_that_fails_answers_the_callers_of_its_later_steps(bed: Bed) {
    let stage = stage(&bed).await;
    let step = |id: &str, reply_to: &str| json!({"task": "t.see", "options": {"task_id": id, "reply_to": reply_to}});
    // In reverse: the next step is the last one.
    let chain = json!({"chain": [step("c-4", "gone"), step("c-3", "others"), step("c-2", "replies")]});
    let letter = asked("t.fail", "c-1", &json!([])).carrying(&json!([1]), &chain);
    letter.put(&stage.peer).await;
    let mut told = answers(&stage, "replies", 2).await;
    told.extend(answers(&stage, "others", 1).await);
    told.sort_by_key(|(found, _)| found.correlation_id.clone());
    for ((found, meta), id) in told.iter().zip(["c-1", "c-2", "c-3"]) {
        assert_eq!((found.correlation_id.as_deref(), &meta["task_id"]), (Some(id), &json!(id)));
        assert_eq!(meta["result"], exception("ValueError", "no good: 1", "builtins"));
    }
    assert_eq!(stage.end("c-4").await.0, TaskState::Failure);
    assert_eq!(stage.finish().await, []);
}

#[celeriac_tests::test]
async fn a_client_that_takes_replies_hears_of_a_chain_and_needs_no_store(bed: Bed) {
    let stage = stage(&bed).await;
    let client = bed.client(bed.program([]).set("results.url", "rpc://")).await;
    let body = Body { args: vec![Value::Int(1), Value::Int(2)], ..Body::default() };
    let first = Signature { args: body.args, ..Signature::new("t.add") };
    let good = Chain::new(first.clone()).then(Signature::new("t.add").arg(3_i64));
    assert_eq!(good.submit(&client).await.unwrap().get().await.unwrap(), json!(6));
    let bad = Chain::new(first).then(Signature::new("t.fail")).then(Signature::new("t.see"));
    let failed = bad.submit(&client).await.unwrap().get_timeout(Duration::from_secs(30)).await;
    let celeriac_client::Error::Failed { failure, .. } = failed.unwrap_err() else { panic!("no failure") };
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("ValueError", "no good: 3"));
    assert_eq!(stage.finish().await, []);
}
