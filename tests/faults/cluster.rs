//! Nodes of a cluster are killed and return, while tasks are sent at a steady rate.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use celeriac::tasks;
use celeriac_servers::{RabbitCluster, RabbitSpec};
use celeriac_telemetry::clock;
use celeriac_tests::Bed;
use jiff::Timestamp;
use sqlx::PgConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::in_turn::blocking;
use crate::ledger::{Ledger, Sent, is_long, note};

const NODES: usize = 3;

/// Rate of tasks, number of kills, and their timing.
struct Plan {
    tasks_a_second: u64,
    kills: usize,
    /// Time between two kills.
    every: Duration,
    /// Time that a node stays down.
    away: Duration,
}

impl Plan {
    fn chosen() -> Self {
        let seconds = Duration::from_secs;
        match is_long() {
            true => Self { tasks_a_second: 500, kills: 30, every: seconds(20), away: seconds(5) },
            false => Self { tasks_a_second: 200, kills: 2, every: seconds(12), away: seconds(3) },
        }
    }
}

/// A node that was killed.
struct Kill {
    led: bool,
    at: Instant,
    time: Timestamp,
}

#[celeriac_tests::test(real, threads = 2)]
async fn every_confirmed_task_has_its_row_although_nodes_of_the_cluster_are_killed_and_come_back(bed: Bed) {
    let plan = Plan::chosen();
    let spec = RabbitSpec { plugins: Vec::new(), ..RabbitSpec::default() };
    let cluster = Arc::new(blocking(move || RabbitCluster::start(&spec, NODES).unwrap()).await);
    let program = || bed.program(tasks![note]).set("broker.url", cluster.url());
    let running = bed.start(program()).await;
    // Senders are rarely in the process of a worker.
    let client = bed.client(program()).await;
    assert_eq!(note(7).submit(&client).await.unwrap().get().await.unwrap(), 7, "all is well before");
    let looking = Arc::clone(&cluster);
    assert_eq!(blocking(move || looking.members_of("celeriac").unwrap()).await, NODES, "members of a quorum queue");

    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let (kills, sent) = tokio::join!(keep_killing(&cluster, &plan, &done), async {
        ledger.issue_steadily(&client, plan.tasks_a_second, &done).await
    });
    let recorded = ledger.settle(&bed, Duration::from_secs(120)).await;
    println!(
        "nodes killed {}: issued {}, recorded {recorded}, unconfirmed {}\n{}",
        kills.len(),
        ledger.issued(),
        ledger.unconfirmed,
        recovery(&kills, &sent, &mut bed.database().await).await
    );
    let Ledger { unconfirmed, trouble, .. } = &ledger;
    assert_eq!((*unconfirmed, trouble), (0, &None), "a node that is away is no reason to give up within the deadline");
    assert_eq!(ledger.issued(), sent.len());
    client.close().await;
    running.stop().await;
}

/// Kills one node after another, every second time the leader of the queue, until the plan is done.
/// Then ends the sending.
async fn keep_killing(cluster: &Arc<RabbitCluster>, plan: &Plan, done: &CancellationToken) -> Vec<Kill> {
    let mut kills = Vec::new();
    let mut rhythm = tokio::time::interval(plan.every);
    rhythm.tick().await;
    for number in 0..plan.kills {
        let (leading, led) = (Arc::clone(cluster), number % 2 == 0);
        let leader = blocking(move || leading.leader_of("celeriac").unwrap()).await;
        let victim = if led { leader } else { (leader + 1 + fastrand::usize(0..NODES - 1)) % NODES };
        let killing = Arc::clone(cluster);
        kills.push(Kill { led, at: Instant::now(), time: clock::now() });
        blocking(move || killing.kill(victim).unwrap()).await;
        // The time without the node is the fault itself.
        tokio::time::sleep(plan.away).await;
        let restarting = Arc::clone(cluster);
        blocking(move || restarting.restart(victim).unwrap()).await;
        rhythm.tick().await;
    }
    done.cancel();
    kills
}

/// Reports the time from each kill to the first confirm and the first result of a later task.
async fn recovery(kills: &[Kill], sent: &[Sent], database: &mut PgConnection) -> String {
    let mut told = String::new();
    let (mut confirms, mut results) = (Vec::new(), Vec::new());
    for kill in kills {
        let after = sent.iter().filter(|sent| sent.at >= kill.at);
        let confirm = after.map(|sent| sent.confirmed).min().unwrap().duration_since(kill.at);
        let killed = kill.time.as_millisecond();
        let result: i64 = sqlx::query_scalar(
            "SELECT (extract(epoch FROM min(finished_at)) * 1000)::bigint FROM celeriac.tasks WHERE sent_at >= to_timestamp($1)",
        )
        .bind(killed as f64 / 1000.0)
        .fetch_one(&mut *database)
        .await
        .unwrap();
        let result = Duration::from_millis(u64::try_from(result - killed).unwrap_or_default());
        let what = if kill.led { "leader" } else { "other node" };
        writeln!(told, "killed the {what}: first confirm after {confirm:.1?}, first result after {result:.1?}")
            .unwrap();
        confirms.push(confirm);
        results.push(result);
    }
    for (what, mut times) in [("confirm", confirms), ("result", results)] {
        times.sort_unstable();
        let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
        writeln!(told, "first {what} after a kill: p50 {p50:.1?}, max {max:.1?}").unwrap();
    }
    told
}
