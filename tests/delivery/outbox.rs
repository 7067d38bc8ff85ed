//! Tasks that are sent in the sender's own transaction.

use std::time::Duration;

use celeriac::Chain;
use celeriac::prelude::*;
use celeriac::sqlx::postgres::PgListener;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_client::Error;
use celeriac_config::Secret;
use celeriac_protocol::Value;
use celeriac_results::ResultsOptions;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Running};
use serde_json::{Value as Json, json};

use tokio::time::timeout;

use crate::command_line::run;
use crate::stage::{Call, Seen, Stage, add, see};

/// Sends another task in its transaction, and can fail afterwards.
#[task(name = "t.send_in", transactional)]
async fn send_in(ctx: TaskContext, tx: &mut PgConnection, given: Json, fails: bool) -> TaskResult<String> {
    let sent = ctx.client().submit_in(tx, see(given, Json::Null)).await?;
    if fails { Err(TaskError::new("after it was sent")) } else { Ok(sent.id().to_owned()) }
}

/// Doubles a number, in a transaction.
#[task(name = "t.double", transactional)]
async fn double(_tx: &mut PgConnection, number: i64) -> TaskResult<i64> {
    Ok(number * 2)
}

async fn waiting(bed: &Bed) -> i64 {
    sqlx::query_scalar("SELECT waiting FROM celeriac.outbox_lag").fetch_one(&mut bed.database().await).await.unwrap()
}

async fn emptied(bed: &Bed) {
    eventually("the outbox is empty", async || waiting(bed).await, |waiting| *waiting == 0).await;
}

fn firsts(calls: &[Call]) -> Vec<Json> {
    calls.iter().map(|call| call.given.0.clone()).collect()
}

#[celeriac_tests::test(real)]
async fn a_task_is_sent_when_its_transaction_commits_and_not_when_it_does_not(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    let mut lost = database.begin().await.unwrap();
    stage.client().submit_in(&mut lost, see(json!("lost"), Json::Null)).await.unwrap();
    lost.rollback().await.unwrap();
    let mut kept = database.begin().await.unwrap();
    let handle = stage.client().submit_in(&mut kept, see(json!("kept"), Json::Null)).await.unwrap();
    assert_eq!(handle.status().await.unwrap(), TaskState::Pending);
    kept.commit().await.unwrap();
    assert_eq!(handle.get().await.unwrap(), json!("kept"));
    emptied(&bed).await;
    assert_eq!(firsts(&stage.finish().await), [json!("kept")]);
}

#[celeriac_tests::test(real)]
async fn what_a_call_says_holds_for_one_that_is_sent_in_a_transaction(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = bed.database().await;
    let call = see(json!(1), Json::Null).task_id("one").header("tenant", "blue").delay(Duration::from_secs(2));
    let call = call.link(Signature::new("t.see").arg("link")).expires_in(Duration::from_secs(300));
    let begun = celeriac_telemetry::clock::now();
    let handle = stage.client().submit_in(&mut database, call).await.unwrap();
    assert_eq!((handle.id(), handle.get().await.unwrap()), ("one", json!(1)));
    stage.seen(2).await;
    let row = stage.row("one").await;
    let started = row.started_at.unwrap();
    assert!(started.duration_since(begun).as_millis() >= 2_000, "started at {started}, sent at {begun}");
    assert!(row.eta.is_some() && row.expires.is_some());
    let calls = stage.finish().await;
    assert_eq!(calls[0].header("tenant"), Some(&Value::from("blue")));
    assert_eq!(calls[0].header("celeriac-repeated"), Some(&Value::Bool(true)), "it may have been relayed before");
    assert_eq!(calls[1].parent.as_deref(), Some("one"));
}

#[celeriac_tests::test(real)]
async fn what_has_one_key_runs_in_the_order_of_its_commits(bed: Bed) {
    let stage = Stage::with(&bed, |program| program.set("worker.concurrency", "1").set("worker.prefetch", "1")).await;
    let mut database = bed.database().await;
    for batch in 0..4 {
        let mut tx = database.begin().await.unwrap();
        for number in 0..25 {
            let call = see(json!([batch, number]), Json::Null).ordered_by("customer-17");
            stage.client().submit_in(&mut tx, call).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    stage.seen(100).await;
    let expected: Vec<_> = (0..4).flat_map(|batch| (0..25).map(move |number| json!([batch, number]))).collect();
    assert_eq!(firsts(&stage.finish().await), expected);
}

#[celeriac_tests::test(real)]
async fn what_cannot_be_sent_stays_with_its_reason_and_holds_back_its_own_key_alone(bed: Bed) {
    // The relay keeps the order of a key. A worker with several slots may finish the second first.
    let stage = Stage::with(&bed, |program| program.set("worker.concurrency", "1").set("worker.prefetch", "1")).await;
    let mut database = bed.database().await;
    let client = stage.client();
    let mut tx = database.begin().await.unwrap();
    let nowhere = see(json!("a1"), Json::Null).task_id("a1").exchange("amq.direct").routing_key("nowhere-yet");
    client.submit_in(&mut tx, nowhere.ordered_by("a")).await.unwrap();
    client.submit_in(&mut tx, see(json!("a2"), Json::Null).task_id("a2").ordered_by("a")).await.unwrap();
    // Internal: RabbitMQ lets nobody publish to it.
    let closed = see(json!("c1"), Json::Null).task_id("c1").exchange("amq.rabbitmq.trace").routing_key("x");
    client.submit_in(&mut tx, closed).await.unwrap();
    client.submit_in(&mut tx, see(json!("b"), Json::Null).ordered_by("b")).await.unwrap();
    client.submit_in(&mut tx, see(json!("free"), Json::Null)).await.unwrap();
    tx.commit().await.unwrap();
    let mut sent = firsts(&stage.seen(2).await);
    sent.sort_by_key(ToString::to_string);
    assert_eq!(sent, [json!("b"), json!("free")]);
    let failing = "SELECT count(*) FROM celeriac.outbox
        WHERE attempts > 0 AND (error LIKE '%nowhere-yet%' OR error LIKE '%amq.rabbitmq.trace%')";
    let told = async || sqlx::query_scalar::<_, i64>(failing).fetch_one(&mut database).await.unwrap();
    eventually("their reasons are told", told, |failing| *failing == 2).await;
    assert_eq!(waiting(&bed).await, 3, "and the next of its key waits");
    let (code, said) = run(&["relay", "--status"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("3 waiting, the oldest ") && said.trim_end().ends_with(", 2 failing"), "{said}");
    let mended = "UPDATE celeriac.outbox SET exchange = '', routing_key = 'celeriac' WHERE id IN ('a1', 'c1')";
    sqlx::query(mended).execute(&mut database).await.unwrap();
    emptied(&bed).await;
    stage.seen(5).await;
    let mut late = firsts(&stage.finish().await)[2..].to_vec();
    late.retain(|first| *first != json!("c1"));
    assert_eq!(late, [json!("a1"), json!("a2")]);
}

#[celeriac_tests::test(real)]
async fn a_relay_for_declared_destinations_keeps_other_messages_with_the_reason(bed: Bed) {
    let program = || bed.program(tasks![see]).state(Seen::default()).set("worker.relay_undeclared", "false");
    bed.start(program()).await;
    let client = bed.client(program()).await;
    let peer = bed.peer().await;
    peer.declare("theirs").await;
    let mut database = bed.database().await;
    let mut tx = database.begin().await.unwrap();
    let forbidden = [("", "theirs"), ("amq.topic", "celeriac")];
    for (exchange, routing_key) in forbidden {
        let call = see(json!(exchange), Json::Null).exchange(exchange).routing_key(routing_key);
        client.submit_in(&mut tx, call).await.unwrap();
    }
    let allowed = client.submit_in(&mut tx, see(json!("own"), Json::Null)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(allowed.get().await.unwrap(), json!("own"));
    let errors = "SELECT error FROM celeriac.outbox WHERE error IS NOT NULL ORDER BY seq";
    let errors = async || sqlx::query_scalar::<_, String>(errors).fetch_all(&mut database).await.unwrap();
    let errors = eventually("both have their reason", errors, |errors| errors.len() == 2).await;
    for (error, destination) in errors.iter().zip(["queue `theirs`", "exchange `amq.topic`"]) {
        assert_eq!(error, &format!("{destination} is not declared, and worker.relay_undeclared is false"));
    }
    assert_eq!(peer.ready("theirs").await, 0);
}

#[celeriac_tests::test(real)]
async fn a_transactional_task_sends_what_it_sends_and_what_follows_from_it_with_its_commit(bed: Bed) {
    let stage = Stage::with(&bed, |program| program.tasks(tasks![send_in, double])).await;
    let sent = send_in(json!("sent"), false).task_id("one").submit(stage.client()).await.unwrap().get().await.unwrap();
    let failed = send_in(json!("lost"), true).submit(stage.client()).await.unwrap();
    assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    let linked = double(4).task_id("two").link(Signature::new("t.see").arg("link"));
    assert_eq!(linked.submit(stage.client()).await.unwrap().get().await.unwrap(), 8);
    let chain = Chain::new(double(5).task_id("three").signature().unwrap()).then(add(1, 0).signature().unwrap());
    assert!(chain.submit(stage.client()).await.is_ok());
    stage.seen(2).await;
    emptied(&bed).await;
    assert_eq!(stage.row(&sent).await.parent_id.as_deref(), Some("one"));
    let mut calls = stage.finish().await;
    calls.sort_by_key(|call| call.given.0.to_string());
    assert_eq!(firsts(&calls), [json!("sent"), json!(8)]);
    assert_eq!((calls[0].parent.as_deref(), calls[1].parent.as_deref()), (Some("one"), Some("two")));
}

#[celeriac_tests::test(real)]
async fn a_store_without_an_outbox_and_a_call_that_cannot_be_meant_are_errors_of_their_own(bed: Bed) {
    let mut database = bed.database().await;
    let without = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = without.submit_in(&mut database, add(1, 2)).await.unwrap_err();
    assert!(matches!(error, Error::NoOutbox { .. }), "{error}");
    let client = bed.client(bed.program([])).await;
    let error = client.submit(add(1, 2).ordered_by("a")).await.unwrap_err();
    assert!(error.to_string().contains("only what is sent in a transaction is kept in order"), "{error}");
}

#[celeriac_tests::test(real)]
async fn of_two_workers_one_relays_and_the_other_goes_on_when_that_ends(bed: Bed) {
    let app = bed.program(tasks![add]).set("client.result_timeout", "40s").build().unwrap();
    let (first, second) = (Running::start(&app).await, Running::start(&app).await);
    let client = bed.client(bed.program([]).set("client.result_timeout", "40s")).await;
    let mut database = bed.database().await;
    let leaders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let led = async || sqlx::query_scalar::<_, i64>(leaders).fetch_one(&mut database).await.unwrap();
    eventually("one of them relays", led, |leaders| *leaders == 1).await;
    let before = client.submit_in(&mut database, add(1, 2)).await.unwrap();
    assert_eq!(before.get().await.unwrap(), 3);
    first.stop().await;
    let after = client.submit_in(&mut database, add(3, 4)).await.unwrap();
    assert_eq!(after.get().await.unwrap(), 7);
    second.stop().await;
}

#[celeriac_tests::test(real)]
async fn those_who_send_wake_a_relay_that_sleeps_and_leave_one_alone_that_is_awake(bed: Bed) {
    let client = bed.client(bed.program(tasks![add])).await;
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = celeriac_results::connect(&options).await.unwrap().unwrap();
    let mut lead = store.postgres().unwrap().outbox().acquire_lease().await.unwrap();
    let mut database = bed.database().await;
    let mut listener = PgListener::connect(&bed.database_url()).await.unwrap();
    listener.listen_all(["celeriac_outbox", "mark"]).await.unwrap();
    // Returns the notifications since the last call. They arrive in the order of their commits.
    let mut heard = async || {
        sqlx::raw_sql("NOTIFY mark").execute(&mut bed.database().await).await.unwrap();
        let mut times = 0;
        while listener.recv().await.unwrap().channel() != "mark" {
            times += 1;
        }
        times
    };

    client.submit_in(&mut database, add(1, 2)).await.unwrap();
    assert_eq!(heard().await, 1, "it sleeps, and is woken");
    let mut found = lead.window(10, 1_000).await.unwrap();
    client.submit_in(&mut database, add(3, 4)).await.unwrap();
    assert_eq!(heard().await, 0, "it is awake");
    while found.len() < 2 {
        lead.news().await.unwrap();
        found = lead.window(10, 1_000).await.unwrap();
    }
    let sent: Vec<_> = found.iter().map(|waiting| waiting.seq).collect();
    lead.conclude(&sent, &[]).await.unwrap();

    // This sender writes now, and commits when no relay polls.
    let mut slow = bed.database().await;
    let mut late = slow.begin().await.unwrap();
    client.submit_in(&mut late, add(7, 8)).await.unwrap();

    // An idle relay stops polling, and releases this lock before its last poll.
    let asleep = "SELECT pg_try_advisory_lock_shared(l) AND pg_advisory_unlock_shared(l) FROM (VALUES (7162249965085352299)) AS awake (l)";
    let mut asleep = async || sqlx::query_scalar::<_, bool>(asleep).fetch_one(&mut database).await.unwrap();
    while !asleep().await {
        lead.news().await.unwrap();
        assert!(lead.window(10, 1_000).await.unwrap().is_empty());
    }
    late.commit().await.unwrap();
    assert_eq!(heard().await, 0, "nobody was told of it");
    timeout(Duration::from_secs(10), lead.news()).await.unwrap().unwrap();
    let found = lead.window(10, 1_000).await.unwrap();
    lead.conclude(&[found[0].seq], &[]).await.unwrap();
    while !asleep().await {
        lead.news().await.unwrap();
        assert!(lead.window(10, 1_000).await.unwrap().is_empty());
    }
    client.submit_in(&mut database, add(5, 6)).await.unwrap();
    assert_eq!(heard().await, 1, "it sleeps again");
    lead.end().await;
    store.close().await;
}

#[celeriac_tests::test(real)]
async fn a_worker_that_is_to_leave_it_does_not_relay_and_a_program_of_its_own_does(bed: Bed) {
    let stage = Stage::with(&bed, |program| program.set("worker.run_relay", "false")).await;
    let (client, variables) = (stage.client(), bed.environment());
    let mut database = bed.database().await;
    let handle = client.submit_in(&mut database, add(1, 2)).await.unwrap();
    // The worker runs tasks, and does not relay.
    assert_eq!(add(3, 4).submit(client).await.unwrap().get().await.unwrap(), 7);
    let (code, said) = run(&["relay", "--status"], &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("1 waiting, the oldest "), "{said}");
    assert!(
        said.trim_end().ends_with(", 0 failing\nno process relays: start a worker, or `celeriac-test-program relay`"),
        "{said}"
    );
    let mut relay = bed.process(&["relay"]);
    assert_eq!(handle.get().await.unwrap(), 3);
    emptied(&bed).await;
    let (code, said) = run(&["relay", "--status", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let shown: Json = serde_json::from_str(&said).unwrap();
    let expected = json!({"waiting": 0, "failing": 0, "oldest_at": null, "oldest_seconds": null, "relayed": true});
    assert_eq!(shown, expected);
    relay.signal("TERM");
    assert_eq!(relay.exit_code(Duration::from_secs(20)).await, 0, "{}", relay.output());
    stage.finish().await;
}
