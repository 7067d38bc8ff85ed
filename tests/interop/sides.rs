//! Both sides on one virtual host: a worker and a client in each language.

use std::time::Duration;

use celeriac::protocol::{Codec, Signature};
use celeriac::{Client, DynamicCall, TaskHandle, TaskRecord, TaskState};
use celeriac_protocol::Value;
use celeriac_protocol::signature::{ChordParts, SignatureKind};
use celeriac_tests::{Bed, Program, PythonApp, PythonClient, PythonWorker, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(50);

/// The queue of Celery's tasks, which Celery declares, and its place in the routes.
const QUEUES: &str = "{interop-rust: {}, interop-python: {external: true}}";
const ROUTES: &str = "[{task: 'interop.*', queue: interop-python}]";

/// One side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Python,
    Rust,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Python, Self::Rust];

    /// Returns the name of a task that runs on this side.
    pub(crate) fn task(self, name: &str) -> String {
        match self {
            Self::Python => format!("interop.{name}"),
            Self::Rust => format!("rust.{name}"),
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Python => Self::Rust,
            Self::Rust => Self::Python,
        }
    }
}

/// The end of a task, from either client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Result(serde_json::Value),
    Error { state: String, kind: String, message: String },
}

impl Told {
    pub(crate) fn error(state: TaskState, kind: &str, message: &str) -> Self {
        Self::Error { state: state.to_string(), kind: kind.to_owned(), message: message.to_owned() }
    }
}

/// A call that both clients can make.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) task: String,
    pub(crate) args: Vec<serde_json::Value>,
    pub(crate) kwargs: serde_json::Map<String, serde_json::Value>,
    /// Options of `apply_async`, by Celery's names.
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
}

impl Call {
    pub(crate) fn new(task: String, args: impl IntoIterator<Item = serde_json::Value>) -> Self {
        Self { task, args: args.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn kwarg(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.kwargs.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn option(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the call as a signature for the Python client.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"task": self.task, "args": self.args, "kwargs": self.kwargs, "options": self.options})
    }

    /// Returns the call as a signature for the Rust client.
    fn signature(&self) -> Signature {
        Signature::read(&Value::from_serialize(&self.json()).unwrap()).unwrap()
    }
}

/// Workers and clients of both sides.
pub(crate) struct Sides {
    pub(crate) app: PythonApp,
    pub(crate) driver: PythonClient,
    python: PythonWorker,
    rust: Program,
    /// A Rust client with results as replies.
    replied: Client,
    /// A Rust client that reads the store of the Rust worker.
    stored: Client,
    /// Handles of the Rust client's tasks. Replies arrive only while a handle exists.
    handles: Vec<TaskHandle<serde_json::Value>>,
}

impl Sides {
    pub(crate) async fn start(bed: &Bed, codec: Codec) -> Self {
        let app = PythonApp::new(bed).await.set("INTEROP_SERIALIZER", codec.name());
        // It declares its queue, which is external to the other side.
        let python = app.worker(2).await;
        let mut rust = bed.process_with(&["worker", "-Q", "interop-rust", "-l", "info"], &rust_variables(&app));
        rust.says("worker ready").await;
        let driver = app.client().await;
        let client = async |results: String| {
            let program = bed.program([]).set("results.url", results).set("client.serializer", codec.name());
            let program = program.set("queues", QUEUES).set("task_routes", ROUTES).set("default_queue", "interop-rust");
            bed.client(program).await
        };
        let replied = client("rpc://".to_owned()).await;
        let stored = client(bed.database_url()).await;
        Self { app, driver, python, rust, replied, stored, handles: Vec::new() }
    }

    /// Sends a call from one of the sides. Returns its id.
    pub(crate) async fn send(&mut self, sender: Side, call: &Call) -> String {
        match sender {
            Side::Python => {
                let mut command = call.json();
                command["command"] = "send".into();
                self.driver.get(command).await["id"].as_str().unwrap().to_owned()
            }
            Side::Rust => {
                let request = DynamicCall::from_signature(call.signature(), self.replied.topology()).unwrap();
                let handle = self.replied.submit_dynamic(request).await.unwrap();
                let id = handle.id().to_owned();
                self.handles.push(handle);
                id
            }
        }
    }

    /// Sends a chain. Returns the id of its last task.
    pub(crate) async fn send_chain(&mut self, sender: Side, steps: &[Call]) -> String {
        match sender {
            Side::Python => {
                let steps: Vec<_> = steps.iter().map(Call::json).collect();
                self.driver.get(json!({"command": "send", "chain": steps})).await["id"].as_str().unwrap().to_owned()
            }
            Side::Rust => {
                let chain = steps.iter().fold(celeriac::Chain::default(), |chain, step| chain.then(step.signature()));
                let handle = chain.submit(&self.replied).await.unwrap();
                let id = handle.id().to_owned();
                self.handles.push(handle);
                id
            }
        }
    }

    /// Sends a canvas from Rust.
    pub(crate) async fn send_canvas(&mut self, canvas: Signature) {
        match canvas.kind() {
            SignatureKind::Group => {
                // Only one with a chord needs the store.
                let members = canvas.into_members().unwrap();
                let group = celeriac::Group::new(members).submit(&self.replied).await.unwrap();
                self.handles.extend(group.members().iter().cloned());
            }
            SignatureKind::Chord => {
                let ChordParts { header, body } = canvas.into_chord_parts().unwrap();
                drop(celeriac::Group::new(header).then(body).submit(&self.stored).await.unwrap());
            }
            SignatureKind::Task | SignatureKind::Chain => {
                self.handles.push(celeriac::Chain::default().then(canvas).submit(&self.replied).await.unwrap());
            }
        }
    }

    /// Revokes tasks that are not sent yet.
    pub(crate) async fn revoke(&mut self, worker: Side, ids: &[String]) {
        match worker {
            Side::Python => {
                let heard = self.driver.get(json!({"command": "revoke", "ids": ids})).await;
                assert_eq!(heard["replies"].as_array().map(Vec::len), Some(1), "{heard}");
            }
            Side::Rust => self.stored.revoke(ids).await.unwrap(),
        }
    }

    /// Returns the final state of a task, as its sender is told of it, and checks it against the
    /// row if there is one. `None` if the sender is told nothing. One that is `open` is not
    /// awaited.
    pub(crate) async fn final_state(&mut self, sender: Side, worker: Side, id: &str, open: bool) -> Option<String> {
        // Celery waits for ever if it has no time.
        let patience = if open { Duration::from_millis(50) } else { PATIENCE };
        let row = match worker {
            Side::Rust if open => Some(self.stored.handle::<serde_json::Value>(id).status().await.unwrap()),
            Side::Rust => Some(self.stored.handle::<serde_json::Value>(id).wait_timeout(patience).await.unwrap().state),
            Side::Python => None,
        };
        let row = row.map(|state| state.to_string());
        if sender == Side::Rust {
            let handle = self.handles.iter().find(|handle| handle.id() == id);
            return match (row, handle) {
                (None, Some(_)) if open => Some("PENDING".to_owned()),
                (None, Some(handle)) => Some(handle.wait_timeout(patience).await.unwrap().state.to_string()),
                (row, _) => row,
            };
        }
        let command = json!({"command": "result", "id": id, "timeout": patience.as_secs_f64()});
        let told = self.driver.get(command).await["state"].as_str().unwrap().to_owned();
        assert!(row.is_none_or(|row| row == told), "reply and row of {id} differ: {told}");
        Some(told)
    }

    /// Returns the end of a task from its sender, and checks it against the row if there is one.
    pub(crate) async fn outcome(&mut self, sender: Side, worker: Side, id: &str) -> Told {
        let told = match sender {
            Side::Python => told_by_python(&self.driver.result(id).await),
            Side::Rust => {
                let handle = self.handles.iter().find(|handle| handle.id() == id).unwrap();
                told_by_record(handle.wait_timeout(PATIENCE).await.unwrap())
            }
        };
        if worker == Side::Rust {
            let row = self.stored.handle::<serde_json::Value>(id).wait_timeout(PATIENCE).await.unwrap();
            assert_eq!(told_by_record(row), told, "reply and row of {id} differ");
        }
        told
    }

    /// Waits until a task in either language has recorded this note.
    pub(crate) async fn noted(&self, task: &str, note: &[serde_json::Value]) -> Vec<serde_json::Value> {
        let is_it = |line: &&serde_json::Value| line[0] == task && line.as_array().unwrap()[2..] == *note;
        let found = async || self.app.journal().iter().filter(is_it).cloned().collect::<Vec<_>>();
        eventually(&format!("{task} notes {note:?}"), found, |lines| !lines.is_empty()).await
    }

    /// Stops everything, in order.
    pub(crate) async fn stop(mut self) {
        self.handles.clear();
        self.driver.stop().await;
        self.rust.signal("TERM");
        assert_eq!(self.rust.exit_code(PATIENCE).await, 0, "{}", self.rust.output());
        self.python.stop().await;
    }
}

/// Returns the variables of a Rust worker beside a Celery app.
fn rust_variables(app: &PythonApp) -> [(&'static str, String); 4] {
    [
        ("CELERIAC__DEFAULT_QUEUE", "interop-rust".to_owned()),
        ("CELERIAC__QUEUES", QUEUES.to_owned()),
        ("CELERIAC__TASK_ROUTES", ROUTES.to_owned()),
        ("JOURNAL", app.journal_path()),
    ]
}

fn told_by_python(answer: &serde_json::Value) -> Told {
    let state = answer["state"].as_str().unwrap();
    match &answer["exception"] {
        serde_json::Value::Null => Told::Result(answer["result"].clone()),
        exception => Told::Error {
            state: state.to_owned(),
            kind: exception["type"].as_str().unwrap().to_owned(),
            // The only argument lacks the quotes that Python adds for a KeyError.
            message: exception["args"][0].as_str().unwrap().to_owned(),
        },
    }
}

fn told_by_record(record: TaskRecord) -> Told {
    match record.failure {
        None => Told::Result(serde_json::from_str(record.result.as_deref().unwrap_or("null")).unwrap()),
        Some(failure) => Told::Error { state: record.state.to_string(), kind: failure.kind, message: failure.message },
    }
}
