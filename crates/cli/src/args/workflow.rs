//! Flags of `workflow`.

use clap::{Args, Subcommand};

use super::help;

/// Verb of `workflow`.
#[derive(Debug, Subcommand)]
pub enum WorkflowVerb {
    /// Show the tree of a workflow: states and times of its tasks, and its chords
    #[command(after_help = help::WORKFLOW_SHOW.text())]
    Show(WorkflowShowArgs),
}

/// Flags of `workflow show`.
#[derive(Debug, Args)]
pub struct WorkflowShowArgs {
    /// Id of a task of the workflow, or of a group or chord
    pub id: String,
    /// Print a Mermaid flowchart
    #[arg(long, conflicts_with = "json")]
    pub mermaid: bool,
    /// Show at most this many tasks
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}
