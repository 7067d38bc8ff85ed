//! Workers and Postgres are killed while outcomes are counted.

use std::sync::Arc;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_servers::{Durability, PostgresNode};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually_within;
use tokio_util::sync::CancellationToken;

use crate::in_turn::blocking;
use crate::ledger::{is_long, note};

/// Fails at its only retry too, because the file is missing.
#[task(name = "test.need")]
async fn need(path: String) -> TaskResult<String> {
    Ok(path)
}

/// Counts by task and state, of the rows and of the roll-ups. The rows of retries are attempts.
const LEDGER: &str = "SELECT name, state, count(*)::bigint FROM celeriac.tasks GROUP BY name, state
    UNION ALL
    SELECT name, attempts.state, count(*) FROM celeriac.attempts JOIN celeriac.tasks USING (id)
    WHERE attempts.state = 'RETRY' GROUP BY name, attempts.state
    ORDER BY 1, 2";
const COUNTED: &str =
    "SELECT name, state, sum(tasks)::bigint FROM celeriac.stats GROUP BY name, state ORDER BY name, state";

type Counts = Vec<(String, String, i64)>;

/// Kills of workers, and of the server, after which the last worker may finish.
const KILLS: u32 = 5;

/// Kills a worker or the server at intervals, and ends the last worker after `done`. Returns the
/// kills of each.
async fn keep_killing(bed: &Bed, node: &Arc<PostgresNode>, done: &CancellationToken) -> (u32, u32) {
    let variables = [("CELERIAC__RESULTS__URL", node.url())];
    let (mut workers, mut servers) = (0, 0);
    loop {
        let name = format!("w{workers}");
        let mut worker = bed.process_with(&["worker", "-l", "error", "-n", &name, "-c", "16"], &variables);
        for server in [true, false] {
            let rest = workers >= if is_long() { 100 } else { KILLS };
            let life = if rest { Duration::MAX } else { Duration::from_millis(fastrand::u64(1_000..2_000)) };
            if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
                worker.signal("TERM");
                assert_eq!(worker.exit_code(Duration::from_secs(60)).await, 0, "{}", worker.output());
                return (workers, servers);
            }
            if server {
                let node = Arc::clone(node);
                blocking(move || {
                    node.kill().unwrap();
                    node.restart().unwrap();
                })
                .await;
                servers += 1;
            }
        }
        worker.kill().await;
        workers += 1;
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn counts_equal_the_rows_although_workers_and_postgres_are_killed(bed: Bed) {
    let count: u64 = if is_long() { 200_000 } else { 20_000 };
    let node = Arc::new(blocking(|| PostgresNode::start(Durability::Real).unwrap()).await);
    let url = node.url();
    let client = bed.client(bed.program(tasks![note, need]).set("results.url", url.clone())).await;
    let done = CancellationToken::new();
    let work = async {
        let failing = (0..count / 10).map(|_| need("no/such/file".to_owned()));
        for sent in client.submit_many((0..count).map(note)).await {
            sent.unwrap();
        }
        for sent in client.submit_many(failing).await {
            sent.unwrap();
        }
        let ended = async || {
            let Ok(mut database) = PgConnection::connect(&url).await else { return 0 };
            let rows = sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM celeriac.tasks WHERE state IN ('SUCCESS', 'FAILURE')",
            );
            rows.fetch_one(&mut database).await.unwrap_or(0)
        };
        let all = i64::try_from(count + count / 10).unwrap();
        eventually_within(Duration::from_secs(300), "every task has ended", ended, |rows| *rows == all).await;
        done.cancel();
    };
    let (kills, ()) = tokio::join!(keep_killing(&bed, &node, &done), work);
    let mut database = PgConnection::connect(&url).await.unwrap();
    let ledger: Counts = sqlx::query_as(LEDGER).fetch_all(&mut database).await.unwrap();
    let counted: Counts = sqlx::query_as(COUNTED).fetch_all(&mut database).await.unwrap();
    println!("workers killed {}, Postgres killed {}: rows {ledger:?}, counted {counted:?}", kills.0, kills.1);
    assert_eq!(counted, ledger);
    assert_eq!(ledger.len(), 3, "successes, failures and retries");
    assert!(kills.0 > 0 && kills.1 > 1, "the test has to kill to mean anything");
}
