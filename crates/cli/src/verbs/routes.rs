//! `routes explain`: shows the destination of a call, without sending it.

use std::fmt::Write;

use celeriac_config::duration;
use celeriac_topology::{CallRoute, Destination, Explanation, RouteRequest, RouteRule, Router, SendOptions};
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::arguments::arguments;

/// The destination of a call, as printed.
#[derive(Debug, Serialize)]
struct RouteExplanation<'a> {
    task: &'a str,
    rule: String,
    exchange: &'a str,
    routing_key: &'a str,
    queues: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serializer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<&'a str>,
}

pub(crate) fn explain(program: &Program, args: ExplainArgs, json: bool) -> Result<(), Error> {
    let router = router(program)?;
    if let Some(misspelt) = program.registry.misspelt(&args.task) {
        // No error, because another program may have a task of this name.
        output::notice(&format!("warning: {misspelt}"));
    }
    let (positional, named) = arguments(&args.args, &args.kwargs)?;
    let ExplainArgs { task, queue, exchange, routing_key, .. } = args;
    let request = RouteRequest { task: &task, args: &positional, kwargs: &named, headers: &[] };
    let call = CallRoute { queue, exchange, routing_key, ..CallRoute::default() };
    let declared = program.registry.get(&task).and_then(|task| task.options.queue);
    let explanation = router.explain(request, &call, declared).map_err(refused)?;
    let shown = RouteExplanation::of(&task, &explanation);
    output::answer(json, &shown, || shown.text());
    Ok(())
}

/// Returns the router of a program.
pub(super) fn router(program: &Program) -> Result<Router, Error> {
    let router = Router::new(&program.routes).map_err(refused)?;
    router.with_functions(&program.route_functions).map_err(refused)
}

pub(super) fn refused(error: celeriac_topology::Error) -> Error {
    Error::Broker(error.into())
}

/// Returns the answer of a route function as text.
fn way(destination: &Destination) -> String {
    match &*destination.exchange {
        "" => format!("queue {}", destination.routing_key),
        exchange => format!("exchange {exchange}, key {}", destination.routing_key),
    }
}

impl<'a> RouteExplanation<'a> {
    fn of(task: &'a str, explanation: &'a Explanation<'_>) -> Self {
        let destination = &explanation.destination;
        let SendOptions { priority, codec, compression, expires, headers } = &destination.send_options;
        Self {
            task,
            rule: match explanation.rule {
                RouteRule::Call => "the call itself".to_owned(),
                RouteRule::Route { index, pattern, function: None } => format!("task_routes[{index}]: {pattern}"),
                RouteRule::Route { index, pattern, function: Some(function) } => {
                    format!("task_routes[{index}]: {pattern} → function {function} → {}", way(destination))
                }
                RouteRule::Task => "queue of the task".to_owned(),
                RouteRule::Default => "default_queue".to_owned(),
            },
            exchange: &destination.exchange,
            routing_key: &destination.routing_key,
            queues: destination.queues.iter().map(|queue| &**queue).collect(),
            priority: *priority,
            serializer: codec.map(|codec| codec.name()),
            compression: compression.map(|compression| compression.header_value()),
            expires: expires.map(duration::format),
            headers: headers.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<12} {value}");
        };
        line("rule", &self.rule);
        line("exchange", if self.exchange.is_empty() { "(default)" } else { self.exchange });
        line("routing key", self.routing_key);
        let queues = self.queues.join(", ");
        line("queues", if queues.is_empty() { "unknown: no declared queue is bound there" } else { &queues });
        let optional = [
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("serializer", self.serializer.map(str::to_owned)),
            ("compression", self.compression.map(str::to_owned)),
            ("expires", self.expires.clone()),
            ("headers", Some(self.headers.join(", ")).filter(|headers| !headers.is_empty())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                line(name, &value);
            }
        }
        format!("{}\n{text}", self.task)
    }
}
