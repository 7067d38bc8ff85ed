//! Flags of `dead`.

use std::time::Duration;

use celeriac_admin::dead::DeadLetterQuery;
use celeriac_config::duration;
use celeriac_protocol::RateLimit;
use clap::{Args, Subcommand};

/// Verb of `dead`.
#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// Show what stands in dead-letter queues
    List(ListDeadArgs),
    /// Show everything of one dead letter
    Show(ShowDeadArgs),
    /// Put dead letters back on their queues, to run again
    Replay(ReplayArgs),
    /// Throw dead letters away
    Purge(PurgeArgs),
}

/// The queues whose dead letters are meant.
#[derive(Debug, Clone, Args)]
pub struct DeadQueues {
    /// Queues whose dead letters are meant, separated by commas [default: all that are declared]
    #[arg(short = 'Q', long = "queue", value_name = "QUEUES", value_delimiter = ',')]
    pub queues: Vec<String>,
}

/// Filter of dead letters: those that fulfil every flag.
#[derive(Debug, Clone, Args)]
pub struct DeadFilter {
    /// Their queues
    #[command(flatten)]
    pub queues: DeadQueues,
    /// Task name: exact, a glob such as orders.*, or /regex/
    #[arg(short, long, value_name = "PATTERN")]
    pub task: Option<String>,
    /// Task id
    #[arg(long)]
    pub id: Option<String>,
    /// Reason, such as exhausted, rejected, unknown-task, expired, delivery_limit
    #[arg(long)]
    pub reason: Option<String>,
    /// A part of the error, or a /regex/ that is found in it
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Dead for longer than this, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub older_than: Option<Duration>,
    /// Dead for no longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub newer: Option<Duration>,
}

/// Flags of `dead list`.
#[derive(Debug, Args)]
pub struct ListDeadArgs {
    /// Which
    #[command(flatten)]
    pub filter: DeadFilter,
    /// List no more than so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
}

/// Flags of `dead show`.
#[derive(Debug, Args)]
pub struct ShowDeadArgs {
    /// Task id
    pub id: String,
    /// Where to look
    #[command(flatten)]
    pub queues: DeadQueues,
}

/// Flags of verbs that take dead letters off their queues.
#[derive(Debug, Args)]
pub struct RemovalArgs {
    /// Which
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Take no more than so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Flags of `dead replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Which, and whether to ask
    #[command(flatten)]
    pub removal: RemovalArgs,
    /// Put them on this queue [default: the one each came from]
    #[arg(long, value_name = "QUEUE")]
    pub to: Option<String>,
    /// How many in a time, such as 100/s, 30/m, 5/h [default: as fast as they are confirmed]
    #[arg(long, value_name = "N/UNIT")]
    pub rate: Option<RateLimit>,
    /// Let tasks start although the time is over that their sender set
    #[arg(long)]
    pub drop_expires: bool,
}

/// Flags of `dead purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Which, and whether to ask
    #[command(flatten)]
    pub removal: RemovalArgs,
}

impl DeadFilter {
    /// The filter of these flags, without the queues.
    pub fn wanted(&self) -> DeadLetterQuery {
        let Self { queues: _, task, id, reason, error, older_than, newer } = self.clone();
        DeadLetterQuery { queues: Vec::new(), id, task, reason, error, older_than, newer }
    }
}
