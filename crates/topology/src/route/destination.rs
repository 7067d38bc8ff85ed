//! The destination of a message, and the options that it is sent with.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Codec, Compression, Value};

use crate::delay::Ladder;
use crate::error::{Error, Result};
use crate::queue::{DIRECT_EXCHANGE, direct_queue};
use crate::topology::Topology;

/// The destination as a call names it; each part is `None` unless the caller set it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallRoute {
    /// The queue. Excludes `exchange` and `routing_key`.
    pub queue: Option<String>,
    /// The exchange, which may be one that is not declared here.
    pub exchange: Option<String>,
    /// The routing key, at the call's exchange or at that of its route.
    pub routing_key: Option<String>,
    /// The priority.
    pub priority: Option<u8>,
    /// The serialiser.
    pub codec: Option<Codec>,
}

/// The destination of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The exchange; empty for the default exchange.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// The options it is sent with.
    pub send_options: SendOptions,
    /// The queues it reaches by what is declared. None when only the broker knows.
    pub queues: Arc<[Arc<str>]>,
}

/// The options of a message that a route sets, for calls that do not set them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SendOptions {
    /// The priority.
    pub priority: Option<u8>,
    /// The serialiser.
    pub codec: Option<Codec>,
    /// The compression of the body.
    pub compression: Option<Compression>,
    /// The time it may wait before it must not start any more.
    pub expires: Option<Duration>,
    /// Headers beside the caller's own.
    pub headers: Arc<[(String, Value)]>,
}

impl Destination {
    /// The same destination, reached after `delay`, of which the ladder knows whole seconds.
    ///
    /// A delayed message is addressed to a queue by its name.
    ///
    /// # Errors
    /// When the declared bindings lead to any other number of queues than one.
    pub fn delayed(self, delay: Duration, ladder: &Ladder) -> Result<Self> {
        let reason = match &*self.queues {
            [queue] => {
                return Ok(match ladder.address(delay, queue) {
                    Some((exchange, routing_key)) => Self { exchange: Cow::Owned(exchange), routing_key, ..self },
                    None => self,
                });
            }
            [] => "no declared queue is bound there".to_owned(),
            several => format!("it leads to {} queues ({})", several.len(), several.join(", ")),
        };
        Err(Error::Undelayable { exchange: self.exchange.into_owned(), routing_key: self.routing_key, reason })
    }
}

/// A broadcast is an exchange of that name, where every worker has a queue of its own.
pub(super) fn to_queue(topology: &Topology, name: &str) -> Destination {
    let broadcast = topology.queues.get(name).is_some_and(|queue| queue.broadcast);
    Destination {
        exchange: if broadcast { Cow::Owned(name.to_owned()) } else { Cow::Borrowed("") },
        routing_key: name.to_owned(),
        send_options: SendOptions::default(),
        queues: [Arc::from(name)].into(),
    }
}

pub(super) fn at_exchange(topology: &Topology, exchange: &str, routing_key: &str) -> Destination {
    let worker = (exchange == DIRECT_EXCHANGE).then(|| direct_queue(routing_key));
    let declared = topology.reached(exchange, routing_key).into_iter().flatten();
    Destination {
        exchange: if exchange.is_empty() { Cow::Borrowed("") } else { Cow::Owned(exchange.to_owned()) },
        routing_key: routing_key.to_owned(),
        send_options: SendOptions::default(),
        queues: declared.chain(worker.as_deref()).map(Arc::from).collect(),
    }
}
