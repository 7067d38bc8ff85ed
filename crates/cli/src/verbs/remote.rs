//! `status`, `inspect` and `control`: remote control of workers, of Celery too.
//!
//! - `commands`: the commands, and their arguments on a command line.

mod commands;

use std::collections::BTreeMap;
use std::sync::Arc;

use celeriac_client::{Client, Error as ClientError, RemoteControl};
use celeriac_config::{did_you_mean, duration, nearest};
use celeriac_protocol::{ControlReply, Map, Value};
use celeriac_results::OperatorAction;
use serde_json::json;

use crate::args::{CommandName, RemoteArgs, WorkersArgs};
use crate::audit::audited_in;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;
use crate::verbs::remote::commands::{COMMANDS, CommandUsage, RemoteVerb};
use crate::waiting;

/// Columns before each further line of a reply.
const INDENT: usize = 4;

pub(crate) async fn status(program: &Program, args: &WorkersArgs, json: bool) -> Result<Exit, Error> {
    let replies = ask(program, args, "ping", Map::new()).await?;
    output::answer(json, &by_node(&replies), || {
        let lines: Vec<_> = replies.iter().map(|reply| format!("{}: {}", name(reply), verdict(reply))).collect();
        format!("{}\n\n{}", lines.join("\n"), count(replies.len(), "online"))
    });
    Ok(Exit::Done)
}

pub(crate) async fn inspect(program: &Program, args: &RemoteArgs, json: bool) -> Result<Exit, Error> {
    let Some((command, arguments)) = read(args, RemoteVerb::Inspect, json)? else { return Ok(Exit::Done) };
    let replies = ask(program, &args.workers, command.name, arguments).await?;
    Ok(answer(&replies, json))
}

pub(crate) async fn control(
    program: &Program,
    args: &RemoteArgs,
    name: &CommandName,
    json: bool,
) -> Result<Exit, Error> {
    let Some((command, arguments)) = read(args, RemoteVerb::Control, json)? else { return Ok(Exit::Done) };
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let client = waiting::for_client(program).await?;
    let WorkersArgs { destination, pattern, .. } = &args.workers;
    let target = json!({
        "command": command.name, "arguments": arguments, "destination": destination, "pattern": pattern,
    });
    let told = audited_in(client.results(), name, OperatorAction { name: "control", target }, async {
        match tell(&client, &args.workers, command, arguments).await {
            Ok(replies) => (replies.len().try_into().unwrap_or(u64::MAX), Ok(replies)),
            Err(error) => (0, Err(error)),
        }
    });
    let told = told.await;
    client.close().await;
    let replies = told?;
    if command.is_silent {
        output::answer(json, &by_node(&replies), || "sent; no worker replies to this command".to_owned());
        return Ok(Exit::Done);
    }
    Ok(answer(&replies, json))
}

/// Sends a command that changes workers.
async fn tell(
    client: &Client,
    workers: &WorkersArgs,
    command: &CommandUsage,
    arguments: Map,
) -> Result<Vec<ControlReply>, Error> {
    let remote = addressed(client.control(), workers);
    if command.is_silent {
        remote.tell(command.name, arguments).await?;
        return Ok(Vec::new());
    }
    some(remote.ask(command.name, arguments).await, workers)
}

/// Sends a command that shows something. Needs the broker alone.
async fn ask(
    program: &Program,
    workers: &WorkersArgs,
    command: &str,
    arguments: Map,
) -> Result<Vec<ControlReply>, Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let broker = program.open_broker()?;
    let health = broker.health();
    let remote = addressed(RemoteControl::new(broker.clone(), Arc::default()), workers);
    let replies = waiting::for_broker(&program.broker, health, remote.ask(command, arguments)).await;
    remote.close().await;
    broker.close().await;
    some(replies, workers)
}

fn addressed(remote: RemoteControl, workers: &WorkersArgs) -> RemoteControl {
    let remote = remote.timeout(workers.timeout);
    match &workers.pattern {
        Some(glob) => remote.matching(glob.as_str()),
        None if workers.destination.is_empty() => remote,
        None => remote.to(workers.destination.iter().map(String::as_str)),
    }
}

/// Returns the replies in the order of names, of which there must be one.
fn some(replies: Result<Vec<ControlReply>, ClientError>, workers: &WorkersArgs) -> Result<Vec<ControlReply>, Error> {
    let mut replies = replies?;
    if replies.is_empty() {
        return Err(Error::NoReplies { waited: duration::format(workers.timeout) });
    }
    replies.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(replies)
}

/// Returns the command of a command line with its arguments, or `None` after the list of all.
fn read(args: &RemoteArgs, verb: RemoteVerb, json: bool) -> Result<Option<(&'static CommandUsage, Map)>, Error> {
    let known = || COMMANDS.iter().filter(move |command| command.verb == verb);
    let Some(wanted) = args.command.as_deref().filter(|_| !args.list) else {
        let listed: BTreeMap<_, _> = known().map(|command| (command.usage(), command.about)).collect();
        let width = listed.keys().map(String::len).max().unwrap_or_default();
        output::answer(json, &listed, || {
            let lines = listed.iter().map(|(usage, about)| format!("{usage:<width$}  {about}"));
            lines.collect::<Vec<_>>().join("\n")
        });
        return Ok(None);
    };
    let Some(command) = known().find(|command| command.name == wanted) else {
        let elsewhere = COMMANDS.iter().find(|command| command.name == wanted);
        let meant = match elsewhere {
            Some(command) => format!("; it is a command of `{}`", command.verb.name()),
            None => did_you_mean(nearest(wanted, known().map(|command| command.name))),
        };
        let (what, reason) = (wanted.to_owned(), format!("no command of `{}`{meant}", verb.name()));
        return Err(Error::Data { what, reason });
    };
    let mut arguments =
        command.read(&args.arguments).map_err(|reason| Error::Data { what: wanted.to_owned(), reason })?;
    let named: Map = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&args.kwargs)
        .map_err(|error| Error::Data { what: "--kwargs".to_owned(), reason: error.to_string() })?
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    arguments.extend(named);
    Ok(Some((command, arguments)))
}

/// Prints replies. A refusal has an exit code of its own.
fn answer(replies: &[ControlReply], json: bool) -> Exit {
    output::answer(json, &by_node(replies), || {
        let shown: Vec<_> = replies
            .iter()
            .map(|reply| {
                let body = body(&reply.value);
                let body = output::indented(&body, INDENT).into_owned();
                format!("{}: {}\n{:INDENT$}{body}", name(reply), verdict(reply), "")
            })
            .collect();
        format!("{}\n\n{}", shown.join("\n"), count(replies.len(), "replied"))
    });
    if replies.iter().any(|reply| reply.refusal().is_some()) { Exit::Refused } else { Exit::Done }
}

fn by_node(replies: &[ControlReply]) -> BTreeMap<&str, &Value> {
    replies.iter().map(|reply| (reply.node.as_str(), &reply.value)).collect()
}

fn name(reply: &ControlReply) -> String {
    output::one_line(&reply.node).into_owned()
}

fn verdict(reply: &ControlReply) -> &'static str {
    if reply.refusal().is_some() { "error" } else { "OK" }
}

fn count(workers: usize, verb: &str) -> String {
    match workers {
        1 => format!("1 worker {verb}"),
        many => format!("{many} workers {verb}"),
    }
}

/// Returns a reply as text.
fn body(value: &Value) -> String {
    let told = ["ok", "error"].into_iter().find_map(|key| value.get(key));
    match told.filter(|_| value.as_map().is_some_and(|map| map.len() == 1)).unwrap_or(value) {
        Value::Text(text) => text.trim().to_owned(),
        Value::List(items) if items.is_empty() => "- empty -".to_owned(),
        Value::List(items) if items.iter().all(|item| item.as_str().is_some()) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::control::{error, ok};

    use super::*;

    #[test]
    fn replies_are_shown_without_their_wrapping() {
        assert_eq!(body(&ok("pong")), "pong");
        assert_eq!(body(&error("unknown task")), "unknown task");
        assert_eq!(body(&Value::List(Vec::new())), "- empty -");
        assert_eq!(body(&Value::from(["a.b", "c"])), "a.b\nc");
        let clock: Value = [("clock", 7)].into_iter().collect();
        assert_eq!(body(&clock), "{\n  \"clock\": 7\n}");
    }
}
