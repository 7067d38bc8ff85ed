//! How a call becomes a message on a queue.

use std::time::Duration;

use celeriac_broker::{Destination, Error as BrokerError, Outgoing};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Body, Codec, HeaderMap, Message, Properties, Task, TaskHeaders};
use celeriac_telemetry::occurrences::client::{SendFailed, TaskSent};
use celeriac_telemetry::trace::PublishSpan;
use celeriac_telemetry::{Chain, Occurrence, clock};
use futures::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use uuid::Uuid;

use crate::call::{Call, CallOptions, Expiry, When};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;

/// Delays shorter than this are waited out by the worker; the broker counts whole seconds.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// A call of a task that is known by its name alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The task.
    pub task: String,
    /// Its arguments.
    pub body: Body,
    /// What the call says beside them.
    pub options: CallOptions,
}

impl Client {
    /// Sends a call: `Ok` means that it stands on a queue, on disk.
    ///
    /// # Errors
    /// When it does not, or when that cannot be known; see [`Error`].
    pub async fn submit<T: Task>(&self, call: Call<T>) -> Result<TaskHandle<T::Output>> {
        let declared = T::options();
        let mut options = call.options;
        options.route.priority = options.route.priority.or(declared.priority);
        options.expires = options.expires.or(declared.expires.map(Expiry::After));
        if declared.ignore_result {
            options.ignore_result.get_or_insert(true);
        }
        let encode = |codec| Body::encode_call(codec, &call.args);
        self.send(T::NAME, declared.queue, options, encode).await
    }

    /// Sends many calls, a window of them at a time, and tells of each how it went, in order.
    ///
    /// The calls are taken as they are needed: a million of them need no more memory than a window.
    pub fn submit_each<T, I>(&self, calls: I) -> impl Stream<Item = Result<TaskHandle<T::Output>>> + Send
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

    /// Sends many calls and returns when each is confirmed or has failed, in order.
    pub async fn submit_all<T, I>(&self, calls: I) -> Vec<Result<TaskHandle<T::Output>>>
    where
        T: Task,
        I: IntoIterator<Item = Call<T>, IntoIter: Send>,
        T::Output: Send,
        T::Args: Sync,
    {
        self.submit_each(calls).collect().await
    }

    /// Sends a call of a task that is known by its name alone.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_request(&self, request: Request) -> Result<TaskHandle<serde_json::Value>> {
        let encode = |codec: Codec| codec.encode(&request.body);
        self.send(&request.task, None, request.options, encode).await
    }

    async fn send<T>(
        &self,
        task: &str,
        declared_queue: Option<&str>,
        options: CallOptions,
        encode: impl FnOnce(Codec) -> Result<Vec<u8>, celeriac_protocol::codec::EncodeError>,
    ) -> Result<TaskHandle<T>> {
        let failed = |source: BrokerError| Error::Send { task: task.to_owned(), source };
        let destination = self.inner.router.route(task, &options.route, declared_queue).map_err(failed)?;
        let codec = destination.codec.unwrap_or(self.inner.options.serializer);
        let body = encode(codec).map_err(|source| Error::Encode { task: task.to_owned(), source: Box::new(source) })?;
        let limit = self.inner.limits.message_size;
        if body.len() > limit {
            return Err(failed(BrokerError::TooLarge { size: body.len(), limit }));
        }
        if let Some((name, _)) = options.headers.iter().find(|(name, _)| is_reserved_header(name)) {
            let reason = format!("header `{name}` is the framework's own; choose another name");
            return Err(Error::Call { task: task.to_owned(), reason });
        }
        let timing = Timing::of(task, &options)?;
        let id = options.id.unwrap_or_else(new_id);
        let mut headers = HeaderMap::with_capacity(4 + options.headers.len());
        TaskHeaders {
            task: task.to_owned(),
            id: id.clone(),
            eta: timing.eta,
            expires: timing.expires,
            ignore_result: options.ignore_result,
            ..TaskHeaders::default()
        }
        .write(&mut headers);
        for (name, value) in options.headers {
            headers.insert(name, value);
        }
        let replies = self.inner.replies.as_ref().filter(|_| options.ignore_result != Some(true));
        let (slot, reply_to) = match replies {
            None => (None, None),
            Some(replies) => {
                let queue = replies.queue().await.map_err(failed)?.to_owned();
                (Some(replies.expect(&id)), Some(queue))
            }
        };
        let properties = Properties {
            correlation_id: reply_to.as_ref().map(|_| id.clone()),
            reply_to,
            content_type: Some(codec.content_type().to_owned()),
            content_encoding: Some(codec.content_encoding().to_owned()),
            priority: destination.priority,
            expiration: timing.expiration,
            ..Properties::default()
        };
        let message = Message { headers, properties, body: body.into() };
        self.publish(task, &id, &destination, timing.hold, message).await.map_err(failed)?;
        Ok(TaskHandle::new(self.clone(), id, slot))
    }

    async fn publish(
        &self,
        task: &str,
        id: &str,
        destination: &Destination,
        hold: Option<Duration>,
        mut message: Message,
    ) -> Result<(), BrokerError> {
        self.declare().await?;
        let (exchange, routing_key) = match hold {
            None => (destination.exchange.clone(), destination.routing_key.clone()),
            Some(hold) => {
                let held = destination.clone().delayed(hold)?;
                (held.exchange, held.routing_key)
            }
        };
        let span = PublishSpan::start(task, id, &destination.exchange, &destination.routing_key);
        span.inject(&mut message.headers);
        let sent = self.inner.broker.publish(Outgoing { exchange, routing_key, message }).await;
        match &sent {
            Ok(()) => {
                TaskSent { task, id, exchange: &destination.exchange, routing_key: &destination.routing_key }.tell()
            }
            Err(error) => SendFailed { task, id, error: &Chain(error).to_string() }.tell(),
        }
        span.end(sent.as_ref().map(|&()| ()).map_err(|error| error as &dyn std::fmt::Display));
        sent
    }

    /// Makes exchanges and queues exist before the first message is sent to them.
    async fn declare(&self) -> Result<(), BrokerError> {
        let declare = || async { self.inner.broker.declare(self.inner.router.topology()).await };
        self.inner.declared.get_or_try_init(declare).await.map(|&()| ())
    }
}

/// A new task id. It begins with the time, so that rows written together lie together, and tells when it was sent.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// What the options say about time, settled at the moment of sending.
struct Timing {
    eta: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// How long the broker holds the message back.
    hold: Option<Duration>,
    /// How long the message may stand in a queue.
    expiration: Option<Duration>,
}

impl Timing {
    fn of(task: &str, options: &CallOptions) -> Result<Self> {
        if options.when == When::Now && options.expires.is_none() {
            return Ok(Self { eta: None, expires: None, hold: None, expiration: None });
        }
        let now = clock::now();
        let too_far = || Error::Call { task: task.to_owned(), reason: "a time beyond the year 9999".to_owned() };
        let after = |wait: Duration| now.checked_add(wait).map_err(|_| too_far());
        let eta = match options.when {
            When::Now => None,
            When::After(wait) => Some(after(wait)?),
            When::At(time) => Some(time),
        };
        let expires = match options.expires {
            None => None,
            Some(Expiry::After(wait)) => Some(after(wait)?),
            Some(Expiry::At(time)) => Some(time),
        };
        let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO);
        let hold = eta.map(until).filter(|wait| *wait >= SHORTEST_HOLD);
        // The time in the broker's delay levels is not time in a queue: held messages expire by their header alone.
        let expiration = if hold.is_some() { None } else { expires.map(until) };
        Ok(Self { eta, expires, hold, expiration })
    }
}

/// Names that a caller's own headers must not take.
fn is_reserved_header(name: &str) -> bool {
    const TAKEN: [&str; 9] = [
        names::TASK,
        names::ID,
        names::ETA,
        names::EXPIRES,
        names::RETRIES,
        names::ROOT_ID,
        names::PARENT_ID,
        names::GROUP,
        names::IGNORE_RESULT,
    ];
    TAKEN.contains(&name) || name.starts_with("celeriac-") || name.starts_with("x-death")
}
