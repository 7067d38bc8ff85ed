//! The Celery side works alone, so that a failure between both sides is not Celery's.

use celeriac_tests::{Bed, PythonApp};
use serde_json::json;

#[celeriac_tests::test(real)]
async fn a_python_client_gets_the_results_of_a_python_worker(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let worker = app.worker(2).await;
    let mut client = app.client().await;

    let sum = client.send("interop.add", json!([1, 2]), json!({})).await;
    assert_eq!(client.result(&sum).await["result"], 3);

    let failed = client.send("interop.fail", json!(["Declined", "no"]), json!({})).await;
    let failed = client.result(&failed).await;
    assert_eq!(failed["state"], "FAILURE");
    assert_eq!(failed["exception"]["type"], "Declined");
    assert_eq!(failed["exception"]["args"], json!(["no", 7]));

    let noted = client.send("interop.collect", json!(["Grüße", {"$bigint": "18446744073709551616"}]), json!({})).await;
    client.result(&noted).await;
    assert_eq!(app.journal(), [json!(["collect", noted, "Grüße", {"$bigint": "18446744073709551616"}])]);

    client.stop().await;
    worker.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_python_client_sends_msgpack_and_chains(bed: Bed) {
    let app = PythonApp::new(&bed).await.set("INTEROP_SERIALIZER", "msgpack");
    let worker = app.worker(2).await;
    let mut client = app.client().await;

    let steps = json!([{"task": "interop.add", "args": [1, 2]}, {"task": "interop.add", "args": [3]}]);
    let chain = client.get(json!({"command": "send", "chain": steps})).await;
    let last = client.result(chain["id"].as_str().unwrap()).await;
    assert_eq!(last["result"], 6);
    assert_eq!(last["meta"]["parent_id"], chain["ids"][0]);

    let called = json!({"command": "send", "task": "interop.length", "args": ["abc"], "count": 100});
    let called = client.get(called).await;
    let results = client.get(json!({"command": "results", "ids": called["ids"], "timeout": 50})).await;
    assert_eq!(results["states"], json!({"SUCCESS": 100}));

    client.stop().await;
    worker.kill().await;
}

#[celeriac_tests::test(real)]
async fn a_worker_that_is_killed_leaves_its_tasks_to_another(bed: Bed) {
    let settings = json!({"task_acks_late": true}).to_string();
    let app = PythonApp::new(&bed).await.set("INTEROP_SETTINGS", settings);
    let mut first = app.worker(1).await;
    let mut client = app.client().await;
    let held = client.send("interop.collect", json!(["once"]), json!({"countdown": 2})).await;
    first.program().says(&format!("interop.collect[{held}] received")).await;
    first.kill().await;

    let second = app.worker(1).await;
    assert_eq!(client.result(&held).await["state"], "SUCCESS");
    assert_eq!(app.journal(), [json!(["collect", held, "once"])]);

    client.stop().await;
    second.kill().await;
}

#[celeriac_tests::test(real)]
async fn a_python_client_reads_a_message_as_a_worker_would(bed: Bed) {
    let mut client = PythonApp::new(&bed).await.client().await;
    let headers = json!({"task": "interop.add", "id": "1"});

    let read = client.decode("W1sxLCAyXSwge30sIHt9XQ==", "application/json", "utf-8", headers.clone()).await;
    assert_eq!(read["args"], json!([1, 2]));
    assert_eq!(read["protocol"], "2");

    let unread = client.decode("W1sxLCAyXSwge30sIA==", "application/json", "utf-8", headers).await;
    assert!(unread["error_type"].as_str().unwrap().ends_with("DecodeError"), "{unread}");

    client.stop().await;
}
