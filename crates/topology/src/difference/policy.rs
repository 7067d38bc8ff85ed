//! Policies: those that should exist, and their differences from those that do. Pure.

use super::found::{Difference, DifferenceKind, names, shown};
use super::remedy::{Leftover, Remedy};
use crate::existing::{Existing, PolicyFacts};
use crate::objects::{QueueObject, TopologyObject};

/// The priority of Celeriac's policies. It is above 0, the default: of two policies with equal
/// priority, RabbitMQ applies either.
pub const POLICY_PRIORITY: i64 = 1;

/// The prefix of the names of Celeriac's policies.
const OURS: &str = "celeriac.";

/// Returns the policies for these objects.
pub fn policies(objects: &[TopologyObject]) -> Vec<PolicyFacts> {
    let queues = objects.iter().filter_map(|declared| match declared {
        TopologyObject::Queue(queue) if !queue.policy.is_empty() => Some(queue),
        _ => None,
    });
    queues.map(of_queue).collect()
}

fn of_queue(queue: &QueueObject) -> PolicyFacts {
    PolicyFacts {
        name: format!("{OURS}{}", queue.name),
        pattern: format!("^{}$", regex::escape(&queue.name)),
        apply_to: "queues".to_owned(),
        priority: POLICY_PRIORITY,
        definition: queue.policy.clone(),
    }
}

/// Returns the policies that are missing, differ, or do not apply.
pub fn differing_policies(objects: &[TopologyObject], existing: &Existing) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(objects, existing, &mut found);
    found.retain(|found| found.kind != DifferenceKind::Extra);
    found
}

/// Compares the policies of `existing` with those for `objects`.
pub(super) fn compare(objects: &[TopologyObject], existing: &Existing, found: &mut Vec<Difference>) {
    let wanted = policies(objects);
    for policy in &wanted {
        match existing.policies.iter().find(|facts| facts.name == policy.name) {
            Some(facts) => differing(policy, facts, found),
            None => found.push(Difference {
                kind: DifferenceKind::Missing,
                object: policy_object(&policy.name),
                property: None,
                broker: None,
                files: Some("declared".to_owned()),
                remedy: Remedy::SetPolicy(policy.clone()),
            }),
        }
        overruled(policy, existing, found);
    }
    for facts in &existing.policies {
        let Some(queue) = facts.name.strip_prefix(OURS) else { continue };
        let named =
            objects.iter().any(|declared| matches!(declared, TopologyObject::Queue(known) if known.name == queue));
        // If the queue exists and these files do not name it, the policy belongs to another
        // program.
        let gone = !existing.queues.iter().any(|known| known.name == queue);
        if (named || gone) && !wanted.iter().any(|policy| policy.name == facts.name) {
            found.push(Difference::extra(policy_object(&facts.name), Leftover::Policy(facts.name.clone())));
        }
    }
}

fn differing(wanted: &PolicyFacts, facts: &PolicyFacts, found: &mut Vec<Difference>) {
    let object = policy_object(&wanted.name);
    let mut differs = |property: &str, broker: Option<String>, files: Option<String>| {
        if broker != files {
            let remedy = Remedy::SetPolicy(wanted.clone());
            found.push(Difference::differs(&object, property, broker, files, remedy));
        }
    };
    differs("pattern", Some(facts.pattern.clone()), Some(wanted.pattern.clone()));
    differs("apply-to", Some(facts.apply_to.clone()), Some(wanted.apply_to.clone()));
    differs("priority", Some(facts.priority.to_string()), Some(wanted.priority.to_string()));
    for name in names(&wanted.definition, &facts.definition) {
        differs(name, shown(facts.definition.get(name)), shown(wanted.definition.get(name)));
    }
}

/// Finds the policy that applies in place of Celeriac's. Only one policy applies to a queue. The
/// API reports it with a delay, so only a policy of equal or higher priority counts.
fn overruled(wanted: &PolicyFacts, existing: &Existing, found: &mut Vec<Difference>) {
    let Some(name) = wanted.name.strip_prefix(OURS) else { return };
    let queue = existing.queues.iter().find(|queue| queue.name == name);
    let Some(applies) = queue.and_then(|queue| queue.policy.as_ref()).filter(|applies| **applies != wanted.name) else {
        return;
    };
    let holds = |policy: &&PolicyFacts| policy.name == *applies && policy.priority >= wanted.priority;
    if existing.policies.iter().any(|policy| holds(&policy)) {
        let (broker, files) = (Some(applies.clone()), Some(wanted.name.clone()));
        let remedy = Remedy::ByHand("only one policy applies to a queue: give the other a priority below 1");
        found.push(Difference::differs(&format!("queue `{name}`"), "policy", broker, files, remedy));
    }
}

/// Returns the name of a policy as a [`Difference`] has it.
pub fn policy_object(name: &str) -> String {
    format!("policy `{name}`")
}
