//! A worker one of whose services has ended does not go on without it.

use std::time::Duration;

use celeriac::DynamicCall;
use celeriac::prelude::*;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::{Bed, PanicAt, Running};
use celeriac_worker::Error;
use tokio::time::timeout;

#[task(name = "t.echo")]
async fn echo(number: i64) -> TaskResult<i64> {
    Ok(number)
}

/// Returns the service whose end has ended the worker.
async fn ended_by(running: Running) -> String {
    match timeout(Duration::from_secs(20), running.ended()).await {
        Ok(Err(Error::ServiceEnded { service, .. })) => service.to_string(),
        Ok(ended) => panic!("ended with {ended:?}"),
        Err(_) => panic!("the worker goes on"),
    }
}

#[celeriac_tests::test]
async fn a_recorder_that_panics_ends_its_worker(bed: Bed) {
    PanicAt::install("batch recorded");
    let running = bed.worker(tasks![echo]).await;
    echo(7).submit(&running.client).await.unwrap();
    assert_eq!(ended_by(running).await, "recorder");
}

#[celeriac_tests::test]
async fn a_consumer_that_ends_ends_its_worker(bed: Bed) {
    let running = bed.worker(tasks![echo]).await;
    let handle = echo(7).submit(&running.client).await.unwrap();
    handle.wait().await.unwrap();
    running.client.close().await;
    assert_eq!(ended_by(running).await, "consumer of queue `celeriac`");
}

#[celeriac_tests::test(real)]
async fn a_service_that_ends_is_an_exit_code_that_a_supervisor_restarts(bed: Bed) {
    let mut worker = bed.process_with(&["worker"], &[("PANIC_AT", "batch recorded".to_owned())]);
    worker.says("  tasks").await;
    let client = bed.client(bed.program([])).await;
    let body = Body { args: vec![Value::Int(7)], ..Body::default() };
    let call = DynamicCall { task: "test.note".to_owned(), body, options: CallOptions::default() };
    client.submit_dynamic(call).await.unwrap();
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 70, "{}", worker.output());
    let output = worker.rest().await;
    assert!(output.contains("a service ended: recorder: panics at `batch recorded`"), "{output}");
}

/// Returns the service whose end has ended the worker, while its connections are closed on the
/// server's side. The management API lists a connection a little after it is opened.
async fn ended_by_a_loss(bed: &Bed, running: Running) -> String {
    let (management, vhost) = bed.management();
    let closing = async {
        loop {
            management.close_connections(vhost).await;
        }
    };
    tokio::select! {
        service = ended_by(running) => service,
        () = closing => unreachable!(),
    }
}

#[celeriac_tests::test(real)]
async fn a_subscription_that_panics_ends_its_worker(bed: Bed) {
    PanicAt::install("consumer lost");
    // The queue of remote control has a subscription too.
    let running = bed.start(bed.program(tasks![echo]).set("worker.control", "off")).await;
    assert_eq!(ended_by_a_loss(&bed, running).await, "subscription to queue `celeriac`");
}

#[celeriac_tests::test(real)]
async fn the_events_of_a_connection_that_panic_end_their_worker(bed: Bed) {
    PanicAt::install("connection lost");
    let running = bed.worker(tasks![echo]).await;
    assert_eq!(ended_by_a_loss(&bed, running).await, "events of the consume connection");
}

#[celeriac_tests::test(real)]
async fn publisher_confirms_that_panic_end_their_worker(bed: Bed) {
    PanicAt::install("message returned");
    let running = bed.start(bed.program(tasks![echo]).set("worker.drain_timeout", "1s")).await;
    let nowhere = Signature::new("t.echo").queue("nowhere");
    echo(7).link(nowhere).submit(&running.client).await.unwrap();
    assert_eq!(ended_by(running).await, "publisher confirms");
}

#[celeriac_tests::test(real)]
async fn a_panic_in_a_verb_is_the_exit_code_of_an_internal_error(bed: Bed) {
    for (phrase, arguments) in [("relay started", &["relay"][..]), ("task sent", &["call", "test.note", "-a", "[7]"])] {
        let mut program = bed.process_with(arguments, &[("PANIC_AT", phrase.to_owned())]);
        let code = program.exit_code(Duration::from_secs(40)).await;
        let output = program.rest().await;
        assert_eq!(code, 70, "{phrase}: {output}");
        assert!(output.contains(&format!("panics at `{phrase}`")), "{output}");
        if arguments == ["relay"] {
            assert!(output.contains("a service ended: relay: panics at `relay started`"), "{output}");
        }
    }
}
