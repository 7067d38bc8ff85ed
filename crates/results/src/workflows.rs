//! Workflows: which tasks belong together, and the groups whose handles were saved.

use std::fmt;
use std::time::Duration;

use celeriac_protocol::{Failure, TaskState};
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Result;

/// Reads what belongs together.
pub trait Workflows: fmt::Debug + Send + Sync + 'static {
    /// Returns the tasks of a workflow in the order of the tree, at most so many: from the root of
    /// this task, or from the members of this group.
    fn workflow<'a>(&'a self, id: &'a str, at_most: u32) -> BoxFuture<'a, Result<Vec<WorkflowTask>>>;

    /// Returns the chords among these groups.
    fn chords<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<WorkflowChord>>>;

    /// Saves the ids of a group.
    fn save_group<'a>(&'a self, group: &'a SavedGroup) -> BoxFuture<'a, Result<()>>;

    /// Returns a group that was saved.
    fn find_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SavedGroup>>>;

    /// Deletes at most `at_most` groups that were saved longer ago than `keep`, and returns their
    /// number.
    fn sweep_groups(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// A task in its workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowTask {
    /// Number of tasks above it.
    pub depth: u32,
    /// Its id.
    pub id: String,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// Its group.
    pub group_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: TaskState,
    /// Number of attempts.
    pub attempts: u32,
    /// Its error.
    pub failure: Option<Failure>,
    /// Time of sending.
    pub sent_at: Option<Timestamp>,
    /// Time at which its last attempt began.
    pub started_at: Option<Timestamp>,
    /// Time of its end.
    pub finished_at: Option<Timestamp>,
    /// Duration of its last attempt, in seconds.
    pub runtime: Option<f64>,
}

/// A chord in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowChord {
    /// The id of its group.
    pub id: String,
    /// Number of members.
    pub size: u64,
    /// Members that have succeeded.
    pub ok: u64,
    /// Members that have ended in another way.
    pub failed: u64,
    /// The signature of its body, as JSON text.
    pub body: String,
    /// Time at which it was decided.
    pub fired_at: Option<Timestamp>,
    /// The reason why it ended without its members.
    pub error: Option<String>,
}

/// The ids of a group or a chord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedGroup {
    /// Its id.
    pub id: String,
    /// The ids of its members, in order.
    pub members: Vec<String>,
    /// The id of the last task of the body, if it is a chord.
    pub body: Option<String>,
}
