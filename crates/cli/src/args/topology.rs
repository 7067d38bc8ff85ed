//! Flags of `topology` and `queues`.

use clap::{Args, Subcommand};

/// What to do with exchanges and queues.
#[derive(Debug, Subcommand)]
pub enum TopologyVerb {
    /// Move a queue: what comes goes to another, and what waits is moved there
    Migrate(MigrateArgs),
}

/// Flags of `topology migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The queue to move from
    pub from: String,
    /// The queue to move to, which the configuration declares
    #[arg(long, value_name = "QUEUE")]
    pub to: String,
    /// Delete the queue once it is empty and nobody consumes it
    #[arg(long)]
    pub delete: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Flags of `queues`.
#[derive(Debug, Args)]
pub struct QueuesArgs {
    /// Only these queues, separated by commas [default: all that are declared]
    #[arg(short = 'Q', long, value_name = "QUEUES", value_delimiter = ',')]
    pub queues: Vec<String>,
    /// Look at the first message of each queue, too: its task, and how long ago it was sent. That counts as a delivery
    #[arg(long)]
    pub head: bool,
}
