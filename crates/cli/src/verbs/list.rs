//! `list`: what this program knows, without asking anybody.

use std::fmt::Write;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::task::{AckMode, TimeLimit};
use celeriac_worker::TaskDefinition;
use serde::Serialize;

use crate::application::Program;
use crate::args::Listed;
use crate::error::Error;
use crate::output;

/// A task with the options in force.
#[derive(Serialize)]
struct Task<'a> {
    name: &'a str,
    blocking: bool,
    queue: Option<&'a str>,
    max_retries: Option<u32>,
    priority: Option<u8>,
    acks: &'static str,
    ignore_result: bool,
    #[serde(with = "duration::option")]
    expires: Option<Duration>,
    #[serde(with = "duration::option")]
    time_limit: Option<Duration>,
    #[serde(with = "duration::option")]
    soft_time_limit: Option<Duration>,
    rate_limit: Option<String>,
    max_deliveries: Option<u32>,
}

impl<'a> Task<'a> {
    fn of(task: &'a TaskDefinition) -> Self {
        let options = &task.options;
        Self {
            name: task.name,
            blocking: task.is_blocking(),
            queue: options.queue,
            max_retries: options.retry.max_retries,
            priority: options.priority,
            acks: options.acks.as_str(),
            ignore_result: options.ignore_result,
            expires: options.expires,
            time_limit: options.time_limit.and_then(TimeLimit::time),
            soft_time_limit: options.soft_time_limit.and_then(TimeLimit::time),
            rate_limit: options.rate_limit.map(|rate| rate.to_string()),
            max_deliveries: options.max_deliveries,
        }
    }

    /// Those that are not as they are where nothing is said.
    fn said(&self) -> String {
        let retries = match self.max_retries {
            None => Some("none".to_owned()),
            Some(0) => None,
            Some(retries) => Some(retries.to_string()),
        };
        let said = [
            ("queue", self.queue.map(str::to_owned)),
            ("max_retries", retries),
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("acks", (self.acks != AckMode::default().as_str()).then(|| self.acks.to_owned())),
            ("ignore_result", self.ignore_result.then(|| "true".to_owned())),
            ("expires", self.expires.map(duration::format)),
            ("time_limit", self.time_limit.map(duration::format)),
            ("soft_time_limit", self.soft_time_limit.map(duration::format)),
            ("rate_limit", self.rate_limit.clone()),
            ("max_deliveries", self.max_deliveries.map(|most| most.to_string())),
        ];
        let said = said.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        said.collect::<Vec<_>>().join(" ")
    }
}

pub(crate) fn run<P: Program>(program: &P, what: Listed, json: bool) -> Result<(), Error> {
    match what {
        Listed::Tasks => tasks(program, json),
        Listed::Queues => {
            let queues = program.routes().topology().queues;
            output::answer(json, &queues, || {
                queues.iter().fold(String::new(), |mut text, (name, queue)| {
                    let bound: Vec<_> =
                        queue.bind.iter().map(|binding| format!("{}:{}", binding.exchange, binding.key)).collect();
                    let _ = writeln!(
                        text,
                        "{name:<32} {:<8} {}",
                        format!("{:?}", queue.kind).to_lowercase(),
                        bound.join(" ")
                    );
                    text
                })
            });
        }
        Listed::Routes => {
            let routes = program.routes().task_routes;
            output::answer(json, &routes, || {
                routes.iter().fold(String::new(), |mut text, route| {
                    let target = match (&route.function, &route.queue, &route.exchange, &route.key) {
                        (Some(function), ..) => format!("function {function}"),
                        (None, Some(queue), ..) => format!("queue {queue}"),
                        (None, None, exchange, key) => format!(
                            "exchange {} key {}",
                            exchange.as_deref().unwrap_or_default(),
                            key.as_deref().unwrap_or_default()
                        ),
                    };
                    let _ = writeln!(text, "{:<32} {target}", route.task);
                    text
                })
            });
        }
    }
    Ok(())
}

fn tasks<P: Program>(program: &P, json: bool) {
    let tasks: Vec<_> = program.registry().iter().map(Task::of).collect();
    output::answer(json, &tasks, || {
        if tasks.is_empty() {
            return "this program has no tasks".to_owned();
        }
        tasks.iter().fold(String::new(), |mut text, task| {
            let kind = if task.blocking { "blocking" } else { "async" };
            let line = format!("{:<40} {kind:<8} {}", task.name, task.said());
            let _ = writeln!(text, "{}", line.trim_end());
            text
        })
    });
}
