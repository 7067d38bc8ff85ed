//! Flags of `retries`.

use std::time::Duration;

use celeriac_config::duration;
use clap::{Args, Subcommand};

use super::help;

/// Shortest time after which a retry counts as overdue. The message of one that is due is on its
/// way.
const SHORTEST: Duration = Duration::from_secs(60);

/// Verb of `retries`.
#[derive(Debug, Subcommand)]
pub enum RetriesVerb {
    /// List tasks whose next attempt is overdue
    #[command(after_help = help::RETRIES_OVERDUE.text())]
    Overdue(OverdueArgs),
    /// Send overdue attempts again
    #[command(after_help = help::RETRIES_SEND.text())]
    Send(SendRetriesArgs),
}

/// Flags of `retries overdue`.
#[derive(Debug, Args)]
pub struct OverdueArgs {
    /// Task ids [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Due for longer than this, at least 1m
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = after)]
    pub after: Duration,
    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Flags of `retries send`.
#[derive(Debug, Args)]
pub struct SendRetriesArgs {
    /// Task ids
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<String>,
    /// Send the attempts of all overdue tasks
    #[arg(long)]
    pub all: bool,
    /// Due for longer than this, at least 1m
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = after)]
    pub after: Duration,
    /// Send at most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// List, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn after(text: &str) -> Result<Duration, String> {
    let after = duration::parse(text)?;
    if after < SHORTEST { Err("should be at least 1m".to_owned()) } else { Ok(after) }
}
