//! Changes the next attempt of a task as the task has asked for it.

use celeriac_client::call::Expiry;
use celeriac_protocol::headers::names;
use celeriac_protocol::redact::REDACTED;
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{Body, Codec, Compression, Message, TaskHeaders};
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::completion::TaskAwaitsBroker;

use crate::attempt::publish::BACKOFF;
use crate::attempt::resend::NextAttempt;
use crate::attempt::{Attempt, Interrupted};
use crate::task::retry_options::RetryOptions;

/// Changes the next attempt. The inner error is the reason why it can never be sent.
pub(crate) async fn change_next_attempt(
    attempt: &Attempt<'_>,
    next: &mut NextAttempt,
    options: RetryOptions,
) -> Result<Result<(), String>, Interrupted> {
    let RetryOptions { args, kwargs, headers, expires, queue, priority, max_retries: _ } = options;
    if let Some(queue) = queue {
        if !exists(attempt, &queue).await? {
            return Ok(Err(format!("queue `{queue}` does not exist")));
        }
        next.queue = queue.into();
    }
    for (name, value) in headers {
        if names::is_reserved(&name) {
            return Ok(Err(format!("header `{name}` is reserved")));
        }
        next.message.headers.insert(name, value);
    }
    match expires {
        None => {}
        Some(Expiry::At(time)) => next.message.headers.set_expires(time),
        Some(Expiry::After(wait)) => match attempt.runtime.clock.now().checked_add(wait) {
            Ok(time) => next.message.headers.set_expires(time),
            Err(_) => drop(next.message.headers.remove(names::EXPIRES)),
        },
    }
    next.message.properties.priority = priority.or(next.message.properties.priority);
    if args.is_none() && kwargs.is_none() {
        return Ok(Ok(()));
    }
    let (mut body, embed) = match attempt.received.message.read_body(&attempt.runtime.limits) {
        Ok(read) => read,
        // Unreachable, because the body was read before.
        Err(error) => return Ok(Err(error.to_string())),
    };
    body.args = args.unwrap_or(body.args);
    body.kwargs = kwargs.unwrap_or(body.kwargs);
    body.embed = embed.into();
    Ok(rebind(attempt, &mut next.message, body))
}

/// Gives a message another body, in the encoding and compression that it has.
fn rebind(attempt: &Attempt<'_>, message: &mut Message, mut body: Body) -> Result<(), String> {
    let text = |error: &(dyn std::error::Error + 'static)| ErrorChain(error).to_string();
    let codec = Codec::from_properties(&message.properties).map_err(|error| text(&error))?;
    let bytes = body.encode(codec).map_err(|error| text(&error))?;
    let limit = attempt.runtime.environment.follow_up_limits.message_size;
    if bytes.len() > limit {
        let size = bytes.len();
        return Err(format!("arguments too large: {size} bytes, the limit is {limit} (broker.max_message_size)"));
    }
    let compression = message.headers.text(names::COMPRESSION).map(Compression::from_header);
    message.body = match compression.transpose().map_err(|error| text(&error))? {
        None => bytes.into(),
        Some(compression) => compression.compress(&bytes).map_err(|error| text(&error))?.into(),
    };
    let is_redacted = attempt.task.is_some_and(|task| task.options.redact.is_some());
    let shown = |repr: String| if is_redacted { REDACTED.to_owned() } else { repr };
    // Celery's headers for people. Without them the message stays without.
    if message.headers.get(names::ARGSREPR).is_some() {
        message.headers.insert(names::ARGSREPR, shown(repr_args(&body.args)));
    }
    if message.headers.get(names::KWARGSREPR).is_some() {
        message.headers.insert(names::KWARGSREPR, shown(repr_kwargs(&body.kwargs)));
    }
    Ok(())
}

/// Returns `true` if a queue exists. After a delay, the broker drops a message for a queue that
/// does not.
async fn exists(attempt: &Attempt<'_>, queue: &str) -> Result<bool, Interrupted> {
    if attempt.runtime.topology.queues.contains_key(queue) {
        return Ok(true);
    }
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        match attempt.runtime.broker.depth(queue).await {
            Ok(depth) => return Ok(depth.is_some()),
            Err(error) => {
                let TaskHeaders { task, id, .. } = attempt.headers();
                let (task, id) = (Some(task.as_str()), Some(id.as_str()));
                let told = ErrorChain(&error).to_string();
                attempt.span.emit(&TaskAwaitsBroker { task, id, work: "retry", error: &told });
            }
        }
        attempt.sleep_unless_stopping(backoff.next_wait(fastrand::f64())).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::time::Duration;

    use celeriac_protocol::{Failure, Map, TaskState, Value};
    use futures::FutureExt;

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::complete::apply;
    use crate::attempt::decide::Decision;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::duplicate::find_recorded_outcome;
    use crate::attempt::recorded::RunTiming;
    use crate::attempt::testing::{TestWorker, follow_up, redelivered};

    /// Another queue that exists.
    const OTHER: &str = "celeriac.dead";

    fn retry(options: RetryOptions) -> Decision {
        let options = Some(Box::new(options));
        Decision::Retry { wait: Duration::ZERO, failure: Failure::retry("busy"), options }
    }

    fn changed() -> RetryOptions {
        RetryOptions::new().args(["succeed"]).kwargs([("page", 2)]).header("tenant", "blue").queue(OTHER).priority(7)
    }

    fn args(message: &Message, worker: &TestWorker) -> (Vec<Value>, Map, usize) {
        let (body, embed) = message.read_body(&worker.runtime.limits).unwrap();
        (body.args, body.kwargs, embed.callbacks.len())
    }

    #[tokio::test]
    async fn the_next_attempt_has_what_the_task_has_changed_and_keeps_the_rest() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt = worker
            .deliver_changed("fail", |call, message| {
                call.follow.callbacks.push(follow_up("next"));
                message.headers.insert("team", "red");
            })
            .await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();

        let processed = apply(&mut attempt, task, retry(changed())).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Retry));
        let published = worker.published();
        let sent = &published[0];
        assert_eq!((sent.routing_key.as_str(), sent.row), (OTHER, Some(TaskState::Retry)));
        assert_eq!((sent.header("tenant"), sent.header("team")), (Some("blue"), Some("red")));
        assert_eq!(sent.message.properties.priority, Some(7));
        let kwargs = [("page".to_owned(), Value::Int(2))].into_iter().collect();
        assert_eq!(args(&sent.message, &worker), (vec!["succeed".into()], kwargs, 1));
        assert_eq!(*worker.row().await.unwrap().queue, *OTHER, "an overdue retry is sent there too");
    }

    #[tokio::test]
    async fn a_worker_that_dies_before_it_sends_a_changed_attempt_leaves_it_to_the_next() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        worker.panic_at_publishes(1);
        let mut attempt = worker.deliver_changed("fail", |call, _| call.follow.callbacks.push(follow_up("next"))).await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        attempt.timing = Some(RunTiming::begin(&worker.runtime.clock).end());
        let died = AssertUnwindSafe(apply(&mut attempt, task, retry(changed()))).catch_unwind().await;
        assert!(died.is_err() && worker.published().is_empty());
        attempt.settlement.take().unwrap().ack();

        let mut again = worker.deliver_changed("fail", redelivered).await;
        assert_eq!(find_recorded_outcome(&mut again).await, Some(Disposition::Done));

        let published = worker.published();
        let sent = &published[0];
        assert_eq!((sent.routing_key.as_str(), sent.header("tenant")), (OTHER, Some("blue")));
        assert_eq!(sent.message.headers.get(names::RETRIES), Some(&Value::Int(1)));
        let (args, _, callbacks) = args(&sent.message, &worker);
        assert_eq!((args, callbacks), (vec!["succeed".into()], 1));
    }

    #[tokio::test]
    async fn a_change_that_cannot_be_sent_is_a_failure() {
        let cases = [
            (RetryOptions::new().queue("nowhere"), "queue `nowhere` does not exist"),
            (RetryOptions::new().header("id", "2"), "header `id` is reserved"),
            (RetryOptions::new().args(["x".repeat(17 << 20)]), "arguments too large"),
        ];
        for (options, reason) in cases {
            let worker = TestWorker::retrying(Duration::ZERO, 3).await;
            let mut attempt = worker.deliver("fail").await;
            let task = find_task(&mut attempt).await.unwrap();
            read_body(&mut attempt).await.unwrap();

            let processed = apply(&mut attempt, task, retry(options)).await;

            assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
            let failure = worker.row().await.unwrap().failure.unwrap();
            assert_eq!(failure.kind, "UnsendableError");
            assert!(failure.message.contains(reason), "{failure}");
        }
    }
}
