//! The destination of a message, and its options.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Codec, Compression, Value};

use crate::delay::Ladder;
use crate::error::{Error, Result};
use crate::queue::{DIRECT_EXCHANGE, direct_queue};
use crate::topology::Topology;

/// The destination of a call, as far as the call sets it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallRoute {
    /// The queue. Excludes `exchange` and `routing_key`.
    pub queue: Option<String>,
    /// The exchange. It need not be declared.
    pub exchange: Option<String>,
    /// The routing key, for the exchange of the call or of its route.
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
    /// The options of the message.
    pub send_options: SendOptions,
    /// The queues that it reaches, by the declared bindings. Empty if only the broker knows.
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
    /// The time that it may wait to start.
    pub expires: Option<Duration>,
    /// Headers besides those of the call.
    pub headers: Arc<[(String, Value)]>,
}

impl Destination {
    /// Returns the address that reaches the destination after `delay`. The ladder counts whole
    /// seconds.
    ///
    /// The address of a delayed message names one queue.
    ///
    /// # Errors
    /// Returns an error unless the declared bindings lead to exactly one queue.
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

/// A broadcast is an exchange of that name, with a queue of each worker.
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
