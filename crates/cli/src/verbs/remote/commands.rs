//! The remote commands of Celery, and their arguments on a command line.

use celeriac_protocol::{Map, Value};

/// A command of Celery's remote control.
#[derive(Debug)]
pub(super) struct CommandUsage {
    pub(super) name: &'static str,
    pub(super) verb: RemoteVerb,
    /// Positional arguments in order. Those after the first `required` ones may be left out.
    parameters: &'static [UsageParameter],
    required: usize,
    /// The argument that takes all further values.
    rest: Option<&'static str>,
    /// True if workers do not reply to it.
    pub(super) is_silent: bool,
    pub(super) about: &'static str,
}

/// The verb of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemoteVerb {
    /// Shows something.
    Inspect,
    /// Changes workers.
    Control,
}

#[derive(Debug)]
struct UsageParameter {
    name: &'static str,
    kind: ParameterKind,
}

#[derive(Debug, Clone, Copy)]
enum ParameterKind {
    Text,
    Number,
    Flag,
}

impl RemoteVerb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Control => "control",
        }
    }
}

const fn text(name: &'static str) -> UsageParameter {
    UsageParameter { name, kind: ParameterKind::Text }
}

const fn number(name: &'static str) -> UsageParameter {
    UsageParameter { name, kind: ParameterKind::Number }
}

const fn flag(name: &'static str) -> UsageParameter {
    UsageParameter { name, kind: ParameterKind::Flag }
}

const fn inspect(name: &'static str, about: &'static str) -> CommandUsage {
    CommandUsage { name, verb: RemoteVerb::Inspect, parameters: &[], required: 0, rest: None, is_silent: false, about }
}

const fn control(name: &'static str, about: &'static str) -> CommandUsage {
    CommandUsage { verb: RemoteVerb::Control, ..inspect(name, about) }
}

impl CommandUsage {
    const fn with(self, parameters: &'static [UsageParameter], required: usize) -> Self {
        Self { parameters, required, ..self }
    }

    const fn rest(self, rest: &'static str) -> Self {
        Self { rest: Some(rest), ..self }
    }

    const fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }
}

/// Every command, as Celery's command line has them.
pub(super) const COMMANDS: &[CommandUsage] = &[
    inspect("active", "Tasks that run"),
    inspect("active_queues", "Queues that are consumed"),
    inspect("clock", "Logical clock"),
    inspect("conf", "Configuration, secrets masked").with(&[flag("with_defaults")], 0),
    inspect("memdump", "Samples of memory in use").with(&[number("samples")], 0),
    inspect("memsample", "Memory in use"),
    inspect("objgraph", "Objects in memory (Python workers)")
        .with(&[text("type"), number("num"), number("max_depth")], 0),
    inspect("ping", "Workers that answer"),
    inspect("query_task", "Tasks of these ids, where a worker has them").rest("ids"),
    inspect("registered", "Tasks that can run").rest("taskinfoitems"),
    inspect("report", "Versions and configuration, for reports of bugs"),
    inspect("reserved", "Tasks that are received and have not started"),
    inspect("revoked", "Ids of revoked tasks"),
    inspect("scheduled", "Tasks that wait in a worker for their time"),
    inspect("stats", "Counts, pool and resources"),
    control("add_consumer", "Consume a queue")
        .with(&[text("queue"), text("exchange"), text("exchange_type"), text("routing_key")], 1),
    control("autoscale", "Set the bounds of an autoscaled pool").with(&[number("max"), number("min")], 0),
    control("cancel_consumer", "Stop consuming a queue").with(&[text("queue")], 1),
    control("disable_events", "Stop sending events of tasks"),
    control("election", "Hold an election (Python workers)").with(&[text("id"), text("topic"), text("action")], 2),
    control("enable_events", "Send events of tasks"),
    control("heartbeat", "Send a heartbeat event").silent(),
    control("pool_grow", "Run more tasks at once").with(&[number("n")], 0),
    control("pool_restart", "Restart the pool (Python workers)"),
    control("pool_shrink", "Run fewer tasks at once").with(&[number("n")], 0),
    control("rate_limit", "Set the rate limit of a task, such as 10/m")
        .with(&[text("task_name"), text("rate_limit")], 2),
    control("revoke", "Revoke tasks by id").rest("task_id"),
    control("revoke_by_stamped_headers", "Revoke tasks by stamps, such as tenant=7").rest("headers"),
    control("shutdown", "Stop workers in order").silent(),
    control("terminate", "Revoke tasks by id, and end those that run").with(&[text("signal")], 1).rest("task_id"),
    control("time_limit", "Set the time limits of a task, in seconds")
        .with(&[text("task_name"), number("soft"), number("hard")], 2),
];

impl CommandUsage {
    /// Returns the command with its arguments, as a usage line has them.
    pub(super) fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for (index, parameter) in self.parameters.iter().enumerate() {
            let name = parameter.name.to_uppercase();
            usage.push_str(&if index < self.required { format!(" {name}") } else { format!(" [{name}]") });
        }
        if let Some(rest) = self.rest {
            usage.push_str(&format!(" [{}]...", rest.to_uppercase()));
        }
        usage
    }

    /// Reads the values of a command line.
    pub(super) fn read(&self, values: &[String]) -> Result<Map, String> {
        let usage = || format!("its arguments are: {}", self.usage());
        let mut arguments = Map::new();
        for (parameter, value) in self.parameters.iter().zip(values) {
            arguments.insert(parameter.name.to_owned(), parameter.read(value)?);
        }
        if values.len() < self.required {
            return Err(usage());
        }
        let further = values.get(self.parameters.len()..).unwrap_or_default();
        match self.rest {
            Some(rest) => drop(arguments.insert(rest.to_owned(), further.iter().map(String::as_str).collect())),
            None if !further.is_empty() => return Err(usage()),
            None => {}
        }
        Ok(arguments)
    }
}

impl UsageParameter {
    fn read(&self, value: &str) -> Result<Value, String> {
        let wrong = |expected| format!("{} should be {expected}, got `{value}`", self.name);
        Ok(match self.kind {
            ParameterKind::Text => value.into(),
            ParameterKind::Flag => value.parse::<bool>().map_err(|_| wrong("true or false"))?.into(),
            ParameterKind::Number => match value.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) => value.parse::<f64>().map_err(|_| wrong("a number"))?.into(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, values: &[&str]) -> Result<String, String> {
        let command = COMMANDS.iter().find(|command| command.name == name).unwrap();
        let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
        command.read(&values).map(|arguments| serde_json::to_string(&arguments).unwrap())
    }

    #[test]
    fn values_are_the_arguments_that_celerys_command_line_sends() {
        for (name, values, expected) in [
            ("ping", [].as_slice(), "{}"),
            ("conf", &["true"], r#"{"with_defaults":true}"#),
            ("time_limit", &["shop.pay", "10", "12.5"], r#"{"task_name":"shop.pay","soft":10,"hard":12.5}"#),
            ("terminate", &["KILL", "a", "b"], r#"{"signal":"KILL","task_id":["a","b"]}"#),
            ("query_task", &["a"], r#"{"ids":["a"]}"#),
        ] {
            assert_eq!(read(name, values).unwrap(), expected);
        }
        assert_eq!(
            read("rate_limit", &["shop.pay"]).unwrap_err(),
            "its arguments are: rate_limit TASK_NAME RATE_LIMIT"
        );
        assert_eq!(read("ping", &["x"]).unwrap_err(), "its arguments are: ping");
        assert_eq!(read("pool_grow", &["x"]).unwrap_err(), "n should be a number, got `x`");
    }
}
