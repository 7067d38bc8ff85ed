//! Validation of routes, before any call.

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::headers::names;

use super::function::RouteFunctions;
use super::options::{RoutesOptions, TaskRoute};
use crate::delay::Ladder;
use crate::exchange::ExchangeKind;
use crate::pattern::Pattern;
use crate::topology::Topology;

impl RoutesOptions {
    /// Returns all problems, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let topology = self.topology();
        let mut problems = topology.validate();
        if !self.queues.contains_key(&self.default_queue) {
            rename_default(&self.default_queue, &mut problems);
        }
        for (index, route) in self.task_routes.iter().enumerate() {
            let found = problems_of_pattern(route, &self.task_routes[..index])
                .into_iter()
                .map(|problem| ("task", problem))
                .chain(problems_of_way(route, &topology))
                .chain(problems_of_headers(route));
            problems.extend(found.map(|(field, problem)| (format!("task_routes[{index}].{field}"), problem)));
        }
        problems
    }

    /// Returns the declared names that the delay ladder uses, each with its key.
    pub fn taken_from(&self, ladder: &Ladder) -> Vec<(String, String)> {
        let topology = self.topology();
        let exchanges = topology.exchanges.keys().map(|name| ("exchanges", name));
        let names = exchanges.chain(topology.queues.keys().map(|name| ("queues", name)));
        let problem = "the name is reserved for delayed messages; choose another name, or another broker.delay_prefix";
        let mut problems: Vec<_> = names
            .filter(|(_, name)| ladder.owns(name))
            .map(|(section, name)| (format!("{section}.{name}"), problem.to_owned()))
            .collect();
        if !self.queues.contains_key(&self.default_queue) {
            rename_default(&self.default_queue, &mut problems);
        }
        problems
    }

    /// Returns the problems of functions in routes, each with its key.
    pub fn validate_functions(&self, functions: &RouteFunctions) -> Vec<(String, String)> {
        let named = self.task_routes.iter().enumerate();
        let named = named.filter_map(|(index, route)| Some((index, route.function.as_deref()?)));
        let unknown = named.filter_map(|(index, name)| Some((index, functions.find(name).err()?)));
        unknown.map(|(index, problem)| (format!("task_routes[{index}].function"), problem)).collect()
    }
}

/// Moves the problems of a default queue that is not listed to the key that names it.
fn rename_default(default_queue: &str, problems: &mut [(String, String)]) {
    let listed = format!("queues.{default_queue}");
    for (key, _) in problems.iter_mut().filter(|(key, _)| *key == listed) {
        "default_queue".clone_into(key);
    }
}

fn problems_of_pattern(route: &TaskRoute, earlier: &[TaskRoute]) -> Option<String> {
    if route.task.trim().is_empty() {
        return Some("should be a task name, a glob or a /regular expression/".to_owned());
    }
    if let Err(problem) = Pattern::read(&route.task) {
        return Some(problem);
    }
    // A function may pass calls on.
    let shadow = earlier.iter().position(|earlier| earlier.function.is_none() && shadows(earlier, route))?;
    let problem = format!(
        "`{}` never matches, because task_routes[{shadow}] matches all of its tasks; remove it or move it up",
        route.task
    );
    Some(problem)
}

/// Returns true if `earlier` takes all tasks of `later`. Detected for equal patterns, for the
/// pattern of all names, and for an exact name that an earlier pattern matches.
fn shadows(earlier: &TaskRoute, later: &TaskRoute) -> bool {
    if earlier.task == later.task || earlier.task == "*" {
        return true;
    }
    match (Pattern::read(&earlier.task), Pattern::read(&later.task)) {
        (Ok(earlier), Ok(Pattern::Exact(name))) => earlier.matches(&name),
        _ => false,
    }
}

fn problems_of_way(route: &TaskRoute, topology: &Topology) -> Vec<(&'static str, String)> {
    if route.function.is_some() {
        let said = [("queue", &route.queue), ("exchange", &route.exchange), ("routing_key", &route.routing_key)];
        let said = said.into_iter().filter(|(_, said)| said.is_some());
        return said.map(|(field, _)| (field, "the function chooses the destination; remove it".to_owned())).collect();
    }
    match (&route.queue, &route.exchange, &route.routing_key) {
        (Some(_), Some(_), _) => {
            vec![("exchange", "a route has a queue or an exchange; this one has both".to_owned())]
        }
        (None, None, _) => {
            vec![("queue", "a route needs a queue, an exchange or a function; this one has none".to_owned())]
        }
        (Some(_), None, Some(_)) => {
            vec![("routing_key", "only a route to an exchange has a routing key; remove it".to_owned())]
        }
        (Some(queue), None, None) if topology.queues.contains_key(queue) => Vec::new(),
        (Some(queue), None, None) => {
            let nearest = did_you_mean(nearest(queue, topology.queues.keys().map(String::as_str)));
            vec![("queue", format!("queue `{queue}` is not declared{nearest}"))]
        }
        (None, Some(exchange), key) => problems_of_exchange(exchange, key.as_deref(), topology),
    }
}

fn problems_of_headers(route: &TaskRoute) -> Option<(&'static str, String)> {
    let name = route.headers.keys().find(|name| names::is_reserved(name))?;
    Some(("headers", format!("header `{name}` is reserved; choose another name")))
}

fn problems_of_exchange(exchange: &str, key: Option<&str>, topology: &Topology) -> Vec<(&'static str, String)> {
    let Some(options) = topology.exchanges.get(exchange) else {
        let nearest = did_you_mean(nearest(exchange, topology.exchanges.keys().map(String::as_str)));
        return vec![("exchange", format!("exchange `{exchange}` is not declared{nearest}"))];
    };
    match (options.kind, key) {
        (ExchangeKind::Direct | ExchangeKind::Topic, None) => {
            vec![("routing_key", format!("exchange `{exchange}` needs a routing key"))]
        }
        (ExchangeKind::Topic, Some(key)) if key.contains(['*', '#']) => {
            vec![("routing_key", format!("a routing key has no wildcards, found `{key}`"))]
        }
        (_, key) if topology.reached(exchange, key.unwrap_or_default()).is_some_and(|queues| queues.is_empty()) => {
            let key = key.unwrap_or_default();
            vec![("routing_key", format!("no queue is bound to exchange `{exchange}` for routing key `{key}`"))]
        }
        _ => Vec::new(),
    }
}
