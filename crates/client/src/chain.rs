//! Chains: tasks one after the other, each written in any language.

use std::marker::PhantomData;

use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Signature, Task};
use celeriac_results::PgConnection;

use crate::call::Call;
use crate::canvas::{Bound, Canvas, Immutable, Member, Part, PartOrigin, Step, clone_and_debug};
use crate::chord::Chord;
use crate::client::Client;
use crate::error::Result;
use crate::handle::TaskHandle;
use crate::steps::{call_of_steps, freeze, steps_of, submit_steps, with_chords};
use crate::submit::outbox_writer::OutboxWriter;

/// Tasks that run one after the other. Each takes the result of the one before as its first
/// argument. `T` is the type of the last result.
///
/// The steps travel with the first task. The worker that runs a step sends the next one.
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// #[task(name = "orders.total")]
/// async fn total(cents: Vec<i64>) -> TaskResult<i64> {
///     Ok(cents.iter().sum())
/// }
///
/// /// A task in Python.
/// #[task(name = "billing.receipt")]
/// fn receipt(cents: i64, customer: String) -> String;
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// let receipt = total(vec![2599, 450]).then(receipt.with("Ada".to_owned())).submit(client).await?;
/// let text: String = receipt.get().await?;
/// # let _ = text;
/// # Ok(())
/// # }
/// ```
///
/// A step may be a [`Signature`], of a task that is known by its name alone. Its result is a
/// [`serde_json::Value`].
#[must_use = "a chain does nothing until it is submitted"]
pub struct Chain<T = serde_json::Value> {
    steps: Vec<Signature>,
    callbacks: Vec<Signature>,
    errbacks: Vec<Signature>,
    origin: PartOrigin,
    output: PhantomData<fn() -> T>,
}

clone_and_debug!(Chain { steps, callbacks, errbacks, origin, output });

impl Default for Chain {
    /// Makes a chain without steps.
    fn default() -> Self {
        Self::of(Vec::new(), PartOrigin::default())
    }
}

/// A chain with ids, or the chord that it is.
enum Frozen {
    /// Steps, and the id of the last task.
    Steps(Vec<Signature>, String),
    Chord(Box<Chord>),
}

impl<T> Chain<T> {
    /// Makes a chain of one task, or of a group, a chord or another chain.
    pub fn new(first: impl Canvas<Output = T>) -> Self {
        let Part { signature, origin } = first.into_part();
        Self::of(vec![signature], origin)
    }

    fn of(steps: Vec<Signature>, origin: PartOrigin) -> Self {
        Self { steps, callbacks: Vec::new(), errbacks: Vec::new(), origin, output: PhantomData }
    }

    /// Adds a [`Step`], which takes the result of the one before. A chain as a step adds each of
    /// its steps.
    pub fn then<N, F>(mut self, next: N) -> Chain<N::Output>
    where
        N: Step<T, F>,
    {
        let step = self.took(next.into_part());
        self.steps.push(step);
        let Self { steps, callbacks, errbacks, origin, output: _ } = self;
        Chain { steps, callbacks, errbacks, origin, output: PhantomData }
    }

    /// Calls another task with the result of the last step.
    pub fn link<N, F>(mut self, callback: N) -> Self
    where
        N: Step<T, F>,
    {
        let callback = self.took(callback.into_part());
        self.callbacks.push(callback);
        self
    }

    /// Calls another task with the id of the step that failed.
    pub fn on_error<N, F>(mut self, errback: N) -> Self
    where
        N: Step<String, F>,
    {
        let errback = self.took(errback.into_part());
        self.errbacks.push(errback);
        self
    }

    /// Makes a step that ignores the result of the task before.
    pub fn immutable(self) -> Immutable<T> {
        Immutable::of(Canvas::into_part(self))
    }

    /// Makes one signature of the chain, as Celery writes it.
    ///
    /// # Errors
    /// Returns an error if an argument of a step cannot be serialized.
    pub fn signature(self) -> Result<Signature> {
        Canvas::into_part(self).finish()
    }

    /// Submits the chain. The handle is that of the last step, which fails with the error of any
    /// step.
    ///
    /// A group before a step is a chord, and the steps behind it are the body.
    ///
    /// # Errors
    /// As [`Client::submit`], and if the chain has no steps or ends with a group.
    pub async fn submit(self, client: &Client) -> Result<TaskHandle<T>> {
        let (steps, origin) = self.into_steps()?;
        let reply_to = client.reply_queue("celery.chain").await?;
        match frozen(steps, &origin, reply_to)? {
            // Boxed, so that a plain chain does not carry its state.
            Frozen::Chord(chord) => Ok(Box::pin(chord.submit(client)).await?.body().clone().typed()),
            Frozen::Steps(steps, id) => submit_steps(client, steps, id, &origin).await,
        }
    }

    /// Returns the steps, those of chains in it too, with the links of the chain.
    fn into_steps(self) -> Result<(Vec<Signature>, PartOrigin)> {
        self.origin.check()?;
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            steps.append(&mut steps_of(step)?);
        }
        for step in &mut steps {
            for errback in &self.errbacks {
                *step = std::mem::take(step).on_error(errback.clone());
            }
        }
        if let Some(last) = steps.last_mut() {
            for callback in self.callbacks {
                *last = std::mem::take(last).link(callback);
            }
        }
        Ok((with_chords(steps)?, self.origin))
    }

    /// Returns the signature of a part, and keeps what is known of it.
    fn took(&mut self, Part { signature, origin }: Part) -> Signature {
        self.origin.add(origin);
        signature
    }
}

/// Gives the steps their ids, or makes the chord of them that they are.
fn frozen(mut steps: Vec<Signature>, origin: &PartOrigin, reply_to: Option<&str>) -> Result<Frozen> {
    if steps.first().map(Signature::kind) == Some(SignatureKind::Chord) {
        let rest = steps.split_off(1);
        let chord = Chord::from_steps(steps.remove(0), rest, origin.clone())?;
        return Ok(Frozen::Chord(Box::new(chord)));
    }
    let id = freeze(&mut steps, reply_to)?;
    Ok(Frozen::Steps(steps, id))
}

impl<T> Canvas for Chain<T> {
    type Output = T;
    type Handle = TaskHandle<T>;

    fn into_part(self) -> Part {
        let mut signature = Signature::chain(self.steps);
        for callback in self.callbacks {
            signature = signature.link(callback);
        }
        for errback in self.errbacks {
            signature = signature.on_error(errback);
        }
        Part { signature, origin: self.origin }
    }

    async fn submit_within(self, client: &Client, transaction: &mut PgConnection) -> Result<TaskHandle<T>> {
        let (steps, origin) = self.into_steps()?;
        match frozen(steps, &origin, None)? {
            Frozen::Chord(chord) => {
                let chord = Box::pin(chord.submit_within(client, transaction)).await?;
                Ok(chord.body().clone().typed())
            }
            Frozen::Steps(steps, id) => {
                let mut writer = OutboxWriter::new(client, transaction, "celery.chain").await?;
                writer.add(call_of_steps(client, steps, &origin)?).await?;
                writer.finish().await?;
                Ok(writer.handle(id))
            }
        }
    }
}

impl<T> Member for Chain<T> {}

/// The steps of a chain whose types are not known may take any result.
impl<Input> Step<Input, Bound> for Chain {
    type Output = serde_json::Value;

    fn into_part(self) -> Part {
        Canvas::into_part(self)
    }
}

impl Canvas for Signature {
    type Output = serde_json::Value;
    type Handle = TaskHandle<serde_json::Value>;

    fn into_part(self) -> Part {
        self.into()
    }

    async fn submit_within(self, client: &Client, transaction: &mut PgConnection) -> Result<Self::Handle> {
        Chain::new(self).submit_within(client, transaction).await
    }
}

impl Member for Signature {}

impl<T: Task> Call<T> {
    /// Runs another task behind this one: a [`Step`], which takes the result.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn total(cents: Vec<i64>) -> TaskResult<i64> { Ok(cents.iter().sum()) }
    /// # #[task]
    /// # async fn discount(cents: i64, percent: i64) -> TaskResult<i64> { Ok(cents - cents * percent / 100) }
    /// # #[task]
    /// # async fn print(cents: i64) -> TaskResult<String> { Ok(format!("{cents}")) }
    /// # async fn example(client: &Client) -> celeriac::Result<()> {
    /// let receipt = total(vec![2599, 450]).then(discount.with(10)).then(print).submit(client).await?;
    /// let text: String = receipt.get().await?;
    /// # let _ = text;
    /// # Ok(())
    /// # }
    /// ```
    pub fn then<N, F>(self, next: N) -> Chain<N::Output>
    where
        N: Step<T::Output, F>,
    {
        Chain::new(self).then(next)
    }
}
