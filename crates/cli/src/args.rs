//! Verbs and flags.

mod command_name;
mod db;
mod dead;
mod help;
mod parse;
mod query;
mod remote;
mod retries;
mod tips;
mod topology;
mod workflow;

use std::path::PathBuf;
use std::time::Duration;

use celeriac_config::duration;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::program::Override;

pub(crate) use command_name::CommandName;
pub use db::{DbVerb, PruneArgs};
pub use dead::{DeadFilter, DeadQueues, DeadVerb, ListDeadArgs, PurgeArgs, RemovalArgs, ReplayArgs, ShowDeadArgs};
pub use query::{EventsArgs, FailuresArgs, QueryArgs, RetryArgs, TopArgs};
pub use remote::{RemoteArgs, WorkersArgs};
pub use retries::{OverdueArgs, RetriesVerb, SendRetriesArgs};
pub use topology::{ApplyArgs, ExportArgs, ExportFormat, MigrateArgs, QueuesArgs, TopologyVerb};
pub use workflow::{WorkflowShowArgs, WorkflowVerb};

/// Run, send and inspect background tasks on RabbitMQ, with results in Postgres
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "The help of each command ends with examples and exit codes."
)]
pub struct CommandLine {
    /// Flags of every verb
    #[command(flatten)]
    pub global: Global,
    /// The verb
    #[command(subcommand)]
    pub verb: Verb,
}

/// Heading of the flags of every verb.
const GLOBAL: &str = "Global options";

/// Flags of every verb, before or after it.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory of configuration files [default: set by the program]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Broker URL, in place of broker.url
    #[arg(short, long, global = true, value_name = "URL", help_heading = GLOBAL)]
    pub broker: Option<String>,
    /// Result store URL, in place of results.url
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL)]
    pub results: Option<String>,
    /// Print JSON
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run tasks until a signal arrives
    #[command(after_help = help::WORKER.text())]
    Worker(WorkerArgs),
    /// Create tables and topology, once before workers start
    #[command(after_help = help::SETUP.text())]
    Setup(SetupArgs),
    /// Relay outbox messages to the broker (workers do this too)
    #[command(after_help = help::RELAY.text())]
    Relay(RelayArgs),
    /// List tasks, queues or routes of this program
    #[command(after_help = help::LIST.text())]
    List(ListArgs),
    /// Send a task
    #[command(after_help = help::CALL.text())]
    Call(Box<CallArgs>),
    /// Show the result of a task, or wait for it
    #[command(after_help = help::RESULT.text())]
    Result(ResultArgs),
    /// Show the log lines of a task's attempts
    #[command(after_help = help::LOGS.text())]
    Logs(LogsArgs),
    /// Show which tasks belong together
    #[command(subcommand)]
    Workflow(WorkflowVerb),
    /// Run a query of the cookbook on the result store
    #[command(after_help = help::QUERY.text())]
    Query(QueryArgs),
    /// Show rate, failures and times of each task, again and again
    #[command(after_help = help::TOP.text())]
    Top(TopArgs),
    /// Show events of workers and tasks as they happen
    #[command(after_help = help::EVENTS.text())]
    Events(EventsArgs),
    /// Show failures by error
    #[command(after_help = help::FAILURES.text())]
    Failures(FailuresArgs),
    /// Send failed tasks anew with the arguments of their rows
    #[command(after_help = help::RETRY.text())]
    Retry(RetryArgs),
    /// Revoke tasks by id
    #[command(after_help = help::REVOKE.text())]
    Revoke(RevokeArgs),
    /// Show the workers that answer, of Celery too
    #[command(after_help = help::STATUS.text())]
    Status(WorkersArgs),
    /// Ask workers for their state, as `celery inspect`
    #[command(after_help = help::INSPECT.text())]
    Inspect(RemoteArgs),
    /// Change workers while they run, as `celery control`
    #[command(after_help = help::CONTROL.text())]
    Control(RemoteArgs),
    /// Explain routing
    #[command(subcommand)]
    Routes(RoutesVerb),
    /// Show queue depth, rates and consumers
    #[command(after_help = help::QUEUES.text())]
    Queues(QueuesArgs),
    /// Compare, apply, export and migrate exchanges, queues, bindings and policies
    #[command(subcommand)]
    Topology(TopologyVerb),
    /// List, show, replay and purge dead letters
    #[command(subcommand)]
    Dead(DeadVerb),
    /// List overdue retries, and send them again
    #[command(subcommand)]
    Retries(RetriesVerb),
    /// Show the size of the result store, and delete old tasks
    #[command(subcommand)]
    Db(DbVerb),
    /// List actions of operators, and those that have not ended
    #[command(after_help = help::AUDIT.text())]
    Audit(AuditArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
}

/// Flags of `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Comma-separated queues [default: worker.queues, or all]
    #[arg(short = 'Q', long, value_name = "QUEUES")]
    pub queues: Option<String>,
    /// Number of tasks to run at once [default: worker.concurrency]
    #[arg(short, long, value_name = "N")]
    pub concurrency: Option<String>,
    /// Unique name.
    #[arg(
        help = "Unique name, such as w1@%h [default: worker.name, or celeriac@%h]",
        short = 'n',
        long,
        value_name = "NAME"
    )]
    pub name: Option<String>,
    /// Log level, from error to trace [default: telemetry.log.level]
    #[arg(short, long, value_name = "LEVEL")]
    pub loglevel: Option<String>,
    /// Messages to prefetch per queue, or auto [default: worker.prefetch]
    #[arg(long, value_name = "N")]
    pub prefetch: Option<String>,
    /// Time for running tasks to end [default: worker.drain_timeout]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// Send task events to Celery's monitors [default: worker.events]
    #[arg(short = 'E', long)]
    pub task_events: bool,
    /// Ask the running worker if it is ready or live, and exit
    #[arg(
        long, value_enum, value_name = "ready|live", hide_possible_values = true,
        num_args = 0..=1, require_equals = true, default_missing_value = "ready"
    )]
    pub check: Option<HealthCheck>,
}

/// Question of `worker --check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HealthCheck {
    /// It consumes its queues, and reaches broker and database
    Ready,
    /// Its runtime runs
    Live,
}

/// Flags of `setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Change nothing; exit with 3 if something is missing
    #[arg(long)]
    pub check: bool,
}

/// Flags of `relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Show depth and age of the outbox, and exit
    #[arg(long)]
    pub status: bool,
    /// Log level, from error to trace [default: telemetry.log.level]
    #[arg(short, long, value_name = "LEVEL")]
    pub loglevel: Option<String>,
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Kind of thing to list
    #[arg(value_enum, default_value_t = ListSubject::Tasks)]
    pub what: ListSubject,
}

/// Subject of `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListSubject {
    /// Tasks, with their options
    Tasks,
    /// Queues, with their bindings
    Queues,
    /// Routes, in matching order
    Routes,
}

/// Flags of `call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Task name
    pub task: String,
    /// Positional arguments, as a JSON list
    #[arg(short, long, value_name = "JSON", default_value = "[]")]
    pub args: String,
    /// Named arguments, as a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    pub kwargs: String,
    /// Run after this delay, such as 90s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "eta")]
    pub countdown: Option<Duration>,
    /// Run at this time, such as 2026-12-24T18:00:00+01:00
    #[arg(long, value_name = "TIME", value_parser = query::time)]
    pub eta: Option<jiff::Timestamp>,
    /// Do not start after this time from now, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires: Option<Duration>,
    /// Send to this queue
    #[arg(short = 'Q', long, conflicts_with_all = ["exchange", "routing_key"])]
    pub queue: Option<String>,
    /// Send to this exchange
    #[arg(long)]
    pub exchange: Option<String>,
    /// Send with this routing key
    #[arg(long, value_name = "KEY")]
    pub routing_key: Option<String>,
    /// Send to the worker of this name; it needs worker.direct_queue
    #[arg(long, value_name = "NAME", conflicts_with_all = ["queue", "exchange", "routing_key"])]
    pub worker: Option<String>,
    /// Priority from 0 to 255
    #[arg(long)]
    pub priority: Option<u8>,
    /// Serializer of the body
    #[arg(long, value_parser = ["json", "msgpack"])]
    pub serializer: Option<String>,
    /// Task id [default: a new UUIDv7]
    #[arg(long)]
    pub id: Option<String>,
    /// Task of another program: do not check name and arguments
    #[arg(long)]
    pub external: bool,
    /// Wait this long for the result, and print it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Option<Duration>,
}

/// Flags of `result`.
#[derive(Debug, Args)]
pub struct ResultArgs {
    /// Task id
    pub id: String,
    /// Wait this long for the task to end
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    /// Print each attempt when it has ended, until the task has ended
    #[arg(short, long)]
    pub follow: bool,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Task id
    pub id: String,
    /// Only this attempt, from 1
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
}

/// Flags of `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Task ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Terminate running tasks too
    #[arg(short, long)]
    pub terminate: bool,
    /// Lifetime of the revocation, such as 30d [default: results.retention]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub lasting: Option<Duration>,
}

/// Flags of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only actions that have not ended: they run, or their process died
    #[arg(long)]
    pub open: bool,
    /// Show at most this many, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

/// Verb of `routes`.
#[derive(Debug, Subcommand)]
pub enum RoutesVerb {
    /// Show the destination of a call and the rule that decides it, without sending
    #[command(after_help = help::EXPLAIN.text())]
    Explain(ExplainArgs),
}

/// Flags of `routes explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Task name
    pub task: String,
    /// Positional arguments, as a JSON list
    #[arg(short, long, value_name = "JSON", default_value = "[]")]
    pub args: String,
    /// Named arguments, as a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    pub kwargs: String,
    /// Queue that the call names
    #[arg(short = 'Q', long, conflicts_with_all = ["exchange", "routing_key"])]
    pub queue: Option<String>,
    /// Exchange that the call names
    #[arg(long)]
    pub exchange: Option<String>,
    /// Routing key that the call names
    #[arg(long, value_name = "KEY")]
    pub routing_key: Option<String>,
}

/// Verb of `config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigVerb {
    /// Read the configuration and list every problem
    #[command(after_help = help::CONFIG_CHECK.text())]
    Check,
    /// Print the effective configuration with its sources, secrets masked
    #[command(after_help = help::CONFIG_SHOW.text())]
    Show,
}

impl CommandLine {
    /// Returns the settings that flags override.
    pub fn overrides(&self) -> Vec<Override> {
        let all = Some("all".to_owned());
        let mut given =
            vec![("broker.url", &self.global.broker, "--broker"), ("results.url", &self.global.results, "--results")];
        if let Verb::Worker(worker) = &self.verb {
            given.extend([
                ("worker.queues", &worker.queues, "--queues"),
                ("worker.concurrency", &worker.concurrency, "--concurrency"),
                ("worker.name", &worker.name, "--name"),
                ("worker.prefetch", &worker.prefetch, "--prefetch"),
                ("worker.drain_timeout", &worker.drain_timeout, "--drain-timeout"),
                ("telemetry.log.level", &worker.loglevel, "--loglevel"),
            ]);
            if worker.task_events {
                given.push(("worker.events", &all, "--task-events"));
            }
        }
        if let Verb::Relay(relay) = &self.verb {
            given.push(("telemetry.log.level", &relay.loglevel, "--loglevel"));
        }
        given
            .into_iter()
            .filter_map(|(key, value, flag)| value.clone().map(|value| Override { key, value, flag }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn config_is_taken_before_and_after_the_verb() {
        for line in [["app", "--config", "etc", "config", "check"], ["app", "config", "check", "--config", "etc"]] {
            assert_eq!(CommandLine::parse_from(line).global.config, Some(PathBuf::from("etc")));
        }
    }

    #[test]
    fn flags_override_settings_under_their_own_name() {
        let line = CommandLine::parse_from(["app", "worker", "-Q", "a,b", "-c", "8", "-n", "w1", "-l", "warn"]);
        let keys: Vec<_> = line.overrides().into_iter().map(|given| (given.key, given.value)).collect();
        let expected = [
            ("worker.queues", "a,b"),
            ("worker.concurrency", "8"),
            ("worker.name", "w1"),
            ("telemetry.log.level", "warn"),
        ];
        assert_eq!(keys, expected.map(|(key, value)| (key, value.to_owned())));
    }

    /// The help texts of a command and of those below it.
    fn help_of(command: &mut clap::Command, texts: &mut Vec<(String, String)>) {
        let name = command.get_name().to_owned();
        texts.push((name, command.render_help().to_string()));
        for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            help_of(command, texts);
        }
    }

    #[test]
    fn every_help_text_is_plain_and_ends_with_examples_and_exit_codes() {
        let mut texts = Vec::new();
        let mut command = CommandLine::command().name("celeriac").bin_name("celeriac").term_width(100);
        command.build();
        help_of(&mut command, &mut texts);
        for (name, text) in &texts {
            let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(long.is_empty(), "{name}: {long:#?}");
            let has_verbs = text.contains("\nCommands:\n");
            assert!(
                has_verbs || (text.contains("\nExamples:\n") && text.contains("\nExit codes:\n")),
                "{name}: {text}"
            );
        }
        let texts: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
        insta::assert_snapshot!(texts.join(&format!("\n{}\n", "=".repeat(100))));
    }
}
