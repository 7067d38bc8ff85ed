//! The broker loses the messages of next attempts, and an operator sends them again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_tests::peer::Found;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Peer, Program};
use lapin::BasicProperties;
use serde_json::Value as Json;
use tokio::sync::Semaphore;

/// Wait for the second attempt. The worker is stopped within it.
const WAIT: Duration = Duration::from_secs(8);

/// The attempts that have run: the number of the task, and of its attempt.
#[derive(Debug, Default)]
struct RunAttempts(Mutex<Vec<(u64, u32)>>);

impl RunAttempts {
    fn add(&self, number: u64, attempt: u32) {
        self.0.lock().unwrap().push((number, attempt));
    }

    fn sorted(&self) -> Vec<(u64, u32)> {
        let mut ran = self.0.lock().unwrap().clone();
        ran.sort_unstable();
        ran
    }
}

/// Succeeds at its second attempt.
#[task(name = "t.second", max_retries = 3)]
async fn second(ctx: TaskContext, number: u64) -> TaskResult<u64> {
    ctx.state::<RunAttempts>()?.add(number, ctx.attempt());
    if ctx.attempt() == 1 { Err(TaskError::retry_in(WAIT, "later")) } else { Ok(number) }
}

/// Follows from that, and counts as its attempt 0.
#[task(name = "t.linked")]
async fn linked(ctx: TaskContext, number: u64) -> TaskResult<()> {
    ctx.state::<RunAttempts>()?.add(number, 0);
    Ok(())
}

/// Opens when a test lets the second attempts end.
#[derive(Debug)]
struct Gate(Semaphore);

/// Takes effect at its second attempt, once the gate is open.
#[task(name = "t.effect", transactional, max_retries = 1)]
async fn effect(ctx: TaskContext, tx: &mut PgConnection, number: i64) -> TaskResult<()> {
    ctx.state::<RunAttempts>()?.add(1, ctx.attempt());
    if ctx.attempt() == 1 {
        return Err(TaskError::retry_in(Duration::from_millis(10), "later"));
    }
    sqlx::query("INSERT INTO effects (number) VALUES ($1)").bind(number).execute(tx).await?;
    let gate = ctx.state::<Gate>()?;
    let _open = gate.0.acquire().await;
    Ok(())
}

/// Tasks in the state RETRY whose messages the broker has lost.
struct LostRetries {
    bed: Bed,
    peer: Peer,
    database: PgConnection,
    ran: Arc<RunAttempts>,
    ids: Vec<String>,
    messages: Vec<Found>,
}

impl LostRetries {
    async fn new(bed: Bed, count: u64) -> Self {
        let (peer, database, ran) = (bed.peer().await, bed.database().await, Arc::new(RunAttempts::default()));
        let mut lost = Self { bed, peer, database, ran, ids: Vec::new(), messages: Vec::new() };
        let running = lost.bed.start(lost.program()).await;
        for number in 0..count {
            let call = second(number).link(Signature::new("t.linked"));
            lost.ids.push(call.submit(&running.client).await.unwrap().id().to_owned());
        }
        let expected = i64::try_from(count).unwrap();
        eventually("they wait for their second attempt", async || lost.count("RETRY").await, |rows| *rows == expected)
            .await;
        running.stop().await;
        let arrived = u32::try_from(count).unwrap();
        eventually("it is due", async || lost.peer.ready("celeriac").await, |ready| *ready == arrived).await;
        lost.messages = lost.peer.take_all("celeriac").await;
        lost
    }

    fn program(&self) -> Builder {
        self.bed.program(tasks![second, linked]).shared(Arc::clone(&self.ran))
    }

    async fn count(&mut self, state: &str) -> i64 {
        let query = sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks WHERE state = $1 AND name = 't.second'");
        query.bind(state).fetch_one(&mut self.database).await.unwrap()
    }

    /// Returns a number from the database.
    async fn number(&mut self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.database).await.unwrap()
    }

    /// Has the effect of two hours.
    async fn wait_for_hours(&mut self) {
        pass_hours(&mut self.database).await;
    }

    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = self.bed.process(arguments);
        let code = program.exit_code(Duration::from_secs(60)).await;
        (code, program.rest().await)
    }

    /// Puts the message back on its queue, as it was before the loss.
    async fn put_back(&self, message: &Found) {
        let properties = BasicProperties::default()
            .with_headers(message.headers.clone())
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        self.peer.put("celeriac", properties, &message.body).await;
    }

    /// Runs a worker until all tasks have succeeded and the queue is empty.
    async fn finish(&mut self, late_copies: usize) {
        // One after the other: two copies of one relay that start at once would both run.
        let running = self.bed.start(self.program().set("worker.concurrency", "1")).await;
        let all = i64::try_from(self.ids.len()).unwrap();
        eventually("all succeed", async || self.count("SUCCESS").await, |rows| *rows == all).await;
        for message in self.messages.iter().rev().take(late_copies) {
            self.put_back(message).await;
        }
        running.stop().await;
        // A worker that stops returns what it has prefetched, and a copy sends its callbacks again.
        let mut turns = 0;
        while self.peer.ready("celeriac").await > 0 {
            assert!(turns < 10, "the queue is never empty");
            let running = self.bed.start(self.program().set("worker.concurrency", "1")).await;
            eventually("the queue is empty", async || self.peer.ready("celeriac").await, |ready| *ready == 0).await;
            running.stop().await;
            turns += 1;
        }
        let expected: Vec<_> =
            (0..u64::try_from(self.ids.len()).unwrap()).flat_map(|n| [(n, 0), (n, 1), (n, 2)]).collect();
        assert_eq!(self.ran.sorted(), expected, "each attempt and each callback has run once");
        assert_eq!(self.peer.ready("celeriac.dead").await, 0);
    }
}

async fn pass_hours(database: &mut PgConnection) {
    let query = "UPDATE celeriac.tasks SET eta = eta - interval '2 hours' WHERE state = 'RETRY'";
    sqlx::query(query).execute(database).await.unwrap();
}

#[celeriac_tests::test(real)]
async fn retries_whose_messages_are_lost_are_found_and_sent_again_and_copies_are_harmless(bed: Bed) {
    let mut lost = LostRetries::new(bed, 10).await;
    let (code, said) = lost.run(&["retries", "overdue"]).await;
    assert!(code == 0 && said.trim_end().ends_with("0 overdue"), "they are due, and not overdue: {said}");
    lost.wait_for_hours().await;

    let mut relay = lost.bed.process(&["relay"]);
    let told = relay.says("retries overdue").await;
    assert!(told.contains("WARN") && told.contains("retries=10"), "{told}");

    let (code, said) = lost.run(&["retries", "overdue", "--json"]).await;
    assert_eq!(code, 0, "{said}");
    let listed: Json = serde_json::from_str(&said).unwrap();
    let listed = listed["overdue"].as_array().unwrap();
    let mut ids: Vec<_> = listed.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    let mut expected = lost.ids.clone();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let hours = listed.iter().map(|task| task["overdue_seconds"].as_f64().unwrap() / 3_600.0);
    assert!(hours.clone().all(|hours| (2.0..2.1).contains(&hours)), "{:?}", hours.collect::<Vec<_>>());
    assert!(listed.iter().all(|task| task["message_kept"] == true && task["queue"] == "celeriac"), "{said}");
    let (code, said) = lost.run(&["retries", "send", "--all", "--dry-run"]).await;
    assert!(code == 0 && said.contains("10 overdue"), "{said}");

    // Half of the messages were not lost after all: their copies are first in the queue.
    for message in &lost.messages[..5] {
        lost.put_back(message).await;
    }
    let first = lost.ids[0].clone();
    let (code, said) = lost.run(&["retries", "send", &first]).await;
    assert!(code == 0 && said.contains("1 sent"), "{said}");
    let (code, said) = lost.run(&["retries", "send", "--all"]).await;
    assert!(code == 0 && said.contains("9 sent"), "{said}");
    let (code, said) = lost.run(&["retries", "send", &first]).await;
    assert!(code == 65 && said.contains("no retry that is overdue for 1h"), "{code}: {said}");
    eventually("all are relayed", async || lost.peer.ready("celeriac").await, |ready| *ready == 15).await;
    // The copies of the other half come after the end.
    lost.finish(5).await;
    relay.signal("TERM");
    assert_eq!(relay.exit_code(Duration::from_secs(20)).await, 0, "{}", relay.output());

    let actions = "SELECT count(*) FROM celeriac.audit
        WHERE action = 'retries send' AND ended_at IS NOT NULL AND count = (ARRAY[1, 9, 0])[number::int]";
    assert_eq!(lost.number(actions).await, 3);
    let attempts = "SELECT count(*) FROM celeriac.attempt_history WHERE name = 't.second'";
    assert_eq!(lost.number(attempts).await, 20, "two attempts each");
    assert_eq!(lost.number("SELECT count(*) FROM celeriac.tasks WHERE next_body IS NOT NULL").await, 0);
    println!("lost 10, found 10, sent 10, copies 10: attempts 20, doubled 0");
}

#[celeriac_tests::test(real)]
async fn a_repair_that_is_killed_has_sent_all_or_nothing_and_begins_again(bed: Bed) {
    let mut lost = LostRetries::new(bed, 5).await;
    lost.wait_for_hours().await;
    let mut lock = lost.bed.database().await;
    let mut locked = lock.begin().await.unwrap();
    sqlx::query("LOCK TABLE celeriac.outbox IN EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();

    let repair = lost.bed.process(&["retries", "send", "--all"]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '%send_overdue_retries%' AND wait_event_type = 'Lock'";
    eventually("it is between row and outbox", async || lost.number(waits).await, |waiting| *waiting == 1).await;
    repair.kill().await;
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '%send_overdue_retries%' AND pid <> pg_backend_pid()";
    eventually("its session has ended", async || lost.number(ended).await, |sessions| *sessions == 0).await;
    locked.rollback().await.unwrap();
    assert_eq!(lost.number("SELECT count(*) FROM celeriac.outbox").await, 0);
    assert_eq!(lost.number("SELECT count(*) FROM celeriac.unstarted_retries WHERE replays = 0").await, 5);
    assert_eq!(lost.number("SELECT count(*) FROM celeriac.audit WHERE ended_at IS NULL").await, 1, "its intent");

    for sent in ["5 sent", "0 sent"] {
        let (code, said) = lost.run(&["retries", "send", "--all"]).await;
        assert!(code == 0 && said.contains(sent), "{said}");
    }
    // The messages are in the outbox, and none is lost with a relay that is killed.
    let mut relay = lost.bed.process(&["relay"]);
    eventually("some are relayed", async || lost.peer.ready("celeriac").await, |ready| *ready > 0).await;
    assert!(relay.is_running());
    relay.kill().await;
    lost.finish(5).await;
    println!("lost 5, repair killed 1, relay killed 1: attempts 10, doubled 0");
}

#[celeriac_tests::test(real)]
async fn a_transactional_attempt_that_runs_while_it_is_sent_again_takes_effect_once(bed: Bed) {
    let mut database = bed.database().await;
    sqlx::raw_sql("CREATE TABLE effects (number bigint)").execute(&mut database).await.unwrap();
    let (ran, gate) = (Arc::new(RunAttempts::default()), Arc::new(Gate(Semaphore::new(0))));
    let program = bed.program(tasks![effect]).shared(Arc::clone(&ran)).shared(Arc::clone(&gate));
    let running = bed.start(program).await;
    let handle = effect(7).submit(&running.client).await.unwrap();
    eventually("its second attempt runs", async || ran.sorted().len(), |ran| *ran == 2).await;
    pass_hours(&mut database).await;

    let mut repair = Program::start(&["retries", "send", handle.id()], &bed.environment());
    assert_eq!(repair.exit_code(Duration::from_secs(60)).await, 0, "{}", repair.output());
    eventually("the copy runs too", async || ran.sorted().len(), |ran| *ran == 3).await;
    gate.0.add_permits(1);
    handle.get().await.unwrap();
    let peer = bed.peer().await;
    eventually("the queue is empty", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    running.stop().await;
    assert_eq!(ran.sorted(), [(1, 1), (1, 2), (1, 2)]);
    let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(&mut database).await.unwrap();
    assert_eq!(effects, 1, "the second commit is undone");
    assert_eq!((peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0));
}
