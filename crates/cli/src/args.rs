//! Verbs and flags.

mod dead;
mod topology;

use std::path::PathBuf;
use std::time::Duration;

use celeriac_config::duration;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::program::Override;

pub use dead::{DeadFilter, DeadQueues, DeadVerb, ListDeadArgs, PurgeArgs, RemovalArgs, ReplayArgs, ShowDeadArgs};
pub use topology::{ApplyArgs, ExportArgs, ExportFormat, MigrateArgs, QueuesArgs, TopologyVerb};

/// Background work on RabbitMQ, with results in Postgres.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
pub struct CommandLine {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb, before or after it.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory with celeriac.yaml and routes.yaml [default: what the program says, usually config]
    #[arg(long, global = true, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Broker, instead of broker.url
    #[arg(short, long, global = true, value_name = "URL")]
    pub broker: Option<String>,
    /// Store of results, instead of results.url
    #[arg(long, global = true, value_name = "URL")]
    pub results: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

const ENDS: &str = "\
Signals:
  SIGTERM, SIGINT  takes no more tasks, finishes those that run within the drain time, gives the rest back
  the second one   interrupts what runs: it goes back to its queue, and counts as no attempt
  SIGQUIT          does so at once

Exit codes:
  0   stopped as it was told, whether or not tasks had to be interrupted
  2   the command line cannot be understood
  69  the database cannot be reached at the start (a broker that is away is waited for)
  70  something that should not happen
  77  access is refused, or who is there cannot be proven
  78  the configuration cannot start";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run tasks until told to stop
    #[command(after_help = ENDS)]
    Worker(WorkerArgs),
    /// Send what was sent in transactions, until told to stop; workers do so too
    Relay(RelayArgs),
    /// Show what this program knows
    List(ListArgs),
    /// Send a task
    Call(Box<CallArgs>),
    /// Show or await the result of a task
    Result(ResultArgs),
    /// See to it that tasks do not run
    Revoke(RevokeArgs),
    /// Say where tasks go
    #[command(subcommand)]
    Routes(RoutesVerb),
    /// Show how it stands with the queues
    Queues(QueuesArgs),
    /// Compare, make, move and export exchanges, queues, bindings and policies
    #[command(subcommand)]
    Topology(TopologyVerb),
    /// Look at dead letters, replay them, purge them
    #[command(subcommand)]
    Dead(DeadVerb),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
}

/// Flags of `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Queues to consume, separated by commas [default: worker.queues, or all that are declared]
    #[arg(short = 'Q', long, value_name = "QUEUES")]
    pub queues: Option<String>,
    /// Tasks to run at once [default: worker.concurrency]
    #[arg(short, long, value_name = "N")]
    pub concurrency: Option<String>,
    /// Name among all workers [default: worker.name, or the host's name]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub name: Option<String>,
    /// What to log: error, warn, info, debug, trace [default: telemetry.log.level]
    #[arg(short, long, value_name = "LEVEL")]
    pub loglevel: Option<String>,
    /// Messages to hold of each queue: a number, or auto [default: worker.prefetch]
    #[arg(long, value_name = "N")]
    pub prefetch: Option<String>,
    /// How long running tasks may go on after a signal [default: worker.drain_timeout]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
}

/// Flags of `relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Say how it stands with the outbox instead
    #[arg(long)]
    pub status: bool,
    /// What to log: error, warn, info, debug, trace [default: telemetry.log.level]
    #[arg(short, long, value_name = "LEVEL")]
    pub loglevel: Option<String>,
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum, default_value_t = ListSubject::Tasks)]
    pub what: ListSubject,
}

/// Subject of `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListSubject {
    /// The tasks this program runs
    Tasks,
    /// The queues it declares, with their bindings
    Queues,
    /// The routes, in the order in which they are tried
    Routes,
}

/// Flags of `call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Name of the task
    pub task: String,
    /// Positional arguments, a JSON list
    #[arg(short, long, value_name = "JSON", default_value = "[]")]
    pub args: String,
    /// Named arguments, a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    pub kwargs: String,
    /// Run it this long from now, such as 90s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "eta")]
    pub countdown: Option<Duration>,
    /// Run it at this time, such as 2026-12-24T18:00:00+01:00
    #[arg(long, value_name = "TIME")]
    pub eta: Option<jiff::Timestamp>,
    /// Do not start it later than this from now
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires: Option<Duration>,
    /// Send it to this queue
    #[arg(short = 'Q', long, conflicts_with_all = ["exchange", "routing_key"])]
    pub queue: Option<String>,
    /// Send it to this exchange
    #[arg(long)]
    pub exchange: Option<String>,
    /// Send it with this routing key
    #[arg(long, value_name = "KEY")]
    pub routing_key: Option<String>,
    /// Send it to the worker of this name, which has worker.direct_queue
    #[arg(long, value_name = "NAME", conflicts_with_all = ["queue", "exchange", "routing_key"])]
    pub worker: Option<String>,
    /// Priority, 0 to 255
    #[arg(long)]
    pub priority: Option<u8>,
    /// Serializer of the body: json or msgpack
    #[arg(long, value_parser = ["json", "msgpack"])]
    pub serializer: Option<String>,
    /// Task id [default: a new one]
    #[arg(long)]
    pub id: Option<String>,
    /// Wait this long for its result, and print it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Option<Duration>,
}

/// Flags of `result`.
#[derive(Debug, Args)]
pub struct ResultArgs {
    /// Task id
    pub id: String,
    /// Wait this long for it to end
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Option<Duration>,
}

/// Flags of `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Task ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// End those that run, too
    #[arg(short, long)]
    pub terminate: bool,
    /// How long they stay revoked, such as 30d [default: results.retention]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub lasting: Option<Duration>,
}

/// Verb of `routes`.
#[derive(Debug, Subcommand)]
pub enum RoutesVerb {
    /// Where a call goes, and which rule decides it; nothing is sent
    Explain(ExplainArgs),
}

/// Flags of `routes explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Name of the task
    pub task: String,
    /// Positional arguments, a JSON list: a route's function may look at them
    #[arg(short, long, value_name = "JSON", default_value = "[]")]
    pub args: String,
    /// Named arguments, a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    pub kwargs: String,
    /// As if the call named this queue
    #[arg(short = 'Q', long, conflicts_with_all = ["exchange", "routing_key"])]
    pub queue: Option<String>,
    /// As if the call named this exchange
    #[arg(long)]
    pub exchange: Option<String>,
    /// As if the call named this routing key
    #[arg(long, value_name = "KEY")]
    pub routing_key: Option<String>,
}

/// Verb of `config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigVerb {
    /// Read it, and name every problem; exit code 78 if there is one
    Check,
    /// Print what is in force, secrets masked
    Show,
}

impl CommandLine {
    /// The settings that flags give.
    pub fn overrides(&self) -> Vec<Override> {
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
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
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
}
