//! What differs between what should exist and what does. Pure.

mod policy;
mod remedy;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use crate::existing::{BindingFacts, ExchangeFacts, Existing, QueueFacts};
use crate::parts::{Argument, Arguments, BindingPart, ExchangePart, Part, Place, QueuePart, policy_key};
use crate::queue::QueueKind;

pub use policy::{POLICY_PRIORITY, differing_policies, policies};
pub use remedy::{Leftover, Remedy};

/// One thing in which broker and files differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// In which way.
    pub kind: DifferenceKind,
    /// What differs, such as ``queue `mail` ``.
    pub object: String,
    /// In what. `None`: in that it exists.
    pub property: Option<String>,
    /// Its value on the broker. `None`: it is not there.
    pub broker: Option<String>,
    /// Its value in the files. `None`: they say nothing of it.
    pub files: Option<String>,
    /// What puts an end to it.
    #[serde(serialize_with = "as_text")]
    pub remedy: Remedy,
}

/// In which way broker and files differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It is in the files alone.
    Missing,
    /// It is in both, not alike.
    Differs,
    /// It is on the broker alone, and once was ours.
    Extra,
}

/// Everything in which `existing` is not what `parts` say. Only what the files name is looked at, and what they once made:
/// bindings between what they name, and policies and dead-letter queues of queues that are gone.
pub fn differences(parts: &[Part], existing: &Existing) -> Vec<Difference> {
    let queues: HashMap<_, _> = existing.queues.iter().map(|queue| (queue.name.as_str(), queue)).collect();
    let exchanges: HashMap<_, _> =
        existing.exchanges.iter().map(|exchange| (exchange.name.as_str(), exchange)).collect();
    let mut found = Vec::new();
    for part in parts {
        match part {
            Part::Exchange(wanted) => match exchanges.get(wanted.name.as_str()) {
                Some(facts) if !wanted.foreign => exchange(wanted, facts, &mut found),
                Some(_) => {}
                None => found.push(Difference::missing(part)),
            },
            Part::Queue(wanted) => match queues.get(wanted.name.as_str()) {
                Some(facts) if !wanted.foreign => queue(wanted, facts, &mut found),
                Some(_) => {}
                None => found.push(Difference::missing(part)),
            },
            Part::Binding(wanted) if existing.bindings.iter().any(|facts| same(wanted, facts)) => {}
            Part::Binding(_) => found.push(Difference::missing(part)),
        }
    }
    extra_bindings(parts, existing, &mut found);
    policy::compare(parts, existing, &mut found);
    abandoned(parts, existing, &mut found);
    found
}

fn exchange(wanted: &ExchangePart, facts: &ExchangeFacts, found: &mut Vec<Difference>) {
    let object = format!("exchange `{}`", wanted.name);
    let mut differs = |property: &str, broker: Option<String>, files: Option<String>| {
        if broker != files {
            let remedy = Remedy::ByHand("no exchange can be changed: delete it when nothing uses it, and apply again");
            found.push(Difference::differs(&object, property, broker, files, remedy));
        }
    };
    differs("type", Some(facts.kind.clone()), Some(wanted.kind.name().to_owned()));
    for (property, on_broker, in_files) in [
        ("durable", facts.durable, true),
        ("auto-delete", facts.auto_delete, false),
        ("internal", facts.internal, false),
    ] {
        differs(property, Some(on_broker.to_string()), Some(in_files.to_string()));
    }
    for name in names(&wanted.arguments, &facts.arguments) {
        differs(name, shown(facts.arguments.get(name)), shown(wanted.arguments.get(name)));
    }
}

fn queue(wanted: &QueuePart, facts: &QueueFacts, found: &mut Vec<Difference>) {
    let object = format!("queue `{}`", wanted.name);
    let mut differs = |property: &str, broker: Option<String>, files: Option<String>| {
        if broker != files {
            found.push(Difference::differs(&object, property, broker, files, Remedy::of_queue(wanted)));
        }
    };
    for (property, on_broker, in_files) in [
        ("durable", facts.durable, wanted.durable),
        ("auto-delete", facts.auto_delete, false),
        ("exclusive", facts.exclusive, false),
    ] {
        differs(property, Some(on_broker.to_string()), Some(in_files.to_string()));
    }
    differs(TYPE, Some(facts.kind.clone()), Some(kind(&wanted.arguments)));
    for name in names(&wanted.arguments, &facts.arguments).into_iter().filter(|name| *name != TYPE) {
        let (broker, files) = (facts.arguments.get(name), wanted.arguments.get(name));
        // An argument that says what the policy says does no harm.
        let said_by_policy = policy_key(name).and_then(|key| wanted.policy.get(key));
        if files.is_none() && broker == said_by_policy {
            continue;
        }
        differs(name, shown(broker), shown(files.or(said_by_policy)));
    }
}

const TYPE: &str = "x-queue-type";

/// The type of a queue that is declared with these arguments.
fn kind(arguments: &Arguments) -> String {
    arguments.get(TYPE).map_or_else(|| QueueKind::Classic.name().to_owned(), Argument::to_string)
}

fn same(wanted: &BindingPart, facts: &BindingFacts) -> bool {
    wanted.source == facts.source
        && wanted.destination == facts.destination
        && wanted.key == facts.key
        && wanted.arguments == facts.arguments
}

/// Bindings that the files do not name, though they name both ends, and neither is somebody else's.
fn extra_bindings(parts: &[Part], existing: &Existing, found: &mut Vec<Difference>) {
    let ours: BTreeSet<Place> = parts.iter().filter_map(Part::place).collect();
    for facts in &existing.bindings {
        let source = Place::Exchange(facts.source.clone());
        let named = parts.iter().any(|part| matches!(part, Part::Binding(wanted) if same(wanted, facts)));
        if named || !ours.contains(&source) || !ours.contains(&facts.destination) {
            continue;
        }
        let BindingFacts { source, destination, key, arguments, .. } = facts.clone();
        let object = Part::Binding(BindingPart { source, destination, key, arguments }).to_string();
        found.push(Difference::extra(object, Leftover::Binding(facts.clone())));
    }
}

/// Empty dead-letter queues of queues that are gone, made as we make them.
fn abandoned(parts: &[Part], existing: &Existing, found: &mut Vec<Difference>) {
    let exists = |name: &str| existing.queues.iter().any(|queue| queue.name == name);
    let named = |name: &str| parts.iter().any(|part| matches!(part, Part::Queue(queue) if queue.name == name));
    for queue in &existing.queues {
        let Some(of) = queue.name.strip_suffix(".dead") else { continue };
        let plain = queue.durable && queue.arguments.keys().all(|name| name == TYPE || name == "x-delivery-limit");
        let idle = queue.ready == 0 && queue.unacked == 0 && queue.consumers == 0;
        if plain && idle && !named(&queue.name) && !named(of) && !exists(of) {
            let object = format!("queue `{}`", queue.name);
            found.push(Difference::extra(object, Leftover::Queue(Box::new(queue.clone()))));
        }
    }
}

fn names<'a>(one: &'a Arguments, other: &'a Arguments) -> BTreeSet<&'a str> {
    one.keys().chain(other.keys()).map(String::as_str).collect()
}

fn shown(argument: Option<&Argument>) -> Option<String> {
    argument.map(Argument::to_string)
}

fn as_text<S: serde::Serializer>(remedy: &Remedy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(remedy)
}

impl Difference {
    /// A part that does not exist.
    pub fn missing(part: &Part) -> Self {
        let remedy = if part.is_foreign() {
            Remedy::ByHand("it is `foreign` in the files: its owner has to make it")
        } else {
            Remedy::Make(part.clone())
        };
        let (object, files) = (part.to_string(), Some("declared".to_owned()));
        Self { kind: DifferenceKind::Missing, object, property: None, broker: None, files, remedy }
    }

    /// A property that is not alike.
    pub fn differs(
        object: &str,
        property: &str,
        broker: Option<String>,
        files: Option<String>,
        remedy: Remedy,
    ) -> Self {
        let (object, property) = (object.to_owned(), Some(property.to_owned()));
        Self { kind: DifferenceKind::Differs, object, property, broker, files, remedy }
    }

    fn extra(object: String, leftover: Leftover) -> Self {
        let (broker, remedy) = (Some("there".to_owned()), Remedy::Delete(leftover));
        Self { kind: DifferenceKind::Extra, object, property: None, broker, files: None, remedy }
    }
}

impl Part {
    /// Whether somebody else makes it.
    pub fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Queue(QueuePart { foreign: true, .. }) | Self::Exchange(ExchangePart { foreign: true, .. })
        )
    }

    /// The queue or exchange that it is, where it is ours.
    fn place(&self) -> Option<Place> {
        match self {
            _ if self.is_foreign() => None,
            Self::Queue(queue) => Some(Place::Queue(queue.name.clone())),
            Self::Exchange(exchange) => Some(Place::Exchange(exchange.name.clone())),
            Self::Binding(_) => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(formatter, "exchange `{}`", exchange.name),
            Self::Queue(queue) => write!(formatter, "queue `{}`", queue.name),
            Self::Binding(BindingPart { source, destination, key, arguments }) => {
                write!(formatter, "binding of {destination} to exchange `{source}` with key `{key}`")?;
                for (name, value) in arguments {
                    write!(formatter, " {name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
