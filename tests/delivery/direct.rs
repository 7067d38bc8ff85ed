//! What is sent to one worker by its name.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_broker::Error as BrokerError;
use celeriac_client::Error;
use celeriac_tests::{Bed, Running, eventually};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

/// Tells which worker runs it; fails at its first attempt if it is told to.
#[task(name = "t.where", max_retries = 1, retry_backoff = "1s")]
async fn ask(ctx: TaskContext, fails_first: bool) -> TaskResult<String> {
    if fails_first && ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(ctx.state::<String>()?.to_string())
}

fn program(bed: &Bed, worker: &'static str) -> Celeriac {
    let program = bed.program(tasks![ask]).set("worker.name", worker).set("worker.direct", "true");
    program.state(worker.to_owned()).build().unwrap()
}

#[tokio::test]
async fn one_worker_runs_what_is_sent_to_it_by_its_name() {
    let bed = Bed::new().await;
    let (one, other) = (program(&bed, "one"), program(&bed, "other"));
    let client = one.client().await.unwrap();
    let refused = ask(false).to_worker("nobody").submit(&client).await;
    let unroutable = |error: &Error| matches!(error, Error::Send { source: BrokerError::NoSuchExchange { .. }, .. });
    assert!(refused.as_ref().is_err_and(unroutable), "{refused:?}");

    let workers = [Running::start(&one).await, Running::start(&other).await];
    let (management, vhost) = bed.management();
    eventually(
        "both workers to consume",
        async || management.queues(vhost).await,
        |queues: &Vec<(String, u64)>| {
            ["one.dq2", "other.dq2"].iter().all(|name| queues.contains(&((*name).to_owned(), 1)))
        },
    )
    .await;
    for name in ["one", "other", "one", "other"] {
        let handle = ask(false).to_worker(name).submit(&client).await.unwrap();
        assert_eq!(handle.get().await.unwrap(), name);
    }
    let late = ask(false).to_worker("other").delay(Duration::from_secs(1)).submit(&client).await.unwrap();
    let again = ask(true).to_worker("one").submit(&client).await.unwrap();
    assert_eq!((late.get().await.unwrap(), again.get().await.unwrap()), ("other".to_owned(), "one".to_owned()));
    let refused = ask(false).to_worker("nobody").submit(&client).await;
    let unroutable = |error: &Error| matches!(error, Error::Send { source: BrokerError::Unroutable { .. }, .. });
    assert!(refused.as_ref().is_err_and(unroutable), "{refused:?}");

    for worker in workers {
        worker.stop().await;
    }
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_celery_app_may_declare_the_queue_of_a_worker_too() {
    let bed = Bed::new().await;
    let running = Running::start(&program(&bed, "one")).await;
    ask(false).submit(&running.client).await.unwrap().get().await.unwrap();
    let (management, vhost) = bed.management();
    eventually(
        "the worker to consume",
        async || management.queues(vhost).await,
        |queues: &Vec<(String, u64)>| queues.contains(&("one.dq2".to_owned(), 1)),
    )
    .await;
    // As kombu does before it sends to `worker_direct("one")`.
    let peer = bed.peer().await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let nothing = FieldTable::default;
    let direct = lapin::ExchangeKind::Direct;
    peer.channel().exchange_declare("C.dq2".into(), direct, durable, nothing()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    peer.channel().queue_declare("one.dq2".into(), durable, nothing()).await.unwrap();
    let options = QueueBindOptions::default();
    peer.channel().queue_bind("one.dq2".into(), "C.dq2".into(), "one".into(), options, nothing()).await.unwrap();
    running.stop().await;
    bed.clear().await;
}
