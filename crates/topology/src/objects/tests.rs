//! Tests of the objects of options, and of their bindings.

use super::*;

fn objects(name: &str, options: QueueOptions, settings: SettingsLocation) -> Vec<TopologyObject> {
    Topology { queues: [(name.to_owned(), options)].into(), ..Topology::default() }
        .objects(&Ladder::default(), settings)
}

fn show(arguments: &Arguments) -> Vec<String> {
    arguments.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Returns the arguments of each declared queue.
fn queues(objects: &[TopologyObject]) -> BTreeMap<&str, Vec<String>> {
    let made = objects.iter().filter_map(|object| match object {
        TopologyObject::Queue(queue) if !queue.external => Some((queue.name.as_str(), show(&queue.arguments))),
        _ => None,
    });
    made.collect()
}

fn bindings(objects: &[TopologyObject]) -> Vec<String> {
    let bound = objects.iter().filter_map(|object| match object {
        TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
            Some(format!("{source} --{key}{}--> {destination}", show(arguments).join(",")))
        }
        _ => None,
    });
    bound.collect()
}

#[test]
fn a_foreign_queue_is_bound_and_not_made() {
    let objects =
        objects("celery", QueueOptions { external: true, ..QueueOptions::default() }, SettingsLocation::Arguments);
    assert_eq!(queues(&objects).into_keys().collect::<Vec<_>>(), ["celery.dead"]);
    let stars = "*.".repeat(28);
    assert_eq!(bindings(&objects), [format!("celery_delayed_delivery --{stars}celery--> queue `celery`")]);
}

#[test]
fn a_quorum_queue_has_a_limit_of_deliveries_that_nobody_has_to_configure() {
    let limit = |options| {
        let objects = objects("mail", options, SettingsLocation::Arguments);
        queues(&objects)["mail"].iter().find(|said| said.starts_with("x-delivery-limit")).cloned()
    };
    assert_eq!(limit(QueueOptions::default()).as_deref(), Some("x-delivery-limit=100"));
    assert_eq!(limit(QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() }), None);
}

#[test]
fn every_queue_has_a_dead_letter_queue_of_its_kind() {
    let quorum = QueueOptions { delivery_limit: Some(5), ..QueueOptions::default() };
    let quorum = objects("mail", quorum, SettingsLocation::Arguments);
    assert_eq!(queues(&quorum)["mail.dead"], ["x-delivery-limit=2147483647", "x-queue-type=quorum"]);
    let expected = [
        "x-dead-letter-exchange=",
        "x-dead-letter-routing-key=mail.dead",
        "x-dead-letter-strategy=at-least-once",
        "x-delivery-limit=5",
        "x-overflow=reject-publish",
        "x-queue-type=quorum",
    ];
    assert_eq!(queues(&quorum)["mail"], expected);

    let classic = QueueOptions { kind: QueueKind::Classic, max_priority: Some(4), ..QueueOptions::default() };
    let classic = objects("mail", classic, SettingsLocation::Arguments);
    assert!(queues(&classic)["mail.dead"].is_empty());
    let expected = ["x-dead-letter-exchange=", "x-dead-letter-routing-key=mail.dead", "x-max-priority=4"];
    assert_eq!(queues(&classic)["mail"], expected);
}

#[test]
fn what_is_said_of_a_queue_becomes_an_argument() {
    let classic = QueueOptions {
        kind: QueueKind::Classic,
        message_ttl: Some(Duration::from_secs(60)),
        expires: Some(Duration::from_secs(3600)),
        max_length: Some(1000),
        max_length_bytes: Some(celeriac_config::ByteSize::mib(1)),
        overflow: Some(Overflow::RejectPublishDlx),
        dead_letter_queue: Some("failures".to_owned()),
        single_active_consumer: true,
        lazy: true,
        transient: true,
        ..QueueOptions::default()
    };
    let classic = objects("mail", classic, SettingsLocation::Arguments);
    let expected = [
        "x-dead-letter-exchange=",
        "x-dead-letter-routing-key=failures",
        "x-expires=3600000",
        "x-max-length=1000",
        "x-max-length-bytes=1048576",
        "x-message-ttl=60000",
        "x-overflow=reject-publish-dlx",
        "x-queue-mode=lazy",
        "x-single-active-consumer=true",
    ];
    assert_eq!(queues(&classic)["mail"], expected);
    assert_eq!(queues(&classic).into_keys().collect::<Vec<_>>(), ["failures", "mail"]);
    assert!(classic.iter().any(|object| matches!(object, TopologyObject::Queue(QueueObject { durable: false, .. }))));

    let stream = QueueOptions {
        kind: QueueKind::Stream,
        max_age: Some(Duration::from_secs(86_400)),
        replicas: Some(3),
        ..QueueOptions::default()
    };
    let stream = objects("log", stream, SettingsLocation::Arguments);
    assert_eq!(queues(&stream)["log"], ["x-initial-cluster-size=3", "x-max-age=86400s", "x-queue-type=stream"]);
    assert_eq!(queues(&stream).len(), 1);
}

#[test]
fn a_queue_that_drops_what_is_old_cannot_have_its_dead_letters_confirmed() {
    let overflow = Some(Overflow::DropHead);
    let options = QueueOptions { max_length: Some(5), overflow, ..QueueOptions::default() };
    let objects = objects("mail", options, SettingsLocation::Arguments);
    let said = &queues(&objects)["mail"];
    assert!(said.contains(&"x-overflow=drop-head".to_owned()), "{said:?}");
    assert!(!said.iter().any(|said| said.starts_with("x-dead-letter-strategy")), "{said:?}");
}

#[test]
fn policies_say_what_they_can_say() {
    let options = QueueOptions { max_length: Some(5), single_active_consumer: true, ..QueueOptions::default() };
    let objects = objects("mail", options, SettingsLocation::Policies);
    assert_eq!(queues(&objects)["mail"], ["x-queue-type=quorum", "x-single-active-consumer=true"]);
    let policy = |name: &str| {
        objects.iter().find_map(|object| match object {
            TopologyObject::Queue(queue) if queue.name == name => Some(show(&queue.policy)),
            _ => None,
        })
    };
    let expected = [
        "dead-letter-exchange=",
        "dead-letter-routing-key=mail.dead",
        "dead-letter-strategy=at-least-once",
        "delivery-limit=100",
        "max-length=5",
        "overflow=reject-publish",
    ];
    assert_eq!(policy("mail").unwrap(), expected);
    assert_eq!(
        (queues(&objects)["mail.dead"].join(","), policy("mail.dead").unwrap()),
        ("x-queue-type=quorum".to_owned(), vec!["delivery-limit=2147483647".to_owned()])
    );
}

#[test]
fn a_queue_is_bound_where_it_is_configured_and_behind_the_ladder() {
    let bind = vec![Binding::new("orders", "billing.#")];
    let objects =
        objects("billing", QueueOptions { bindings: bind, ..QueueOptions::default() }, SettingsLocation::Arguments);
    let stars = "*.".repeat(28) + "billing";
    let expected = [
        format!("celery_delayed_delivery --{stars}--> queue `billing`"),
        "orders --billing.#--> queue `billing`".to_owned(),
    ];
    assert_eq!(bindings(&objects), expected);
}

#[test]
fn a_broadcast_is_an_exchange_behind_the_ladder() {
    let objects =
        objects("reload", QueueOptions { broadcast: true, ..QueueOptions::default() }, SettingsLocation::Arguments);
    assert_eq!(queues(&objects).into_keys().collect::<Vec<_>>(), ["reload.dead"]);
    let stars = "*.".repeat(28);
    assert_eq!(bindings(&objects), [format!("celery_delayed_delivery --{stars}reload--> exchange `reload`")]);
}

#[test]
fn exchanges_have_alternates_and_sources_and_compare_headers() {
    let eu = Binding {
        headers: [("region".to_owned(), Value::from("eu")), ("big".to_owned(), Value::Bool(true))].into(),
        ..Binding::new("regions", "")
    };
    let exchange = |kind| ExchangeOptions { kind, ..ExchangeOptions::default() };
    let topology = Topology {
        exchanges: [
            ("rest".to_owned(), exchange(ExchangeKind::Fanout)),
            (
                "regions".to_owned(),
                ExchangeOptions { alternate_exchange: Some("rest".to_owned()), ..exchange(ExchangeKind::Headers) },
            ),
            ("europe".to_owned(), ExchangeOptions { bindings: vec![eu], ..exchange(ExchangeKind::Fanout) }),
        ]
        .into(),
        ..Topology::default()
    };
    let objects = topology.objects(&Ladder::default(), SettingsLocation::Arguments);
    let TopologyObject::Exchange(regions) = &objects[1] else { panic!("{objects:?}") };
    assert_eq!(show(&regions.arguments), ["alternate-exchange=rest"]);
    assert_eq!(bindings(&objects), ["regions --big=true,region=eu,x-match=all--> exchange `europe`"]);
}

#[test]
fn the_ladder_is_declared_as_celery_declares_it() {
    let quorum = delay_ladder(&Ladder::default(), QueueKind::Quorum);
    assert_eq!(queues(&quorum).len(), 28);
    let expected = [
        "x-dead-letter-exchange=celery_delayed_26",
        "x-dead-letter-strategy=at-least-once",
        "x-message-ttl=134217728000",
        "x-overflow=reject-publish",
        "x-queue-type=quorum",
    ];
    assert_eq!(queues(&quorum)["celery_delayed_27"], expected);
    assert!(queues(&quorum)["celery_delayed_0"].contains(&"x-dead-letter-exchange=celery_delayed_delivery".to_owned()));
    let last = format!("celery_delayed_0 --{}0.#--> exchange `celery_delayed_delivery`", "*.".repeat(27));
    assert_eq!(bindings(&quorum).last(), Some(&last));
    let classic = delay_ladder(&Ladder::default(), QueueKind::Classic);
    assert!(!queues(&classic)["celery_delayed_0"].contains(&"x-dead-letter-strategy=at-least-once".to_owned()));
}
