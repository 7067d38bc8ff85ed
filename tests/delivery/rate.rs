//! Tasks with rate limits, beside others on the same queue.

use std::collections::HashSet;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Call, Client, DynamicCall, RateLimit, Task};
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::{Bed, Peer, assert_outcome, eventually};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::letter::Letter;
use crate::stage::Stage;

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

async fn submit<T: Task<Args: Sync>>(
    client: &Client,
    calls: impl Iterator<Item = Call<T>> + Send,
) -> Vec<TaskHandle<T::Output>> {
    client.submit_many(calls).await.into_iter().map(Result::unwrap).collect()
}

/// Returns the times at which tasks started, in order, after all have succeeded.
async fn starts<T: DeserializeOwned>(handles: &[TaskHandle<T>]) -> Vec<Timestamp> {
    let mut starts = Vec::new();
    for handle in handles {
        let row = handle.wait().await.unwrap();
        assert_outcome!(row, Success, attempts: 1);
        starts.push(row.started_at.unwrap());
    }
    starts.sort();
    starts
}

/// Returns the number of tasks that have succeeded so far.
async fn ended<T: DeserializeOwned>(handles: &[TaskHandle<T>]) -> usize {
    let mut ended = 0;
    for handle in handles {
        ended += usize::from(handle.successful().await.unwrap());
    }
    ended
}

/// Returns the number of messages in the delay levels.
async fn delayed(peer: &Peer) -> u32 {
    let mut waiting = 0;
    for level in 0..28 {
        waiting += peer.ready(&format!("celery_delayed_{level}")).await;
    }
    waiting
}

/// Returns the largest number of starts within a second.
fn most_in_a_second(starts: &[Timestamp]) -> usize {
    let within = |from: Timestamp| {
        starts.iter().filter(|at| **at >= from && at.duration_since(from) < SignedDuration::from_secs(1)).count()
    };
    starts.iter().map(|from| within(*from)).max().unwrap_or_default()
}

#[celeriac_tests::test]
async fn a_limited_task_does_not_hold_up_the_others_of_its_queue(bed: Bed) {
    let program = || bed.program(tasks![limited, free]).set("worker.concurrency", "8");
    let client = bed.client(program()).await;
    let limited = submit(&client, (0..40).map(limited)).await;
    let free = submit(&client, (0..200).map(free)).await;
    bed.start(program()).await;
    let (free, limited) = (starts(&free).await, starts(&limited).await);
    let before = limited.iter().filter(|at| *at <= free.last().unwrap()).count();
    assert!(before < 40, "all {before} limited tasks began before the last of those that stood behind them");
    // Ten, and those that a busy machine delays into the same second.
    assert!(most_in_a_second(&limited) <= 14, "{limited:?}");
}

#[celeriac_tests::test(real)]
async fn what_has_to_wait_is_in_the_levels_of_the_broker_and_not_in_the_worker(bed: Bed) {
    let running = bed.worker(tasks![seldom]).await;
    let handles = submit(&running.client, (0..20).map(seldom)).await;
    eventually("one ran", async || ended(&handles).await, |ended| *ended == 1).await;
    let peer = bed.peer().await;
    eventually("the others wait", async || delayed(&peer).await, |delayed| *delayed == 19).await;
    // Messages that a worker holds return to the queue when it stops.
    running.stop().await;
    assert_eq!((peer.ready("celeriac").await, delayed(&peer).await), (0, 19));
}

#[celeriac_tests::test(real)]
async fn a_rate_is_changed_while_the_worker_runs_and_the_levels_keep_what_they_have(bed: Bed) {
    let running = bed.worker(tasks![free]).await;
    let (client, controls, peer) = (&running.client, &running.controls, bed.peer().await);
    starts(&submit(client, (0..10).map(free)).await).await;
    controls.set_rate_limit("t.free", Some(RateLimit::per_hour(5))).unwrap();
    assert_eq!(controls.rate_limit("t.free").unwrap(), Some(RateLimit::per_hour(5)));
    submit(client, (0..5).map(free)).await;
    eventually("four wait", async || delayed(&peer).await, |delayed| *delayed == 4).await;
    controls.set_rate_limit("t.free", Some(RateLimit::per_second(50))).unwrap();
    starts(&submit(client, (0..10).map(free)).await).await;
    controls.set_rate_limit("t.free", None).unwrap();
    starts(&submit(client, (0..10).map(free)).await).await;
    running.stop().await;
    assert_eq!(delayed(&peer).await, 4, "what was out comes back when it was to");
}

#[celeriac_tests::test]
async fn a_rate_is_changed_by_the_name_of_a_task(bed: Bed) {
    let running = bed.worker(tasks![free]).await;
    let (client, controls) = (&running.client, &running.controls);
    controls.set_rate_limit("t.free", Some(RateLimit::per_hour(5))).unwrap();
    let handles = submit(client, (0..2).map(free)).await;
    eventually("one ran", async || ended(&handles).await, |ended| *ended == 1).await;
    controls.set_rate_limit("t.free", None).unwrap();
    starts(&submit(client, (0..10).map(free)).await).await;
    assert_eq!(ended(&handles).await, 1, "what was out comes back when it was to");
    let unknown = controls.set_rate_limit("t.fre", None).unwrap_err().to_string();
    assert_eq!(unknown, "no task has the name `t.fre`, did you mean `t.free`?");
}

#[celeriac_tests::test]
async fn of_two_that_a_crash_has_left_one_runs(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let letter = |id| Letter::new("t.see", id, &json!([1])).header("celeriac-rate-limited", &json!(1));
    // The last message is behind the second copy of the first. When it has ended, that copy has
    // been delivered.
    for id in ["one", "one", "last"] {
        letter(id).put(&stage.peer).await;
        assert_eq!(stage.end(id).await, (TaskState::Success, None));
    }
    assert_eq!(stage.finish().await.len(), 2);
}

#[celeriac_tests::test]
async fn what_stands_in_line_is_not_acknowledged_early(bed: Bed) {
    // The second task may start a second after the first. If a busy machine lets it run before the
    // worker is stopped, no task waited, and the round tested nothing.
    for _ in 0..10 {
        let running = bed.start(bed.program(tasks![early]).set("worker.drain_timeout", "0s")).await;
        let client = bed.client(bed.program([])).await;
        let handles = submit(&running.client, (0..2).map(early)).await;
        let peer = bed.peer().await;
        eventually("one ran", async || ended(&handles).await, |ended| *ended > 0).await;
        let held = peer.ready("celeriac").await == 0;
        running.stop().await;
        let handles: Vec<_> = handles.iter().map(|handle| client.handle::<u64>(handle.id())).collect();
        let (ran, back) = (ended(&handles).await, peer.take_all("celeriac").await.len());
        assert_eq!(ran + back, 2, "none is lost");
        if held && ran == 1 {
            return;
        }
    }
    panic!("none ever stood in line when its worker was stopped");
}

#[celeriac_tests::test(real)]
async fn two_workers_of_which_one_is_killed_lose_none_and_run_nothing_twice_but_what_that_one_held(bed: Bed) {
    /// Most messages that a worker holds unsettled: those that run, wait, or have just arrived.
    const HELD: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let lines = "task_options: [{ task: test.note, rate_limit: 10/s }]\n";
    std::fs::write(folder.path().join("celeriac.yaml"), lines).unwrap();
    let journal = folder.path().join("journal");
    let config = folder.path().to_string_lossy().into_owned();
    let own = [
        ("JOURNAL", journal.to_string_lossy().into_owned()),
        ("CELERIAC__WORKER__CONCURRENCY", "2".to_owned()),
        ("CELERIAC__WORKER__PREFETCH", HELD.to_string()),
    ];
    let start = |name| bed.process_with(&["--config", &config, "worker", "-n", name], &own);
    let client = bed.client(bed.program([])).await;
    let mut handles = Vec::new();
    for number in 0..100 {
        let body = Body { args: vec![Value::Int(number)], ..Body::default() };
        let request = DynamicCall { task: "test.note".to_owned(), body, options: CallOptions::default() };
        handles.push(client.submit_dynamic(request).await.unwrap());
    }
    let (mut victim, mut heir) = (start("victim"), start("heir"));
    victim.says("ready").await;
    heir.says("ready").await;
    let ran = || std::fs::read_to_string(&journal).unwrap_or_default();
    eventually("some ran", async || ran().lines().count(), |count| *count >= 20).await;
    victim.kill().await;

    assert_eq!(starts(&handles).await.len(), 100);
    heir.signal("TERM");
    assert_eq!(heir.exit_code(Duration::from_secs(40)).await, 0, "{}", heir.output());
    let ran = ran();
    let distinct: HashSet<_> = ran.lines().collect();
    assert_eq!(distinct.len(), 100, "none is lost");
    let twice = ran.lines().count() - distinct.len();
    assert!(twice <= HELD, "{twice} ran twice, and the worker that was killed held no more than {HELD}");
}
