//! Flags of `topology` and `queues`.

use clap::{Args, Subcommand, ValueEnum};

use super::help;

/// Verb of `topology`.
#[derive(Debug, Subcommand)]
pub enum TopologyVerb {
    /// Compare the broker with the files
    #[command(after_help = help::PLAN.text())]
    Plan,
    /// Create what is missing on the broker, and set policies
    #[command(after_help = help::APPLY.text())]
    Apply(ApplyArgs),
    /// Print the topology of the files for RabbitMQ's own tools, without connecting
    #[command(after_help = help::EXPORT.text())]
    Export(ExportArgs),
    /// Move a queue's bindings and messages to another queue
    #[command(after_help = help::MIGRATE.text())]
    Migrate(MigrateArgs),
}

/// Flags of `topology apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Skip the confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Also delete leftovers: bindings, policies, empty dead-letter queues
    #[arg(long)]
    pub prune: bool,
}

/// Flags of `topology export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Format
    #[arg(long, value_enum, default_value_t = ExportFormat::Definitions)]
    pub format: ExportFormat,
    /// Name of the RabbitmqCluster, for manifests
    #[arg(long, value_name = "NAME", required_if_eq("format", "manifests"))]
    pub cluster: Option<String>,
    /// Namespace of the cluster and the manifests
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Output format of `topology export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// definitions.json, for rabbitmqctl import_definitions
    Definitions,
    /// YAML for the messaging topology operator on Kubernetes
    Manifests,
}

/// Flags of `topology migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Queue to move from
    pub from: String,
    /// Queue to move to; the configuration has to declare it
    #[arg(long, value_name = "QUEUE")]
    pub to: String,
    /// Delete the old queue if it is empty and has no consumers
    #[arg(long)]
    pub delete: bool,
    /// Skip the confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Flags of `queues`.
#[derive(Debug, Args)]
pub struct QueuesArgs {
    /// Queues to show, comma-separated [default: all declared queues]
    #[arg(short = 'Q', long, value_name = "QUEUES", value_delimiter = ',')]
    pub queues: Vec<String>,
    /// Also show task and age of each first message; this counts as a delivery
    #[arg(long)]
    pub head: bool,
}
