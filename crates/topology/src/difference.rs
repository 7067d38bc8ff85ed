//! The differences between declared and existing objects. Pure.

mod found;
mod policy;
mod remedy;

use std::collections::{BTreeSet, HashMap};

use crate::existing::{BindingFacts, ExchangeFacts, Existing, QueueFacts};
use crate::objects::{
    Argument, Arguments, BindingObject, BindingTarget, ExchangeObject, QueueObject, TopologyObject, policy_key,
};
use crate::queue::QueueKind;

pub use found::{Difference, DifferenceKind};
use found::{names, shown};
pub use policy::{POLICY_PRIORITY, differing_policies, policies, policy_object};
pub use remedy::{Leftover, Remedy};

/// Returns the differences of `existing` from `objects`. It compares objects that the files name,
/// and objects of earlier files: bindings between named objects, and policies and dead-letter
/// queues of deleted queues.
pub fn differences(objects: &[TopologyObject], existing: &Existing) -> Vec<Difference> {
    let queues: HashMap<_, _> = existing.queues.iter().map(|queue| (queue.name.as_str(), queue)).collect();
    let exchanges: HashMap<_, _> =
        existing.exchanges.iter().map(|exchange| (exchange.name.as_str(), exchange)).collect();
    let mut found = Vec::new();
    for declared in objects {
        match declared {
            TopologyObject::Exchange(wanted) => match exchanges.get(wanted.name.as_str()) {
                Some(facts) if !wanted.external => exchange(wanted, facts, &mut found),
                Some(_) => {}
                None => found.push(Difference::missing(declared)),
            },
            TopologyObject::Queue(wanted) => match queues.get(wanted.name.as_str()) {
                Some(facts) if !wanted.external => queue(wanted, facts, &mut found),
                Some(_) => {}
                None => found.push(Difference::missing(declared)),
            },
            TopologyObject::Binding(wanted) if existing.bindings.iter().any(|facts| same(wanted, facts)) => {}
            TopologyObject::Binding(_) => found.push(Difference::missing(declared)),
        }
    }
    extra_bindings(objects, existing, &mut found);
    policy::compare(objects, existing, &mut found);
    abandoned(objects, existing, &mut found);
    found
}

fn exchange(wanted: &ExchangeObject, facts: &ExchangeFacts, found: &mut Vec<Difference>) {
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

fn queue(wanted: &QueueObject, facts: &QueueFacts, found: &mut Vec<Difference>) {
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
        // An argument that equals the policy has no effect of its own.
        let said_by_policy = policy_key(name).and_then(|key| wanted.policy.get(key));
        if files.is_none() && broker == said_by_policy {
            continue;
        }
        differs(name, shown(broker), shown(files.or(said_by_policy)));
    }
}

const TYPE: &str = "x-queue-type";

/// Returns the type of a queue that is declared with these arguments.
fn kind(arguments: &Arguments) -> String {
    arguments.get(TYPE).map_or_else(|| QueueKind::Classic.name().to_owned(), Argument::to_string)
}

fn same(wanted: &BindingObject, facts: &BindingFacts) -> bool {
    wanted.source == facts.source
        && wanted.destination == facts.destination
        && wanted.routing_key == facts.routing_key
        && wanted.arguments == facts.arguments
}

/// Finds bindings that the files do not name, between objects that they name and that are not
/// external.
fn extra_bindings(objects: &[TopologyObject], existing: &Existing, found: &mut Vec<Difference>) {
    let ours: BTreeSet<BindingTarget> = objects.iter().filter_map(TopologyObject::place).collect();
    for facts in &existing.bindings {
        let source = BindingTarget::Exchange(facts.source.clone());
        let named =
            objects.iter().any(|declared| matches!(declared, TopologyObject::Binding(wanted) if same(wanted, facts)));
        if named || !ours.contains(&source) || !ours.contains(&facts.destination) {
            continue;
        }
        let BindingFacts { source, destination, routing_key: key, arguments, .. } = facts.clone();
        let object =
            TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }).to_string();
        found.push(Difference::extra(object, Leftover::Binding(facts.clone())));
    }
}

/// Finds empty dead-letter queues of deleted queues, with Celeriac's arguments.
fn abandoned(objects: &[TopologyObject], existing: &Existing, found: &mut Vec<Difference>) {
    let exists = |name: &str| existing.queues.iter().any(|queue| queue.name == name);
    let named = |name: &str| {
        objects.iter().any(|declared| matches!(declared, TopologyObject::Queue(queue) if queue.name == name))
    };
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

#[cfg(test)]
mod tests;
