//! Arguments of exchanges, queues and bindings in AMQP's terms. Pure.

use std::time::Duration;

use celeriac_topology::{
    Argument, Arguments, BindingObject, BindingTarget, ExchangeObject, QueueObject, TopologyObject,
};
use lapin::types::{AMQPValue, FieldTable, LongString};

use crate::amqp::convert::short;
use crate::broker::{REPLIES_EXPIRE, TransientQueue};
use crate::error::Result;

/// Converts arguments to an AMQP table.
pub(crate) fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert(name.as_str().into(), field(value));
    }
    table
}

fn field(value: &Argument) -> AMQPValue {
    match value {
        Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        // RabbitMQ compares numbers of any width, but a classic queue accepts its priorities only
        // in a short type.
        Argument::Number(number) => i32::try_from(*number).map_or(AMQPValue::LongLongInt(*number), AMQPValue::LongInt),
        Argument::Flag(flag) => AMQPValue::Boolean(*flag),
    }
}

/// Checks the lengths of all names.
///
/// # Errors
/// Returns an error if one is longer than AMQP allows.
pub(crate) fn check(objects: &[TopologyObject]) -> Result<()> {
    for object in objects {
        match object {
            TopologyObject::Exchange(ExchangeObject { name, arguments, .. }) => {
                short(name, "exchange")?;
                check_names(arguments)?;
            }
            TopologyObject::Queue(QueueObject { name, arguments, .. }) => {
                short(name, "queue")?;
                check_names(arguments)?;
            }
            TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
                let (BindingTarget::Queue(name) | BindingTarget::Exchange(name)) = destination;
                short(source, "exchange")?;
                short(name, "destination of a binding")?;
                short(key, "binding key")?;
                check_names(arguments)?;
            }
        }
    }
    Ok(())
}

fn check_names(arguments: &Arguments) -> Result<()> {
    arguments.keys().try_for_each(|name| short(name, "name of an argument").map(drop))
}

/// Returns the arguments of a reply queue.
pub(crate) fn reply_queue() -> Arguments {
    Arguments::from([("x-expires".to_owned(), millis(REPLIES_EXPIRE))])
}

/// Returns the arguments of a transient queue.
pub(crate) fn transient_queue(queue: &TransientQueue) -> Arguments {
    Arguments::from([
        ("x-expires".to_owned(), millis(queue.expires)),
        ("x-message-ttl".to_owned(), millis(queue.message_ttl)),
    ])
}

fn millis(time: Duration) -> Argument {
    Argument::Number(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use celeriac_topology::{Ladder, QueueOptions, SettingsLocation, Topology};

    use super::*;

    #[test]
    fn a_name_too_long_to_be_delayed_is_refused() {
        let name = "q".repeat(200);
        let all = Topology { queues: [(name, QueueOptions::default())].into(), ..Topology::default() };
        let message = check(&all.objects(&Ladder::default(), SettingsLocation::Arguments)).unwrap_err().to_string();
        assert_eq!(message, "binding key: should be at most 255 bytes, got 256");
    }
}
