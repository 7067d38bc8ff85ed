//! Submitting: a call becomes a message on a queue.
//!
//! A call is resolved, prepared and sent. Each step is a file:
//!
//! - `resolve`: merges the options of the call, the overrides of the configuration and the
//!   declaration of the task;
//! - `prepare`: makes a message of route, times, body, headers and properties; `times` resolves
//!   delays and expiries;
//! - `send`: publishes the message and waits for its confirm;
//! - `tracked`: writes a row of the confirmed message, where sending is tracked;
//! - `idempotency`: sends a call with an idempotency key once;
//! - `outbox`: writes the message in the caller's own transaction instead; `outbox_writer`: all
//!   messages of a canvas;
//! - `stored_call`: makes the message of a call that SQL wrote to the outbox.

mod idempotency;
mod outbox;
pub(crate) mod outbox_writer;
mod prepare;
mod resolve;
mod send;
mod stored_call;
mod times;
mod tracked;

use std::time::Duration;

use celeriac_protocol::{Task, TaskOptions};
use futures::stream::{self, Stream, StreamExt};
use tokio::time::timeout;

use crate::call::{Call, CallOptions, When};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;

pub use self::prepare::PreparedTask;
pub(crate) use self::prepare::new_id;
pub use self::resolve::DynamicCall;
pub(crate) use self::resolve::ResolvedCall;
use self::send::Repeated;
pub use self::stored_call::StoredCall;

/// Longest wait for a certain clock.
const CLOCK_PATIENCE: Duration = Duration::from_secs(2);

impl Client {
    /// Submits a call. `Ok` means that RabbitMQ has the task on a queue, on disk.
    ///
    /// [`Call::submit`] does the same and reads more easily.
    ///
    /// # Errors
    /// Returns an error if the task is on no queue, or may be on none: see
    /// [`Error::may_have_been_sent`].
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub async fn submit<T: Task>(&self, call: Call<T>) -> Result<TaskHandle<T::Output>> {
        self.dispatch(self.resolve_typed(call)?, None).await
    }

    /// Submits many calls as a stream of their handles, in order.
    ///
    /// `broker.confirm_window` calls await their confirms at a time. Calls are taken from the
    /// iterator as they are needed: a million of them need no more memory than a window.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    /// use futures::StreamExt;
    ///
    /// # #[task]
    /// # async fn charge(order: u64) -> TaskResult<()> { let _ = order; Ok(()) }
    /// # async fn example(client: &Client) -> celeriac::Result<()> {
    /// let mut submitted = std::pin::pin!(client.submit_stream((0..1_000_000).map(charge)));
    /// while let Some(handle) = submitted.next().await {
    ///     println!("{}", handle?.id());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_stream<T, I>(&self, calls: I) -> impl Stream<Item = Result<TaskHandle<T::Output>>> + Send
    where
        T: Task,
        I: IntoIterator<Item = Call<T>, IntoIter: Send>,
        T::Output: Send,
        T::Args: Sync,
    {
        let client = self.clone();
        let window = self.inner.limits.window;
        stream::iter(calls)
            .map(move |call| {
                let client = client.clone();
                async move { client.submit(call).await }
            })
            .buffered(window)
    }

    /// Submits many calls, and returns when each is confirmed or has failed. The results are in
    /// order.
    ///
    /// The calls await their confirms together, so many take little longer than one.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn charge(order: u64) -> TaskResult<()> { let _ = order; Ok(()) }
    /// # async fn example(client: &Client) {
    /// for submitted in client.submit_many((0..100).map(charge)).await {
    ///     if let Err(error) = submitted {
    ///         println!("{error}");
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn submit_many<T, I>(&self, calls: I) -> Vec<Result<TaskHandle<T::Output>>>
    where
        T: Task,
        I: IntoIterator<Item = Call<T>, IntoIter: Send>,
        T::Output: Send,
        T::Args: Sync,
    {
        self.submit_stream(calls).collect().await
    }

    /// Submits a call of a task that this program knows by its name alone.
    ///
    /// `#[task]` on a function without a body is the typed way to call a task of another program.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    /// use celeriac::protocol::{Body, Value};
    /// use celeriac::{CallOptions, DynamicCall};
    ///
    /// # async fn example(client: &Client) -> celeriac::Result<()> {
    /// let call = DynamicCall {
    ///     task: "catalog.price".to_owned(),
    ///     body: Body { args: vec![Value::from("teapot")], ..Body::default() },
    ///     options: CallOptions::default(),
    /// };
    /// let price = client.submit_dynamic(call).await?.get().await?;
    /// println!("{price}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_dynamic(&self, request: DynamicCall) -> Result<TaskHandle<serde_json::Value>> {
        self.dispatch(self.resolve(request, TaskOptions::default()), None).await
    }

    /// Sends a call. Returns a handle to `awaited`, a task that follows from it.
    pub(crate) async fn submit_for<T>(&self, call: ResolvedCall, awaited: String) -> Result<TaskHandle<T>> {
        self.dispatch(call, Some(awaited)).await
    }

    /// Sends a resolved call. Returns a handle to `awaited`, or else to the task itself.
    async fn dispatch<T>(&self, call: ResolvedCall, awaited: Option<String>) -> Result<TaskHandle<T>> {
        if call.request.options.order_key.is_some() {
            let reason = "only what is sent in a transaction is kept in order: use `submit_in`".to_owned();
            return Err(Error::Call { task: call.request.task, reason });
        }
        self.settle_clock(&call.request.options).await;
        match call.request.options.idempotency_key {
            // Boxed, so that calls without a key do not carry its state.
            Some(_) => Box::pin(self.send_once(call, awaited)).await,
            None => self.send_anew(call, awaited, Repeated::No).await,
        }
    }

    /// Waits for a certain clock, if the call has times. A store that does not answer does not keep
    /// it from being sent.
    async fn settle_clock(&self, options: &CallOptions) {
        if options.when != When::Now || options.expires.is_some() {
            self.certain_clock().await;
        }
    }

    /// Waits for a certain clock, for some time.
    async fn certain_clock(&self) {
        let _ = timeout(CLOCK_PATIENCE, Box::pin(self.inner.clock.settled())).await;
    }
}

#[cfg(test)]
mod tests;
