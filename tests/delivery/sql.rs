//! The functions of `docs/sql.md`: tasks are sent, revoked, retried and forgotten in SQL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use celeriac_protocol::Value;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Running};
use serde_json::{Value as Json, json};

use crate::command_line::run;
use crate::stage::{Seen, Stage, add, fail, flaky, see};

/// A defect that a test mends.
#[derive(Debug, Default)]
struct Mended(AtomicBool);

/// Fails until the defect is mended.
#[task(name = "t.mend")]
async fn mend(ctx: TaskContext, given: i64) -> TaskResult<i64> {
    match ctx.state::<Mended>()?.0.load(Ordering::Acquire) {
        true => Ok(given),
        false => Err(TaskError::of_kind("Defect", format!("cannot do {given}"))),
    }
}

/// Returns the first column of the first row of a statement.
async fn ask<T>(database: &mut PgConnection, statement: &str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::query_scalar(statement).fetch_one(database).await.unwrap()
}

/// Returns the error of a statement, with its hint.
async fn refusal(database: &mut PgConnection, statement: &str) -> String {
    let refused = database.execute(AssertSqlSafe(statement.to_owned())).await.unwrap_err();
    let error = refused.as_database_error().unwrap();
    let hint = error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().unwrap_or_default();
    format!("{} ({hint})", error.message())
}

/// Returns the errors in the outbox, once it has this many messages, all of them failing.
async fn unsent(database: &mut PgConnection, count: i64) -> Vec<(String, String)> {
    let looks = "SELECT waiting = failing AND failing = $1 FROM celeriac.outbox_lag";
    let failing = async || sqlx::query_scalar(looks).bind(count).fetch_one(&mut *database).await.unwrap();
    eventually("the calls are refused", failing, |failing| *failing).await;
    sqlx::query_as("SELECT task, error FROM celeriac.outbox ORDER BY seq").fetch_all(database).await.unwrap()
}

#[celeriac_tests::test(real)]
async fn a_task_is_enqueued_in_sql_when_the_transaction_commits(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    let mut lost = database.begin().await.unwrap();
    lost.execute("SELECT celeriac.enqueue('t.see', '[\"lost\"]')").await.unwrap();
    lost.rollback().await.unwrap();
    // A trigger enqueues in the transaction of its statement.
    database
        .execute(
            "CREATE TABLE orders (id bigint);
             CREATE FUNCTION see_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM celeriac.enqueue('t.see', jsonb_build_array(NEW.id), options => '{\"ordered_by\": \"orders\"}');
                 RETURN NULL;
             END $$;
             CREATE TRIGGER see_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION see_order();
             INSERT INTO orders VALUES (1), (2)",
        )
        .await
        .unwrap();
    let call = "SELECT celeriac.enqueue('t.see', kwargs => '{\"given\": {\"a\": [1.5, null]}, \"own\": \"x\"}',
        options => '{\"task_id\": \"o-3\", \"headers\": {\"tenant\": \"blue\"}, \"countdown\": 1, \"expires\": \"1 hour\",
                     \"link\": {\"task\": \"t.see\", \"args\": [\"linked\"], \"immutable\": true}, \"queue\": \"celeriac\"}')";
    let id: String = ask(&mut database, call).await;
    let called = Instant::now();
    assert_eq!(id, "o-3");
    assert_eq!(stage.row("o-3").await.state, TaskState::Success);
    assert!(called.elapsed() > Duration::from_millis(900), "{:?}", called.elapsed());
    let calls = stage.seen(4).await;
    let given: Vec<_> = calls.iter().map(|call| call.given.clone()).collect();
    assert_eq!(given[..2], [(json!(1), Json::Null), (json!(2), Json::Null)]);
    assert_eq!(given[2..], [(json!({"a": [1.5, null]}), json!("x")), (json!("linked"), Json::Null)]);
    assert_eq!(calls[2].header("tenant"), Some(&Value::from("blue")));
    let row = stage.row("o-3").await;
    assert!(row.expires.is_some() && row.eta.is_some() && row.sent_at.is_none(), "{row:?}");
    // Ids of SQL hold the time of sending.
    assert!(stage.row(&calls[0].id).await.sent_at.is_some());
    assert_eq!(stage.finish().await.len(), 4);
}

#[celeriac_tests::test(real)]
async fn a_call_with_a_mistake_is_an_error_where_it_is_written(bed: Bed) {
    bed.client(bed.program([])).await;
    let mut database = bed.database().await;
    for (arguments, expected) in [
        ("''", "task ``: a call has a name"),
        ("'t', '{}'", "a JSON array of args"),
        ("'t', options => '{\"countdwon\": 5}'", "task `t`: no such option: `countdwon` (options: task_id, queue"),
        (
            "'t', options => '{\"countdown\": true}'",
            "option `countdown` is a boolean, and should be a JSON number or string",
        ),
        ("'t', options => '{\"countdown\": \"soon\"}'", "option `countdown`: invalid input syntax for type interval"),
        ("'t', options => '{\"eta\": 5}'", "option `eta` is a number, and should be a JSON string"),
        ("'t', options => '{\"eta\": \"2026-13-01\"}'", "option `eta`: date/time field value out of range"),
        ("'t', options => '{\"expires\": \"2026-\"}'", "option `expires`: invalid input syntax"),
        ("'t', options => '{\"priority\": 256}'", "option `priority` is an integer from 0 to 255"),
        ("'t', options => '{\"priority\": 1.5}'", "option `priority` is an integer from 0 to 255"),
        ("'t', options => '{\"queue\": \"a\", \"worker\": \"b\"}'", "options name more than one destination"),
        ("'t', options => '{\"eta\": \"2026-11-30\", \"countdown\": 1}'", "options `eta` and `countdown`"),
        ("'t', options => '{\"serializer\": \"pickle\"}'", "option `serializer` is json or msgpack"),
        ("'t', options => '{\"task_id\": \"\"}'", "have 1 to 255 bytes"),
        ("'t', options => '[]'", "options are a JSON object"),
    ] {
        let said = refusal(&mut database, &format!("SELECT celeriac.enqueue({arguments})")).await;
        assert!(said.contains(expected), "{arguments}: {said}");
    }
    assert_eq!(ask::<i64>(&mut database, "SELECT waiting FROM celeriac.outbox_lag").await, 0);
    // A null is the same as no option.
    ask::<String>(&mut database, "SELECT celeriac.enqueue('t', options => '{\"queue\": null}')").await;
}

#[celeriac_tests::test(real)]
async fn a_call_that_cannot_be_sent_stays_in_the_outbox_with_its_error(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    for call in [
        "'t.sea', '[1]'",
        "'t.add', '[1, \"two\"]'",
        "'t.add', '[1]'",
        "'t.see', '[1]', options => '{\"queue\": \"celeriack\"}'",
        "'t.see', '[1]', options => '{\"time_limit\": 5, \"soft_time_limit\": 9}'",
        "'t.see', '[1]', options => '{\"headers\": {\"celeriac-repeated\": true}}'",
        "'t.see', '[1]', options => '{\"compression\": \"rar\"}'",
        "'other.task', '[1]', options => '{\"exchange\": \"\", \"routing_key\": \"nowhere\"}'",
    ] {
        ask::<String>(&mut database, &format!("SELECT celeriac.enqueue({call})")).await;
    }
    let errors = unsent(&mut database, 8).await;
    for ((task, error), expected) in errors.iter().zip([
        "did you mean `t.see`",
        "argument `b`",
        "argument `b`",
        "queue `celeriack` is not declared, did you mean `celeriac`?",
        "its soft time limit of 9s is never reached",
        "header `celeriac-repeated` is the framework's own",
        "rar",
        "nowhere",
    ]) {
        assert!(error.contains(expected), "{task}: {error}");
    }
    let (code, said) = run(&["query", "unsent"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("celeriack"), "{said}");
    // One that is mended is sent.
    let mended = "UPDATE celeriac.outbox SET call = jsonb_set(call, '{options,queue}', '\"celeriac\"'), next_at = now()
        WHERE call -> 'options' ->> 'queue' = 'celeriack'";
    database.execute(mended).await.unwrap();
    assert_eq!(stage.seen(1).await[0].given.0, json!(1));
    unsent(&mut database, 7).await;
    assert_eq!(stage.finish().await.len(), 1);
}

#[celeriac_tests::test(real)]
async fn a_key_enqueues_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    let call = |args: &str, key: &str| {
        format!("SELECT celeriac.enqueue('t.see', '[{args}]', options => '{{\"idempotency_key\": \"{key}\"}}')")
    };
    let first: String = ask(&mut database, &call("1", "order-1")).await;
    assert_eq!(first, ask::<String>(&mut database, &call("1", "order-1")).await);
    assert_ne!(first, ask::<String>(&mut database, &call("1", "order-2")).await);
    let said = refusal(&mut database, &call("2", "order-1")).await;
    assert!(
        said.contains("idempotency key `order-1` was used with other arguments") && said.contains(&first),
        "{said}"
    );
    // A key that expired is free.
    database.execute("UPDATE celeriac.idempotency SET expires_at = now() - interval '1 s'").await.unwrap();
    assert_ne!(first, ask::<String>(&mut database, &call("2", "order-1")).await);
    stage.seen(3).await;
    assert_eq!(stage.finish().await.len(), 3);
}

#[celeriac_tests::test(real)]
async fn one_statement_enqueues_a_hundred_thousand_tasks(bed: Bed) {
    bed.client(bed.program([])).await;
    let mut database = bed.database().await;
    let began = Instant::now();
    let many =
        "SELECT count(celeriac.enqueue('t.see', jsonb_build_array(number))) FROM generate_series(1, 100000) AS number";
    assert_eq!(ask::<i64>(&mut database, many).await, 100_000);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    let ids = "SELECT count(DISTINCT id) FROM celeriac.outbox WHERE call IS NOT NULL";
    assert_eq!(ask::<i64>(&mut database, ids).await, 100_000);
}

#[celeriac_tests::test(real)]
async fn every_task_of_a_large_statement_runs_once(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    let many =
        "SELECT count(celeriac.enqueue('t.see', jsonb_build_array(number))) FROM generate_series(1, 2000) AS number";
    assert_eq!(ask::<i64>(&mut database, many).await, 2_000);
    stage.seen(2_000).await;
    let mut given: Vec<_> = stage.finish().await.into_iter().map(|call| call.given.0.as_i64().unwrap()).collect();
    given.sort_unstable();
    assert_eq!(given, (1..=2_000).collect::<Vec<_>>());
}

/// Starts a worker with a task that fails until it is mended.
async fn defective(bed: &Bed) -> (Running, std::sync::Arc<Mended>) {
    let mended = std::sync::Arc::new(Mended::default());
    let program =
        bed.program(tasks![add, fail, see, mend]).shared(std::sync::Arc::clone(&mended)).state(Seen::default());
    (bed.start(program).await, mended)
}

#[celeriac_tests::test(real)]
async fn a_failed_task_is_retried_under_its_id_and_every_action_is_audited(bed: Bed) {
    let (running, mended) = defective(&bed).await;
    let client = &running.client;
    let mut database = bed.database().await;
    let failed = mend(7).task_id("m-7").submit(client).await.unwrap();
    assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    // Nothing is retried that did not fail, or whose arguments are not known.
    add(1, 2).task_id("a-1").submit(client).await.unwrap().get().await.unwrap();
    let said = refusal(&mut database, "SELECT celeriac.retry('a-1')").await;
    assert!(said.contains("a-1 is SUCCESS, and only a task that ended without success is retried"), "{said}");
    let said = refusal(&mut database, "SELECT celeriac.retry('nobody')").await;
    assert!(said.contains("no task `nobody` is recorded"), "{said}");
    let mut transaction = database.begin().await.unwrap();
    transaction.execute("UPDATE celeriac.tasks SET args = NULL WHERE id = 'm-7'").await.unwrap();
    let said = refusal(&mut transaction, "SELECT celeriac.retry('m-7')").await;
    assert!(
        said.contains("does not hold its arguments (its dead letter does: celeriac dead replay --id m-7)"),
        "{said}"
    );
    transaction.rollback().await.unwrap();

    // The second call of one transaction is refused, and so is the whole transaction.
    let twice = "SELECT celeriac.retry('m-7'), celeriac.retry('m-7')";
    let said = refusal(&mut database, twice).await;
    assert!(said.contains("m-7 is PENDING"), "{said}");
    // It fails again, and then it is mended.
    for expected in [TaskState::Failure, TaskState::Success] {
        mended.0.store(expected == TaskState::Success, Ordering::Release);
        assert_eq!(ask::<i64>(&mut database, "SELECT celeriac.retry(ARRAY['m-7'])").await, 1);
        let ended = failed.wait().await.unwrap();
        assert_eq!(ended.state, expected);
    }
    assert_eq!(failed.get().await.unwrap(), 7);
    let row = failed.record().await.unwrap().unwrap();
    assert_eq!((row.replays, row.attempts, row.failure), (2, 1, None));
    let attempts: Vec<_> = failed.attempts().await.unwrap().into_iter().map(|one| (one.replays, one.state)).collect();
    assert_eq!(attempts, [(0, TaskState::Failure), (1, TaskState::Failure), (2, TaskState::Success)]);

    // A delayed task is revoked, and a row is forgotten.
    let waits = see(json!(0), Json::Null).delay(Duration::from_secs(2)).submit(client).await.unwrap();
    let revoked = format!("SELECT celeriac.revoke('{}', terminate => true)", waits.id());
    assert_eq!(ask::<i64>(&mut database, &revoked).await, 1);
    assert_eq!(waits.wait().await.unwrap().state, TaskState::Revoked);
    assert_eq!(ask::<i64>(&mut database, "SELECT celeriac.forget('a-1')").await, 1);
    assert_eq!(ask::<i64>(&mut database, "SELECT celeriac.forget(ARRAY['a-1', 'b'])").await, 0);
    let said = refusal(&mut database, "SELECT celeriac.replay('m-7')").await;
    assert!(
        said.contains("the database has no dead letters") && said.contains("celeriac dead replay --id m-7"),
        "{said}"
    );

    let audit = "SELECT action || ' ' || count || ' ' || database_user || ' ' || (ended_at IS NOT NULL)
        FROM celeriac.audit ORDER BY number";
    let audit: Vec<String> = sqlx::query_scalar(audit).fetch_all(&mut database).await.unwrap();
    let expected =
        ["retry 1", "retry 1", "revoke 1", "forget 1", "forget 0"].map(|done| format!("{done} postgres true"));
    assert_eq!(audit, expected);
}

#[celeriac_tests::test(real)]
async fn the_command_line_counts_failed_tasks_and_retries_them(bed: Bed) {
    let (running, mended) = defective(&bed).await;
    let client = &running.client;
    let variables = bed.environment();
    for number in 0..3 {
        let failed = mend(number).task_id(format!("m-{number}")).submit(client).await.unwrap();
        assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    }
    let other = fail(json!(1)).task_id("f-1").submit(client).await.unwrap();
    other.wait().await.unwrap();
    let (code, said) = run(&["failures", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let groups: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((&groups[0]["name"], &groups[0]["tasks"]), (&json!("t.mend"), &json!(3)), "{said}");
    assert_eq!(groups[0]["normalized_message"], json!("cannot do <number>"));
    let fingerprint = groups[0]["fingerprint"].as_str().unwrap().to_owned();
    let (code, said) = run(&["failures", "-t", "t.f*"], &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("t.fail") && !said.contains("t.mend"), "{said}");

    let bulk = ["retry", "--failed-since", "1h", "-t", "t.*", "--fingerprint", &fingerprint];
    for (more, expected, part) in [
        (&["--dry-run"][..], 0, "would retry 3 tasks\n        3 t.mend"),
        (&["--dry-run", "--limit", "2"], 0, "would retry 2 tasks"),
        (&[], 4, "confirmation required"),
    ] {
        let (code, said) = run(&[&bulk[..], more].concat(), &variables).await;
        assert_eq!(code, expected, "{more:?}: {said}");
        assert!(said.contains(part), "{more:?}: {said}");
    }
    mended.0.store(true, Ordering::Release);
    let (code, said) = run(&[&bulk[..], &["--yes"]].concat(), &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("retried 3 tasks"), "{said}");
    for number in 0..3 {
        assert_eq!(client.handle::<i64>(format!("m-{number}")).get().await.unwrap(), number);
    }
    // One of two is refused, and the other is sent.
    let (code, said) = run(&["retry", "m-1", "f-1"], &variables).await;
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("retried 1 task") && said.contains("m-1 is SUCCESS"), "{said}");
    assert_eq!(other.wait().await.unwrap().replays, 1);
    let audit =
        "SELECT action || ' ' || count || ' ' || (program LIKE '%celeriac%') FROM celeriac.audit ORDER BY number";
    let audit: Vec<String> = sqlx::query_scalar(audit).fetch_all(&mut bed.database().await).await.unwrap();
    assert_eq!(audit, ["retry 3 true", "retry 1 true"]);
}

#[celeriac_tests::test(real)]
async fn a_task_is_followed_until_its_end(bed: Bed) {
    let stage = Stage::start(&bed).await;
    flaky(3).task_id("k-1").submit(stage.client()).await.unwrap();
    let (code, said) = run(&["result", "k-1", "--follow", "--wait", "60s"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let (first, second) = (said.find("attempt 1 RETRY on").unwrap(), said.find("attempt 2 RETRY on").unwrap());
    let end = said.find("k-1 t.flaky SUCCESS after 3 attempts").unwrap();
    assert!(first < second && second < end, "{said}");
    stage.finish().await;
}
