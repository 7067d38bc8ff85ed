//! A Python worker and a Rust worker beside each other on one queue.

use std::collections::HashSet;
use std::time::Duration;

use celeriac_tests::{Bed, PythonApp};
use serde_json::json;

const COUNT: usize = 10_000;

/// Both know the task `shared.double`. The queue is Celery's, and Celeriac adopts it.
#[celeriac_tests::test(real)]
async fn ten_thousand_tasks_of_a_python_producer_run_in_a_mixed_pool_and_each_result_arrives(bed: Bed) {
    let app = PythonApp::new(&bed).await.set("INTEROP_QUEUE", "shared").set("INTEROP_RUST_QUEUE", "shared");
    let python = app.worker(1).await;
    let variables = [
        ("CELERIAC__DEFAULT_QUEUE", "shared".to_owned()),
        ("CELERIAC__QUEUES", "{shared: {external: true}}".to_owned()),
        // Few, so that neither worker holds messages that the other could run.
        ("CELERIAC__WORKER__PREFETCH", "8".to_owned()),
        ("JOURNAL", app.journal_path()),
    ];
    let mut rust = bed.process_with(&["worker", "-c", "2", "-l", "info", "-n", "rust"], &variables);
    rust.says("worker ready").await;

    let mut client = app.client().await;
    let send = json!({"command": "send", "task": "shared.double", "count": COUNT, "number": true, "by_name": true});
    let patience = Duration::from_secs(300);
    let sent = client.ask_within(patience, send).await;
    let ids: Vec<_> = sent["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let results = json!({"command": "results", "ids": ids, "timeout": 240});
    let results = client.ask_within(patience, results).await;
    assert_eq!(results["error"], json!(null));

    let (mut right, mut by_python, mut by_rust) = (0, 0, 0);
    for (number, id) in ids.iter().enumerate() {
        let result = &results["results"][id]["result"];
        right += usize::from(result["doubled"] == json!(2 * number));
        match result["by"].as_str() {
            Some("python") => by_python += 1,
            Some("rust") => by_rust += 1,
            _ => {}
        }
    }
    let ran: HashSet<_> = ids.iter().collect();
    println!(
        "sent {}, results {right}, missing {}, run by Python {by_python}, by Rust {by_rust}",
        ran.len(),
        results["missing"].as_array().unwrap().len()
    );
    assert_eq!((ran.len(), right, by_python + by_rust), (COUNT, COUNT, COUNT));
    assert!(by_python > 0 && by_rust > 0, "both have to run some for this to mean anything");

    client.stop().await;
    rust.signal("TERM");
    assert_eq!(rust.exit_code(Duration::from_secs(30)).await, 0, "{}", rust.output());
    python.stop().await;
}
