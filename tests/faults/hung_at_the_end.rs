//! Every service that a worker waits for at its end hangs, and the worker still ends in time.

use std::time::{Duration, Instant};

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_servers::{Durability, PostgresNode, RabbitNode};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use tokio::net::TcpListener;

/// The worker's drain time.
const DRAIN: Duration = Duration::from_secs(1);

/// Allowance for a slow machine, beyond the second that a worker has after its drain. Each single
/// wait exceeded this once.
const SLOW: Duration = Duration::from_secs(3);

#[celeriac_tests::test(real, threads = 2)]
async fn neither_broker_nor_database_nor_collector_nor_a_blocking_task_keeps_a_worker_that_was_told_to_stop(bed: Bed) {
    // Servers of its own, because they are paused.
    let broker = RabbitNode::start().unwrap();
    let database = PostgresNode::start(Durability::Fast).unwrap();
    // It accepts connections, and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let variables = [
        ("CELERIAC__BROKER__URL", broker.url()),
        ("CELERIAC__RESULTS__URL", database.url()),
        ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", format!("http://{}", collector.local_addr().unwrap())),
        ("JOURNAL", journal.to_string_lossy().into_owned()),
    ];
    let program = bed.program([]).set("broker.url", broker.url()).set("results.url", database.url());
    let client = bed.client(program).await;
    let mut longest = Duration::ZERO;
    for (what, signal) in [("in order", "TERM"), ("at once", "QUIT")] {
        let mut worker = bed.process_with(&["worker", "-l", "info", "--drain-timeout", "1s"], &variables);
        worker.says("ready").await;
        for (task, milliseconds) in [("test.block", 600_000), ("test.rest", 600_000), ("test.rest", 500)] {
            let body = Body { args: vec![Value::Int(milliseconds)], ..Body::default() };
            let options = CallOptions::default();
            client.submit_dynamic(DynamicCall { task: task.to_owned(), body, options }).await.unwrap();
        }
        let begun = async || {
            let lines = std::fs::read_to_string(&journal).unwrap_or_default();
            lines.lines().filter(|line| line.ends_with("begun")).count()
        };
        eventually("they run", begun, |begun| *begun >= 3).await;
        database.pause().unwrap();
        broker.pause().unwrap();
        let asked = Instant::now();
        worker.signal(signal);
        let code = worker.exit_code(Duration::from_secs(60)).await;
        let took = asked.elapsed();
        println!("broker, database and collector hang: ended {what} after {:.2} s", took.as_secs_f64());
        assert_eq!(code, 0, "{}", worker.output());
        longest = longest.max(took);
        broker.resume().unwrap();
        database.resume().unwrap();
        std::fs::remove_file(&journal).unwrap();
    }
    assert!(longest < DRAIN + Duration::from_secs(1) + SLOW, "{longest:?}");
    client.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_that_occupy_every_thread_of_the_runtime_keep_no_worker_that_was_told_to_stop(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let variables = [("JOURNAL", journal.to_string_lossy().into_owned()), ("TOKIO_WORKER_THREADS", "2".to_owned())];
    for (what, drain, signals) in
        [("in order", "1s", &["TERM"][..]), ("twice", "1h", &["TERM", "TERM"]), ("at once", "1h", &["QUIT"])]
    {
        let mut worker = bed.process_with(&["worker", "--drain-timeout", drain], &variables);
        worker.says("ready").await;
        // It finds both at once. The first may occupy the thread that would take in the second.
        worker.signal("STOP");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let body = Body { args: vec![Value::Int(600_000)], ..Body::default() };
            let options = CallOptions::default();
            let call = DynamicCall { task: "test.spin".to_owned(), body, options };
            ids.push(client.submit_dynamic(call).await.unwrap().id().to_owned());
        }
        worker.signal("CONT");
        let lines = async || std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
        eventually("both run", lines, |lines| *lines == 2).await;
        if what == "in order" {
            let line = worker.says("task does not yield").await;
            assert!(line.contains("task=test.spin") && line.contains("blocked="), "{line}");
        }
        let asked = Instant::now();
        for signal in signals {
            worker.signal(signal);
            if signals.len() > 1 {
                worker.says("worker stopping").await;
            }
        }
        let code = worker.exit_code(Duration::from_secs(60)).await;
        let took = asked.elapsed();
        println!("every thread is occupied: ended {what} after {:.2} s", took.as_secs_f64());
        assert_eq!(code, 0, "{}", worker.output());
        assert!(took < DRAIN + Duration::from_secs(1) + SLOW, "{took:?}");
        for id in &ids {
            assert!(worker.output().contains(&format!("task abandoned task=test.spin id={id}")), "{}", worker.output());
        }
        let peer = bed.peer().await;
        eventually("they are back", async || peer.ready("celeriac").await, |ready| *ready == 2).await;
        peer.purge("celeriac").await;
        std::fs::remove_file(&journal).unwrap();
    }
    client.close().await;
}
