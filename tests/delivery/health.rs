//! The health server of a program, and the probe that asks it.
#![expect(clippy::print_stdout, reason = "the time of the probe")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::probe::{livez, page, readyz, request};
use celeriac_tests::wait::{PATIENCE, eventually};
use celeriac_tests::{Bed, Program};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Longest time of a probe.
const PROBE: Duration = Duration::from_millis(50);

/// Returns the variable that makes a program listen at a socket in this folder.
fn listening(folder: &Path) -> (PathBuf, [(&'static str, String); 1]) {
    let socket = folder.join("health");
    let listen = format!("unix:{}", socket.display());
    (socket, [("CELERIAC__TELEMETRY__LISTEN", listen)])
}

async fn ready(socket: &Path) {
    eventually("it is ready", async || readyz(socket).await, |answer| matches!(answer, Some((200, _)))).await;
}

async fn submit(bed: &Bed, task: &str, args: Vec<Value>) {
    let client = bed.client(bed.program([])).await;
    let body = Body { args, ..Body::default() };
    let call = DynamicCall { task: task.to_owned(), body, options: CallOptions::default() };
    client.submit_dynamic(call).await.unwrap();
    client.close().await;
}

/// Runs the probe, and returns its exit code, its output and its time.
async fn probe(bed: &Bed, arguments: &[&str], variables: &[(&str, String)]) -> (i32, String, Duration) {
    let begun = Instant::now();
    let mut probe = bed.process_with(arguments, variables);
    let code = probe.exit_code(PATIENCE).await;
    let took = begun.elapsed();
    (code, probe.rest().await, took)
}

#[celeriac_tests::test(real)]
async fn a_worker_that_drains_is_live_and_not_ready(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, variables) = listening(folder.path());
    let mut worker = bed.process_with(&["worker"], &variables);
    ready(&socket).await;
    submit(&bed, "test.rest", vec![Value::Int(3_000)]).await;
    let running = async || page(&socket, "/metrics").await.unwrap().1;
    eventually("it runs", running, |page| page.contains("celeriac_worker_slots_used 1\n")).await;
    worker.signal("TERM");
    let draining = async || readyz(&socket).await.unwrap();
    let (_, answer) = eventually("it drains", draining, |(status, _)| *status == 503).await;
    let reasons: Vec<_> = answer.not_ready.iter().map(|unready| &*unready.reason).collect();
    assert_eq!(reasons, ["it stops", "it stops, and takes no more tasks"]);
    let (status, answer) = livez(&socket).await.unwrap();
    assert_eq!((status, answer.live), (200, true));
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
    assert_eq!(livez(&socket).await, None);
    assert!(!socket.exists(), "the socket is removed");
}

#[celeriac_tests::test(real)]
async fn a_worker_that_ends_is_not_ready_again(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, listen) = listening(folder.path());
    let mut variables = listen.to_vec();
    // It does not answer, so the last traces take as long as they may.
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    variables.push(("CELERIAC__TELEMETRY__OTLP_ENDPOINT", format!("http://{}", collector.local_addr().unwrap())));
    let mut worker = bed.process_with(&["worker"], &variables);
    ready(&socket).await;
    submit(&bed, "test.rest", vec![Value::Int(0)]).await;
    let finished = async || page(&socket, "/metrics").await.unwrap().1;
    eventually("it has run", finished, |page| page.contains("celeriac_tasks_finished_total{")).await;
    worker.signal("TERM");
    let draining = async || readyz(&socket).await.map_or(503, |(status, _)| status);
    eventually("it stops", draining, |status| *status == 503).await;
    let until_its_end = async || match readyz(&socket).await {
        Some((status, answer)) => {
            assert_eq!(status, 503, "{answer:?}");
            false
        }
        None => true,
    };
    eventually("it has ended", until_its_end, |ended| *ended).await;
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn the_probe_asks_the_running_worker_in_time(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, variables) = listening(folder.path());
    let (code, output, _) = probe(&bed, &["worker", "--check"], &variables).await;
    assert_eq!(code, 5, "{output}");
    assert!(output.contains("no worker answers at unix:"), "{output}");
    let (code, output, _) = probe(&bed, &["worker", "--check"], &[]).await;
    assert_eq!(code, 78, "{output}");

    let worker = bed.process_with(&["worker", "-n", "w1"], &variables);
    ready(&socket).await;
    let mut fastest = Duration::MAX;
    for check in ["--check", "--check=ready", "--check=live"].repeat(5) {
        if fastest < PROBE && check == "--check" {
            break;
        }
        let (code, output, took) = probe(&bed, &["worker", "-n", "w1", check], &variables).await;
        assert_eq!(code, 0, "{output}");
        println!("worker {check}: {output} in {:.1} ms", took.as_secs_f64() * 1e3);
        fastest = fastest.min(took);
    }
    assert!(fastest < PROBE, "{fastest:?}");
    let (code, output, _) = probe(&bed, &["worker", "-n", "w2", "--check"], &variables).await;
    assert_eq!(code, 5, "{output}");
    assert!(output.contains("answers `w1`, not `w2`"), "{output}");

    worker.kill().await;
    assert!(socket.exists(), "a killed worker leaves its socket");
    let (code, output, _) = probe(&bed, &["worker", "-n", "w1", "--check=live"], &variables).await;
    assert_eq!(code, 5, "{output}");
    let _worker = bed.process_with(&["worker", "-n", "w1"], &variables);
    ready(&socket).await;
}

#[celeriac_tests::test(real)]
async fn an_address_in_use_is_an_error_with_a_remedy(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, variables) = listening(folder.path());
    let _worker = bed.process_with(&["worker"], &variables);
    ready(&socket).await;
    let mut second = bed.process_with(&["worker"], &variables);
    assert_eq!(second.exit_code(PATIENCE).await, 78);
    let output = second.rest().await;
    assert!(output.contains("give each process an address of its own"), "{output}");
    assert_eq!(livez(&socket).await.unwrap().0, 200, "the first one still answers");
}

#[celeriac_tests::test(real)]
async fn a_relay_has_health_too(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, variables) = listening(folder.path());
    let mut relay = bed.process_with(&["relay"], &variables);
    ready(&socket).await;
    assert_eq!(livez(&socket).await.unwrap().0, 200);
    relay.signal("TERM");
    assert_eq!(relay.exit_code(PATIENCE).await, 0);
}

#[celeriac_tests::test(real)]
async fn a_request_is_bounded(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let (socket, variables) = listening(folder.path());
    let _worker: Program = bed.process_with(&["worker"], &variables);
    ready(&socket).await;
    let headers = "x: y\r\n".repeat(100);
    let long = "x".repeat(20_000);
    for (sent, status) in [
        ("GET / HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 404),
        ("HEAD /livez HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("POST /livez HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n".to_owned(), 405),
        ("GET /livez HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n".to_owned(), 413),
        (format!("GET /livez HTTP/1.1\r\nhost: h\r\n{headers}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: h\r\n\r\n"), 414),
    ] {
        let answer = request(&socket, &sent).await;
        let found = answer.as_ref().map(|(status, _)| *status);
        assert!(found == Some(status) || (found == Some(431) && status == 414), "{answer:?} for {:.60}", sent);
    }
}

#[celeriac_tests::test(real)]
async fn a_signal_changes_the_log_level_and_the_next_one_restores_it(bed: Bed) {
    let mut worker = bed.process(&["worker"]);
    worker.says("worker ready").await;
    submit(&bed, "test.note", vec![Value::Int(1)]).await;
    eventually("it is recorded", async || recorded(&bed).await, |rows| *rows == 1).await;
    assert!(!worker.output().contains("task received"), "{}", worker.output());
    worker.signal("USR2");
    worker.says("log level changed level=\"info,celeriac=debug\"").await;
    submit(&bed, "test.note", vec![Value::Int(2)]).await;
    worker.says("task succeeded").await;
    worker.signal("USR2");
    worker.says("log level changed level=info").await;
    let before = worker.output().matches("task succeeded").count();
    submit(&bed, "test.note", vec![Value::Int(3)]).await;
    eventually("it is recorded", async || recorded(&bed).await, |rows| *rows == 3).await;
    assert_eq!(worker.output().matches("task succeeded").count(), before);
}

/// Returns the number of recorded successes.
async fn recorded(bed: &Bed) -> i64 {
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    sqlx::query_scalar(rows).fetch_one(&mut bed.database().await).await.unwrap()
}
