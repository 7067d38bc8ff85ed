//! How a call becomes a message on a queue.

use std::time::Duration;

use celeriac_broker::{Error as BrokerError, Outgoing};
use celeriac_config::duration;
use celeriac_protocol::headers::names;
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::{
    Appearance, Body, Embed, HeaderMap, Message, Properties, Task, TaskHeaders, TaskOptions, TimeLimits,
};
use celeriac_telemetry::events::client::{SendFailed, TaskSent};
use celeriac_telemetry::trace::PublishSpan;
use celeriac_telemetry::{ErrorChain, Event, clock};
use celeriac_topology::{Destination, RouteQuestion};
use futures::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use uuid::Uuid;

use crate::call::{Call, CallOptions, Expiry, Follow, Relations, When};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;
use crate::options::HeaderStyle;

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

/// Whether a message may stand on its queue already: who runs it looks into the store first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    No,
    Yes,
}

/// A call as a message that only has to be published.
#[derive(Debug)]
pub struct PreparedTask {
    /// The task.
    pub task: String,
    /// Its id.
    pub id: String,
    /// The message, and the address to which it is published: that of a delay level where it has to wait.
    pub outgoing: Outgoing,
    /// Where it goes in the end.
    pub destination: Destination,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which it must not start.
    pub expires: Option<Timestamp>,
    /// The key that keeps it in order, where it goes through the outbox.
    pub order_key: Option<String>,
}

impl Client {
    /// Sends a call: `Ok` means that it stands on a queue, on disk.
    ///
    /// # Errors
    /// When it does not, or when that cannot be known; see [`Error`].
    pub async fn submit<T: Task>(&self, call: Call<T>) -> Result<TaskHandle<T::Output>> {
        let request = self.request_of(call)?;
        self.dispatch(request, T::options().queue, None).await
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
        self.dispatch(request, None, None).await
    }

    /// Sends a call, for a handle to the task `awaited`, which is one that follows from it.
    pub(crate) async fn submit_for(&self, request: Request, awaited: String) -> Result<TaskHandle<serde_json::Value>> {
        self.dispatch(request, None, Some(awaited)).await
    }

    /// A call with what the configuration says of its task, or what is declared with it.
    pub(crate) fn request_of<T: Task>(&self, call: Call<T>) -> Result<Request> {
        let body = Body::of_call(&call.args).map_err(|source| unwritable(T::NAME, source))?;
        let mut request = Request { task: T::NAME.to_owned(), body, options: call.options };
        self.complete(&mut request, T::options());
        Ok(request)
    }

    /// Gives a call what it does not say itself: the configuration's word, or else what is declared with the task.
    fn complete(&self, request: &mut Request, declared: TaskOptions) {
        let declared = self.inner.overrides.apply(&request.task, declared);
        let options = &mut request.options;
        options.route.priority = options.route.priority.or(declared.priority);
        options.expires = options.expires.or(declared.expires.map(Expiry::After));
        if declared.ignore_result {
            options.ignore_result.get_or_insert(true);
        }
    }

    /// The queue that awaits replies, if any are wanted.
    pub(crate) async fn reply_queue(&self, task: &str) -> Result<Option<&str>> {
        match &self.inner.replies {
            None => Ok(None),
            Some(replies) => {
                let queue = replies.queue().await;
                queue.map(Some).map_err(|source| Error::Send { task: task.to_owned(), source })
            }
        }
    }

    /// Sends a call. The handle is that of the task itself, unless another is awaited.
    async fn dispatch<T>(
        &self,
        request: Request,
        declared_queue: Option<&str>,
        awaited: Option<String>,
    ) -> Result<TaskHandle<T>> {
        if request.options.order_key.is_some() {
            let reason = "only what is sent in a transaction is kept in order: use `submit_in`".to_owned();
            return Err(Error::Call { task: request.task, reason });
        }
        match request.options.idempotency_key {
            Some(_) => self.dispatch_once(request, declared_queue, awaited).await,
            None => self.dispatch_anew(request, declared_queue, awaited, Repeated::No).await,
        }
    }

    pub(crate) async fn dispatch_anew<T>(
        &self,
        mut request: Request,
        declared_queue: Option<&str>,
        awaited: Option<String>,
        repeated: Repeated,
    ) -> Result<TaskHandle<T>> {
        self.complete(&mut request, TaskOptions::default());
        let ignored = awaited.is_none() && request.options.ignore_result == Some(true);
        let replies = self.inner.replies.as_ref().filter(|_| !ignored);
        if awaited.is_none() && replies.is_some() {
            let own = self.reply_queue(&request.task).await?.map(str::to_owned);
            let reply_to = &mut request.options.relations.reply_to;
            *reply_to = reply_to.take().or(own);
        }
        let mut prepared = self.prepare(request, declared_queue)?;
        if repeated == Repeated::Yes {
            prepared.outgoing.message.headers.insert(names::REPEATED, true);
        }
        let id = awaited.unwrap_or_else(|| prepared.id.clone());
        // Before it is sent: no reply can be earlier.
        let reply = replies.map(|replies| replies.expect_reply(&id));
        let to_all = self.is_to_all(&prepared);
        self.send(prepared).await?;
        let handle = TaskHandle::new(self.clone(), id, reply);
        Ok(if to_all { handle.of_broadcast() } else { handle })
    }

    pub(crate) fn is_to_all(&self, prepared: &PreparedTask) -> bool {
        self.inner.router.topology().is_broadcast(&prepared.destination.queues)
    }

    /// Makes a message of a call, without sending it.
    ///
    /// # Errors
    /// When it cannot be meant, cannot be written, or has nowhere to go.
    /// `declared_queue` is the queue that is declared with the task, where it is known.
    pub fn prepare(&self, mut request: Request, declared_queue: Option<&str>) -> Result<PreparedTask> {
        self.complete(&mut request, TaskOptions::default());
        let Request { task, body, options } = request;
        let failed = |source: BrokerError| Error::Send { task: task.clone(), source };
        let question = RouteQuestion { task: &task, args: &body.args, kwargs: &body.kwargs, headers: &options.headers };
        let destination =
            self.inner.router.route(question, &options.route, declared_queue).map_err(|error| failed(error.into()))?;
        let timing = Timing::of(&task, &options, destination.manner.expires)?;
        let (exchange, routing_key) = match timing.hold {
            None => (destination.exchange.clone(), destination.routing_key.clone()),
            Some(hold) => {
                let held = destination
                    .clone()
                    .delayed(hold, self.inner.broker.ladder())
                    .map_err(|error| failed(error.into()))?;
                (held.exchange, held.routing_key)
            }
        };
        let codec = destination.manner.codec.unwrap_or(self.inner.options.serializer);
        let body = with_follow_ups(&task, body, options.follow)?;
        let written = codec.encode(&body).map_err(|source| unwritable(&task, source))?;
        let limit = self.inner.limits.message_size;
        if written.len() > limit {
            return Err(failed(BrokerError::TooLarge { size: written.len(), limit }));
        }
        let compression = options.compression.or(destination.manner.compression).or(self.inner.options.compression);
        let written = match compression {
            None => written,
            Some(compression) => compression.compress(&written).map_err(|source| unwritable(&task, source))?,
        };
        if let Some((name, _)) = options.headers.iter().find(|(name, _)| names::is_reserved(name)) {
            let reason = format!("header `{name}` is the framework's own; choose another name");
            return Err(Error::Call { task, reason });
        }
        check_limits(&task, options.limits)?;
        let id = options.id.unwrap_or_else(new_id);
        let appearance = match self.inner.options.headers {
            HeaderStyle::Brief => None,
            HeaderStyle::Full => Some(Appearance {
                argsrepr: repr_args(&body.args),
                kwargsrepr: repr_kwargs(&body.kwargs),
                origin: self.inner.origin.clone(),
            }),
        };
        let Relations { root_id, parent_id, group, group_index, replaced_task_nesting, reply_to } = options.relations;
        let within = self.lineage.as_deref();
        let full = appearance.is_some();
        let root_id = root_id.or_else(|| within.map(|within| within.root_id.clone()));
        let mut headers = HeaderMap::with_capacity(4 + options.headers.len());
        let own = TaskHeaders {
            task: task.clone(),
            id: id.clone(),
            retries: 0,
            eta: timing.eta,
            expires: timing.expires,
            root_id: root_id.or_else(|| full.then(|| id.clone())),
            parent_id: parent_id.or_else(|| within.map(|within| within.id.clone())),
            group,
            group_index,
            shadow: options.shadow,
            limits: options.limits,
            ignore_result: options.ignore_result,
            replaced_task_nesting,
            stamped_headers: options.stamps.keys().cloned().collect(),
            stamps: options.stamps,
        };
        own.check().map_err(|error| Error::Call { task: task.clone(), reason: error.to_string() })?;
        own.write(&mut headers, appearance);
        if let Some(compression) = compression {
            headers.push(names::COMPRESSION, compression.header_value());
        }
        for (name, value) in destination.manner.headers.iter().cloned().chain(options.headers) {
            headers.insert(name, value);
        }
        let properties = Properties {
            content_type: Some(codec.content_type().to_owned()),
            content_encoding: Some(codec.content_encoding().to_owned()),
            priority: destination.manner.priority,
            expiration: timing.expiration,
            // A worker of Celery's answers with it; where nobody awaits an answer it says nothing.
            correlation_id: (full || reply_to.is_some()).then(|| id.clone()),
            reply_to,
            ..Properties::default()
        };
        let message = Message { headers, properties, body: written.into() };
        let outgoing = Outgoing { exchange, routing_key, message, mandatory: true };
        let Timing { eta, expires, .. } = timing;
        Ok(PreparedTask { task, id, outgoing, destination, eta, expires, order_key: options.order_key })
    }

    /// Publishes a message, and tells of it.
    async fn send(&self, prepared: PreparedTask) -> Result<()> {
        let PreparedTask { task, id, mut outgoing, destination, .. } = prepared;
        let failed = |source: BrokerError| Error::Send { task: task.clone(), source };
        self.declare().await.map_err(failed)?;
        let (exchange, routing_key) = (&destination.exchange, &destination.routing_key);
        let span = PublishSpan::start(&task, &id, exchange, routing_key);
        span.inject(&mut outgoing.message.headers);
        let sent = self.inner.broker.publish(outgoing).await;
        match &sent {
            Ok(()) => TaskSent { task: &task, id: &id, exchange, routing_key }.emit(),
            Err(error) => SendFailed { task: &task, id: &id, error: &ErrorChain(error).to_string() }.emit(),
        }
        span.end(sent.as_ref().map(|&()| ()).map_err(|error| error as &dyn std::fmt::Display));
        sent.map_err(failed)?;
        if let Some(within) = &self.lineage {
            within.add(&id);
        }
        Ok(())
    }

    /// Makes exchanges and queues exist before the first message is sent to them.
    async fn declare(&self) -> Result<(), BrokerError> {
        let declare = || async { self.inner.broker.declare(self.inner.router.topology()).await };
        self.inner.declared.get_or_try_init(declare).await.map(|&()| ())
    }
}

/// A body that carries what follows from the call, beside what it carries already.
/// A soft limit that is never reached is a mistake. Zero is no limit.
fn check_limits(task: &str, TimeLimits { hard, soft }: TimeLimits) -> Result<()> {
    match (hard.filter(|hard| !hard.is_zero()), soft) {
        (Some(hard), Some(soft)) if soft >= hard => {
            let (hard, soft) = (duration::format(hard), duration::format(soft));
            let reason = format!("its soft time limit of {soft} is never reached: the hard one ends it after {hard}");
            Err(Error::Call { task: task.to_owned(), reason })
        }
        _ => Ok(()),
    }
}

fn with_follow_ups(task: &str, body: Body, follow: Follow) -> Result<Body> {
    if follow == Follow::default() && body.embed.is_null() {
        return Ok(body);
    }
    let Follow { callbacks, errbacks, steps } = follow;
    let mut embed = Embed::read(&body.embed)
        .map_err(|error| Error::Call { task: task.to_owned(), reason: format!("in what it carries, {error}") })?;
    embed.callbacks.extend(callbacks);
    embed.errbacks.extend(errbacks);
    embed.chain.extend(steps);
    Ok(Body { embed: embed.into(), ..body })
}

pub(crate) fn unwritable(task: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Encode { task: task.to_owned(), source: Box::new(source) }
}

/// A new task id. It begins with the time, so that rows written together lie together, and tells when it was sent.
pub(crate) fn new_id() -> String {
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
    fn of(task: &str, options: &CallOptions, otherwise: Option<Duration>) -> Result<Self> {
        let expires = options.expires.or(otherwise.map(Expiry::After));
        if options.when == When::Now && expires.is_none() {
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
        let expires = match expires {
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
