//! Chains: tasks one after the other, each written in any language.

use celeriac_protocol::Signature;
use celeriac_protocol::signature::SignatureKind;

use crate::client::Client;
use crate::error::Result;
use crate::group::Chord;
use crate::handle::TaskHandle;
use crate::steps::{freeze, steps_of, submit_steps, with_chords};

/// Tasks that run one after the other. Each takes the result of the one before as its first
/// argument.
///
/// The steps travel with the first task. The worker that runs a step sends the next one.
///
/// ```no_run
/// use celeriac::Chain;
/// use celeriac::prelude::*;
///
/// #[task(name = "orders.total")]
/// async fn total(cents: Vec<i64>) -> TaskResult<i64> {
///     Ok(cents.iter().sum())
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// // `billing.receipt` may be a task in Python. Its arguments are the total, and "Ada".
/// let receipt = Chain::new(total(vec![2599, 450]).signature()?)
///     .then(Signature::new("billing.receipt").arg("Ada"))
///     .submit(client)
///     .await?;
/// println!("{}", receipt.get().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a chain does nothing until it is submitted"]
pub struct Chain {
    steps: Vec<Signature>,
    callbacks: Vec<Signature>,
    errbacks: Vec<Signature>,
}

impl Chain {
    /// Makes a chain of one task.
    pub fn new(first: Signature) -> Self {
        Self::default().then(first)
    }

    /// Adds a step. A chain as a step adds each of its steps.
    pub fn then(mut self, step: Signature) -> Self {
        self.steps.push(step);
        self
    }

    /// Calls another task with the result of the last step.
    pub fn link(mut self, callback: Signature) -> Self {
        self.callbacks.push(callback);
        self
    }

    /// Calls another task with the id of the step that failed.
    pub fn on_error(mut self, errback: Signature) -> Self {
        self.errbacks.push(errback);
        self
    }

    /// Submits the chain. The handle is that of the last step, which fails with the error of any
    /// step.
    ///
    /// A group before a step is a chord, and the steps behind it are the body.
    ///
    /// # Errors
    /// As [`Client::submit`], and if the chain has no steps or ends with a group.
    pub async fn submit(self, client: &Client) -> Result<TaskHandle<serde_json::Value>> {
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
        let mut steps = with_chords(steps)?;
        if steps.first().map(Signature::kind) == Some(SignatureKind::Chord) {
            let rest = steps.split_off(1);
            let chord = Chord::from_steps(steps.remove(0), rest)?;
            // Boxed, so that a plain chain does not carry its state.
            return Ok(Box::pin(chord.submit(client)).await?.body().clone());
        }
        let id = freeze(client, &mut steps).await?;
        submit_steps(client, steps, id).await
    }
}

impl From<Chain> for Signature {
    /// Makes one signature of the chain, as Celery writes it.
    fn from(chain: Chain) -> Self {
        let mut signature = Self::chain(chain.steps);
        for callback in chain.callbacks {
            signature = signature.link(callback);
        }
        for errback in chain.errbacks {
            signature = signature.on_error(errback);
        }
        signature
    }
}
