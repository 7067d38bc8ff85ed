//! Broker, database or runtime of a worker stand still, and its health server says so. `probes.rs`
//! stops the broker.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_servers::{Durability, PostgresNode, RabbitNode};
use celeriac_tests::probe::{livez, readyz};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Program};
use tempfile::TempDir;

/// Longest time until a stopped server shows.
const SHOWN: Duration = Duration::from_secs(5);

/// Longest time until a blocked runtime shows: the stated time, and the time to look.
const BLOCKED: Duration = Duration::from_secs(16);

/// A worker in a process of its own, with a health server.
struct Worker {
    program: Program,
    socket: PathBuf,
    _folder: TempDir,
}

impl Worker {
    async fn start(bed: &Bed, variables: &[(&str, String)]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("health");
        let listen = ("CELERIAC__TELEMETRY__LISTEN", format!("unix:{}", socket.display()));
        let variables: Vec<_> = variables.iter().cloned().chain([listen]).collect();
        let worker = Self { program: bed.process_with(&["worker"], &variables), socket, _folder: folder };
        eventually("it is ready", async || worker.is_ready().await, |ready| *ready).await;
        worker
    }

    async fn is_ready(&self) -> bool {
        matches!(readyz(&self.socket).await, Some((200, answer)) if answer.ready)
    }

    /// Waits until a part is not ready, and returns the reason. The worker is live throughout.
    async fn unready(&self, part: &str) -> String {
        let begun = Instant::now();
        let reason = async || {
            assert_eq!(livez(&self.socket).await.unwrap().0, 200, "it is live");
            let (status, answer) = readyz(&self.socket).await.unwrap();
            assert_eq!(status, if answer.ready { 200 } else { 503 });
            answer.not_ready.into_iter().find(|unready| unready.part == part).map(|unready| unready.reason)
        };
        let reason = eventually_within(SHOWN, part, reason, Option::is_some).await.unwrap();
        println!("{part} not ready after {:.2}s: {reason}", begun.elapsed().as_secs_f64());
        reason
    }

    /// Waits until it is ready again.
    async fn ready_again(&self) {
        let begun = Instant::now();
        eventually("it is ready again", async || self.is_ready().await, |ready| *ready).await;
        println!("ready again after {:.2}s", begun.elapsed().as_secs_f64());
    }
}

#[celeriac_tests::test(real)]
async fn a_worker_that_may_not_publish_is_live_and_not_ready(bed: Bed) {
    let node = RabbitNode::start().unwrap();
    let worker = Worker::start(&bed, &[("CELERIAC__BROKER__URL", node.url())]).await;
    let file = worker.socket.with_file_name("go");
    let path = Value::Text(file.to_string_lossy().into_owned());
    submit(&bed, &node.url(), "test.fail_when", vec![path, Value::Bool(false)]).await;
    node.ctl(&["set_vm_memory_high_watermark", "0"]).unwrap();
    // RabbitMQ blocks a connection when it publishes, as the retry of this task does.
    std::fs::write(file, "").unwrap();
    let reason = worker.unready("broker").await;
    assert!(reason.starts_with("it blocks publishing: "), "{reason}");
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    worker.ready_again().await;
}

#[celeriac_tests::test(real)]
async fn a_worker_without_its_database_is_live_and_not_ready(bed: Bed) {
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let worker = Worker::start(&bed, &[("CELERIAC__RESULTS__URL", postgres.url())]).await;
    postgres.stop().unwrap();
    let reason = worker.unready("result store").await;
    assert!(!reason.is_empty());
    postgres.restart().unwrap();
    worker.ready_again().await;
}

#[celeriac_tests::test(real)]
async fn a_blocked_runtime_is_not_live_and_the_log_names_its_task(bed: Bed) {
    let mut worker = Worker::start(&bed, &[("TOKIO_WORKER_THREADS", "1".to_owned())]).await;
    submit(&bed, &bed.amqp_url(), "test.spin", vec![Value::Int(20_000)]).await;
    let silent = async || livez(&worker.socket).await.unwrap().1.silent_seconds.unwrap();
    eventually("it is blocked", silent, |silent| *silent > 2.0).await;
    let begun = Instant::now();
    let live = async || livez(&worker.socket).await.unwrap();
    let (status, answer) = eventually_within(BLOCKED, "it is not live", live, |(_, answer)| !answer.live).await;
    println!("not live {:.1}s after silence of 2s: {answer:?}", begun.elapsed().as_secs_f64());
    assert_eq!(status, 503);
    let (status, answer) = readyz(&worker.socket).await.unwrap();
    assert_eq!((status, answer.not_ready[0].part.as_str()), (503, "runtime"));
    let line = worker.program.says("task does not yield").await;
    assert!(line.contains("task=test.spin"), "{line}");
    eventually("it is live again", live, |(status, answer)| *status == 200 && answer.live).await;
    worker.ready_again().await;
}

async fn submit(bed: &Bed, broker: &str, task: &str, args: Vec<Value>) {
    let client = bed.client(bed.program([]).set("broker.url", broker)).await;
    let body = Body { args, ..Body::default() };
    let call = DynamicCall { task: task.to_owned(), body, options: CallOptions::default() };
    client.submit_dynamic(call).await.unwrap();
    client.close().await;
}
