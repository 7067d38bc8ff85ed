//! `call`: sends a task by its name.
//!
//! A program knows its own tasks. A call that its own workers would refuse is an error before it is
//! sent.

use std::time::Duration;

use celeriac_client::call::{CallOptions, Expiry, When};
use celeriac_client::{Client, DynamicCall};
use celeriac_protocol::{Body, Codec, Parameter, Rest, Value};
use celeriac_telemetry::clock;
use celeriac_topology::{CallRoute, DIRECT_EXCHANGE, RouteRequest};
use serde::Serialize;

use crate::args::CallArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::arguments::arguments;
use crate::verbs::result::StoredResult;
use crate::verbs::routes::{refused, router};
use crate::waiting;

#[derive(Serialize)]
struct SentTask<'a> {
    id: &'a str,
}

pub(crate) async fn run(program: &Program, args: CallArgs, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    check_times(&args)?;
    let (wait, external) = (args.wait, args.external);
    let request = request(args)?;
    if !external {
        check(program, &request)?;
    }
    let client = waiting::for_client(program).await?;
    let outcome = Box::pin(send(program, &client, request, wait, json)).await;
    client.close().await;
    outcome
}

/// Checks that the program's own workers can run a call. A call to an exchange or queue of another
/// program is for other workers.
fn check(program: &Program, request: &DynamicCall) -> Result<(), Error> {
    if program.registry.is_empty() || leads_elsewhere(program, request)? {
        return Ok(());
    }
    let Some(task) = program.registry.get(&request.task) else {
        return Err(Error::UnknownTask(program.registry.unknown(&request.task)));
    };
    task.check_arguments(request.body.clone()).map_err(|reason| Error::Arguments {
        task: task.name,
        reason,
        parameters: parameters(task.parameters().unwrap_or_default()),
    })
}

/// Returns true if only workers of another program get the call.
fn leads_elsewhere(program: &Program, request: &DynamicCall) -> Result<bool, Error> {
    let router = router(program)?;
    let Body { args, kwargs, .. } = &request.body;
    let routed = RouteRequest { task: &request.task, args, kwargs, headers: &[] };
    let declared = program.registry.get(&request.task).and_then(|task| task.options.queue);
    let route = router.route(routed, &request.options.route, declared).map_err(refused)?;
    let topology = router.topology();
    let is_external = |queue: &str| topology.queues.get(queue).is_some_and(|queue| queue.external);
    if !route.queues.is_empty() {
        return Ok(route.queues.iter().all(|queue| is_external(queue)));
    }
    // No declared queue is bound there. The exchange of `--worker` has the queues of single
    // workers.
    let exchange = topology.exchanges.get(&*route.exchange);
    Ok(route.exchange != DIRECT_EXCHANGE && exchange.is_none_or(|exchange| exchange.external))
}

/// Returns the parameters of a task for a message, with optional ones in brackets.
fn parameters(parameters: &[Parameter]) -> String {
    let shown = parameters.iter().map(|Parameter { name, default, rest }| match (rest, default) {
        (Some(Rest::Positional), _) => format!("[`{name}`…]"),
        (Some(Rest::Named), _) => format!("[`{name}`: by name…]"),
        (None, None) => format!("`{name}`"),
        (None, Some(_)) => format!("[`{name}`]"),
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() { "no arguments".to_owned() } else { shown.join(", ") }
}

/// Refuses times between which the task could not start, and warns of a start in the past.
fn check_times(args: &CallArgs) -> Result<(), Error> {
    let now = clock::now();
    if args.eta.is_some_and(|eta| eta < now) {
        output::notice("warning: --eta is in the past, so the task runs at once");
    }
    let until_eta = || Duration::try_from(args.eta?.duration_since(now)).ok();
    let starts = args.countdown.or_else(until_eta).unwrap_or_default();
    match args.expires {
        Some(expires) if expires <= starts => {
            let reason = "the task would expire before it may start; give it more time".to_owned();
            Err(Error::Data { what: "--expires".to_owned(), reason })
        }
        _ => Ok(()),
    }
}

async fn send(
    program: &Program,
    client: &Client,
    request: DynamicCall,
    wait: Option<Duration>,
    json: bool,
) -> Result<(), Error> {
    if wait.is_some() && !client.awaits_outcomes() {
        // Known before the task is sent.
        return Err(celeriac_client::Error::NoResults.into());
    }
    let health = client.broker().health();
    let handle = waiting::for_broker(&program.broker, health, Box::pin(client.submit_dynamic(request))).await?;
    match wait {
        None => {
            output::answer(json, &SentTask { id: handle.id() }, || handle.id().to_owned());
            Ok(())
        }
        Some(wait) => StoredResult::from(handle.wait_timeout(wait).await?).print(json),
    }
}

fn request(args: CallArgs) -> Result<DynamicCall, Error> {
    let (positional, named) = arguments(&args.args, &args.kwargs)?;
    let when = match (args.countdown, args.eta) {
        (Some(wait), _) => When::After(wait),
        (None, Some(time)) => When::At(time),
        (None, None) => When::Now,
    };
    let codec = args.serializer.map(|name| if name == "msgpack" { Codec::Msgpack } else { Codec::Json });
    Ok(DynamicCall {
        task: args.task,
        body: Body { args: positional, kwargs: named, embed: Value::Null },
        options: CallOptions {
            id: args.id,
            when,
            expires: args.expires.map(Expiry::After),
            route: CallRoute {
                queue: args.queue,
                exchange: args.exchange.or_else(|| args.worker.as_ref().map(|_| DIRECT_EXCHANGE.to_owned())),
                routing_key: args.routing_key.or(args.worker),
                priority: args.priority,
                codec,
            },
            ..CallOptions::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_with_the_optional_ones_in_brackets() {
        let all = [Parameter::required("url"), Parameter::optional("width", || Value::Null)];
        assert_eq!(parameters(&all), "`url`, [`width`]");
        assert_eq!(parameters(&[]), "no arguments");
    }
}
