//! Reports differences, as far as AMQP shows them, and changes nothing.
//!
//! An existing object is declared again, on a channel of its own. That changes nothing, and
//! RabbitMQ reports the first difference. A passive declaration tests first if the object exists,
//! because otherwise the declaration would create it.

use celeriac_topology::{Difference, QueueKind, Remedy, TopologyObject};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

use super::arguments::check;
use super::mismatch::Inequivalent;
use super::{Declarer, MOST_DIFFERENCES, answered, close, declare, doing};
use crate::amqp::error::{client_error, protocol_error};
use crate::error::Result;

/// Result of an inspection.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The differences.
    pub differences: Vec<Difference>,
    /// Objects that could not be inspected, with the reason.
    pub unseen: Vec<String>,
}

/// Result of declaring an existing object again.
enum Redeclared {
    Alike,
    Differs(Inequivalent),
    /// This user may not declare the object, even unchanged.
    Hidden,
}

impl Declarer {
    /// Returns the objects that do not exist. AMQP has no query for bindings.
    pub(crate) async fn absent<'a>(&self, objects: &'a [TopologyObject]) -> Result<Vec<&'a TopologyObject>> {
        let mut absent = Vec::new();
        for object in objects {
            if !matches!(object, TopologyObject::Binding(_)) && !self.exists(object).await? {
                absent.push(object);
            }
        }
        Ok(absent)
    }

    /// Returns the differences of these objects.
    pub(crate) async fn inspect(&self, objects: &[TopologyObject]) -> Result<Inspection> {
        check(objects)?;
        let mut found = Inspection::default();
        let mut hidden = 0;
        for object in objects.iter().filter(|object| !matches!(object, TopologyObject::Binding(_))) {
            if !self.exists(object).await? {
                found.differences.push(Difference::missing(object));
            } else if !object.is_foreign() {
                hidden += usize::from(!self.compare(object, &mut found.differences).await?);
            }
        }
        let without = "and no management API answers (broker.management_url)";
        found.unseen.push(format!("bindings: AMQP does not list them, {without}"));
        found.unseen.push(format!("policies: AMQP does not know them, {without}"));
        if hidden > 0 {
            found.unseen.push(format!("arguments of {hidden} exchanges and queues: this user may not configure them"));
        }
        Ok(found)
    }

    /// Compares one property after another.
    ///
    /// Each differing value is adopted, so that RabbitMQ reports the next difference. Returns
    /// `false` if this user may not declare the object.
    async fn compare(&self, object: &TopologyObject, found: &mut Vec<Difference>) -> Result<bool> {
        let mut object = object.clone();
        for _ in 0..MOST_DIFFERENCES {
            let differs = match self.show(&object).await? {
                Redeclared::Alike => return Ok(true),
                Redeclared::Hidden => return Ok(false),
                Redeclared::Differs(differs) => differs,
            };
            found.push(difference(&object, &differs));
            if !take_over(&mut object, &differs) {
                return Ok(true);
            }
        }
        Ok(true)
    }

    async fn show(&self, object: &TopologyObject) -> Result<Redeclared> {
        let channel = self.channel().await?;
        let Err(error) = answered(declare(&channel, object)).await? else {
            close(channel).await;
            return Ok(Redeclared::Alike);
        };
        let Some(said) = protocol_error(&error) else { return Err(client_error(&doing(object), error)) };
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Ok(Redeclared::Hidden),
            _ => match Inequivalent::read(said.get_message().as_str()) {
                Some(differs) => Ok(Redeclared::Differs(differs)),
                None => Err(client_error(&doing(object), error)),
            },
        }
    }
}

fn difference(object: &TopologyObject, differs: &Inequivalent) -> Difference {
    let remedy = match object {
        TopologyObject::Queue(queue) => Remedy::of_queue(queue),
        _ => Remedy::ByHand("no exchange can be changed: delete it when nothing uses it, and apply again"),
    };
    let kind = |value: Option<String>| {
        let classic = || QueueKind::Classic.name().to_owned();
        if differs.argument == "x-queue-type" { Some(value.unwrap_or_else(classic)) } else { value }
    };
    let (broker, files) = (kind(differs.current.text()), kind(differs.received.text()));
    Difference::differs(&object.to_string(), &differs.argument, broker, files, remedy)
}

/// Adopts the broker's value. Returns `false` if it cannot be read. Later properties then remain
/// unknown.
fn take_over(object: &mut TopologyObject, differs: &Inequivalent) -> bool {
    let name = differs.argument.as_str();
    match object {
        TopologyObject::Queue(queue) if name == "durable" => {
            queue.durable = !queue.durable;
            true
        }
        TopologyObject::Queue(queue) if name.starts_with("x-") => differs.take_over(name, &mut queue.arguments),
        TopologyObject::Exchange(exchange) if name == "alternate-exchange" => {
            differs.take_over(name, &mut exchange.arguments)
        }
        _ => false,
    }
}
