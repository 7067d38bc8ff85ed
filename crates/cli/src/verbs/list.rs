//! `list`: what this program knows, without asking anybody.

use std::fmt::Write;

use serde::Serialize;

use crate::application::Program;
use crate::args::Listed;
use crate::error::Error;
use crate::output;

#[derive(Serialize)]
struct Task<'a> {
    name: &'a str,
    blocking: bool,
    queue: Option<&'a str>,
    max_retries: Option<u32>,
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
    let tasks: Vec<_> = program
        .registry()
        .iter()
        .map(|task| Task {
            name: task.name,
            blocking: task.is_blocking(),
            queue: task.options.queue,
            max_retries: task.options.retry.max_retries,
        })
        .collect();
    output::answer(json, &tasks, || {
        if tasks.is_empty() {
            return "this program has no tasks".to_owned();
        }
        tasks.iter().fold(String::new(), |mut text, task| {
            let _ = writeln!(text, "{:<40} {}", task.name, if task.blocking { "blocking" } else { "async" });
            text
        })
    });
}
