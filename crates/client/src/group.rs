//! Groups: tasks that run in parallel, each written in any language. Chords: a task that gets the
//! results of all of them.

use std::ops::BitOr;

use celeriac_protocol::signature::{ChordParts, SignatureKind};
use celeriac_protocol::{Codec, Signature, Value};
use celeriac_results::NewJoin;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::group_handle::{ChordHandle, GroupHandle};
use crate::handle::{Origin, TaskHandle};
use crate::steps::{freeze, steps_of, submit_steps, with_chords};
use crate::submit::new_id;

/// Tasks that run in parallel.
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
/// let pages = (1..=3).map(|page| render(page).signature()).collect::<Result<Group, _>>()?;
/// let bytes = pages.submit(client).await?.get().await?;
/// println!("{bytes:?}");
/// # Ok(())
/// # }
/// ```
///
/// A member may be a chain. A group as a member adds each of its members.
#[derive(Debug, Clone, Default)]
#[must_use = "a group does nothing until it is submitted"]
pub struct Group {
    members: Vec<Signature>,
}

/// The steps of a member. Most members have one.
pub(crate) type Member = Vec<Signature>;

impl Group {
    /// Makes a group of these tasks.
    pub fn new(members: impl IntoIterator<Item = Signature>) -> Self {
        Self { members: members.into_iter().collect() }
    }

    /// Adds a member.
    pub fn with(mut self, member: Signature) -> Self {
        self.members.push(member);
        self
    }

    /// Returns a chord: `body` is called with the list of the results, when all members have
    /// succeeded. `group | body` does the same.
    pub fn then(self, body: Signature) -> Chord {
        Chord::new(self, body)
    }

    /// Submits the members, and returns when RabbitMQ has all of them.
    ///
    /// # Errors
    /// As [`Client::submit`], and if a member cannot be sent: chords cannot be members yet. After
    /// an error, some members may have been sent.
    pub async fn submit(self, client: &Client) -> Result<GroupHandle> {
        let members = self.into_members()?;
        submit_members(client, new_id(), members, None).await
    }

    /// Returns the members, with those of groups in place of the groups.
    pub(crate) fn into_members(self) -> Result<Vec<Member>> {
        let members = Signature::flat(self.members)
            .map_err(|error| Error::Call { task: "celery.group".to_owned(), reason: error.to_string() })?;
        members.into_iter().map(member_of).collect()
    }
}

/// Returns the steps of a member.
fn member_of(signature: Signature) -> Result<Member> {
    let task = signature.task.clone();
    let refused = |reason: &str| Error::Call { task: task.clone(), reason: reason.to_owned() };
    let steps = with_chords(steps_of(signature)?)?;
    match steps.first().map(Signature::kind) {
        None => Err(refused("a chain has no steps")),
        Some(SignatureKind::Chord) => Err(refused("chords cannot be members of a group yet")),
        Some(_) => Ok(steps),
    }
}

/// Submits the members of a group. `body` is the body of their chord.
pub(crate) async fn submit_members(
    client: &Client,
    id: String,
    members: Vec<Member>,
    body: Option<&Signature>,
) -> Result<GroupHandle> {
    let body = body.map(|body| Value::from(body.clone()));
    let window = client.inner.limits.window;
    let submitted = members.into_iter().enumerate().map(|(index, mut steps)| {
        let (id, body) = (&id, &body);
        async move {
            let awaited = freeze(client, &mut steps).await?;
            if let Some(last) = steps.last_mut() {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                last.change_end(&mut |task: &mut Signature| {
                    task.options.insert("group_id".to_owned(), id.as_str().into());
                    task.options.insert("group_index".to_owned(), index.into());
                    if let Some(body) = body {
                        task.options.insert("chord".to_owned(), body.clone());
                    }
                });
            }
            submit_steps(client, steps, awaited).await
        }
    });
    let members = stream::iter(submitted).buffered(window).try_collect().await?;
    Ok(GroupHandle::new(id, members))
}

impl FromIterator<Signature> for Group {
    fn from_iter<I: IntoIterator<Item = Signature>>(members: I) -> Self {
        Self::new(members)
    }
}

impl BitOr<Signature> for Group {
    type Output = Chord;

    fn bitor(self, body: Signature) -> Chord {
        self.then(body)
    }
}

impl From<Group> for Signature {
    /// Makes one signature of the group, as Celery writes it.
    fn from(group: Group) -> Self {
        Self::group(group.members)
    }
}

/// A group, the header, and a task, the body. When all members of the header have succeeded, the
/// body is called with the list of their results, in order.
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
/// #[task(name = "pages.bind")]
/// async fn bind(bytes: Vec<u32>, title: String) -> TaskResult<String> {
///     Ok(format!("{title}: {}", bytes.iter().sum::<u32>()))
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// let pages = (1..=3).map(|page| render(page).signature()).collect::<Result<Group, _>>()?;
/// let book = pages.then(Signature::new("pages.bind").arg("Robinson")).submit(client).await?;
/// println!("{}", book.get().await?);
/// # Ok(())
/// # }
/// ```
///
/// The members are counted in the result store, which a chord therefore needs. If a member ends in
/// another way, the chord ends with `ChordError` when all members have ended, and the body does not
/// run.
#[derive(Debug, Clone)]
#[must_use = "a chord does nothing until it is submitted"]
pub struct Chord {
    header: Group,
    body: Signature,
}

impl Chord {
    /// Makes a chord of a group and its body, which may be a chain.
    pub fn new(header: Group, body: Signature) -> Self {
        Self { header, body }
    }

    /// Makes a chord of its signature, with steps behind it.
    pub(crate) fn from_steps(chord: Signature, rest: Vec<Signature>) -> Result<Self> {
        let ChordParts { header, body } = chord.into_chord_parts().map_err(|error| refused(&error.to_string()))?;
        Ok(rest.into_iter().fold(Self::new(Group::new(header), body), Self::then))
    }

    /// Adds a step behind the body. It is called with the result of the body.
    pub fn then(mut self, step: Signature) -> Self {
        self.body = Signature::chain(vec![self.body, step]);
        self
    }

    /// Calls another task with the result of the body.
    pub fn link(mut self, callback: Signature) -> Self {
        self.body = self.body.link(callback);
        self
    }

    /// Calls another task with the id of the body, if a member or the body fails.
    pub fn on_error(mut self, errback: Signature) -> Self {
        self.body = self.body.on_error(errback);
        self
    }

    /// Submits the chord, and returns when RabbitMQ has all members. The body of a header without
    /// members is sent at once, with an empty list.
    ///
    /// # Errors
    /// As [`Client::submit`], if there is no result store, and if a part cannot be sent: chords
    /// cannot be members yet, and a body cannot end with a group. After an error, some members may
    /// have been sent. The body runs only if all of them were, although a confirm was lost, and if
    /// they end before the error is recorded.
    pub async fn submit(self, client: &Client) -> Result<ChordHandle> {
        let Some(store) = client.results() else {
            return Err(refused("a chord needs a result store, which counts its members: set `results.url`"));
        };
        let members = self.header.into_members()?;
        let group = new_id();
        let mut steps = with_chords(steps_of(self.body)?)?;
        let id = freeze(client, &mut steps).await?;
        if members.is_empty() {
            let body = after_no_members(client, steps, id).await?;
            return Ok(ChordHandle::new(GroupHandle::new(group, Vec::new()), body));
        }
        let body = body_of(steps, &id, &group).body_of_join(&group, members.len());
        let join = NewJoin { id: group.clone(), size: members.len() as u64, body: text(&body)? };
        store.add_join(&join).await.map_err(Error::Results)?;
        // Registered before the members are sent, because the body may reply at once.
        let reply = client.inner.replies.as_ref().map(|replies| replies.expect_reply(&id));
        let body_handle = TaskHandle::new(client.clone(), id, reply, Origin { is_sent: true, ..Origin::default() });
        match submit_members(client, group, members, Some(&body)).await {
            Ok(header) => Ok(ChordHandle::new(header, body_handle)),
            Err(error) => {
                // The members that were sent run. If the store does not answer, the chord stays
                // open, or fires if only confirms were lost.
                let _ = store.give_up_join(&join.id, &error.to_string()).await;
                Err(error)
            }
        }
    }
}

impl From<Chord> for Signature {
    /// Makes one signature of the chord, as Celery writes it.
    fn from(chord: Chord) -> Self {
        Self::chord(chord.header.into(), chord.body)
    }
}

/// Submits the body of a header without members.
async fn after_no_members(
    client: &Client,
    mut steps: Vec<Signature>,
    id: String,
) -> Result<TaskHandle<serde_json::Value>> {
    match steps.first_mut() {
        Some(first) if first.kind() == SignatureKind::Task => {
            *first = std::mem::take(first).called_with([Value::List(Vec::new())]);
            submit_steps(client, steps, id).await
        }
        _ => Err(refused("the body of a header without members cannot begin with a chord yet")),
    }
}

/// Makes the signature of the body of its steps.
fn body_of(steps: Vec<Signature>, id: &str, group: &str) -> Signature {
    Signature::of_steps(steps).option("task_id", id).option("group_id", group)
}

fn text(body: &Signature) -> Result<String> {
    let unwritable =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Encode { task: body.task.clone(), source };
    let bytes = Codec::Json.encode_value(&body.clone().into()).map_err(|error| unwritable(error.into()))?;
    String::from_utf8(bytes).map_err(|error| unwritable(error.into()))
}

fn refused(reason: &str) -> Error {
    Error::Call { task: "celery.chord".to_owned(), reason: reason.to_owned() }
}
