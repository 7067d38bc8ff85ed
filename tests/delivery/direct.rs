//! Tasks that are sent to one worker by its name.

use std::time::Duration;

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac_broker::Error as BrokerError;
use celeriac_client::Error;
use celeriac_tests::{Bed, Peer, Program, eventually};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

/// Returns the name of its worker. Can fail at its first attempt.
#[task(name = "t.where", max_retries = 1, retry_backoff = "1s")]
async fn ask(ctx: TaskContext, fails_first: bool) -> TaskResult<String> {
    if fails_first && ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(ctx.state::<String>()?.to_string())
}

fn program(bed: &Bed, worker: &'static str) -> Builder {
    let program = bed.program(tasks![ask]).set("worker.name", worker).set("worker.direct_queue", "true");
    program.state(worker.to_owned())
}

async fn consumes(peer: &Peer, queue: &str) {
    eventually("the worker to consume", async || peer.consumers(queue).await, |consumers| *consumers == Some(1)).await;
}

#[celeriac_tests::test]
async fn one_worker_runs_what_is_sent_to_it_by_its_name(bed: Bed) {
    let (client, peer) = (bed.client(program(&bed, "one")).await, bed.peer().await);
    let refused = ask(false).to_worker("nobody").submit(&client).await;
    let unroutable = |error: &Error| matches!(error, Error::Send { source: BrokerError::NoSuchExchange { .. }, .. });
    assert!(refused.as_ref().is_err_and(unroutable), "{refused:?}");

    for name in ["one", "other"] {
        bed.start(program(&bed, name)).await;
        consumes(&peer, &format!("{name}.dq2")).await;
    }
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
}

#[celeriac_tests::test(real)]
async fn a_celery_app_may_declare_the_queue_of_a_worker_too(bed: Bed) {
    let running = bed.start(program(&bed, "one")).await;
    ask(false).submit(&running.client).await.unwrap().get().await.unwrap();
    let peer = bed.peer().await;
    consumes(&peer, "one.dq2").await;
    // kombu does the same before it sends to `worker_direct("one")`.
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let nothing = FieldTable::default;
    let direct = lapin::ExchangeKind::Direct;
    peer.channel().exchange_declare("C.dq2".into(), direct, durable, nothing()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    peer.channel().queue_declare("one.dq2".into(), durable, nothing()).await.unwrap();
    let options = QueueBindOptions::default();
    peer.channel().queue_bind("one.dq2".into(), "C.dq2".into(), "one".into(), options, nothing()).await.unwrap();
}

#[celeriac_tests::test(real)]
async fn a_worker_whose_name_is_in_use_says_so(bed: Bed) {
    let variables = bed.environment_with(&[("CELERIAC__WORKER__DIRECT_QUEUE", "true".to_owned())]);
    let line = ["worker", "--name", "twin"];
    let mut first = Program::start(&line, &variables);
    first.says("worker ready").await;
    let mut second = Program::start(&line, &variables);
    second.says("worker name in use name=twin queue=twin.dq2").await;
    second.says("worker name in use name=twin queue=twin.celery.pidbox").await;
    for (worker, warnings) in [(&mut first, 0), (&mut second, 2)] {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
        let said = worker.rest().await;
        assert_eq!(said.matches("worker name in use").count(), warnings, "{said}");
    }
}
