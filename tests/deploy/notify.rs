//! A service manager is told when a program is ready, what it waits for, and that it is live.

use std::time::Duration;

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::{Bed, Program, Proxy};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time after which the manager would end a silent program.
const WATCHDOG: Duration = Duration::from_secs(3);

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { socket: UnixDatagram::bind(folder.path().join("notify")).unwrap(), folder }
    }

    /// Returns the variables that a manager sets.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let socket = self.folder.path().join("notify").display().to_string();
        vec![("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())]
    }

    /// Returns the lines of the next message.
    async fn next(&self) -> Vec<String> {
        let mut message = vec![0; 4_096];
        let received = timeout(PATIENCE, self.socket.recv(&mut message)).await.expect("a message").unwrap();
        String::from_utf8_lossy(&message[..received]).lines().map(str::to_owned).collect()
    }

    /// Returns all lines up to the first that begins like this.
    async fn until(&self, begin: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let end = Instant::now() + PATIENCE;
        while !lines.iter().any(|line: &String| line.starts_with(begin)) {
            assert!(Instant::now() < end, "`{begin}` never comes: {lines:?}");
            lines.extend(self.next().await);
        }
        lines
    }
}

#[celeriac_tests::test(real)]
async fn a_manager_is_told_when_a_worker_is_ready_and_what_it_waits_for(bed: Bed) {
    let url = bed.amqp_url();
    let server = url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::before(server.clone()).await;
    let url = proxy.url(&url, &server);
    proxy.hold(true);
    let manager = Manager::new();
    let mut variables = manager.variables();
    variables.extend([("CELERIAC__BROKER__URL", url), ("CELERIAC__BROKER__HEARTBEAT", "2s".to_owned())]);
    let mut worker = bed.process_with(&["worker", "--name", "w1"], &variables);
    let first = manager.until("STATUS=w1: not ready: ").await;
    let begun = Instant::now();
    let mut lines = first;
    while begun.elapsed() < WATCHDOG {
        lines.extend(manager.next().await);
    }
    assert!(!lines.contains(&"READY=1".to_owned()), "the broker does not answer: {lines:?}");
    assert!(lines.contains(&"WATCHDOG=1".to_owned()), "its runtime runs: {lines:?}");

    proxy.hold(false);
    let lines = manager.until("READY=1").await;
    assert_eq!(lines.iter().rfind(|line| line.starts_with("STATUS=")).unwrap(), "STATUS=w1: ready");

    proxy.hold(true);
    let lost = manager.until("STATUS=w1: not ready: ").await;
    assert!(lost.last().is_some_and(|line| !line.contains('\n')), "{lost:?}");
    proxy.hold(false);
    let back = manager.until("STATUS=w1: ready").await;
    assert!(!back.contains(&"READY=1".to_owned()), "it is started once: {back:?}");

    worker.signal("TERM");
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn a_relay_is_ready_too(bed: Bed) {
    let manager = Manager::new();
    let mut relay = bed.process_with(&["relay"], &manager.variables());
    let lines = manager.until("READY=1").await;
    assert!(lines.iter().any(|line| line.starts_with("STATUS=") && line.ends_with(": ready")), "{lines:?}");
    relay.signal("TERM");
    assert_eq!(relay.exit_code(PATIENCE).await, 0, "{}", relay.output());
}

#[celeriac_tests::test(real)]
async fn a_program_whose_runtime_does_not_run_is_silent(bed: Bed) {
    let manager = Manager::new();
    let mut variables = manager.variables();
    variables.push(("TOKIO_WORKER_THREADS", "1".to_owned()));
    variables.push(("JOURNAL", "/dev/null".to_owned()));
    let mut worker = bed.process_with(&["worker"], &variables);
    manager.until("READY=1").await;
    let client = bed.client(bed.program([])).await;
    let body = Body { args: vec![Value::Int(20_000)], ..Body::default() };
    let call = DynamicCall { task: "test.spin".to_owned(), body, options: CallOptions::default() };
    client.submit_dynamic(call).await.unwrap();

    // It is not live after 15 seconds, and says nothing until the task yields after 20.
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let mut heard = Instant::now();
    while longest < WATCHDOG && begun.elapsed() < PATIENCE {
        let lines = manager.next().await;
        if lines.contains(&"WATCHDOG=1".to_owned()) {
            longest = longest.max(heard.elapsed());
            heard = Instant::now();
        }
    }
    assert!(longest >= WATCHDOG, "the longest silence is {longest:?}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn a_manager_that_takes_no_messages_is_one_warning(bed: Bed) {
    let variables = [("NOTIFY_SOCKET", "/nowhere/notify".to_owned()), ("WATCHDOG_USEC", "300000".to_owned())];
    let mut worker: Program = bed.process_with(&["worker"], &variables);
    let told = worker.says("service manager not notified").await;
    assert!(told.contains("WARN") && told.contains("error="), "{told}");
    worker.says("worker ready").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
    assert_eq!(worker.rest().await.matches("service manager not notified").count(), 1);
}
