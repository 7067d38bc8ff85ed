//! Groups: tasks that run in parallel, each written in any language. Chords: a task that gets the
//! results of all of them.

use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use celeriac_protocol::signature::{ChordParts, ChordPolicy, ChordRules, SignatureKind};
use celeriac_protocol::{Codec, Signature, TaskOptions, Value};
use celeriac_results::{Backend, NewJoin};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::group_handle::{ChordHandle, GroupHandle};
use crate::handle::{Origin, TaskHandle};
use crate::steps::{freeze, steps_of, submit_steps, with_chords};
use crate::submit::{DynamicCall, new_id};

/// Longest time without a word of the sender of a chord, after which its chord fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two words of the sender.
const WORD: Duration = Duration::from_secs(10);

const FAILED_MEANWHILE: &str = "the chord has failed before all its members were sent: its deadline has passed, or \
     the store did not hear of its sender for a minute";

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
        submit_members(client, new_id(), members, None, &AtomicU64::new(0)).await
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

/// Submits the members of a group, and counts them. `body` is the body of their chord.
pub(crate) async fn submit_members(
    client: &Client,
    id: String,
    members: Vec<Member>,
    body: Option<&Signature>,
    sent: &AtomicU64,
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
    let members = stream::iter(submitted)
        .buffered(window)
        .inspect_ok(|_| {
            sent.fetch_add(1, Ordering::Relaxed);
        })
        .try_collect()
        .await?;
    Ok(GroupHandle::new(client.clone(), id, members))
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
/// run. [`fail_fast`](Self::fail_fast), [`settled`](Self::settled) and
/// [`at_least`](Self::at_least) change that.
///
/// Every chord ends: with its members, at its [`deadline`](Self::deadline), or a minute after its
/// sender was killed before it had sent all of them.
#[derive(Debug, Clone)]
#[must_use = "a chord does nothing until it is submitted"]
pub struct Chord {
    header: Group,
    body: Signature,
    rules: ChordRules,
}

impl Chord {
    /// Makes a chord of a group and its body, which may be a chain.
    pub fn new(header: Group, body: Signature) -> Self {
        Self { header, body, rules: ChordRules::default() }
    }

    /// Sets the time from its start to its end, by the clock of Postgres. A chord that is not
    /// decided by then fails. Default: `client.chord_deadline`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.rules.deadline = Some(deadline);
        self
    }

    /// Fails the chord when the first member has not succeeded, and not when all have ended. The
    /// others run.
    pub fn fail_fast(mut self) -> Self {
        self.rules.policy = ChordPolicy::FailFast;
        self
    }

    /// Calls the body when all members have ended, however they have ended. It gets a list of
    /// [`MemberEnd`](crate::MemberEnd), in order.
    pub fn settled(mut self) -> Self {
        self.rules.policy = ChordPolicy::Settled;
        self
    }

    /// Calls the body when so many members have succeeded, with the results of those that have by
    /// then, in order. It may get more. The chord fails when so many can no longer succeed.
    pub fn at_least(mut self, members: u64) -> Self {
        self.rules.policy = ChordPolicy::AtLeast(members);
        self
    }

    /// Makes a chord of its signature, with steps behind it.
    pub(crate) fn from_steps(chord: Signature, rest: Vec<Signature>) -> Result<Self> {
        let rules = ChordRules::read(&chord.options).map_err(|error| refused(&error.to_string()))?;
        let ChordParts { header, body } = chord.into_chord_parts().map_err(|error| refused(&error.to_string()))?;
        let chord = Self { rules, ..Self::new(Group::new(header), body) };
        Ok(rest.into_iter().fold(chord, Self::then))
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
            return Ok(ChordHandle::new(GroupHandle::new(client.clone(), group, Vec::new()), body));
        }
        // A body that cannot be sent is refused before a member runs.
        for step in steps.iter().filter(|step| step.kind() == SignatureKind::Task) {
            let call = DynamicCall::from_signature(step.clone(), client.topology())?;
            client.prepare(call, TaskOptions::default())?;
        }
        let body = body_of(steps, &id, &group).body_of_join(&group, members.len());
        let rules = client.rules_of_chord(self.rules);
        let patience = Some(PATIENCE);
        let join = NewJoin { rules, patience, ..NewJoin::new(group.clone(), members.len() as u64, text(&body)?) };
        store.add_join(&join).await.map_err(Error::Results)?;
        // Registered before the members are sent, because the body may reply at once.
        let reply = client.inner.replies.as_ref().map(|replies| replies.expect_reply(&id));
        let body_handle = TaskHandle::new(client.clone(), id, reply, Origin { is_sent: true, ..Origin::default() });
        let sent = AtomicU64::new(0);
        let submitted = tokio::select! {
            submitted = submit_members(client, group, members, Some(&body), &sent) => submitted,
            ended = keep_open(&**store, &join, &sent) => Err(ended),
        };
        let sealed = match submitted {
            Ok(header) => seal(&**store, &join).await.map(|()| header),
            Err(error) => Err(error),
        };
        match sealed {
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
        let mut signature = Self::chord(chord.header.into(), chord.body);
        chord.rules.write(&mut signature.options);
        signature
    }
}

/// Tells the store at intervals that the sender of a chord is at work. Returns the error of a chord
/// that has failed meanwhile.
async fn keep_open(store: &dyn Backend, join: &NewJoin, sent: &AtomicU64) -> Error {
    loop {
        sleep(WORD).await;
        // A store that does not answer now may answer the next time, before the patience is over.
        if let Ok(false) = store.touch_join(&join.id, sent.load(Ordering::Relaxed), join.patience).await {
            return refused(FAILED_MEANWHILE);
        }
    }
}

/// Tells the store that all members are sent. Without that, the chord would fail, so it is tried
/// again for some time.
async fn seal(store: &dyn Backend, join: &NewJoin) -> Result<()> {
    let begun = Instant::now();
    loop {
        match store.touch_join(&join.id, join.size, None).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(refused(FAILED_MEANWHILE)),
            Err(error) if !error.is_retryable() || begun.elapsed() > PATIENCE / 2 => return Err(Error::Results(error)),
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
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

impl Client {
    /// Returns the rules of a chord, with the default deadline if it sets none.
    #[doc(hidden)]
    pub fn rules_of_chord(&self, rules: ChordRules) -> ChordRules {
        let default = Some(self.inner.options.chord_deadline).filter(|deadline| !deadline.is_zero());
        ChordRules { deadline: rules.deadline.or(default), ..rules }
    }
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
