//! Celery itself, as a worker and as a client, each in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use celeriac_servers::PythonEnvironment;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

use crate::bed::Bed;
use crate::program::Program;
use crate::wait::PATIENCE;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/python");

/// The app of `tests/interop/python/app.py`, set up for one test.
#[derive(Debug)]
pub struct PythonApp {
    python: PathBuf,
    variables: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl PythonApp {
    /// Returns the app with its defaults, on the virtual host of this test.
    ///
    /// # Panics
    /// Panics if there is no Python with Celery; the message says how to get it.
    pub async fn new(bed: &Bed) -> Self {
        let environment = tokio::task::spawn_blocking(PythonEnvironment::obtain).await.expect("no panic");
        let environment = environment.unwrap_or_else(|error| panic!("{error:#}"));
        let folder = tempfile::tempdir().expect("a folder");
        let variables = vec![
            ("PYTHONPATH", SOURCES.to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PYTHONUTF8", "1".to_owned()),
            ("INTEROP_BROKER_URL", bed.amqp_url()),
            ("JOURNAL", folder.path().join("journal").to_string_lossy().into_owned()),
        ];
        Self { python: environment.python().to_owned(), variables, folder }
    }

    /// Changes a variable of `app.py`: `INTEROP_QUEUE`, `INTEROP_SERIALIZER`, ….
    pub fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, value.into()));
        self
    }

    /// Starts a worker with this many processes, in Celery's default pool, and waits until it
    /// consumes.
    ///
    /// # Panics
    /// Panics if it does not start; the message has its output.
    pub async fn worker(&self, concurrency: usize) -> PythonWorker {
        let concurrency = concurrency.to_string();
        let name = format!("python{}@localhost", uuid::Uuid::now_v7().simple());
        let mut arguments = vec!["-m", "celery", "-A", "app", "worker", "-P", "prefork", "-c", &concurrency];
        arguments.extend(["-Q", self.queue(), "-n", &name, "-l", "INFO"]);
        arguments.extend(["--without-gossip", "--without-mingle", "--without-heartbeat"]);
        let mut program = Program::start_other(&self.interpreter(), &arguments, &self.variables);
        program.says(&format!("{name} ready.")).await;
        PythonWorker { program, name }
    }

    /// Runs Celery's command line, and returns its exit code and its output.
    ///
    /// # Panics
    /// Panics if it does not end.
    pub async fn celery(&self, arguments: &[&str]) -> (i32, String) {
        let arguments: Vec<_> = ["-m", "celery", "-A", "app"].into_iter().chain(arguments.iter().copied()).collect();
        let mut program = Program::start_other(&self.interpreter(), &arguments, &self.variables);
        let code = program.exit_code(PATIENCE).await;
        (code, program.rest().await)
    }

    /// Starts a client.
    ///
    /// # Panics
    /// Panics if it does not answer.
    pub async fn client(&self) -> PythonClient {
        self.start_script("driver.py").await
    }

    /// Starts a monitor of events, `tests/interop/python/monitor.py`, and waits until it consumes.
    ///
    /// # Panics
    /// Panics if it does not answer.
    pub async fn monitor(&self) -> PythonClient {
        self.start_script("monitor.py").await
    }

    async fn start_script(&self, script: &str) -> PythonClient {
        let script = format!("{SOURCES}/{script}");
        let (program, input) = Program::start_with_input(&self.interpreter(), &[&script], &self.variables);
        let mut client = PythonClient { program, input, asked: 0 };
        client.get(json!({"command": "info"})).await;
        client
    }

    /// Returns the queue of the tasks `interop.*`, which the workers consume.
    pub fn queue(&self) -> &str {
        self.variable("INTEROP_QUEUE").unwrap_or("interop-python")
    }

    /// Returns the queue of the tasks `rust.*`. Its consumer declares it.
    pub fn rust_queue(&self) -> &str {
        self.variable("INTEROP_RUST_QUEUE").unwrap_or("interop-rust")
    }

    /// Returns the path of the file that tasks write to.
    pub fn journal_path(&self) -> String {
        self.folder.path().join("journal").to_string_lossy().into_owned()
    }

    /// Returns the records of tasks: the task's short name, its id, and its note.
    pub fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.journal_path()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    fn variable(&self, variable: &str) -> Option<&str> {
        self.variables.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.as_str())
    }

    fn interpreter(&self) -> String {
        self.python.to_string_lossy().into_owned()
    }
}

/// A running Celery worker. Dropping it kills it.
#[derive(Debug)]
pub struct PythonWorker {
    program: Program,
    name: String,
}

impl PythonWorker {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process, for its output and for signals.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Stops it in order, after its running tasks. An idle worker checks for the signal only every
    /// five seconds; [`kill`](Self::kill) is faster where its end does not matter.
    ///
    /// # Panics
    /// Panics if it does not end in order.
    pub async fn stop(mut self) {
        self.program.signal("TERM");
        let code = self.program.exit_code(PATIENCE).await;
        assert_eq!(code, 0, "{}", self.program.output());
    }

    /// Kills it, as `kill -9` does.
    pub async fn kill(self) {
        self.program.kill().await;
    }
}

/// A running Celery client: `tests/interop/python/driver.py`, or a monitor, `monitor.py` beside it.
/// Both document their commands. Dropping it kills it.
#[derive(Debug)]
pub struct PythonClient {
    program: Program,
    input: ChildStdin,
    asked: u64,
}

impl PythonClient {
    /// Sends a command and returns the answer, which may have an `error`.
    ///
    /// # Panics
    /// Panics if no answer comes within `patience`.
    pub async fn ask_within(&mut self, patience: Duration, mut command: Value) -> Value {
        self.asked += 1;
        command["seq"] = self.asked.into();
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("the client reads");
        let answer = self.program.says_within(patience, &format!("{{\"seq\": {}, ", self.asked)).await;
        serde_json::from_str(&answer).expect("a line of JSON")
    }

    /// Does what [`ask_within`](Self::ask_within) does, with the usual patience.
    pub async fn ask(&mut self, command: Value) -> Value {
        self.ask_within(PATIENCE, command).await
    }

    /// Does what [`ask`](Self::ask) does, and fails the test on an error.
    ///
    /// # Panics
    /// Panics if the answer is an error.
    pub async fn get(&mut self, command: Value) -> Value {
        let answer = self.ask(command.clone()).await;
        assert!(answer["error"].is_null(), "{command} was answered with {answer}");
        answer
    }

    /// Calls a task with positional arguments and options of `apply_async`, and returns the id.
    pub async fn send(&mut self, task: &str, args: Value, options: Value) -> String {
        let command = json!({"command": "send", "task": task, "args": args, "options": options});
        self.get(command).await["id"].as_str().expect("an id").to_owned()
    }

    /// Waits for the outcome of a task that this client has called: `state`, `result` or
    /// `exception`, `meta`.
    ///
    /// # Panics
    /// Panics if it does not arrive.
    pub async fn result(&mut self, id: &str) -> Value {
        // The client gives up first, so that it can report the state of the task.
        let seconds = PATIENCE.as_secs() - 10;
        let outcome = self.get(json!({"command": "result", "id": id, "timeout": seconds})).await;
        assert!(outcome["timeout"].is_null(), "no result of {id} within {seconds} s: {outcome}");
        outcome
    }

    /// Reads a message exactly as a Celery worker would. `error` has the reason of a failure.
    pub async fn decode(&mut self, body: &str, content_type: &str, content_encoding: &str, headers: Value) -> Value {
        let command = json!({
            "command": "decode",
            "body": body,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "headers": headers,
        });
        self.ask(command).await
    }

    /// Stops it, and waits for its end.
    ///
    /// # Panics
    /// Panics if it does not end in order.
    pub async fn stop(self) {
        let Self { mut program, input, .. } = self;
        drop(input);
        let code = program.exit_code(PATIENCE).await;
        assert_eq!(code, 0, "{}", program.output());
    }
}
