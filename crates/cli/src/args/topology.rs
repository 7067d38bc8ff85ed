//! Flags of `topology` and `queues`.

use clap::{Args, Subcommand, ValueEnum};

/// Verb of `topology`.
#[derive(Debug, Subcommand)]
pub enum TopologyVerb {
    /// Say how the broker differs from the files; nothing is changed. Exit code 2 if it does
    Plan,
    /// Make the broker what the files say; nothing is taken away from anybody
    Apply(ApplyArgs),
    /// Print what the files say, for RabbitMQ's own tools; the broker is not asked
    Export(ExportArgs),
    /// Move a queue: what comes goes to another, and what waits is moved there
    Migrate(MigrateArgs),
}

/// Flags of `topology apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Delete what was ours and is in no file any more: bindings, policies, empty dead-letter queues
    #[arg(long)]
    pub prune: bool,
}

/// Flags of `topology export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = ExportFormat::Definitions)]
    pub format: ExportFormat,
    /// Name of the RabbitmqCluster that manifests are for
    #[arg(long, value_name = "NAME", required_if_eq("format", "manifests"))]
    pub cluster: Option<String>,
    /// Namespace of that cluster and of the manifests
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// For whom to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// definitions.json, for `rabbitmqctl import_definitions`
    Definitions,
    /// YAML for the messaging topology operator on Kubernetes
    Manifests,
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
