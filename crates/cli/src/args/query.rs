//! Flags of the verbs that read the result store with queries, and of `events`.

use std::time::Duration;

use celeriac_config::duration;
use clap::Args;

/// Flags of `query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Query of the cookbook [default: list all]
    pub name: Option<String>,
    /// Read tasks that ended in this time, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub since: Option<Duration>,
    /// Task or group id
    #[arg(long)]
    pub id: Option<String>,
    /// Task name
    #[arg(short, long, value_name = "NAME")]
    pub task: Option<String>,
    /// Named arguments that the task has among others, as a JSON object
    #[arg(short, long, value_name = "JSON")]
    pub kwargs: Option<String>,
    /// Time, such as that of a deployment: 2026-12-24T18:00:00+01:00
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<jiff::Timestamp>,
}

/// Flags of `failures`.
#[derive(Debug, Args)]
pub struct FailuresArgs {
    /// Show tasks that ended in this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1h")]
    pub since: Duration,
    /// Task name: exact, a glob such as 'orders.*', or a /regex/
    #[arg(short, long, value_name = "PATTERN")]
    pub task: Option<String>,
}

/// Flags of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Print the table once, and exit
    #[arg(long)]
    pub once: bool,
    /// Time between two refreshes
    #[arg(long, value_name = "DURATION", value_parser = every, default_value = "2s")]
    pub every: Duration,
    /// Show tasks that ended in this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1m")]
    pub since: Duration,
    /// Only this queue
    #[arg(short = 'Q', long, value_name = "QUEUE")]
    pub queue: Option<String>,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Print each event (the default)
    #[arg(short, long, conflicts_with = "state")]
    pub dump: bool,
    /// Print workers and tasks instead, again and again
    #[arg(long)]
    pub state: bool,
    /// Time between two prints of the state
    #[arg(long, value_name = "DURATION", value_parser = every, default_value = "1s")]
    pub every: Duration,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = duration::parse(text)?;
    if every < Duration::from_millis(100) { Err("should be at least 100ms".to_owned()) } else { Ok(every) }
}

/// Flags of `retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Task ids
    #[arg(value_name = "ID", required_unless_present = "failed_since", conflicts_with = "failed_since")]
    pub ids: Vec<String>,
    /// Retry the tasks that failed in this time, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub failed_since: Option<Duration>,
    /// Task name: exact, a glob such as 'orders.*', or a /regex/
    #[arg(short, long, value_name = "PATTERN", requires = "failed_since")]
    pub task: Option<String>,
    /// Fingerprint of the error, as `celeriac failures` shows it
    #[arg(long, requires = "failed_since")]
    pub fingerprint: Option<String>,
    /// Retry at most this many
    #[arg(long, value_name = "N", requires = "failed_since", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Count, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Skip the confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Reads a time, with an error that shows the form.
pub(super) fn time(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| "should be a time with its offset, such as 2026-12-24T18:00:00+01:00".to_owned())
}
