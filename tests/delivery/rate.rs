//! Tasks that may start so often, beside others on the same queue.

use std::collections::HashSet;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{RateLimit, Request};
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::{Bed, Peer, Program, Running, eventually};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::{PgConnection, Row};

use crate::letter::Letter;
use crate::stage::Stage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_celeriac-test-program");

#[task(name = "t.limited", rate_limit = "10/s")]
async fn limited(number: u64) -> TaskResult<u64> {
    Ok(number)
}

#[task(name = "t.seldom", rate_limit = "5/h")]
async fn seldom(number: u64) -> TaskResult<u64> {
    Ok(number)
}

#[task(name = "t.free")]
async fn free(number: u64) -> TaskResult<u64> {
    Ok(number)
}

#[task(name = "t.early", rate_limit = "61/m", acks = "early")]
async fn early(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// When the tasks of a name that have succeeded began, in this order.
async fn starts(database: &mut PgConnection, name: &str) -> Vec<Timestamp> {
    let rows = sqlx::query(
        "SELECT (extract(epoch FROM started_at) * 1000)::bigint FROM celeriac.tasks \
         WHERE name = $1 AND state = 'SUCCESS' ORDER BY started_at",
    );
    let rows = rows.bind(name).fetch_all(database).await.unwrap();
    rows.iter().map(|row| Timestamp::from_millisecond(row.get(0)).unwrap()).collect()
}

async fn all_started(bed: &Bed, name: &str, count: usize) -> Vec<Timestamp> {
    let mut database = bed.database().await;
    eventually(name, async || starts(&mut database, name).await, |starts| starts.len() == count).await
}

/// How many messages wait in the levels of delay.
async fn delayed(peer: &Peer) -> u32 {
    let mut waiting = 0;
    for level in 0..28 {
        waiting += peer.ready(&format!("celery_delayed_{level}")).await;
    }
    waiting
}

/// The most that began within a second.
fn most_in_a_second(starts: &[Timestamp]) -> usize {
    let within = |from: Timestamp| {
        starts.iter().filter(|at| **at >= from && at.duration_since(from) < SignedDuration::from_secs(1)).count()
    };
    starts.iter().map(|from| within(*from)).max().unwrap_or_default()
}

#[tokio::test]
async fn a_limited_task_does_not_hold_up_the_others_of_its_queue() {
    let bed = Bed::new().await;
    let app = bed.program(tasks![limited, free]).set("worker.concurrency", "8").build().unwrap();
    let client = app.client().await.unwrap();
    for sent in client.submit_all((0..40).map(limited)).await {
        sent.unwrap();
    }
    for sent in client.submit_all((0..200).map(free)).await {
        sent.unwrap();
    }
    let running = Running::start(&app).await;
    let free = all_started(&bed, "t.free", 200).await;
    let limited = all_started(&bed, "t.limited", 40).await;
    let before = limited.iter().filter(|at| *at <= free.last().unwrap()).count();
    assert!(before < 40, "all {before} limited tasks began before the last of those that stood behind them");
    // Ten, and what a busy machine puts together.
    assert!(most_in_a_second(&limited) <= 14, "{limited:?}");
    running.stop().await;
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn what_has_to_wait_is_with_the_broker_and_not_in_the_worker() {
    let bed = Bed::new().await;
    let running = Running::start(&bed.program(tasks![seldom]).build().unwrap()).await;
    for sent in running.client.submit_all((0..20).map(seldom)).await {
        sent.unwrap();
    }
    all_started(&bed, "t.seldom", 1).await;
    let peer = bed.peer().await;
    eventually("the others wait", async || delayed(&peer).await, |delayed| *delayed == 19).await;
    // What a worker holds goes back to its queue when it stops.
    running.stop().await;
    assert_eq!((peer.ready("celeriac").await, delayed(&peer).await), (0, 19));
    bed.clear().await;
}

#[tokio::test]
async fn a_rate_is_changed_while_the_worker_runs() {
    let bed = Bed::new().await;
    let running = Running::start(&bed.program(tasks![free]).build().unwrap()).await;
    let controls = &running.controls;
    let send = async |count: u64| {
        for sent in running.client.submit_all((0..count).map(free)).await {
            sent.unwrap();
        }
    };
    let peer = bed.peer().await;
    send(10).await;
    all_started(&bed, "t.free", 10).await;
    controls.set_rate_limit("t.free", Some(RateLimit::per_hour(5))).unwrap();
    assert_eq!(controls.rate_limit("t.free").unwrap(), Some(RateLimit::per_hour(5)));
    send(5).await;
    eventually("four wait", async || delayed(&peer).await, |delayed| *delayed == 4).await;
    controls.set_rate_limit("t.free", Some(RateLimit::per_second(50))).unwrap();
    send(10).await;
    all_started(&bed, "t.free", 21).await;
    controls.set_rate_limit("t.free", None).unwrap();
    send(10).await;
    all_started(&bed, "t.free", 31).await;
    let unknown = controls.set_rate_limit("t.fre", None).unwrap_err().to_string();
    assert_eq!(unknown, "no task is named `t.fre` here, did you mean `t.free`?");
    running.stop().await;
    assert_eq!(delayed(&peer).await, 4, "what was out comes back when it was to");
    bed.clear().await;
}

#[tokio::test]
async fn of_two_that_a_crash_has_left_one_runs() {
    let stage = Stage::start().await;
    let letter = |id| Letter::new("t.see", id, &json!([1])).header("celeriac-rate-limited", &json!(1));
    // The last stands behind the second copy of the first: when it has ended, that one has been taken.
    for id in ["one", "one", "last"] {
        letter(id).put(&stage.peer).await;
        assert_eq!(stage.end(id).await, (State::Success, None));
    }
    assert_eq!(stage.clear().await.len(), 2);
}

#[tokio::test]
async fn what_stands_in_line_is_not_acknowledged_early() {
    let bed = Bed::new().await;
    let running = Running::start(&bed.program(tasks![early]).set("worker.drain", "0s").build().unwrap()).await;
    for sent in running.client.submit_all((0..2).map(early)).await {
        sent.unwrap();
    }
    let mut database = bed.database().await;
    eventually("one ran", async || starts(&mut database, "t.early").await.len(), |ran| *ran > 0).await;
    running.stop().await;
    let ran = u32::try_from(starts(&mut database, "t.early").await.len()).unwrap();
    let peer = bed.peer().await;
    eventually("none is lost", async || peer.ready("celeriac").await, |ready| ready + ran == 2).await;
    bed.clear().await;
}

#[tokio::test]
async fn two_workers_of_which_one_is_killed_lose_none_and_run_none_twice() {
    let bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "task_options: [{ task: test.note, rate_limit: 10/s }]\n";
    std::fs::write(folder.path().join("celeriac.yaml"), lines).unwrap();
    let journal = folder.path().join("journal");
    let variables = [
        ("CELERIAC__BROKER__URL", bed.amqp_url()),
        ("CELERIAC__RESULTS__URL", bed.database_url()),
        ("JOURNAL", journal.to_string_lossy().into_owned()),
    ];
    let config = folder.path().to_string_lossy().into_owned();
    let start = |name| Program::start(PROGRAM, &["--config", &config, "worker", "-n", name], &variables);
    let client = bed.program([]).build().unwrap().client().await.unwrap();
    for number in 0..100 {
        let body = Body { args: vec![Value::Int(number)], ..Body::default() };
        let request = Request { task: "test.note".to_owned(), body, options: CallOptions::default() };
        client.submit_request(request).await.unwrap();
    }
    let (mut victim, mut heir) = (start("victim"), start("heir"));
    victim.says("ready").await;
    heir.says("ready").await;
    let ran = async || std::fs::read_to_string(&journal).unwrap_or_default();
    eventually("some ran", async || ran().await.lines().count(), |count| *count >= 20).await;
    victim.kill().await;
    all_started(&bed, "test.note", 100).await;
    heir.signal("TERM");
    assert_eq!(heir.exit_code(Duration::from_secs(40)).await, 0, "{}", heir.output());
    let ran = ran().await;
    let distinct: HashSet<_> = ran.lines().collect();
    assert_eq!(distinct.len(), 100);
    // One that ran when its worker died may have run again.
    assert!(ran.lines().count() <= 102, "{ran}");
    client.close().await;
    bed.clear().await;
}
