//! Makes a message of a call: route, times, body, headers and properties.

use std::borrow::Cow;

use celeriac_broker::{Error as BrokerError, Outgoing, headers as header_bounds};
use celeriac_config::duration;
use celeriac_protocol::compression::Compression;
use celeriac_protocol::headers::names;
use celeriac_protocol::redact::{REDACTED, redact};
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{
    Appearance, Body, Codec, Embed, HeaderMap, Message, Properties, Signature, TaskHeaders, TaskOptions, TimeLimits,
    Value,
};
use celeriac_topology::{Destination, RouteRequest};
use jiff::Timestamp;
use uuid::Uuid;

use super::resolve::{DynamicCall, ResolvedCall, routed_as, unwritable};
use super::times::SendTimes;
use crate::call::{CallOptions, Follow, Relations};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::options::HeaderStyle;

/// A call as a message that is ready to publish.
#[derive(Debug)]
pub struct PreparedTask {
    /// The task.
    pub task: String,
    /// Its id.
    pub id: String,
    /// The message, and the address that it is published to. A delayed message goes to a delay
    /// level first.
    pub outgoing: Outgoing,
    /// Final destination, after any delay.
    pub destination: Destination,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which RabbitMQ may drop it. `None` if a chord would wait for it.
    pub expires: Option<Timestamp>,
    /// Order key, if the message goes through the outbox.
    pub order_key: Option<String>,
    /// The states of the task that are written.
    pub track: TrackedStates,
}

/// A serialized body.
struct EncodedBody {
    bytes: Vec<u8>,
    codec: Codec,
    compression: Option<Compression>,
}

/// Parts that headers and properties are made of.
struct MessageParts<'a> {
    task: &'a str,
    id: &'a str,
    destination: &'a Destination,
    times: &'a SendTimes,
    encoded: &'a EncodedBody,
    /// The chord that counts the task.
    join: Option<&'a str>,
    /// True if a chord counts this task, or the last of the steps behind it.
    is_awaited_by_chord: bool,
}

impl Client {
    /// Makes a message of a call, without sending it. `declared` are the options of the task's
    /// declaration, if the task is known.
    ///
    /// # Errors
    /// Returns an error if the options conflict, the arguments cannot be serialised, or no route
    /// matches.
    #[doc(hidden)]
    pub fn prepare(&self, request: DynamicCall, declared: TaskOptions) -> Result<PreparedTask> {
        self.prepare_resolved(self.resolve(request, declared))
    }

    /// Makes a message of a resolved call.
    pub(super) fn prepare_resolved(&self, call: ResolvedCall) -> Result<PreparedTask> {
        let appearance = self.is_full().then(|| self.appearance(&call));
        let ResolvedCall { request: DynamicCall { task, body, mut options }, declared_queue, called_at, track, .. } =
            call;
        let destination = self.route(&task, &body, &options, declared_queue)?;
        let called_at = called_at.unwrap_or_else(|| self.inner.clock.now());
        let times = SendTimes::resolve(&task, &options, destination.send_options.expires, called_at)?;
        let (exchange, routing_key) = self.publish_address(&task, &destination, &times)?;
        let mut body = with_follow_ups(&task, body, std::mem::take(&mut options.follow))?;
        let encoded = self.encode(&task, &mut body, &options, &destination)?;
        check_header_names(&task, &options.headers)?;
        check_limits(&task, options.limits)?;
        let id = options.id.take().unwrap_or_else(new_id);
        let order_key = options.order_key.take();
        let join = join_of(&body.embed);
        let leads_to_chord = || times.expires.is_some() && leads_to_chord(&body.embed);
        let is_awaited_by_chord = join.is_some() || leads_to_chord();
        let parts = MessageParts {
            task: &task,
            id: &id,
            destination: &destination,
            times: &times,
            encoded: &encoded,
            join,
            is_awaited_by_chord,
        };
        let properties = self.properties(&parts, options.relations.reply_to.take());
        let headers = self.headers(&parts, appearance, options)?;
        let message = Message { headers, properties, body: encoded.bytes.into() };
        let outgoing = Outgoing { exchange, routing_key, message, mandatory: true };
        let SendTimes { eta, expires, .. } = times;
        let expires = expires.filter(|_| !is_awaited_by_chord);
        Ok(PreparedTask { task, id, outgoing, destination, eta, expires, order_key, track })
    }

    /// Returns the final destination of the message, with its options.
    fn route(
        &self,
        task: &str,
        body: &Body,
        options: &CallOptions,
        declared_queue: Option<&str>,
    ) -> Result<Destination> {
        let routed = routed_as(task, body);
        let question = RouteRequest { task: routed, args: &body.args, kwargs: &body.kwargs, headers: &options.headers };
        let routed = self.inner.router.route(question, &options.route, declared_queue);
        routed.map_err(|error| unsendable(task, error.into()))
    }

    /// Returns exchange and routing key to publish to: those of a delay level if the message has to
    /// wait.
    fn publish_address(
        &self,
        task: &str,
        destination: &Destination,
        times: &SendTimes,
    ) -> Result<(Cow<'static, str>, String)> {
        let Some(hold) = times.hold else {
            return Ok((destination.exchange.clone(), destination.routing_key.clone()));
        };
        let held = destination.clone().delayed(hold, self.inner.broker.ladder());
        held.map(|held| (held.exchange, held.routing_key)).map_err(|error| unsendable(task, error.into()))
    }

    /// Serializes the body, checks its size, and compresses it if that is requested.
    fn encode(
        &self,
        task: &str,
        body: &mut Body,
        options: &CallOptions,
        destination: &Destination,
    ) -> Result<EncodedBody> {
        let codec = destination.send_options.codec.unwrap_or(self.inner.options.serializer);
        let bytes = body.encode(codec).map_err(|source| unwritable(task, source))?;
        let limit = self.inner.limits.message_size;
        if bytes.len() > limit {
            return Err(unsendable(task, BrokerError::TooLarge { size: bytes.len(), limit }));
        }
        let compression =
            options.compression.or(destination.send_options.compression).or(self.inner.options.compression);
        let bytes = match compression {
            None => bytes,
            Some(compression) => compression.compress(&bytes).map_err(|source| unwritable(task, source))?,
        };
        Ok(EncodedBody { bytes, codec, compression })
    }

    /// Writes the headers: the task's own, then those of the route, then those of the call.
    fn headers(
        &self,
        parts: &MessageParts<'_>,
        appearance: Option<Appearance>,
        options: CallOptions,
    ) -> Result<HeaderMap> {
        let MessageParts { task, id, destination, times, encoded, join, .. } = *parts;
        let Relations { root_id, parent_id, group, group_index, replaced_task_nesting, .. } = options.relations;
        let within = self.lineage.as_deref();
        let root_id = root_id.or_else(|| within.map(|within| within.root_id.clone()));
        let own = TaskHeaders {
            task: task.to_owned(),
            id: id.to_owned(),
            retries: 0,
            eta: times.eta,
            expires: times.expires,
            root_id: root_id.or_else(|| self.is_full().then(|| id.to_owned())),
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
        own.check().map_err(|error| Error::Call { task: task.to_owned(), reason: error.to_string() })?;
        let mut headers = HeaderMap::with_capacity(4 + options.headers.len());
        own.write(&mut headers, appearance);
        if let Some(compression) = encoded.compression {
            headers.push(names::COMPRESSION, compression.header_value());
        }
        if let Some(join) = join {
            headers.push(names::JOIN, join);
        }
        for (name, value) in destination.send_options.headers.iter().cloned().chain(options.headers) {
            headers.insert(name, value);
        }
        header_bounds::check(&headers, header_bounds::MAX_OF_CALL).map_err(|error| unsendable(task, error))?;
        Ok(headers)
    }

    /// Returns the headers for people, without the arguments that the task redacts.
    fn appearance(&self, call: &ResolvedCall) -> Appearance {
        let ResolvedCall { request: DynamicCall { body, .. }, redact: paths, parameters, .. } = call;
        let origin = self.inner.origin.clone();
        match paths {
            None => Appearance { argsrepr: repr_args(&body.args), kwargsrepr: repr_kwargs(&body.kwargs), origin },
            // Without the names of its parameters, any positional argument may be meant.
            Some(_) if parameters.is_none() => {
                Appearance { argsrepr: REDACTED.to_owned(), kwargsrepr: REDACTED.to_owned(), origin }
            }
            Some(paths) => {
                let (mut args, mut kwargs) = (body.args.clone(), body.kwargs.clone());
                redact(paths, *parameters, &mut args, &mut kwargs);
                Appearance { argsrepr: repr_args(&args), kwargsrepr: repr_kwargs(&kwargs), origin }
            }
        }
    }

    /// Writes the properties.
    fn properties(&self, parts: &MessageParts<'_>, reply_to: Option<String>) -> Properties {
        let MessageParts { id, destination, times, encoded, is_awaited_by_chord, .. } = *parts;
        Properties {
            content_type: Some(encoded.codec.content_type().to_owned()),
            content_encoding: Some(encoded.codec.content_encoding().to_owned()),
            priority: destination.send_options.priority,
            // RabbitMQ drops an expired message without an answer, for which a chord would wait.
            expiration: times.expiration.filter(|_| !is_awaited_by_chord),
            // Celery's workers copy it into the reply. Without a reply it has no reader.
            correlation_id: (self.is_full() || reply_to.is_some()).then(|| id.to_owned()),
            reply_to,
            ..Properties::default()
        }
    }

    /// Returns true if all headers of Celery are written.
    fn is_full(&self) -> bool {
        self.inner.options.headers == HeaderStyle::Full
    }
}

/// Refuses header names that are reserved for the framework.
fn check_header_names(task: &str, headers: &[(String, Value)]) -> Result<()> {
    match headers.iter().find(|(name, _)| names::is_reserved(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let reason = format!("header `{name}` is the framework's own; choose another name");
            Err(Error::Call { task: task.to_owned(), reason })
        }
    }
}

/// Refuses a soft limit that the hard limit precedes. A hard limit of zero is no limit.
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

/// Adds follow-up tasks to those of the body.
fn with_follow_ups(task: &str, body: Body, follow: Follow) -> Result<Body> {
    if follow == Follow::default() && body.embed.is_null() {
        return Ok(body);
    }
    let Follow { callbacks, errbacks, steps } = follow;
    let mut embed = Embed::from_value(body.embed)
        .map_err(|error| Error::Call { task: task.to_owned(), reason: format!("follow-ups are not valid: {error}") })?;
    embed.callbacks.extend(callbacks);
    embed.errbacks.extend(errbacks);
    embed.chain.extend(steps);
    Ok(Body { embed: embed.into(), ..body })
}

/// Returns the chord that counts a task with this embed.
fn join_of(embed: &Value) -> Option<&str> {
    match embed {
        Value::Map(entries) => entries.get("chord").and_then(Signature::join_in),
        _ => None,
    }
}

/// Returns true if a chord counts the last of the steps of this embed.
fn leads_to_chord(embed: &Value) -> bool {
    let Value::Map(entries) = embed else { return false };
    let Some(Value::List(steps)) = entries.get("chain") else { return false };
    steps.iter().any(|step| {
        let Ok(mut step) = Signature::read(step) else { return false };
        let mut is_counted = false;
        step.change_end(&mut |end: &mut Signature| {
            is_counted = end.options.get("chord").and_then(Signature::join_in).is_some();
        });
        is_counted
    })
}

fn unsendable(task: &str, source: BrokerError) -> Error {
    Error::Send { task: task.to_owned(), source }
}

/// Makes a task id. A UUID of version 7 begins with the time: new rows are adjacent in the index,
/// and the id shows its time of sending.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}
