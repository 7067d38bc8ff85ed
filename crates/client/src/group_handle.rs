//! Handles to groups and chords.

use std::fmt;
use std::time::Duration;

use celeriac_protocol::{Failure, TaskState};
use celeriac_results::{Backend, SavedGroup};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::canvas::clone_and_debug;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::{Origin, TaskHandle};
use crate::revoke::Revoke;

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
pub struct GroupHandle<T = serde_json::Value> {
    client: Client,
    id: String,
    members: Vec<TaskHandle<T>>,
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

impl<T> Clone for GroupHandle<T> {
    fn clone(&self) -> Self {
        let Self { client, id, members } = self;
        Self { client: client.clone(), id: id.clone(), members: members.clone() }
    }
}

impl<T> fmt::Debug for GroupHandle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, id, members } = self;
        formatter.debug_struct("GroupHandle").field("id", id).field("members", members).finish_non_exhaustive()
    }
}

impl<T> GroupHandle<T> {
    pub(crate) fn new(client: Client, id: String, members: Vec<TaskHandle<T>>) -> Self {
        Self { client, id, members }
    }

    /// Saves the ids of the members in the result store, so that [`Client::group`] makes this
    /// handle again from the id, in any program. They are kept for `results.retention`.
    ///
    /// # Errors
    /// Returns an error if there is no result store, or if it cannot answer.
    pub async fn save(&self) -> Result<()> {
        self.save_with(None).await
    }

    async fn save_with(&self, body: Option<String>) -> Result<()> {
        let members = self.members.iter().map(|member| member.id().to_owned()).collect();
        let saved = SavedGroup { id: self.id.clone(), members, body };
        store(&self.client)?.save_group(&saved).await.map_err(Error::Results)
    }

    /// Returns the id of the group. The row of each member has it in `group_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the handles of the members, in order.
    pub fn members(&self) -> &[TaskHandle<T>] {
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

    /// Returns a handle whose results have another type, as of a group that was saved.
    pub fn of_type<U>(self) -> GroupHandle<U> {
        let members = self.members.into_iter().map(TaskHandle::typed).collect();
        GroupHandle { client: self.client, id: self.id, members }
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

impl<T: DeserializeOwned> GroupHandle<T> {
    /// Waits for all results, up to `client.result_timeout`, and returns them in order.
    ///
    /// # Errors
    /// As [`TaskHandle::get`], for the first member that has not succeeded, in order.
    pub async fn get(&self) -> Result<Vec<T>> {
        self.get_timeout(self.client.inner.options.result_timeout).await
    }

    /// Waits for all results, up to `patience`.
    ///
    /// # Errors
    /// As [`GroupHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<Vec<T>> {
        let begun = Instant::now();
        let results = self.members.iter().map(|member| member.get_timeout(patience.saturating_sub(begun.elapsed())));
        stream::iter(results).buffered(AT_A_TIME).try_collect().await
    }

    /// Returns the results as the members end, each with its position. Each is awaited up to
    /// `client.result_timeout`.
    pub fn completed(&self) -> impl Stream<Item = (usize, Result<T>)> {
        let all = self.members.len().max(1);
        let results = self.members.iter().enumerate().map(|(index, member)| async move { (index, member.get().await) });
        stream::iter(results).buffer_unordered(all)
    }
}

impl<T> GroupHandle<T> {
    /// Returns the first member that has not succeeded so far, in order, with its error.
    ///
    /// # Errors
    /// As [`TaskHandle::record`].
    pub async fn first_error(&self) -> Result<Option<(usize, Failure)>> {
        let ends = self.members.iter().enumerate().map(|(index, member)| async move {
            let row = member.record().await?.filter(|row| row.state.is_final() && row.state != TaskState::Success);
            Ok::<_, Error>(row.map(|row| (index, row.failure.unwrap_or_else(Failure::ignored))))
        });
        let mut ends = std::pin::pin!(stream::iter(ends).buffered(AT_A_TIME));
        while let Some(end) = ends.try_next().await? {
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }

    /// Revokes all members. Those that have ended stay as they are.
    pub fn revoke(&self) -> Revoke {
        self.client.revoke(self.members.iter().map(TaskHandle::id))
    }
}

impl Client {
    /// Makes a handle to a group that was [saved](GroupHandle::save), by this program or another.
    /// Of a chord, it is the handle of the header.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # async fn example(client: &Client, id: &str) -> celeriac::Result<()> {
    /// let pages = client.group(id).await?;
    /// println!("{} of {} pages wait", pages.counts().await?.waiting, pages.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Unknown`] if no group of this id is saved, and an error if there is no
    /// result store, or if it cannot answer.
    pub async fn group(&self, id: &str) -> Result<GroupHandle> {
        self.saved(id).await.map(|(group, _)| group)
    }

    /// Makes a handle to a chord that was [saved](ChordHandle::save), by this program or another.
    /// The id is that of its header.
    ///
    /// # Errors
    /// As [`Client::group`], and if it is a group without a body.
    pub async fn chord(&self, id: &str) -> Result<ChordHandle> {
        match self.saved(id).await? {
            (header, Some(body)) => Ok(ChordHandle::new(header, self.handle(body))),
            (_, None) => Err(Error::Unknown { id: id.to_owned() }),
        }
    }

    async fn saved(&self, id: &str) -> Result<(GroupHandle, Option<String>)> {
        let found = store(self)?.find_group(id).await.map_err(Error::Results)?;
        let SavedGroup { id, members, body } = found.ok_or_else(|| Error::Unknown { id: id.to_owned() })?;
        // They were sent before their ids were saved.
        let sent = Origin { is_sent: true, ..Origin::default() };
        let members = members.into_iter().map(|member| self.handle(member).with_origin(sent)).collect();
        Ok((GroupHandle::new(self.clone(), id, members), body))
    }
}

fn store(client: &Client) -> Result<&dyn Backend> {
    client.results().map(|results| &**results).ok_or(Error::NoResults)
}

/// A handle to a submitted chord.
pub struct ChordHandle<T = serde_json::Value> {
    header: GroupHandle,
    body: TaskHandle<T>,
}

clone_and_debug!(ChordHandle { header, body });

impl<T> ChordHandle<T> {
    pub(crate) fn new(header: GroupHandle, body: TaskHandle<T>) -> Self {
        Self { header, body }
    }

    /// Saves the ids of the members and of the body in the result store, so that [`Client::chord`]
    /// makes this handle again from the id of the header.
    ///
    /// # Errors
    /// As [`GroupHandle::save`].
    pub async fn save(&self) -> Result<()> {
        self.header.save_with(Some(self.body.id().to_owned())).await
    }

    /// Revokes all members and the body. The chord fails when its members have ended.
    pub fn revoke(&self) -> Revoke {
        let members = self.header.members.iter().map(TaskHandle::id);
        self.header.client.revoke(members.chain([self.body.id()]))
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
    pub fn body(&self) -> &TaskHandle<T> {
        &self.body
    }

    /// Returns a handle whose result has another type, as of a chord that was saved.
    pub fn of_type<U>(self) -> ChordHandle<U> {
        ChordHandle { header: self.header, body: self.body.typed() }
    }
}

impl<T: DeserializeOwned> ChordHandle<T> {
    /// Waits for the result of the body, up to `client.result_timeout`.
    ///
    /// # Errors
    /// As [`TaskHandle::get`]. The error is a `ChordError` if a member has not succeeded.
    pub async fn get(&self) -> Result<T> {
        self.body.get().await
    }

    /// Waits for the result of the body, up to `patience`.
    ///
    /// # Errors
    /// As [`ChordHandle::get`].
    pub async fn get_timeout(&self, patience: Duration) -> Result<T> {
        self.body.get_timeout(patience).await
    }
}
