//! Flags of `dead`.

use std::time::Duration;

use celeriac_admin::dead::DeadLetterQuery;
use celeriac_config::duration;
use celeriac_protocol::RateLimit;
use clap::{Args, Subcommand};

use super::help;

/// Verb of `dead`.
#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// List dead letters, and count them by queue, reason and task
    #[command(after_help = help::DEAD_LIST.text())]
    List(ListDeadArgs),
    /// Show one dead letter with its arguments and headers
    #[command(after_help = help::DEAD_SHOW.text())]
    Show(ShowDeadArgs),
    /// Send dead letters back to their queues, to run again
    #[command(after_help = help::DEAD_REPLAY.text())]
    Replay(ReplayArgs),
    /// Delete dead letters
    #[command(after_help = help::DEAD_PURGE.text())]
    Purge(PurgeArgs),
}

/// The queues whose dead letters a verb works on.
#[derive(Debug, Clone, Args)]
pub struct DeadQueues {
    /// Original queues, comma-separated [default: all declared queues]
    #[arg(short = 'Q', long = "queue", value_name = "QUEUES", value_delimiter = ',')]
    pub queues: Vec<String>,
}

/// Filter of dead letters. A letter has to match every flag.
#[derive(Debug, Clone, Args)]
pub struct DeadFilter {
    /// Queues
    #[command(flatten)]
    pub queues: DeadQueues,
    /// Task name: exact, a glob such as 'orders.*', or a /regex/
    #[arg(short, long, value_name = "PATTERN")]
    pub task: Option<String>,
    /// Task id
    #[arg(long)]
    pub id: Option<String>,
    /// Reason, such as exhausted, rejected, expired or delivery_limit
    #[arg(long)]
    pub reason: Option<String>,
    /// Part of the error message, or a /regex/ to find in it
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Dead for longer than this, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub older_than: Option<Duration>,
    /// Dead for at most this time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub newer: Option<Duration>,
}

/// Flags of `dead list`.
#[derive(Debug, Args)]
pub struct ListDeadArgs {
    /// Filter
    #[command(flatten)]
    pub filter: DeadFilter,
    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
}

/// Flags of `dead show`.
#[derive(Debug, Args)]
pub struct ShowDeadArgs {
    /// Task id
    pub id: String,
    /// Queues
    #[command(flatten)]
    pub queues: DeadQueues,
}

/// Flags of verbs that take dead letters off their queues.
#[derive(Debug, Args)]
pub struct RemovalArgs {
    /// Filter
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Take at most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Count, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Skip the confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Flags of `dead replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Filter and confirmation
    #[command(flatten)]
    pub removal: RemovalArgs,
    /// Send to this queue [default: the queue that each came from]
    #[arg(long, value_name = "QUEUE")]
    pub to: Option<String>,
    /// Rate, such as 100/s, 30/m or 5/h [default: as fast as confirmed]
    #[arg(long, value_name = "N/UNIT")]
    pub rate: Option<RateLimit>,
    /// Run tasks even if they have expired
    #[arg(long)]
    pub drop_expires: bool,
}

/// Flags of `dead purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Filter and confirmation
    #[command(flatten)]
    pub removal: RemovalArgs,
}

impl DeadVerb {
    /// Returns the queues whose dead letters it works on.
    pub fn queues(&self) -> &DeadQueues {
        match self {
            Self::List(args) => &args.filter.queues,
            Self::Show(args) => &args.queues,
            Self::Replay(args) => &args.removal.filter.queues,
            Self::Purge(args) => &args.removal.filter.queues,
        }
    }
}

impl DeadFilter {
    /// Returns the filter of these flags, without the queues.
    pub fn wanted(&self) -> DeadLetterQuery {
        let Self { queues: _, task, id, reason, error, older_than, newer } = self.clone();
        DeadLetterQuery { queues: Vec::new(), id, task, reason, error, older_than, newer }
    }
}
