//! Tests of found differences, and of objects that are left alone.

use super::*;
use crate::delay::{Ladder, PREFIX};
use crate::existing::PolicyFacts;
use crate::objects::{SettingsLocation, delay_ladder};
use crate::queue::QueueOptions;
use crate::topology::Topology;

fn ladder() -> Ladder {
    Ladder::new(PREFIX)
}

fn topology() -> Topology {
    let mail = QueueOptions { max_length: Some(5), ..QueueOptions::default() };
    Topology { queues: [("mail".to_owned(), mail)].into(), ..Topology::default() }
}

/// Returns a broker without differences.
fn made(objects: &[TopologyObject]) -> Existing {
    let mut existing = Existing { policies: policies(objects), ..Existing::default() };
    for declared in objects {
        match declared.clone() {
            TopologyObject::Exchange(ExchangeObject { name, kind, arguments, .. }) => {
                let kind = kind.name().to_owned();
                existing.exchanges.push(ExchangeFacts { name, kind, arguments, durable: true, ..Default::default() });
            }
            TopologyObject::Queue(QueueObject { name, durable, arguments, .. }) => {
                let kind = kind(&arguments);
                existing.queues.push(QueueFacts { name, kind, durable, arguments, ..Default::default() });
            }
            TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
                let properties_key = key.clone();
                existing.bindings.push(BindingFacts {
                    source,
                    destination,
                    routing_key: key,
                    arguments,
                    properties_key,
                });
            }
        }
    }
    existing
}

fn all(settings: SettingsLocation) -> Vec<TopologyObject> {
    let mut objects = delay_ladder(&ladder(), QueueKind::Quorum);
    objects.extend(topology().objects(&ladder(), settings));
    objects
}

fn named(objects: &[TopologyObject], existing: &Existing) -> Vec<String> {
    let name = |found: Difference| {
        let Difference { object, property, broker, files, remedy, .. } = found;
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        format!("{object} {} {} {} ({remedy})", show(property), show(broker), show(files))
    };
    differences(objects, existing).into_iter().map(name).collect()
}

#[test]
fn a_matching_object_does_not_differ() {
    for settings in [SettingsLocation::Arguments, SettingsLocation::Policies] {
        let objects = all(settings);
        assert_eq!(named(&objects, &made(&objects)), Vec::<String>::new());
    }
}

#[test]
fn an_empty_broker_lacks_everything() {
    let objects = all(SettingsLocation::Policies);
    assert_eq!(differences(&objects, &Existing::default()).len(), objects.len() + policies(&objects).len());
}

#[test]
fn an_argument_that_says_what_the_policy_says_is_left_alone() {
    let objects = all(SettingsLocation::Policies);
    let mut existing = made(&objects);
    let mail = existing.queues.iter_mut().find(|queue| queue.name == "mail").unwrap();
    mail.arguments.insert("x-max-length".to_owned(), Argument::Number(5));
    assert_eq!(named(&objects, &existing), Vec::<String>::new());
    let mail = existing.queues.iter_mut().find(|queue| queue.name == "mail").unwrap();
    mail.arguments.insert("x-max-length".to_owned(), Argument::Number(6));
    assert_eq!(named(&objects, &existing), ["queue `mail` x-max-length 6 5 (celeriac topology migrate mail --to NEW)"]);
}

#[test]
fn a_policy_that_applies_in_place_of_ours_is_named() {
    let objects = all(SettingsLocation::Policies);
    let mut existing = made(&objects);
    existing.queues.iter_mut().find(|queue| queue.name == "mail").unwrap().policy = Some("all".to_owned());
    let other = |priority| PolicyFacts { name: "all".to_owned(), priority, ..PolicyFacts::default() };
    existing.policies.push(other(0));
    assert_eq!(named(&objects, &existing), Vec::<String>::new());
    *existing.policies.last_mut().unwrap() = other(2);
    assert_eq!(
        named(&objects, &existing),
        [
            "queue `mail` policy all celeriac.mail (only one policy applies to a queue: give the other a priority below 1)"
        ]
    );
}

#[test]
fn only_what_was_ours_is_extra() {
    let objects = all(SettingsLocation::Arguments);
    let mut existing = made(&objects);
    let queue = |name: &str| QueueFacts {
        name: name.to_owned(),
        kind: "quorum".to_owned(),
        durable: true,
        arguments: [(TYPE.to_owned(), Argument::Text("quorum".to_owned()))].into(),
        ..QueueFacts::default()
    };
    let policy = |name: &str| PolicyFacts { name: name.to_owned(), ..PolicyFacts::default() };
    let binding = |source: &str, queue: &str| BindingFacts {
        source: source.to_owned(),
        destination: BindingTarget::Queue(queue.to_owned()),
        routing_key: "k".to_owned(),
        arguments: Arguments::new(),
        properties_key: "k".to_owned(),
    };
    existing.queues.extend([
        queue("theirs"),
        queue("theirs.dead"),
        queue("gone.dead"),
        QueueFacts { ready: 1, ..queue("full.dead") },
        QueueFacts { consumers: 1, ..queue("read.dead") },
    ]);
    existing.policies.extend(["all", "celeriac.theirs", "celeriac.gone", "celeriac.mail"].map(policy));
    existing.bindings.extend([
        binding("celery_delayed_delivery", "mail"),
        binding("celery_delayed_delivery", "theirs"),
        binding("theirs", "mail"),
    ]);
    let extra = "there - (celeriac topology apply --prune)";
    let expected = [
        "binding of queue `mail` to exchange `celery_delayed_delivery` with key `k`",
        "policy `celeriac.gone`",
        "policy `celeriac.mail`",
        "queue `gone.dead`",
    ];
    assert_eq!(named(&objects, &existing), expected.map(|object| format!("{object} - {extra}")));
}
