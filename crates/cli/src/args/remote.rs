//! Flags of the verbs of remote control.

use std::time::Duration;

use celeriac_config::duration;
use clap::Args;

/// Flags of `inspect` and `control`.
#[derive(Debug, Args)]
pub struct RemoteArgs {
    /// Command, as --list shows them
    #[arg(required_unless_present = "list")]
    pub command: Option<String>,
    /// Arguments of the command, in its order
    #[arg(value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
    /// Named arguments of the command, as a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    pub kwargs: String,
    /// The workers that are asked
    #[command(flatten)]
    pub workers: WorkersArgs,
    /// List the commands and their arguments, and exit
    #[arg(short, long)]
    pub list: bool,
}

/// Flags that choose workers.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// Comma-separated names of workers [default: all]
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    pub destination: Vec<String>,
    /// Glob for names of workers, such as 'billing*'
    #[arg(long, value_name = "GLOB", conflicts_with = "destination")]
    pub pattern: Option<String>,
    /// Time to wait for replies
    #[arg(short, long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub timeout: Duration,
}
