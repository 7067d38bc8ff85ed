//! The graph of spans of a task's life, as its collector receives it: from a sender, through a
//! worker in a process of its own.
//!
//! Each life is told over both protocols, with the same graph. A graph is compared as a whole, with
//! the snapshot of its name. An attribute has a name of the conventions, listed in
//! `spans/conventions-1.44.txt`, or one of Celeriac's.

use std::collections::BTreeSet;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Chain, Client, DynamicCall, TaskRecord, TaskState};
use celeriac_client::call::{CallOptions, Expiry};
use celeriac_protocol::{Body, Value};
use celeriac_telemetry::{Instance, OtlpProtocol, Telemetry, TelemetryOptions};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Collector, Graph, Program};
use sqlx::Connection;

/// The names of the messaging conventions 1.44.
const CONVENTIONS: &str = include_str!("spans/conventions-1.44.txt");

/// Makes two tests of each life.
macro_rules! lives {
    ($($life:ident),+ $(,)?) => {
        mod over_http {
            use super::{Bed, OtlpProtocol};

            $(
                #[celeriac_tests::test(real)]
                async fn $life(bed: Bed) {
                    super::$life(bed, OtlpProtocol::HttpProtobuf).await;
                }
            )+
        }

        mod over_grpc {
            use super::{Bed, OtlpProtocol};

            $(
                #[celeriac_tests::test(real)]
                async fn $life(bed: Bed) {
                    super::$life(bed, OtlpProtocol::Grpc).await;
                }
            )+
        }
    };
}

lives! {
    success, retried, exhausted, expired, revoked, unknown, rejected, delayed, chained, replayed, redelivered, transactional,
}

/// Returns the name of a protocol in a configuration.
fn name(protocol: OtlpProtocol) -> &'static str {
    match protocol {
        OtlpProtocol::HttpProtobuf => "http/protobuf",
        OtlpProtocol::Grpc => "grpc",
    }
}

/// A sender in this process, a worker in another, and the collector of both.
struct Scene {
    bed: Bed,
    collector: Collector,
    telemetry: Telemetry,
    client: Client,
    worker: Program,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn start(bed: &Bed, protocol: OtlpProtocol) -> Self {
        let collector = Collector::start().await;
        let options = TelemetryOptions {
            service_name: "sender".to_owned(),
            otlp_endpoint: Some(collector.url()),
            otlp_protocol: protocol,
            ..TelemetryOptions::default()
        };
        let instance = Instance { name: "test".to_owned(), version: "0".to_owned() };
        let telemetry = Telemetry::start(&options, &instance).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(bed, &collector, protocol, &folder).await;
        let client = bed.client(bed.program([]).set("client.result_timeout", "40s")).await;
        Self { bed: bed.clone(), collector, telemetry, client, worker, folder }
    }

    /// Sends a task of the worker's program.
    async fn send(&self, task: &str, args: impl IntoIterator<Item = Value>) -> String {
        self.send_with(task, args, CallOptions::default()).await
    }

    async fn send_with(&self, task: &str, args: impl IntoIterator<Item = Value>, options: CallOptions) -> String {
        let body = Body { args: args.into_iter().collect(), ..Body::default() };
        let call = DynamicCall { task: task.to_owned(), body, options };
        self.client.submit_dynamic(call).await.unwrap().id().to_owned()
    }

    async fn ended(&self, id: &str) -> TaskRecord {
        self.client.handle::<serde_json::Value>(id).wait().await.unwrap()
    }

    async fn ends(&self, id: &str, state: TaskState) {
        let row = self.ended(id).await;
        assert_eq!(row.state, state, "{row:?}");
    }

    /// Occupies the only slot of the worker for a while, so that what is sent waits in the worker.
    async fn occupy(&self) {
        let id = self.send("test.rest", [Value::Int(1_500)]).await;
        self.journals(&format!("{id} begun")).await;
    }

    /// Waits until a task has written this line.
    async fn journals(&self, line: &str) {
        let path = self.folder.path().join("journal");
        let read = async || std::fs::read_to_string(&path).unwrap_or_default();
        eventually("the journal", read, |text| text.lines().any(|found| found == line)).await;
    }

    /// Ends worker and sender, and compares the graph of these tasks.
    async fn shows(mut self, life: &str, ids: &[&str]) {
        self.worker.signal("TERM");
        assert_eq!(self.worker.exit_code(Duration::from_secs(30)).await, 0, "{}", self.worker.output());
        self.telemetry.shutdown(Duration::from_secs(10)).await.unwrap();
        let spans = self.collector.spans();
        let is_meant = |id: Option<String>| id.is_some_and(|id| ids.contains(&id.as_str()));
        let traces: BTreeSet<_> = spans
            .iter()
            .filter(|found| is_meant(found.attribute("messaging.message.id")))
            .map(celeriac_tests::collector::Collected::trace_id)
            .collect();
        let spans = spans.into_iter().filter(|found| traces.contains(&found.trace_id())).collect();
        let graph = Graph::new(spans, [("folder", self.folder.path().display().to_string())]);
        let known: BTreeSet<&str> = CONVENTIONS.lines().collect();
        let names = graph.attribute_names();
        let foreign: Vec<_> =
            names.iter().filter(|name| !known.contains(name.as_str()) && !name.starts_with("celeriac.")).collect();
        assert!(foreign.is_empty(), "neither a name of the conventions nor our own: {foreign:?}");
        insta::assert_snapshot!(life.to_owned(), graph.text());
    }
}

async fn worker(bed: &Bed, collector: &Collector, protocol: OtlpProtocol, folder: &tempfile::TempDir) -> Program {
    let mut worker = bed.process_with(
        &["worker"],
        &[
            ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", collector.url()),
            ("CELERIAC__TELEMETRY__OTLP_PROTOCOL", name(protocol).to_owned()),
            ("CELERIAC__TELEMETRY__SERVICE_NAME", "runner".to_owned()),
            // One thread, on which gRPC must not wait for itself.
            ("TOKIO_WORKER_THREADS", "1".to_owned()),
            ("CELERIAC__WORKER__NAME", "runner@here".to_owned()),
            ("CELERIAC__WORKER__CONCURRENCY", "1".to_owned()),
            ("CELERIAC__WORKER__PREFETCH", "10".to_owned()),
            ("JOURNAL", folder.path().join("journal").display().to_string()),
        ],
    );
    worker.says("ready").await;
    worker
}

async fn success(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let id = scene.send("test.story", [Value::from("once")]).await;
    scene.ends(&id, TaskState::Success).await;
    scene.shows("success", &[&id]).await;
}

async fn retried(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let id = scene.send("test.retry", [Value::from("immediately"), Value::Int(2)]).await;
    scene.ends(&id, TaskState::Success).await;
    scene.shows("retried", &[&id]).await;
}

async fn exhausted(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let id = scene.send("test.need", [Value::from("/nowhere")]).await;
    scene.ends(&id, TaskState::Failure).await;
    scene.shows("exhausted", &[&id]).await;
}

async fn expired(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    scene.occupy().await;
    let options = CallOptions { expires: Some(Expiry::After(Duration::from_millis(500))), ..CallOptions::default() };
    let id = scene.send_with("test.story", [Value::from("late")], options).await;
    scene.ends(&id, TaskState::Revoked).await;
    scene.shows("expired", &[&id]).await;
}

async fn revoked(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    scene.occupy().await;
    let id = scene.send("test.story", [Value::from("unwanted")]).await;
    scene.client.revoke([id.as_str()]).await.unwrap();
    scene.ends(&id, TaskState::Revoked).await;
    scene.shows("revoked", &[&id]).await;
}

async fn unknown(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let id = scene.send("test.nothing", []).await;
    scene.ends(&id, TaskState::Failure).await;
    scene.shows("unknown", &[&id]).await;
}

async fn rejected(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let id = scene.send("test.fail_when", [Value::from("/"), Value::Bool(true)]).await;
    scene.ends(&id, TaskState::Failure).await;
    scene.shows("rejected", &[&id]).await;
}

async fn delayed(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let call = story("later".to_owned()).delay(Duration::from_millis(1_500));
    let handle = call.submit(&scene.client).await.unwrap();
    scene.ends(handle.id(), TaskState::Success).await;
    scene.shows("delayed", &[handle.id()]).await;
}

async fn chained(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let chain = Chain::new(Signature::new("test.note").arg(7_i64)).then(Signature::new("test.after"));
    let handle = chain.submit(&scene.client).await.unwrap();
    scene.ends(handle.id(), TaskState::Success).await;
    scene.shows("chained", &[handle.id()]).await;
}

async fn replayed(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let needed = scene.folder.path().join("needed");
    let id = scene.send("test.need", [Value::from(needed.display().to_string())]).await;
    scene.ends(&id, TaskState::Failure).await;
    std::fs::write(&needed, "").unwrap();
    let mut replay = bed.process_with(
        &["dead", "replay", "--yes"],
        &[
            ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", scene.collector.url()),
            ("CELERIAC__TELEMETRY__OTLP_PROTOCOL", name(protocol).to_owned()),
            ("CELERIAC__TELEMETRY__SERVICE_NAME", "operator".to_owned()),
        ],
    );
    assert_eq!(replay.exit_code(Duration::from_secs(30)).await, 0, "{}", replay.output());
    scene.ends(&id, TaskState::Success).await;
    scene.shows("replayed", &[&id]).await;
}

async fn redelivered(bed: Bed, protocol: OtlpProtocol) {
    let mut scene = Scene::start(&bed, protocol).await;
    let awaited = scene.folder.path().join("awaited");
    let id = scene.send("test.end_when", [Value::from(awaited.display().to_string())]).await;
    scene.journals(&format!("{id} attempt 1")).await;
    let next = worker(&bed, &scene.collector, protocol, &scene.folder).await;
    std::mem::replace(&mut scene.worker, next).kill().await;
    std::fs::write(&awaited, "").unwrap();
    scene.ends(&id, TaskState::Success).await;
    scene.shows("redelivered", &[&id]).await;
}

async fn transactional(bed: Bed, protocol: OtlpProtocol) {
    let scene = Scene::start(&bed, protocol).await;
    let mut database = scene.bed.database().await;
    let mut transaction = database.begin().await.unwrap();
    let handle = scene.client.submit_in(&mut transaction, story("committed".to_owned())).await.unwrap();
    transaction.commit().await.unwrap();
    scene.ends(handle.id(), TaskState::Success).await;
    scene.shows("transactional", &[handle.id()]).await;
}

/// The call of the worker's task.
#[task(name = "test.story")]
async fn story(text: String) -> TaskResult<usize> {
    Ok(text.len())
}
