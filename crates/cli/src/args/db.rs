//! Flags of `db`.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::TaskState;
use clap::{Args, Subcommand};

use super::help;

/// Verb of `db`.
#[derive(Debug, Subcommand)]
pub enum DbVerb {
    /// Show the size of each table and index, and bytes a task, from estimates
    #[command(after_help = help::DB_SIZE.text())]
    Size,
    /// Delete the rows of old tasks
    #[command(after_help = help::DB_PRUNE.text())]
    Prune(PruneArgs),
}

/// Flags of `db prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Ended longer ago than this, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub older_than: Duration,
    /// Task name, or a glob such as 'orders.*'
    #[arg(short, long, value_name = "PATTERN")]
    pub task: Option<String>,
    /// Final states, comma-separated [default: all]
    #[arg(long = "state", value_name = "STATES", value_delimiter = ',', value_parser = state)]
    pub states: Vec<TaskState>,
    /// Delete at most this many, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Count, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Skip the confirmation
    #[arg(short, long)]
    pub yes: bool,
}

fn state(text: &str) -> Result<TaskState, String> {
    let is_meant = |state: &TaskState| state.is_final() && state.as_str() == text;
    let found = TaskState::ALL.into_iter().find(is_meant);
    found.ok_or_else(|| "should be SUCCESS, FAILURE, REVOKED, REJECTED or IGNORED".to_owned())
}
