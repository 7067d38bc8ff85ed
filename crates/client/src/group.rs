//! Groups: tasks that run in parallel, each written in any language.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use celeriac_protocol::Signature;
use celeriac_protocol::signature::SignatureKind;
use celeriac_results::PgConnection;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::canvas::{Bound, Canvas, Immutable, Member, Part, PartOrigin, PartProblem, Step, clone_and_debug};
use crate::children::ids_of;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::group_handle::GroupHandle;
use crate::steps::{call_of_steps, freeze, steps_of, submit_steps, with_chords};
use crate::submit::new_id;
use crate::submit::outbox_writer::OutboxWriter;

/// Tasks that run in parallel, each with a result of the type `T`.
///
/// ```no_run
/// use celeriac::Group;
/// use celeriac::prelude::*;
///
/// #[task(name = "pages.render")]
/// async fn render(page: u32) -> TaskResult<u32> {
///     Ok(page * 1000)
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// let pages = Group::new((1..=3).map(render)).submit(client).await?;
/// let bytes: Vec<u32> = pages.get().await?;
/// println!("{bytes:?}");
/// # Ok(())
/// # }
/// ```
///
/// A member may be a chain. Members of several types are signatures, `render(1).signature()?`, and
/// their results are [`serde_json::Value`]s.
#[must_use = "a group does nothing until it is submitted"]
pub struct Group<T = serde_json::Value> {
    members: Vec<Signature>,
    origin: PartOrigin,
    output: PhantomData<fn() -> T>,
}

/// The steps of a member. Most members have one.
pub(crate) type MemberSteps = Vec<Signature>;

clone_and_debug!(Group { members, origin, output });

impl Default for Group {
    /// Makes a group without members.
    fn default() -> Self {
        Self::of(Vec::new(), PartOrigin::default())
    }
}

impl<T> Group<T> {
    /// Makes a group of these tasks.
    pub fn new<M>(members: impl IntoIterator<Item = M>) -> Self
    where
        M: Member<Output = T>,
    {
        members.into_iter().fold(Self::of(Vec::new(), PartOrigin::default()), Self::with)
    }

    pub(crate) fn of(members: Vec<Signature>, origin: PartOrigin) -> Self {
        Self { members, origin, output: PhantomData }
    }

    /// Adds a member.
    pub fn with(mut self, member: impl Member<Output = T>) -> Self {
        let Part { signature, origin } = member.into_part();
        self.origin.add(origin);
        self.members.push(signature);
        self
    }

    /// Returns the same group without the type of its results.
    pub(crate) fn untyped(self) -> Group {
        Group::of(self.members, self.origin)
    }

    pub(crate) fn origin_mut(&mut self) -> &mut PartOrigin {
        &mut self.origin
    }

    /// Refuses to be submitted.
    pub(crate) fn refused(mut self, problem: PartProblem) -> Self {
        self.origin.refuse(problem);
        self
    }

    /// Makes a step whose members ignore the result of the task before.
    pub fn immutable(self) -> Immutable<Vec<T>> {
        Immutable::of(Canvas::into_part(self))
    }

    /// Makes one signature of the group, as Celery writes it.
    ///
    /// # Errors
    /// Returns an error if an argument of a member cannot be serialized.
    pub fn signature(self) -> Result<Signature> {
        Canvas::into_part(self).finish()
    }

    /// Submits the members, and returns when RabbitMQ has all of them.
    ///
    /// # Errors
    /// As [`Client::submit`], and if a member cannot be sent: chords cannot be members yet. After
    /// an error, some members may have been sent.
    pub async fn submit(self, client: &Client) -> Result<GroupHandle<T>> {
        let (members, origin) = self.into_members()?;
        submit_members(client, MemberPlace { group: &new_id(), body: None }, members, &origin, &AtomicU64::new(0)).await
    }

    /// Returns the members, with those of groups in place of the groups.
    pub(crate) fn into_members(self) -> Result<(Vec<MemberSteps>, PartOrigin)> {
        self.origin.check()?;
        let members = Signature::flat(self.members)
            .map_err(|error| Error::Call { task: "celery.group".to_owned(), reason: error.to_string() })?;
        let members = members.into_iter().map(member_of).collect::<Result<_>>()?;
        Ok((members, self.origin))
    }
}

/// Returns the steps of a member.
fn member_of(signature: Signature) -> Result<MemberSteps> {
    let task = signature.task.clone();
    let refused = |reason: &str| Error::Call { task: task.clone(), reason: reason.to_owned() };
    let steps = with_chords(steps_of(signature)?)?;
    match steps.first().map(Signature::kind) {
        None => Err(refused("a chain has no steps")),
        Some(SignatureKind::Chord) => Err(refused("chords cannot be members of a group yet")),
        Some(_) => Ok(steps),
    }
}

/// The group of members, and the body of its chord.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberPlace<'a> {
    pub(crate) group: &'a str,
    pub(crate) body: Option<&'a Signature>,
}

impl MemberPlace<'_> {
    /// Gives the tasks of a member their ids, and the last one its place. Returns the id of the
    /// last one.
    pub(crate) fn freeze(&self, index: usize, steps: &mut MemberSteps, reply_to: Option<&str>) -> Result<String> {
        let awaited = freeze(steps, reply_to)?;
        if let Some(last) = steps.last_mut() {
            let index = i64::try_from(index).unwrap_or(i64::MAX);
            last.change_end(&mut |task: &mut Signature| {
                task.options.insert("group_id".to_owned(), self.group.into());
                task.options.insert("group_index".to_owned(), index.into());
                if let Some(body) = self.body {
                    task.options.insert("chord".to_owned(), body.clone().into());
                }
            });
        }
        Ok(awaited)
    }
}

/// Submits the members of a group, and counts them.
pub(crate) async fn submit_members<T>(
    client: &Client,
    place: MemberPlace<'_>,
    members: Vec<MemberSteps>,
    origin: &PartOrigin,
    sent: &AtomicU64,
) -> Result<GroupHandle<T>> {
    let reply_to = client.reply_queue("celery.group").await?;
    let window = client.inner.limits.window;
    let submitted = members.into_iter().enumerate().map(|(index, mut steps)| async move {
        let awaited = place.freeze(index, &mut steps, reply_to)?;
        let ids = client.lineage().map(|_| ids_of(&steps)).unwrap_or_default();
        let handle = submit_steps(client, steps, awaited, origin).await?;
        Ok::<_, Error>((handle, ids))
    });
    let members: Vec<_> = stream::iter(submitted)
        .buffered(window)
        .inspect_ok(|_| {
            sent.fetch_add(1, Ordering::Relaxed);
        })
        .try_collect()
        .await?;
    let (members, ids) = members.into_iter().unzip();
    if let Some(within) = client.lineage() {
        within.regroup(place.group.to_owned(), ids);
    }
    Ok(GroupHandle::new(client.clone(), place.group.to_owned(), members))
}

/// Writes the members of a group in a transaction. Nothing is written unless all can be.
pub(crate) async fn write_members<T>(
    writer: &mut OutboxWriter<'_>,
    place: MemberPlace<'_>,
    mut members: Vec<MemberSteps>,
    origin: &PartOrigin,
) -> Result<GroupHandle<T>> {
    let client = writer.client();
    let mut ids = Vec::with_capacity(members.len());
    for (index, steps) in members.iter_mut().enumerate() {
        ids.push(place.freeze(index, steps, None)?);
        writer.check(call_of_steps(client, steps.clone(), origin)?)?;
    }
    writer.add_group(place.group, &members);
    for steps in members {
        writer.add(call_of_steps(client, steps, origin)?).await?;
    }
    let members = ids.into_iter().map(|id| writer.handle(id)).collect();
    Ok(GroupHandle::new(client.clone(), place.group.to_owned(), members))
}

impl<T> Canvas for Group<T> {
    type Output = Vec<T>;
    type Handle = GroupHandle<T>;

    fn into_part(self) -> Part {
        Part { signature: Signature::group(self.members), origin: self.origin }
    }

    async fn submit_within(self, client: &Client, transaction: &mut PgConnection) -> Result<GroupHandle<T>> {
        let (members, origin) = self.into_members()?;
        let group = new_id();
        let mut writer = OutboxWriter::new(client, transaction, "celery.group").await?;
        let handle = write_members(&mut writer, MemberPlace { group: &group, body: None }, members, &origin).await?;
        writer.finish().await?;
        Ok(handle)
    }
}

/// The members of a group whose types are not known may take any result.
impl<Input> Step<Input, Bound> for Group {
    type Output = Vec<serde_json::Value>;

    fn into_part(self) -> Part {
        Canvas::into_part(self)
    }
}

impl<M: Member> FromIterator<M> for Group<M::Output> {
    fn from_iter<I: IntoIterator<Item = M>>(members: I) -> Self {
        Self::new(members)
    }
}
