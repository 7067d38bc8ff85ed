//! Tasks as Celery's tools show them.

use celeriac_broker::DeliveryInfo;
use celeriac_protocol::headers::names;
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::task::AckMode;
use celeriac_protocol::{Message, TaskHeaders, Value, shorten};
use jiff::Timestamp;

use crate::control::node::ControlNode;
use crate::task::received::{MessagePlace, Received};

/// Most bytes of a body whose arguments are shown as values. Those of a larger one are shown as
/// text.
const LARGEST: usize = 16 << 10;

/// Most bytes of all bodies that are shown as values in one reply.
const ALL: usize = 1 << 20;

/// Deepest nesting of arguments that are shown as values.
const DEEPEST: usize = 16;

/// Most bytes of arguments as text.
const LONGEST: usize = 1024;

/// Writes the tasks of one reply.
pub(super) struct TaskInfoWriter<'a> {
    node: &'a ControlNode,
    /// True if arguments are shown as text.
    safe: bool,
    /// Bytes of bodies that may still be shown as values.
    left: usize,
}

impl<'a> TaskInfoWriter<'a> {
    pub(super) fn new(node: &'a ControlNode, safe: bool) -> Self {
        Self { node, safe, left: ALL }
    }

    /// Returns an attempt in a slot.
    pub(super) fn attempt(&mut self, received: &Received) -> Value {
        let task = self.node.runtime.registry.get(&received.headers.task);
        let started = received.started_at();
        let is_early = started.is_some() && task.is_some_and(|task| task.options.acks == AckMode::Early);
        let is_acknowledged = is_early || received.place() == MessagePlace::Returned;
        self.info(&received.headers, &received.message, &received.origin, started, is_acknowledged)
    }

    /// Returns a message that waits for a slot.
    pub(super) fn held(&mut self, headers: &TaskHeaders, message: &Message, origin: &DeliveryInfo) -> Value {
        self.info(headers, message, origin, None, false)
    }

    fn info(
        &mut self,
        headers: &TaskHeaders,
        message: &Message,
        origin: &DeliveryInfo,
        started: Option<Timestamp>,
        is_acknowledged: bool,
    ) -> Value {
        let (args, kwargs) = self.arguments(headers, message);
        let name = headers.shadow.as_deref().unwrap_or(&headers.task);
        let delivery: Value = [
            ("exchange", Value::from(origin.exchange.as_str())),
            ("routing_key", origin.routing_key.as_str().into()),
            ("priority", message.properties.priority.unwrap_or_default().into()),
            ("redelivered", origin.redelivered.into()),
        ]
        .into_iter()
        .collect();
        [
            ("id", Value::from(headers.id.as_str())),
            ("name", name.into()),
            ("args", args),
            ("kwargs", kwargs),
            ("type", headers.task.as_str().into()),
            ("hostname", self.node.name().into()),
            ("time_start", started.map(|time| time.as_duration().as_secs_f64()).into()),
            ("acknowledged", is_acknowledged.into()),
            ("delivery_info", delivery),
            ("worker_pid", started.map(|_| std::process::id()).into()),
        ]
        .into_iter()
        .collect()
    }

    /// Returns the arguments without redacted values.
    fn arguments(&mut self, headers: &TaskHeaders, message: &Message) -> (Value, Value) {
        let size = message.body.len();
        if size > LARGEST || size > self.left {
            let told = |name| Value::from(shorten(message.headers.text(name).unwrap_or("..."), LONGEST).into_owned());
            let is_redacted = self.redacts(&headers.task);
            let shown = |name| if is_redacted { Value::from("...") } else { told(name) };
            return (shown(names::ARGSREPR), shown(names::KWARGSREPR));
        }
        self.left -= size;
        let Ok((mut body, _)) = message.read_body(&self.node.runtime.limits) else {
            return (Value::List(Vec::new()), Value::Map(Default::default()));
        };
        if let Some(task) = self.node.runtime.registry.get(&headers.task) {
            task.redact(&mut body.args, &mut body.kwargs);
        }
        let (text_of_args, text_of_kwargs) = (repr_args(&body.args), repr_kwargs(&body.kwargs));
        let (args, kwargs) = (Value::List(body.args), Value::Map(body.kwargs));
        let as_value = |value: Value, text: String| match self.safe || depth(&value) > DEEPEST {
            true => Value::from(text),
            false => value,
        };
        (as_value(args, text_of_args), as_value(kwargs, text_of_kwargs))
    }

    fn redacts(&self, task: &str) -> bool {
        self.node.runtime.registry.get(task).is_some_and(|task| task.options.redact.is_some())
    }
}

/// Returns the nesting of a value. A body that could be read is no deeper than its limit.
fn depth(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Map(entries) => 1 + entries.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
