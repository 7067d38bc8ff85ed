//! No span of a finished task is missing after SIGTERM under load, whatever the protocol and the
//! number of threads.

use std::collections::BTreeSet;
use std::time::Duration;

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Collector, Program};

use crate::ledger::is_long;

/// Tasks that are sent before each signal. A worker has many of them left when it ends.
const SENT: usize = 300;

/// Finished tasks after which a worker is ended: a different number each time.
const FINISHED: std::ops::Range<usize> = 20..120;

#[celeriac_tests::test(real)]
async fn no_span_of_a_finished_task_is_missing_after_sigterm(bed: Bed) {
    let signals = if is_long() { 100 } else { 12 };
    let collector = Collector::start().await;
    let client = bed.client(bed.program([])).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut ended = 0;
    for signal in 0..signals {
        let mut worker = worker(&bed, &collector, &journal, signal).await;
        let calls = (0..SENT).map(|number| DynamicCall {
            task: "test.note".to_owned(),
            body: Body { args: vec![Value::Int(i64::try_from(number).unwrap())], ..Body::default() },
            options: CallOptions::default(),
        });
        let sent: Vec<_> = calls.map(|call| client.submit_dynamic(call)).collect();
        futures::future::try_join_all(sent).await.unwrap();
        let enough = ended + fastrand::usize(FINISHED);
        let lines = async || std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
        eventually("tasks run", lines, |lines| *lines >= enough).await;
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(30)).await, 0, "{}", worker.output());
        ended = lines().await;
    }

    let finished: Vec<String> = sqlx::query_scalar("SELECT id FROM celeriac.tasks WHERE state = 'SUCCESS'")
        .fetch_all(&mut bed.database().await)
        .await
        .unwrap();
    let spans = collector.spans();
    let ended_well = spans.iter().filter(|found| found.attribute("celeriac.task.state").as_deref() == Some("SUCCESS"));
    let traced: BTreeSet<_> = ended_well.filter_map(|found| found.attribute("messaging.message.id")).collect();
    let missing: Vec<_> = finished.iter().filter(|id| !traced.contains(*id)).collect();
    assert!(missing.is_empty(), "{} of {} spans are missing: {missing:?}", missing.len(), finished.len());
    assert!(finished.len() >= signals * FINISHED.start, "{}", finished.len());
}

/// Starts a worker: over HTTP or gRPC, on one thread or on those of the machine, in turn.
async fn worker(bed: &Bed, collector: &Collector, journal: &std::path::Path, turn: usize) -> Program {
    let protocol = if turn.is_multiple_of(2) { "grpc" } else { "http/protobuf" };
    let mut variables = vec![
        ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", collector.url()),
        ("CELERIAC__TELEMETRY__OTLP_PROTOCOL", protocol.to_owned()),
        ("JOURNAL", journal.display().to_string()),
    ];
    if turn % 4 < 2 {
        variables.push(("TOKIO_WORKER_THREADS", "1".to_owned()));
    }
    let mut worker = bed.process_with(&["worker"], &variables);
    worker.says("ready").await;
    worker
}
