//! Chords: a task that gets the results of all members of a group.

use std::marker::PhantomData;
use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use celeriac_protocol::signature::{ChordParts, ChordPolicy, ChordRules, SignatureKind};
use celeriac_protocol::{Codec, Signature, TaskOptions, Value};
use celeriac_results::{Backend, NewJoin, PgConnection};
use tokio::time::{Instant, sleep};

use crate::canvas::{Bound, Canvas, Immutable, Part, PartOrigin, PartProblem, Step, clone_and_debug};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::group::{Group, MemberPlace, MemberSteps, submit_members, write_members};
use crate::group_handle::{ChordHandle, GroupHandle};
use crate::handle::{Origin, TaskHandle};
use crate::member_end::MemberEnd;
use crate::steps::{call_of_steps, freeze, steps_of, submit_steps, with_chords};
use crate::submit::outbox_writer::OutboxWriter;
use crate::submit::{DynamicCall, new_id};

/// Longest time without a word of the sender of a chord, after which its chord fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two words of the sender.
const WORD: Duration = Duration::from_secs(10);

const FAILED_MEANWHILE: &str = "the chord has failed before all its members were sent: its deadline has passed, or \
     the store did not hear of its sender for a minute";

/// A group, the header, and a task, the body. When all members of the header have succeeded, the
/// body is called with the list of their results, in order. `T` is the type of its result.
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
/// let pages = Group::new((1..=3).map(render));
/// let book = pages.then(bind.with("Robinson".to_owned())).submit(client).await?;
/// let text: String = book.get().await?;
/// println!("{text}");
/// # Ok(())
/// # }
/// ```
///
/// The members are counted in the result store, which a chord therefore needs. If a member ends in
/// another way, the chord ends with `ChordError` when all members have ended, and the body does not
/// run. [`fail_fast`](Self::fail_fast), [`at_least`](Self::at_least) and [`Group::settled`] change
/// that.
///
/// Every chord ends: with its members, at its [`deadline`](Self::deadline), or a minute after its
/// sender was killed before it had sent all of them.
#[must_use = "a chord does nothing until it is submitted"]
pub struct Chord<T = serde_json::Value> {
    header: Group,
    body: Signature,
    rules: ChordRules,
    output: PhantomData<fn() -> T>,
}

/// The header of a chord whose body is called when all members have ended: [`Group::settled`].
#[must_use = "a group does nothing until it is submitted"]
pub struct SettledGroup<T> {
    header: Group<T>,
}

clone_and_debug!(SettledGroup { header });
clone_and_debug!(Chord { header, body, rules, output });

impl<T> SettledGroup<T> {
    pub(crate) fn of(header: Group<T>) -> Self {
        Self { header }
    }

    /// Returns a chord: `body` gets a list of [`MemberEnd`], in order.
    pub fn then<N, F>(self, body: N) -> Chord<N::Output>
    where
        N: Step<Vec<MemberEnd<T>>, F>,
    {
        let rules = ChordRules { policy: ChordPolicy::Settled, ..ChordRules::default() };
        Chord::made(self.header.untyped(), body.into_part(), rules)
    }
}

/// A chord with ids.
struct FrozenChord {
    group: String,
    members: Vec<MemberSteps>,
    /// The steps of the body.
    steps: Vec<Signature>,
    /// The id of the last step of the body.
    id: String,
    rules: ChordRules,
    origin: PartOrigin,
}

impl<T> Chord<T> {
    /// Makes a chord of a group and its body, a [`Step`] that takes the list of the results.
    pub fn new<M, N, F>(header: Group<M>, body: N) -> Self
    where
        N: Step<Vec<M>, F, Output = T>,
    {
        Self::made(header.untyped(), body.into_part(), ChordRules::default())
    }

    fn made(mut header: Group, body: Part, rules: ChordRules) -> Self {
        header.origin_mut().add(body.origin);
        Self { header, body: body.signature, rules, output: PhantomData }
    }

    /// Sets the time from its start to its end, by the clock of Postgres. A chord that is not
    /// decided by then fails. Default: `client.chord_deadline`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.rules.deadline = Some(deadline);
        self
    }

    /// Fails the chord when the first member has not succeeded, and not when all have ended. The
    /// others run.
    pub fn fail_fast(self) -> Self {
        self.decided_by(ChordPolicy::FailFast)
    }

    /// Calls the body when so many members have succeeded, with the results of those that have by
    /// then, in order. It may get more. The chord fails when so many can no longer succeed.
    pub fn at_least(self, members: u64) -> Self {
        self.decided_by(ChordPolicy::AtLeast(members))
    }

    fn decided_by(mut self, policy: ChordPolicy) -> Self {
        if self.rules.policy == ChordPolicy::Settled {
            let reason = "the body of a settled chord gets the ends of all members: leave `settled` out";
            self.header.origin_mut().refuse(PartProblem::call("celery.chord", reason));
        }
        self.rules.policy = policy;
        self
    }

    /// Makes a chord of its signature, with steps behind it.
    pub(crate) fn from_steps(chord: Signature, rest: Vec<Signature>, origin: PartOrigin) -> Result<Self> {
        let rules = ChordRules::read(&chord.options).map_err(|error| refused(&error.to_string()))?;
        let ChordParts { header, body } = chord.into_chord_parts().map_err(|error| refused(&error.to_string()))?;
        let body = Signature::of_steps(std::iter::once(body).chain(rest).collect());
        Ok(Self { header: Group::of(header, origin), body, rules, output: PhantomData })
    }

    /// Adds a [`Step`] behind the body. It is called with the result of the body.
    pub fn then<N, F>(mut self, step: N) -> Chord<N::Output>
    where
        N: Step<T, F>,
    {
        let step = self.took(step.into_part());
        let Self { header, body, rules, output: _ } = self;
        Chord { header, body: Signature::chain(vec![body, step]), rules, output: PhantomData }
    }

    /// Calls another task with the result of the body.
    pub fn link<N, F>(mut self, callback: N) -> Self
    where
        N: Step<T, F>,
    {
        let callback = self.took(callback.into_part());
        self.body = self.body.link(callback);
        self
    }

    /// Calls another task with the id of the body, if a member or the body fails.
    pub fn on_error<N, F>(mut self, errback: N) -> Self
    where
        N: Step<String, F>,
    {
        let errback = self.took(errback.into_part());
        self.body = self.body.on_error(errback);
        self
    }

    /// Returns the signature of a part, and keeps what is known of it.
    fn took(&mut self, Part { signature, origin }: Part) -> Signature {
        self.header.origin_mut().add(origin);
        signature
    }

    /// Makes a step whose members ignore the result of the task before.
    pub fn immutable(self) -> Immutable<T> {
        Immutable::of(Canvas::into_part(self))
    }

    /// Makes one signature of the chord, as Celery writes it.
    ///
    /// # Errors
    /// Returns an error if an argument of a part cannot be serialized.
    pub fn signature(self) -> Result<Signature> {
        Canvas::into_part(self).finish()
    }

    /// Submits the chord, and returns when RabbitMQ has all members. The body of a header without
    /// members is sent at once, with an empty list.
    ///
    /// # Errors
    /// As [`Client::submit`], if there is no result store, and if a part cannot be sent: chords
    /// cannot be members yet, and a body cannot end with a group. After an error, some members may
    /// have been sent. The body runs only if all of them were, although a confirm was lost, and if
    /// they end before the error is recorded.
    pub async fn submit(self, client: &Client) -> Result<ChordHandle<T>> {
        let Some(store) = client.results() else {
            return Err(refused("a chord needs a result store, which counts its members: set `results.url`"));
        };
        let reply_to = client.reply_queue("celery.chord").await?;
        let FrozenChord { group, members, steps, id, rules, origin } = self.freeze(reply_to)?;
        if members.is_empty() {
            let body = submit_steps(client, after_no_members(steps)?, id, &origin).await?;
            return Ok(ChordHandle::new(GroupHandle::new(client.clone(), group, Vec::new()), body));
        }
        check_body(client, &steps, &origin)?;
        let (body, join) = join_of(client, steps, &id, &group, members.len(), rules)?;
        let join = NewJoin { patience: Some(PATIENCE), ..join };
        store.add_join(&join).await.map_err(Error::Results)?;
        // Registered before the members are sent, because the body may reply at once.
        let reply = client.inner.replies.as_ref().map(|replies| replies.expect_reply(&id));
        let body_handle = TaskHandle::new(client.clone(), id, reply, Origin { is_sent: true, ..Origin::default() });
        let sent = AtomicU64::new(0);
        let place = MemberPlace { group: &group, body: Some(&body) };
        let submitted = tokio::select! {
            submitted = submit_members(client, place, members, &origin, &sent) => submitted,
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

    /// Gives the steps of the body their ids.
    fn freeze(self, reply_to: Option<&str>) -> Result<FrozenChord> {
        let (members, origin) = self.header.into_members()?;
        let mut steps = with_chords(steps_of(self.body)?)?;
        let id = freeze(&mut steps, reply_to)?;
        Ok(FrozenChord { group: new_id(), members, steps, id, rules: self.rules, origin })
    }
}

/// Refuses a body that cannot be sent, before a member runs.
fn check_body(client: &Client, steps: &[Signature], origin: &PartOrigin) -> Result<()> {
    for step in steps.iter().filter(|step| step.kind() == SignatureKind::Task) {
        let call = DynamicCall::from_signature(step.clone(), client.topology())?;
        let (declared, _) = origin.declaration(&call.task);
        client.prepare(call, TaskOptions { redact: None, ..declared })?;
    }
    Ok(())
}

/// Returns the body of a chord, and the join that counts its members.
fn join_of(
    client: &Client,
    steps: Vec<Signature>,
    id: &str,
    group: &str,
    size: usize,
    rules: ChordRules,
) -> Result<(Signature, NewJoin)> {
    let body = body_of(steps, id, group).body_of_join(group, size);
    let rules = client.rules_of_chord(rules);
    let join = NewJoin { rules, ..NewJoin::new(group.to_owned(), size as u64, text(&body)?) };
    Ok((body, join))
}

impl<T> Canvas for Chord<T> {
    type Output = T;
    type Handle = ChordHandle<T>;

    fn into_part(self) -> Part {
        let Part { signature: header, origin } = Canvas::into_part(self.header);
        let mut signature = Signature::chord(header, self.body);
        self.rules.write(&mut signature.options);
        Part { signature, origin }
    }

    /// The members are in the outbox when the transaction commits, so the chord needs no word of
    /// its sender.
    async fn submit_within(self, client: &Client, transaction: &mut PgConnection) -> Result<ChordHandle<T>> {
        let FrozenChord { group, members, steps, id, rules, origin } = self.freeze(None)?;
        let mut writer = OutboxWriter::new(client, transaction, "celery.chord").await?;
        if members.is_empty() {
            writer.add(call_of_steps(client, after_no_members(steps)?, &origin)?).await?;
            writer.finish().await?;
            let header = GroupHandle::new(client.clone(), group, Vec::new());
            return Ok(ChordHandle::new(header, writer.handle(id)));
        }
        check_body(client, &steps, &origin)?;
        let (body, join) = join_of(client, steps, &id, &group, members.len(), rules)?;
        let place = MemberPlace { group: &group, body: Some(&body) };
        let header = write_members(&mut writer, place, members, &origin).await?;
        writer.add_join(&join).await?;
        writer.finish().await?;
        Ok(ChordHandle::new(header, writer.handle(id)))
    }
}

/// The members of a chord whose types are not known may take any result.
impl<Input> Step<Input, Bound> for Chord {
    type Output = serde_json::Value;

    fn into_part(self) -> Part {
        Canvas::into_part(self)
    }
}

impl<T> Group<T> {
    /// Returns a chord: `body` is called with the list of the results, when all members have
    /// succeeded. It is a [`Step`] that takes a `Vec<T>`. `group | signature` does the same.
    pub fn then<N, F>(self, body: N) -> Chord<N::Output>
    where
        N: Step<Vec<T>, F>,
    {
        Chord::new(self, body)
    }

    /// Returns the header of a chord whose body is called when all members have ended, however they
    /// have ended.
    pub fn settled(self) -> SettledGroup<T> {
        SettledGroup::of(self)
    }
}

impl<T> BitOr<Signature> for Group<T> {
    type Output = Chord;

    fn bitor(self, body: Signature) -> Chord {
        self.then(body)
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

/// Returns the steps of the body of a header without members.
fn after_no_members(mut steps: Vec<Signature>) -> Result<Vec<Signature>> {
    match steps.first_mut() {
        Some(first) if first.kind() == SignatureKind::Task => {
            *first = std::mem::take(first).called_with([Value::List(Vec::new())]);
            Ok(steps)
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
