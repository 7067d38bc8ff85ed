//! Calls as Celery's signatures, and back.

use celeriac_protocol::compression::Compression;
use celeriac_protocol::signature::{Moment, SignatureError, SignatureOptions};
use celeriac_protocol::{Body, Codec, Embed, Map, Signature, Value};
use celeriac_topology::{CallRoute, Topology};

use crate::call::{CallOptions, Expiry, Follow, Relations, When};
use crate::error::{Error, Result};
use crate::submit::DynamicCall;

impl CallOptions {
    /// Returns these options under Celery's names.
    pub(crate) fn into_celerys(self) -> Map {
        let mut options = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                options.insert(name.to_owned(), value);
            }
        };
        put("task_id", self.id.map(Value::from));
        match self.when {
            When::Now => {}
            When::After(wait) => put("countdown", Some(Value::Float(wait.as_secs_f64()))),
            When::At(time) => put("eta", Some(time.into())),
        }
        match self.expires {
            None => {}
            Some(Expiry::After(wait)) => put("expires", Some(Value::Float(wait.as_secs_f64()))),
            Some(Expiry::At(time)) => put("expires", Some(time.into())),
        }
        let CallRoute { queue, exchange, routing_key, priority, codec } = self.route;
        put("queue", queue.map(Value::from));
        put("exchange", exchange.map(Value::from));
        put("routing_key", routing_key.map(Value::from));
        put("priority", priority.map(|priority| Value::Int(priority.into())));
        put("compression", self.compression.map(|compression| compression.header_value().into()));
        put("serializer", codec.map(|codec| codec.name().into()));
        let headers: Map = self.headers.into_iter().collect();
        put("headers", (!headers.is_empty()).then_some(Value::Map(headers)));
        put("ignore_result", self.ignore_result.map(Value::from));
        put("time_limit", self.limits.hard.map(|limit| Value::Float(limit.as_secs_f64())));
        put("soft_time_limit", self.limits.soft.map(|limit| Value::Float(limit.as_secs_f64())));
        put("shadow", self.shadow.map(Value::from));
        let list = |signatures: Vec<Signature>| {
            (!signatures.is_empty()).then(|| Value::List(signatures.into_iter().map(Value::from).collect()))
        };
        put("link", list(self.follow.callbacks));
        put("link_error", list(self.follow.errbacks));
        let names: Vec<_> = self.stamps.keys().map(|name| name.as_str().into()).collect();
        put("stamped_headers", (!names.is_empty()).then_some(Value::List(names)));
        options.extend(self.stamps);
        options
    }
}

impl DynamicCall {
    /// Makes a call of a signature.
    ///
    /// A queue that is not declared here belongs to another program. It is addressed through the
    /// default exchange.
    ///
    /// # Errors
    /// Returns an error if an option is invalid.
    #[doc(hidden)]
    pub fn from_signature(signature: Signature, topology: &Topology) -> Result<Self> {
        let task = signature.task;
        let refused = |reason: String| Error::Call { task: task.clone(), reason };
        let read = SignatureOptions::read(&signature.options)
            .map_err(|error: SignatureError| refused(format!("in the options of its signature, {error}")))?;
        let codec = match read.serializer.as_deref() {
            None => None,
            Some(name) => Some(Codec::from_name(name).ok_or_else(|| {
                refused(format!("its signature wants serializer `{name}`; there are json and msgpack"))
            })?),
        };
        let compression = match read.compression.as_deref() {
            None => None,
            Some(name) => Some(Compression::from_header(name).map_err(|error| refused(error.to_string()))?),
        };
        let route = match (read.queue, read.exchange) {
            (Some(queue), _) if topology.queues.contains_key(&queue) => {
                CallRoute { queue: Some(queue), ..CallRoute::default() }
            }
            (Some(queue), _) => {
                CallRoute { exchange: Some(String::new()), routing_key: Some(queue), ..CallRoute::default() }
            }
            (None, exchange @ Some(_)) => CallRoute { exchange, routing_key: read.routing_key, ..CallRoute::default() },
            (None, None) => CallRoute::default(),
        };
        let when = match (read.eta, read.countdown) {
            (Some(time), _) => When::At(time),
            (None, Some(wait)) => When::After(wait),
            (None, None) => When::Now,
        };
        let embed = Embed { chord: read.chord, ..Embed::default() };
        Ok(Self {
            body: Body { args: signature.args, kwargs: signature.kwargs, embed: embed.into() },
            options: CallOptions {
                id: read.task_id,
                when,
                expires: read.expires.map(|expires| match expires {
                    Moment::At(time) => Expiry::At(time),
                    Moment::After(wait) => Expiry::After(wait),
                }),
                route: CallRoute { priority: read.priority, codec, ..route },
                headers: read.headers.into_iter().collect(),
                ignore_result: read.ignore_result,
                compression,
                limits: read.limits,
                shadow: read.shadow,
                stamps: read.stamps,
                follow: Follow { callbacks: read.link, errbacks: read.link_error, steps: read.chain },
                relations: Relations {
                    root_id: read.root_id,
                    parent_id: read.parent_id,
                    group: read.group_id,
                    group_index: read.group_index,
                    replaced_task_nesting: read.replaced_task_nesting,
                    reply_to: read.reply_to,
                },
                // A signature has no options for the sender.
                order_key: None,
                idempotency_key: None,
            },
            task,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_survive_the_way_through_a_signature() {
        let options = CallOptions {
            id: Some("1".to_owned()),
            when: When::After(Duration::from_secs(5)),
            expires: Some(Expiry::At("2026-11-20T09:40:17Z".parse().unwrap())),
            route: CallRoute {
                exchange: Some("orders".to_owned()),
                routing_key: Some("a.b".to_owned()),
                priority: Some(7),
                codec: Some(Codec::Msgpack),
                ..CallRoute::default()
            },
            headers: vec![("x".to_owned(), Value::Int(1))],
            ignore_result: Some(true),
            compression: Some(Compression::Zstd),
            shadow: Some("s".to_owned()),
            stamps: [("team".to_owned(), Value::from("x"))].into_iter().collect(),
            follow: Follow { callbacks: vec![Signature::new("a")], ..Follow::default() },
            ..CallOptions::default()
        };
        let signature = Signature { options: options.clone().into_celerys(), ..Signature::new("t") };
        let request = DynamicCall::from_signature(signature, &Topology::default()).unwrap();
        assert_eq!(request.options, options);
    }

    #[test]
    fn a_queue_that_is_not_declared_here_is_addressed_by_its_name() {
        let signature = Signature::new("t.add").queue("celery");
        let request = DynamicCall::from_signature(signature, &Topology::default()).unwrap();
        let CallRoute { queue, exchange, routing_key, .. } = request.options.route;
        assert_eq!((queue, exchange.as_deref(), routing_key.as_deref()), (None, Some(""), Some("celery")));
    }

    #[test]
    fn a_serializer_that_is_not_spoken_is_an_error() {
        let signature = Signature::new("t.add").option("serializer", "yaml");
        assert_eq!(
            DynamicCall::from_signature(signature, &Topology::default()).unwrap_err().to_string(),
            "task `t.add`: its signature wants serializer `yaml`; there are json and msgpack"
        );
    }
}
