//! Handles to groups and chords.

use std::time::Duration;

use celeriac_protocol::TaskState;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::error::Result;
use crate::handle::TaskHandle;

/// Number of members that a handle asks the store about at a time.
const AT_A_TIME: usize = 64;

/// A handle to a submitted group.
///
/// ```no_run
/// use celeriac::GroupHandle;
/// use celeriac::prelude::*;
/// use futures::StreamExt;
///
/// # async fn example(group: GroupHandle) -> celeriac::Result<()> {
/// let mut ended = std::pin::pin!(group.completed());
/// while let Some((index, result)) = ended.next().await {
///     println!("{index}: {result:?}, {} still run", group.counts().await?.waiting);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GroupHandle {
    id: String,
    members: Vec<TaskHandle<serde_json::Value>>,
}

/// Numbers of members by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupCounts {
    /// Members that have not ended.
    pub waiting: usize,
    /// Members that have succeeded.
    pub successful: usize,
    /// Members that have ended in another way.
    pub failed: usize,
}

impl GroupHandle {
    pub(crate) fn new(id: String, members: Vec<TaskHandle<serde_json::Value>>) -> Self {
        Self { id, members }
    }

    /// Returns the id of the group. The row of each member has it in `group_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the handles of the members, in order.
    pub fn members(&self) -> &[TaskHandle<serde_json::Value>] {
        &self.members
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns true if the group has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits for all results, up to `client.result_timeout`, and returns them in order.
    ///
    /// # Errors
    /// As [`TaskHandle::get`], for the first member that has not succeeded, in order.
    pub async fn get(&self) -> Result<Vec<serde_json::Value>> {
        match self.members.first() {
            None => Ok(Vec::new()),
            Some(first) => self.get_timeout(first.client().inner.options.result_timeout).await,
        }
    }

    /// Waits for all results, up to `patience`.
    ///
    /// # Errors
    /// As [`GroupHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<Vec<serde_json::Value>> {
        let begun = Instant::now();
        let results = self.members.iter().map(|member| member.get_timeout(patience.saturating_sub(begun.elapsed())));
        stream::iter(results).buffered(AT_A_TIME).try_collect().await
    }

    /// Returns the results as the members end, each with its position. Each is awaited up to
    /// `client.result_timeout`.
    pub fn completed(&self) -> impl Stream<Item = (usize, Result<serde_json::Value>)> {
        let all = self.members.len().max(1);
        let results = self.members.iter().enumerate().map(|(index, member)| async move { (index, member.get().await) });
        stream::iter(results).buffer_unordered(all)
    }

    /// Returns the numbers of members that wait, have succeeded, and have ended in another way.
    ///
    /// # Errors
    /// As [`TaskHandle::status`].
    pub async fn counts(&self) -> Result<GroupCounts> {
        let states = stream::iter(self.members.iter().map(TaskHandle::status)).buffer_unordered(AT_A_TIME);
        let count = |mut counts: GroupCounts, state: TaskState| async move {
            match state {
                TaskState::Success => counts.successful += 1,
                state if state.is_final() => counts.failed += 1,
                _ => counts.waiting += 1,
            }
            Ok(counts)
        };
        states.try_fold(GroupCounts::default(), count).await
    }
}

/// A handle to a submitted chord.
#[derive(Debug, Clone)]
pub struct ChordHandle {
    header: GroupHandle,
    body: TaskHandle<serde_json::Value>,
}

impl ChordHandle {
    pub(crate) fn new(header: GroupHandle, body: TaskHandle<serde_json::Value>) -> Self {
        Self { header, body }
    }

    /// Returns the id of the last step of the body.
    pub fn id(&self) -> &str {
        self.body.id()
    }

    /// Returns the handle of the header.
    pub fn header(&self) -> &GroupHandle {
        &self.header
    }

    /// Returns the handle of the last step of the body. It fails if a member fails.
    pub fn body(&self) -> &TaskHandle<serde_json::Value> {
        &self.body
    }

    /// Waits for the result of the body, up to `client.result_timeout`.
    ///
    /// # Errors
    /// As [`TaskHandle::get`]. The error is a `ChordError` if a member has not succeeded.
    pub async fn get(&self) -> Result<serde_json::Value> {
        self.body.get().await
    }

    /// Waits for the result of the body, up to `patience`.
    ///
    /// # Errors
    /// As [`ChordHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<serde_json::Value> {
        self.body.get_timeout(patience).await
    }
}
