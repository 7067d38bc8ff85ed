//! A worker is killed exactly between the two steps of a retry, of a dead letter, or of a success,
//! also while another worker runs the same attempt.

use std::path::PathBuf;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{DynamicCall, TaskHandle, TaskRecord};
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Peer, Program, Proxy};

use crate::connection_cut::server_of;

/// A bed with proxies to broker and database, which can be stopped.
pub(crate) struct Proxied {
    pub(crate) bed: Bed,
    pub(crate) peer: Peer,
    pub(crate) broker: Proxy,
    pub(crate) database: Proxy,
    folder: tempfile::TempDir,
}

impl Proxied {
    pub(crate) async fn new(bed: Bed) -> Self {
        let peer = bed.peer().await;
        let broker = Proxy::before(server_of(&bed.amqp_url())).await;
        let database = Proxy::before(server_of(&bed.database_url())).await;
        Self { bed, peer, broker, database, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the URLs of broker and database through the proxies.
    pub(crate) fn through(&self) -> [String; 2] {
        let (amqp, database) = (self.bed.amqp_url(), self.bed.database_url());
        [self.broker.url(&amqp, &server_of(&amqp)), self.database.url(&database, &server_of(&database))]
    }

    async fn worker(&self, name: &str, broker: String, database: String) -> Program {
        let journal = self.file("journal").to_string_lossy().into_owned();
        let ends = if name == "first" { "succeeds" } else { "fails" };
        let variables = [
            ("CELERIAC__BROKER__URL", broker),
            ("CELERIAC__RESULTS__URL", database),
            ("JOURNAL", journal),
            ("ENDS", ends.to_owned()),
        ];
        let mut worker = self.bed.process_with(&["worker", "-l", "info", "-n", name], &variables);
        worker.says("ready").await;
        worker
    }

    /// Starts a worker behind the proxies, with a task in its first attempt.
    async fn first(&self, rejected: bool) -> (Program, TaskHandle<serde_json::Value>) {
        let path = self.file("now").to_string_lossy().into_owned();
        let args = vec![Value::from(path.as_str()), Value::Bool(rejected)];
        self.first_with("test.fail_when", args, CallOptions::default()).await
    }

    async fn first_with(
        &self,
        task: &str,
        args: Vec<Value>,
        options: CallOptions,
    ) -> (Program, TaskHandle<serde_json::Value>) {
        let [broker, database] = self.through();
        let worker = self.worker("first", broker, database).await;
        let client = self.bed.client(self.bed.program([])).await;
        let body = Body { args, ..Body::default() };
        let options = CallOptions { id: Some("one".to_owned()), ..options };
        let request = DynamicCall { task: task.to_owned(), body, options };
        let handle = client.submit_dynamic(request).await.unwrap();
        eventually("it runs", async || self.journal().len(), |lines| *lines == 1).await;
        (worker, handle)
    }

    fn let_it_fail(&self) {
        std::fs::write(self.file("now"), "").unwrap();
    }

    /// Cuts the first worker off from the broker, so that a second worker runs the attempt too. The
    /// second is stopped while it does.
    async fn overtake(&self) -> Program {
        self.broker.hold(true);
        self.broker.cut();
        let second = self.worker("second", self.bed.amqp_url(), self.bed.database_url()).await;
        eventually("the second runs it too", async || self.journal().len(), |lines| *lines == 2).await;
        second.signal("STOP");
        second
    }

    /// Kills the first worker after it has recorded `state`, and continues the second.
    async fn continue_second(
        &self,
        (first, mut second): (Program, Program),
        handle: &TaskHandle<serde_json::Value>,
        state: TaskState,
    ) -> TaskRecord {
        self.let_it_fail();
        let recorded = async || handle.record().await.unwrap().map(|row| (row.state, row.worker.to_string()));
        eventually("the first records it", recorded, |row| *row == Some((state, "first".to_owned()))).await;
        first.kill().await;
        second.signal("CONT");
        let ended = async || handle.record().await.unwrap().filter(|row| row.state.is_final());
        let row = eventually("it has ended", ended, Option::is_some).await.unwrap();
        eventually("what follows has run", async || self.journal().len(), |lines| *lines == 3).await;
        second.signal("TERM");
        assert_eq!(second.exit_code(Duration::from_secs(40)).await, 0, "{}", second.output());
        assert_eq!(self.peer.ready("celeriac").await, 0, "all is acknowledged");
        row
    }

    /// Kills the first worker, and lets another one finish its work.
    async fn second(&self, first: Program, handle: &TaskHandle<serde_json::Value>) -> TaskRecord {
        first.kill().await;
        self.broker.cut();
        self.database.cut();
        let mut second = self.worker("second", self.bed.amqp_url(), self.bed.database_url()).await;
        let ended = async || handle.record().await.unwrap().filter(|row| row.state.is_final());
        let row = eventually("it has ended", ended, Option::is_some).await.unwrap();
        second.signal("TERM");
        assert_eq!(second.exit_code(Duration::from_secs(40)).await, 0, "{}", second.output());
        assert_eq!(self.peer.ready("celeriac").await, 0, "nothing is left");
        row
    }

    /// Returns the started attempts, in order.
    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_the_row_of_a_retry_and_its_message_leaves_the_message_to_the_next(bed: Bed) {
    let proxied = Proxied::new(bed).await;
    let (first, handle) = proxied.first(false).await;
    proxied.broker.hold(true);
    proxied.let_it_fail();
    let state = async || handle.record().await.unwrap().map(|row| row.state);
    eventually("the row of the retry stands", state, |state| *state == Some(TaskState::Retry)).await;
    assert_eq!(proxied.peer.ready("celeriac").await, 0, "the next attempt is on no queue");

    let row = proxied.second(first, &handle).await;
    assert_eq!(proxied.journal(), ["one attempt 1", "one attempt 2"], "no attempt is made again, and none is left out");
    assert_eq!((row.state, row.attempts), (TaskState::Failure, 2));
    assert_eq!(proxied.peer.ready("celeriac.dead").await, 1);
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_a_dead_letter_and_its_row_leaves_the_attempt_to_the_next(bed: Bed) {
    let proxied = Proxied::new(bed).await;
    let (first, handle) = proxied.first(true).await;
    proxied.database.hold(true);
    proxied.let_it_fail();
    eventually("the dead letter", async || proxied.peer.ready("celeriac.dead").await, |dead| *dead == 1).await;
    assert!(handle.record().await.unwrap().is_none(), "its row is not written");

    let row = proxied.second(first, &handle).await;
    // It is unknown if the dead letter was sent, so the worker sends it again: two copies are
    // better than none.
    assert_eq!(proxied.journal(), ["one attempt 1", "one attempt 1"]);
    assert_eq!((row.state, row.attempts, row.worker.as_ref()), (TaskState::Failure, 1, "second"));
    let letters = proxied.peer.take_all("celeriac.dead").await;
    let ids: Vec<_> = letters.iter().map(|letter| letter.header("id").unwrap()).collect();
    assert_eq!(ids, ["one", "one"], "the same letter twice");
}

#[celeriac_tests::test(real)]
async fn a_retry_that_a_dead_worker_has_recorded_is_sent_by_the_worker_with_the_live_delivery(bed: Bed) {
    let proxied = Proxied::new(bed).await;
    let (first, handle) = proxied.first(false).await;
    let second = proxied.overtake().await;

    let row = proxied.continue_second((first, second), &handle, TaskState::Retry).await;
    assert_eq!(proxied.journal(), ["one attempt 1", "one attempt 1", "one attempt 2"]);
    assert_eq!((row.state, row.attempts, row.worker.as_ref()), (TaskState::Failure, 2, "second"));
    assert_eq!(proxied.peer.ready("celeriac.dead").await, 1);
}

#[celeriac_tests::test(real)]
async fn the_callback_of_a_success_that_a_dead_worker_has_recorded_is_sent_by_the_worker_with_the_live_delivery(
    bed: Bed,
) {
    let proxied = Proxied::new(bed).await;
    let path = proxied.file("now").to_string_lossy().into_owned();
    let mut options = CallOptions::default();
    options.follow.callbacks.push(Signature::new("test.after"));
    let (first, handle) = proxied.first_with("test.end_when", vec![Value::from(path.as_str())], options).await;
    let second = proxied.overtake().await;

    let row = proxied.continue_second((first, second), &handle, TaskState::Success).await;
    assert_eq!((row.state, row.worker.as_ref()), (TaskState::Success, "first"), "the first success stays");
    let journal = proxied.journal();
    assert_eq!(journal[..2], ["one attempt 1", "one attempt 1"]);
    assert_eq!(journal.len(), 3, "{journal:?}");
    assert!(journal[2].ends_with(" 1"), "the callback has the result of the first: {journal:?}");
    assert_eq!(proxied.peer.ready("celeriac.dead").await, 0);
}
