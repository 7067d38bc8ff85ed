//! RabbitMQ is low on memory and blocks publishing, while tasks end that have to publish.

use std::sync::LazyLock;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::tasks;
use celeriac_broker::{BrokerHealth, Error as BrokerError};
use celeriac_client::Error;
use celeriac_servers::RabbitNode;
use celeriac_tests::wait::{PATIENCE, eventually};
use celeriac_tests::{Bed, Peer, Running};
use tokio::sync::{Semaphore, watch};

use crate::ledger::{Ledger, note};

/// Number of running tasks of each kind at the alarm.
const EACH: usize = 20;
const KINDS: [&str; 4] = ["retry", "delayed retry", "dead", "linked"];
/// Time that one attempt of a follow-up, and a sender with a short timeout, wait for the broker.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Closed until the alarm is raised.
static GATE: Semaphore = Semaphore::const_new(0);
static WAITING: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Waits at the gate, then ends as `how` says.
#[task(name = "alarm.end", max_retries = 1, retry_backoff = "10ms..20ms")]
async fn end(ctx: TaskContext, how: String) -> TaskResult<String> {
    if ctx.attempt() == 1 {
        WAITING.send_modify(|waiting| *waiting += 1);
        GATE.acquire().await?.forget();
    }
    match how.as_str() {
        "retry" if ctx.attempt() == 1 => Err(TaskError::new("the first attempt fails")),
        "delayed retry" if ctx.attempt() == 1 => Err(TaskError::retry_in(Duration::from_secs(1), "once more")),
        "dead" => Err(TaskError::reject("for the dead-letter queue")),
        _ => Ok(how),
    }
}

/// Follows from another task.
#[task(name = "alarm.after")]
async fn after(how: String) -> TaskResult<String> {
    Ok(how)
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_memory_alarm_makes_senders_wait_and_loses_nothing(bed: Bed) {
    let node = RabbitNode::start().unwrap();
    let program = |patience: Duration| {
        let program = bed.program(tasks![note, end, after]).set("broker.url", node.url());
        let program = program.set("broker.publish_timeout", format!("{}s", patience.as_secs()));
        program.set("worker.concurrency", "128")
    };
    let running = bed.start(program(IMPATIENCE)).await;
    let patient = bed.client(program(Duration::from_secs(120))).await;
    let peer = Peer::connect(&node.url()).await;
    begin(&running.client).await;

    node.ctl(&["set_vm_memory_high_watermark", "0"]).unwrap();
    refused(&running.client, 1).await;
    let health = running.client.broker().health();
    assert!(matches!(*health.borrow(), BrokerHealth::Blocked { .. }), "{:?}", *health.borrow());
    let mut ledger = Ledger::default();
    let (recorded, ()) = tokio::join!(while_it_stands(&bed, &running, &peer, &node), ledger.issue(&patient, 300));

    eventually(
        "health says that it is over",
        async || health.borrow().clone(),
        |health| *health == BrokerHealth::Connected,
    )
    .await;
    ledger.settle(&bed, Duration::from_secs(60)).await;
    let complete = [("alarm.after", "SUCCESS", 1), ("alarm.end", "FAILURE", 1), ("alarm.end", "SUCCESS", 3)];
    let complete = complete.map(|(name, state, times)| (name.to_owned(), state.to_owned(), times * EACH as i64));
    let rows = eventually("what had to be sent arrives", async || rows(&bed).await, |rows| *rows == complete).await;
    let dead = peer.ready("celeriac.dead").await;
    println!(
        "memory alarm: in hand {}, recorded while it stood {recorded:?}, afterwards {rows:?}, dead letters {dead}; senders \
         that waited {}, unconfirmed {}",
        EACH * KINDS.len(),
        ledger.issued(),
        ledger.unconfirmed
    );
    assert_eq!(dead as usize, EACH, "one letter each");
    assert_eq!((ledger.issued(), ledger.unconfirmed), (300, 0), "who has time waits for the end of the alarm");
    running.stop().await;
    assert_eq!(peer.ready("celeriac").await, 0, "nothing is left");
    patient.close().await;
}

/// Starts tasks of each kind.
async fn begin(client: &Client) {
    for kind in KINDS.repeat(EACH) {
        let call = end(kind.to_owned());
        let call = if kind == "linked" { call.link(Signature::new("alarm.after")) } else { call };
        call.submit(client).await.unwrap();
    }
    let mut waiting = WAITING.subscribe();
    let all = waiting.wait_for(|waiting| *waiting == EACH * KINDS.len());
    tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap();
}

/// Waits until every outcome is recorded that needs no message, and ends the alarm. Returns the
/// recorded rows.
async fn while_it_stands(bed: &Bed, running: &Running, peer: &Peer, node: &RabbitNode) -> Vec<Row> {
    GATE.add_permits(EACH * KINDS.len());
    let expected = [("alarm.end", "RETRY", 2), ("alarm.end", "SUCCESS", 1)];
    let expected = expected.map(|(name, state, times)| (name.to_owned(), state.to_owned(), times * EACH as i64));
    let recorded = eventually("what is in hand ends", async || rows(bed).await, |rows| *rows == expected).await;
    // Longer than one attempt of a follow-up, so that it is repeated.
    refused(&running.client, 3).await;
    assert_eq!((rows(bed).await, peer.ready("celeriac.dead").await), (expected.to_vec(), 0), "nothing was sent");
    // The default of RabbitMQ 3.10.
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    recorded
}

/// Sends until this many were refused because the broker accepts no messages.
/// A message that was already sent at the alarm may be confirmed, or remain unknown.
async fn refused(client: &Client, count: usize) {
    let mut refused = 0;
    let send = async || match note(0).submit(client).await {
        Err(Error::Send { source: BrokerError::Blocked { waited, .. }, .. }) => {
            assert!(waited >= IMPATIENCE && waited < 2 * IMPATIENCE, "{waited:?}");
            refused += 1;
            refused
        }
        _ => refused,
    };
    eventually("senders are refused", send, |refused| *refused == count).await;
}

type Row = (String, String, i64);

/// Returns the number of tasks of each name in each state.
async fn rows(bed: &Bed) -> Vec<Row> {
    let rows = "SELECT name, state, count(*) FROM celeriac.tasks WHERE name LIKE 'alarm.%' GROUP BY 1, 2 ORDER BY 1, 2";
    sqlx::query_as(rows).fetch_all(&mut bed.database().await).await.unwrap()
}
