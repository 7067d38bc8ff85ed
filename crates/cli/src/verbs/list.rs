//! `list`: tasks, queues and routes of this program, without connecting.

use std::fmt::Write;

use celeriac_protocol::task::{SettingValue, TaskSetting};
use celeriac_worker::TaskDefinition;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::args::ListSubject;
use crate::error::Error;
use crate::output;
use crate::program::Program;

/// A task with its effective options.
struct ListedTask<'a> {
    name: &'a str,
    kind: &'static str,
    settings: Vec<TaskSetting>,
}

impl<'a> ListedTask<'a> {
    fn of(task: &'a TaskDefinition) -> Self {
        Self { name: task.name, kind: task.kind(), settings: task.options.settings() }
    }

    /// Returns the options that differ from their defaults. An absent time limit is left out,
    /// because the worker has none either.
    fn changed(&self) -> String {
        let limits = ["time_limit", "soft_time_limit"];
        let changed = self.settings.iter().filter(|setting| {
            !setting.is_default && (setting.value != SettingValue::Unset || !limits.contains(&setting.key))
        });
        changed.map(|setting| format!("{}={}", setting.key, setting.value)).collect::<Vec<_>>().join(" ")
    }
}

impl Serialize for ListedTask<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut task = serializer.serialize_map(None)?;
        task.serialize_entry("name", self.name)?;
        task.serialize_entry("kind", self.kind)?;
        for setting in &self.settings {
            task.serialize_entry(setting.key, &setting.value)?;
        }
        task.end()
    }
}

pub(crate) fn run(program: &Program, what: ListSubject, json: bool) -> Result<(), Error> {
    match what {
        ListSubject::Tasks => tasks(program, json),
        ListSubject::Queues => {
            let queues = program.routes.topology().queues;
            output::answer(json, &queues, || {
                queues.iter().fold(String::new(), |mut text, (name, queue)| {
                    let bound: Vec<_> = queue
                        .bindings
                        .iter()
                        .map(|binding| format!("{}:{}", binding.exchange, binding.routing_key))
                        .collect();
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
        ListSubject::Routes => {
            let routes = &program.routes.task_routes;
            output::answer(json, routes, || {
                routes.iter().fold(String::new(), |mut text, route| {
                    let target = match (&route.function, &route.queue, &route.exchange, &route.routing_key) {
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

fn tasks(program: &Program, json: bool) {
    let tasks: Vec<_> = program.registry.iter().map(ListedTask::of).collect();
    output::answer(json, &tasks, || {
        if tasks.is_empty() {
            return "this program has no tasks".to_owned();
        }
        tasks.iter().fold(String::new(), |mut text, task| {
            let line = format!("{:<40} {:<13} {}", task.name, task.kind, task.changed());
            let _ = writeln!(text, "{}", line.trim_end());
            text
        })
    });
}
