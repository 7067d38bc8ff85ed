//! Workers are killed between a task and its follow-ups.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Chain, DynamicCall, Failure};
use celeriac_client::call::{CallOptions, Follow, Relations};
use celeriac_protocol::{Body, Value};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program};
use futures::{StreamExt, stream};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;
use crate::worker_killed::keep_killing;

/// A client, and workers that keep a journal of their runs.
struct Journaled {
    bed: Bed,
    client: Client,
    journal: PathBuf,
    _folder: tempfile::TempDir,
}

impl Journaled {
    async fn new(bed: Bed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = bed.client(bed.program([])).await;
        Self { bed, client, journal: folder.path().join("journal"), _folder: folder }
    }

    fn worker(&self, name: &str) -> Program {
        let journal = [("JOURNAL", self.journal.to_string_lossy().into_owned())];
        self.bed.process_with(&["worker", "-l", "info", "-n", name], &journal)
    }

    /// Returns the number of runs of each task, by its id.
    fn runs(&self) -> HashMap<String, u32> {
        let mut runs = HashMap::new();
        for line in std::fs::read_to_string(&self.journal).unwrap_or_default().lines() {
            *runs.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        runs
    }
}

fn step(id: String) -> Signature {
    Signature::new("test.after").option("task_id", id)
}

#[celeriac_tests::test(real, threads = 2)]
async fn every_chain_ends_and_every_link_is_called_although_workers_are_killed_again_and_again(bed: Bed) {
    let count: usize = if is_long() { 30_000 } else { 3_000 };
    let journaled = Journaled::new(bed).await;
    let done = CancellationToken::new();
    let issue = async {
        let chains = (0..count).map(|number| {
            let first = Signature::new("test.note").arg(number as i64).option("task_id", format!("{number}-1"));
            let chain = Chain::new(first).then(step(format!("{number}-2"))).then(step(format!("{number}-3")));
            chain.link(step(format!("{number}-link"))).submit(&journaled.client)
        });
        let mut issued = stream::iter(chains).buffer_unordered(256);
        while let Some(chain) = issued.next().await {
            chain.unwrap();
        }
        let successes = async || {
            // The query is expensive for a busy database.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
            sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut journaled.bed.database().await).await.unwrap_or(0)
        };
        // Kills take most of the time of a slow machine, so only a standstill ends the wait.
        let mut ended = 0;
        while usize::try_from(ended).unwrap() < 4 * count {
            let before = ended;
            ended = eventually("more chains end and more links run", successes, |rows| *rows > before).await;
        }
        done.cancel();
        ended
    };
    let (kills, rows) =
        tokio::join!(keep_killing(&journaled.bed, journaled.journal.to_str().unwrap(), 500..1_200, &done), issue);

    let mut database = journaled.bed.database().await;
    let ended = "SELECT count(*) FROM celeriac.tasks WHERE id LIKE $1 AND state = 'SUCCESS' AND root_id = \
                 split_part(id, '-', 1) || '-1' AND parent_id = split_part(id, '-', 1) || $2 AND result = \
                 to_jsonb(split_part(id, '-', 1)::bigint)";
    let mut of = async |like: &str, parent: &str| {
        let ended = sqlx::query_scalar::<_, i64>(ended).bind(like).bind(parent);
        usize::try_from(ended.fetch_one(&mut database).await.unwrap()).unwrap()
    };
    let (chains, links) = (of("%-3", "-2").await, of("%-link", "-3").await);
    let runs = journaled.runs();
    let linked = runs.keys().filter(|id| id.ends_with("-link")).count();
    let more_than_once = runs.values().filter(|times| **times > 1).count();
    println!(
        "workers killed {kills}: chains issued {count}, ended {chains}, links called {linked} and recorded {links}, tasks \
         executed more than once {more_than_once} of {rows}"
    );
    assert_eq!((chains, links, linked, runs.len()), (count, count, count, 4 * count));
    assert!(kills > 1, "the test has to kill to mean anything");
    let dead = journaled.bed.peer().await.ready("celeriac.dead").await;
    assert_eq!((dead, usize::try_from(rows).unwrap()), (0, 4 * count), "nothing is lost, nothing is made up");
}

/// Kills a worker that has recorded the end of `task` and could not send its follow-ups. Returns
/// what the next worker sends: the message to the queue, and the reply.
async fn killed_in_between(
    bed: Bed,
    task: &str,
    follow: Follow,
    state: TaskState,
    failure: Option<Failure>,
) -> (Json, Json) {
    let journaled = Journaled::new(bed).await;
    let peer = journaled.bed.peer().await;
    let declare = async |queue: &str| {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        peer.channel().queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
    };
    declare("replies").await;
    let options = CallOptions {
        id: Some("one".to_owned()),
        follow,
        relations: Relations { reply_to: Some("replies".to_owned()), ..Relations::default() },
        ..CallOptions::default()
    };
    let body = Body { args: vec![Value::Int(7)], ..Body::default() };
    let handle = journaled.client.submit_dynamic(DynamicCall { task: task.to_owned(), body, options }).await.unwrap();

    let mut first = journaled.worker("first");
    assert_eq!(handle.wait().await.unwrap().state, state);
    // The row exists, and its queue does not.
    first.says("elsewhere").await;
    first.kill().await;
    eventually("it is back", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
    assert_eq!(peer.ready("replies").await, 0, "nobody was answered before what follows was sent");
    declare("elsewhere").await;

    let mut second = journaled.worker("second");
    let mut sent = Vec::new();
    let take = async || {
        sent.extend(peer.take_all("elsewhere").await);
        sent.len()
    };
    eventually("what follows is sent", take, |sent| *sent == 1).await;
    eventually("the answer", async || peer.ready("replies").await, |ready| *ready == 1).await;
    second.signal("TERM");
    assert_eq!(second.exit_code(Duration::from_secs(40)).await, 0, "{}", second.output());
    assert_eq!((peer.ready("celeriac").await, peer.ready("elsewhere").await), (0, 0));
    assert_eq!(journaled.runs(), [("one".to_owned(), 1)].into(), "it ran once");
    let record = handle.record().await.unwrap().unwrap();
    assert_eq!((record.worker.as_ref(), record.failure), ("first", failure));

    assert_eq!(sent[0].headers.inner()["celeriac-repeated"], AMQPValue::Boolean(true));
    assert_eq!(
        (sent[0].header("parent_id"), sent[0].header("root_id")),
        (Some("one".to_owned()), Some("one".to_owned()))
    );
    let answer = peer.take_all("replies").await.remove(0);
    assert_eq!(answer.correlation_id.as_deref(), Some("one"));
    let read = |body: &[u8]| serde_json::from_slice::<Json>(body).unwrap();
    (read(&sent[0].body)[0].clone(), read(&answer.body))
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_success_and_link_leaves_the_link_to_the_next_which_does_not_run_the_task_again(
    bed: Bed,
) {
    let link = Signature::new("test.note").queue("elsewhere");
    let follow = Follow { callbacks: vec![link], ..Follow::default() };
    let (args, answer) = killed_in_between(bed, "test.note", follow, TaskState::Success, None).await;
    assert_eq!((args, &answer["status"], &answer["result"]), (json!([7]), &json!("SUCCESS"), &json!(7)));
    assert_eq!(answer["children"].as_array().unwrap().len(), 1, "the link is its child");
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_failure_and_errback_leaves_the_errback_to_the_next(bed: Bed) {
    let errback = Signature::new("test.note").arg("own").queue("elsewhere");
    let follow = Follow { errbacks: vec![errback], ..Follow::default() };
    let failure = Failure::new("ValueError", "7 is no good");
    let (args, answer) = killed_in_between(bed, "test.fail", follow, TaskState::Failure, Some(failure)).await;
    assert_eq!((args, &answer["status"]), (json!(["one", "own"]), &json!("FAILURE")));
    assert_eq!(
        answer["result"],
        json!({"exc_type": "ValueError", "exc_message": ["7 is no good"], "exc_module": "builtins"})
    );
}
