//! One trace across both languages. Python's side is OpenTelemetry's own instrumentation of Celery.

use std::time::Duration;

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_telemetry::{Instance, Telemetry, TelemetryOptions};
use celeriac_tests::{Bed, Collector, Graph, PythonApp};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(50);

#[celeriac_tests::test(real)]
async fn a_task_that_python_sends_runs_in_its_trace(bed: Bed) {
    let collector = Collector::start().await;
    let app = PythonApp::new(&bed).await.set("INTEROP_OTLP", collector.url());
    let mut worker = bed.process_with(
        &["worker"],
        &[
            ("CELERIAC__DEFAULT_QUEUE", "interop-rust".to_owned()),
            ("CELERIAC__QUEUES", "{interop-rust: {}}".to_owned()),
            ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", collector.url()),
            ("CELERIAC__TELEMETRY__SERVICE_NAME", "rust".to_owned()),
            ("CELERIAC__WORKER__NAME", "rust@here".to_owned()),
        ],
    );
    worker.says("ready").await;
    let mut client = app.client().await;
    let id = client.send("rust.add", json!([1, 2]), json!({})).await;
    assert_eq!(client.result(&id).await["result"], 3);
    client.stop().await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());

    insta::assert_snapshot!("sent_from_python", Graph::new(collector.spans(), []).brief("python").text());
}

#[celeriac_tests::test(real)]
async fn a_task_that_python_runs_is_in_the_trace_of_its_sender(bed: Bed) {
    let collector = Collector::start().await;
    let options = TelemetryOptions {
        service_name: "rust".to_owned(),
        otlp_endpoint: Some(collector.url()),
        ..TelemetryOptions::default()
    };
    let instance = Instance { name: "test".to_owned(), version: "0".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    let app = PythonApp::new(&bed).await.set("INTEROP_OTLP", collector.url());
    let worker = app.worker(1).await;
    let program = bed.program([]).set("results.url", "rpc://").set("default_queue", "interop-rust");
    let program = program.set("queues", "{interop-rust: {}, interop-python: {external: true}}");
    let client = bed.client(program.set("task_routes", "[{task: 'interop.*', queue: interop-python}]")).await;
    let body = Body { args: vec![Value::Int(1), Value::Int(2)], ..Body::default() };
    let call = DynamicCall { task: "interop.add".to_owned(), body, options: CallOptions::default() };
    let handle = client.submit_dynamic(call).await.unwrap();
    assert_eq!(handle.wait_timeout(PATIENCE).await.unwrap().result.as_deref(), Some("3"));
    worker.stop().await;
    telemetry.shutdown(Duration::from_secs(10)).await.unwrap();

    insta::assert_snapshot!("run_by_python", Graph::new(collector.spans(), []).brief("python").text());
}
