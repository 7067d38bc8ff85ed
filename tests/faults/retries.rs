//! Retries in all patterns, while workers are killed.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually_within;
use sqlx::PgConnection;

use crate::lateness::{Lateness, TOLERANCE};
use crate::ledger::is_long;

/// The test program's task, as its sender sees it.
#[task(name = "test.retry")]
fn retry(pattern: String, failures: u32) -> u32;

/// Ways to request another attempt. Each task fails four times before it succeeds, except those
/// that are exhausted after two retries.
const PATTERNS: [&str; 6] = ["immediately", "backoff", "class", "hint", "time", "exhausted"];

/// Number of failures before a success.
const FAILURES: u32 = 4;

/// Number of tasks sent in a second. With their retries they are five times as many attempts.
const A_SECOND: u32 = 60;

#[celeriac_tests::test(real, threads = 2)]
async fn every_attempt_is_made_in_its_time_and_the_whole_sequence_is_on_record_although_workers_are_killed(bed: Bed) {
    // A hundred thousand retries, or two thousand.
    let (tasks, kills) = if is_long() { (27_300_u32, 3) } else { (546, 1) };
    let exhausted = i64::from(tasks) / 6;
    let retries = i64::from(FAILURES) * (i64::from(tasks) - exhausted) + 2 * exhausted;
    let client = bed.client(bed.program([])).await;
    let worker = async |number: u32| {
        let name = format!("w{number}");
        let mut worker = bed.process(&["worker", "-l", "warn", "-n", &name]);
        worker.says_within(Duration::from_secs(120), "  tasks").await;
        worker
    };
    let mut database = bed.database().await;
    let mut running = worker(0).await;
    let send = async {
        // The rate is low, because a task that waits for a busy worker would be late for another
        // reason than its retry.
        let mut beat = tokio::time::interval(Duration::from_secs(1) / A_SECOND);
        for pattern in PATTERNS.iter().cycle().take(usize::try_from(tasks).unwrap()) {
            beat.tick().await;
            retry((*pattern).to_owned(), FAILURES).submit(&client).await.unwrap();
        }
    };
    let kill = async {
        for kill in 1..=kills {
            let part = retries * i64::from(kill) / i64::from(kills + 1);
            eventually_within(
                Duration::from_secs(600),
                "attempts are made",
                async || count(&mut database, "SELECT count(*) FROM celeriac.attempts").await,
                |attempts| *attempts >= part,
            )
            .await;
            running.kill().await;
            running = worker(kill).await;
        }
        running
    };
    let ((), mut running) = tokio::join!(send, kill);
    eventually_within(
        Duration::from_secs(900),
        "every task ends",
        async || count(&mut database, "SELECT count(*) FROM celeriac.tasks WHERE finished_at IS NOT NULL").await,
        |ended| *ended >= i64::from(tasks),
    )
    .await;

    let Sequence { attempts, retried, gaps, odd } = Sequence::read(&mut database).await;
    let Lateness { earliest, p50, p99, latest } = Lateness::measure(&mut database, LATE).await;
    println!(
        "retries in {} patterns, worker killed {kills}: tasks {tasks}, attempts {attempts}, retries {retried}; \
         incomplete sequences {gaps}, wrong ends {odd}; late by {p50:.3} s p50, {p99:.3} s p99, {latest:.3} s at most, \
         {earliest:.3} s at least",
        PATTERNS.len(),
    );
    assert_eq!((gaps, odd, retried), (0, 0, retries));
    // Two workers measure the clock, one at the end of an attempt and one at the start of the next.
    assert!(earliest > -TOLERANCE, "an attempt came {} s early", -earliest);
    running.signal("TERM");
    assert_eq!(running.exit_code(Duration::from_secs(40)).await, 0, "{}", running.output());
}

async fn count(database: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

/// True if the attempts of each task are on record from the first to the last.
#[derive(sqlx::FromRow)]
struct Sequence {
    attempts: i64,
    retried: i64,
    gaps: i64,
    odd: i64,
}

impl Sequence {
    async fn read(database: &mut PgConnection) -> Self {
        sqlx::query_as(
            "SELECT sum(attempts)::bigint AS attempts, sum(retried)::bigint AS retried,
                    count(*) FILTER (WHERE attempts <> last OR first <> 1 OR retried <> last - 1) AS gaps,
                    count(*) FILTER (WHERE NOT expected) AS odd
             FROM (
                 SELECT id, count(*) AS attempts, min(attempt) AS first, max(attempt) AS last,
                        count(*) FILTER (WHERE attempt_history.state = 'RETRY') AS retried,
                        CASE tasks.args ->> 0
                            WHEN 'exhausted' THEN tasks.state = 'FAILURE' AND tasks.attempts = 3
                            ELSE tasks.state = 'SUCCESS' AND tasks.attempts = 5
                        END AS expected
                 FROM celeriac.attempt_history JOIN celeriac.tasks USING (id)
                 GROUP BY id, tasks.args, tasks.state, tasks.attempts
             ) AS histories",
        )
        .fetch_one(database)
        .await
        .unwrap()
    }
}

/// Lateness of attempts, in seconds.
const LATE: &str = "
    SELECT extract(epoch FROM next.started_at - attempts.next_at)::double precision AS late
    FROM celeriac.attempts
    JOIN celeriac.attempt_history AS next
        ON next.id = attempts.id AND next.replays = attempts.replays AND next.attempt = attempts.attempt + 1";
