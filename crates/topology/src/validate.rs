//! Validation of a topology, without a broker.

use celeriac_config::{did_you_mean, nearest};

use crate::exchange::{Binding, ExchangeKind, ExchangeOptions};
use crate::objects::Argument;
use crate::prefetch::Prefetch;
use crate::queue::{Overflow, QueueKind, QueueOptions, dead_letter_queue};
use crate::topology::Topology;

/// The longest name in AMQP, in bytes.
const LONGEST_NAME: usize = 255;
/// Most priorities of a classic queue. RabbitMQ runs a process for each.
const MOST_PRIORITIES: u8 = 10;
/// Bytes of a name that the names of its dead-letter queue and delayed messages need in addition.
const ROOM_FOR_DELAY: usize = 56;

impl Topology {
    /// Returns all problems, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (name, exchange) in &self.exchanges {
            self.validate_exchange(name, exchange, &mut problems);
        }
        for (name, queue) in &self.queues {
            self.validate_queue(name, queue, &mut problems);
        }
        problems
    }

    fn validate_exchange(&self, name: &str, exchange: &ExchangeOptions, problems: &mut Vec<(String, String)>) {
        let key = format!("exchanges.{name}");
        problems.extend(problems_of_name(name, LONGEST_NAME).into_iter().map(|problem| (key.clone(), problem)));
        self.validate_bindings(&exchange.bindings, &key, problems);
        if let Some(alternate) = &exchange.alternate_exchange {
            let key = format!("{key}.alternate_exchange");
            match self.undeclared(alternate) {
                Some(problem) => problems.push((key, problem)),
                None if alternate == name => problems.push((key, "should name another exchange".to_owned())),
                None => {}
            }
        }
        if exchange.external && exchange.alternate_exchange.is_some() {
            problems.push((format!("{key}.alternate_exchange"), EXTERNAL_EXCHANGE.to_owned()));
        }
    }

    fn validate_queue(&self, name: &str, queue: &QueueOptions, problems: &mut Vec<(String, String)>) {
        let key = format!("queues.{name}");
        let longest = LONGEST_NAME - ROOM_FOR_DELAY;
        problems.extend(problems_of_name(name, longest).into_iter().map(|problem| (key.clone(), problem)));
        if name.ends_with(&dead_letter_queue("")) {
            problems.push((key.clone(), "names that end in `.dead` are reserved for dead-letter queues".to_owned()));
        }
        if queue.broadcast && self.exchanges.contains_key(name) {
            let problem =
                "a broadcast declares an exchange of its name, and `exchanges` has one too; rename one of them";
            problems.push((key.clone(), problem.to_owned()));
        }
        problems.extend(problems_of_options(queue).map(|(field, problem)| (format!("{key}.{field}"), problem)));
        if let Some(target) = &queue.dead_letter_queue {
            let key = format!("{key}.dead_letter_queue");
            problems.extend(problems_of_name(target, longest).into_iter().map(|problem| (key.clone(), problem)));
            if self.queues.contains_key(target) {
                let problem = format!(
                    "queue `{target}` is declared in `queues`, so workers would run its dead letters; name another queue"
                );
                problems.push((key, problem));
            }
        }
        self.validate_bindings(&queue.bindings, &key, problems);
    }

    fn validate_bindings(&self, bindings: &[Binding], key: &str, problems: &mut Vec<(String, String)>) {
        for (index, binding) in bindings.iter().enumerate() {
            let key = format!("{key}.bindings[{index}]");
            self.validate_binding(binding, &key, problems);
            if bindings[..index].contains(binding) {
                problems.push((key, "repeats an earlier binding; remove it".to_owned()));
            }
        }
    }

    fn validate_binding(&self, binding: &Binding, key: &str, problems: &mut Vec<(String, String)>) {
        if let Some(problem) = self.undeclared(&binding.exchange) {
            problems.push((format!("{key}.exchange"), problem));
            return;
        }
        let Some(exchange) = self.exchanges.get(&binding.exchange) else { return };
        let problem = match exchange.kind {
            _ if binding.routing_key.len() > LONGEST_NAME => Some("should have at most 255 bytes"),
            ExchangeKind::Direct if binding.routing_key.is_empty() => Some("should be set for a direct exchange"),
            ExchangeKind::Topic if binding.routing_key.is_empty() => {
                Some("should be set for a topic exchange; `#` matches all")
            }
            ExchangeKind::Headers if !binding.routing_key.is_empty() => {
                Some("should not be set for a headers exchange, which compares `headers`")
            }
            _ => None,
        };
        problems.extend(problem.map(|problem| (format!("{key}.routing_key"), problem.to_owned())));
        problems.extend(problems_of_headers(binding, exchange.kind).map(|problem| (format!("{key}.headers"), problem)));
    }

    /// Returns the problem of an exchange as the source of messages, if there is one.
    fn undeclared(&self, exchange: &str) -> Option<String> {
        if exchange.is_empty() {
            let problem = "the default exchange takes no bindings; it reaches every queue by its name";
            return Some(problem.to_owned());
        }
        if self.exchanges.contains_key(exchange) {
            return None;
        }
        let known = self.exchanges.keys().map(String::as_str);
        Some(format!("exchange `{exchange}` is not declared{}", did_you_mean(nearest(exchange, known))))
    }
}

fn problems_of_headers(binding: &Binding, kind: ExchangeKind) -> Option<String> {
    if kind != ExchangeKind::Headers {
        let kind = kind.name();
        return (!binding.headers.is_empty())
            .then(|| format!("only headers exchanges compare headers, and this one is {kind}"));
    }
    if binding.headers.is_empty() {
        return Some("should name at least one header for a headers exchange".to_owned());
    }
    let odd = binding
        .headers
        .iter()
        .find(|(name, value)| name.starts_with("x-") || name.is_empty() || Argument::of_header(value).is_none());
    odd.map(|(name, _)| match name.strip_prefix("x-") {
        Some(_) => format!("`{name}`: RabbitMQ does not compare headers that begin with `x-`"),
        None => format!("`{name}`: should be text, a whole number, true or false"),
    })
}

/// Returns the problems of a name of an exchange or a queue.
fn problems_of_name(name: &str, longest: usize) -> Vec<String> {
    let mut problems = Vec::new();
    if name.trim().is_empty() {
        problems.push("a name should not be empty".to_owned());
    }
    if name.len() > longest {
        problems.push(format!("the name has {} bytes; at most {longest} are allowed", name.len()));
    }
    if name.starts_with("amq.") {
        problems.push("names that begin with `amq.` are reserved by RabbitMQ".to_owned());
    }
    if name.contains(['*', '#']) {
        problems.push("a name should not contain `*` or `#`, the wildcards of binding keys".to_owned());
    }
    problems
}

const EXTERNAL: &str = "the owner of this `external` queue sets it; remove it here";
const EXTERNAL_EXCHANGE: &str = "the owner of this `external` exchange sets it; remove it here";

/// A rule: an option, true if it is set, and the kinds of queue that have it.
struct Rule {
    field: &'static str,
    set: bool,
    /// The kinds of queue that have it.
    kinds: &'static [QueueKind],
    /// The message for other kinds.
    otherwise: &'static str,
    /// True if it applies to the queues of a broadcast.
    broadcast: bool,
}

fn rules(queue: &QueueOptions) -> Vec<Rule> {
    use QueueKind::{Classic, Quorum, Stream};
    const CLASSIC: &[QueueKind] = &[Classic];
    const QUORUM: &[QueueKind] = &[Quorum];
    const WORK: &[QueueKind] = &[Classic, Quorum];
    const STREAM: &[QueueKind] = &[Stream];
    const LOG: &[QueueKind] = &[Quorum, Stream];
    const ALL: &[QueueKind] = &[Classic, Quorum, Stream];
    let own = |field, set, kinds, otherwise| Rule { field, set, kinds, otherwise, broadcast: false };
    let shared = |field, set, kinds, otherwise| Rule { field, set, kinds, otherwise, broadcast: true };
    vec![
        own("bindings", !queue.bindings.is_empty(), ALL, ""),
        own(
            "max_priority",
            queue.max_priority.is_some(),
            CLASSIC,
            "only classic queues have priorities; set type: classic",
        ),
        shared("message_ttl", queue.message_ttl.is_some(), WORK, "a stream has no `message_ttl`; set `max_age`"),
        own("expires", queue.expires.is_some(), WORK, "a stream does not expire; `max_age` bounds its content"),
        shared(
            "max_length",
            queue.max_length.is_some(),
            WORK,
            "a stream has no `max_length`; set `max_length_bytes` or `max_age`",
        ),
        shared("max_length_bytes", queue.max_length_bytes.is_some(), ALL, ""),
        own("max_age", queue.max_age.is_some(), STREAM, "only streams have `max_age`; set `message_ttl`"),
        shared("overflow", queue.overflow.is_some(), WORK, "a stream always drops its oldest messages; remove it"),
        own(
            "delivery_limit",
            queue.delivery_limit.is_some(),
            QUORUM,
            "only quorum queues count deliveries; set type: quorum",
        ),
        shared("dead_letter_queue", queue.dead_letter_queue.is_some(), WORK, "a stream has no dead letters"),
        own("single_active_consumer", queue.single_active_consumer, WORK, "workers do not consume streams"),
        own("replicas", queue.replicas.is_some(), LOG, "a classic queue is on one node; set type: quorum"),
        own("lazy", queue.lazy, CLASSIC, "only classic queues can be lazy; the others always keep messages on disk"),
        own("transient", queue.transient, CLASSIC, "only classic queues can be transient; set type: classic"),
        own("broadcast", queue.broadcast, WORK, "workers do not consume streams"),
        shared("prefetch", queue.prefetch.is_some(), WORK, "workers do not consume streams"),
    ]
}

fn problems_of_options(queue: &QueueOptions) -> impl Iterator<Item = (&'static str, String)> {
    let rules = rules(queue).into_iter().filter(|rule| rule.set);
    let misplaced = rules.filter_map(|Rule { field, kinds, otherwise, broadcast, .. }| {
        if queue.external {
            return (!["prefetch", "dead_letter_queue"].contains(&field)).then(|| (field, EXTERNAL.to_owned()));
        }
        if queue.broadcast && !broadcast && field != "broadcast" {
            return Some((field, "the queues of a broadcast do not have this option; remove it".to_owned()));
        }
        (!kinds.contains(&queue.kind)).then(|| (field, otherwise.to_owned()))
    });
    misplaced.collect::<Vec<_>>().into_iter().chain(problems_of_values(queue))
}

fn problems_of_values(queue: &QueueOptions) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if let (QueueKind::Classic, Some(priorities)) = (queue.kind, queue.max_priority)
        && !(1..=MOST_PRIORITIES).contains(&priorities)
    {
        problems.push(("max_priority", format!("should be between 1 and {MOST_PRIORITIES}, got {priorities}")));
    }
    if queue.delivery_limit == Some(0) {
        problems.push((
            "delivery_limit",
            "should be at least 1; with 0, the first requeue dead-letters a message".to_owned(),
        ));
    }
    for (field, zero) in
        [("prefetch", queue.prefetch == Some(Prefetch::Fixed(0))), ("replicas", queue.replicas == Some(0))]
    {
        if zero {
            problems.push((field, "should be at least 1".to_owned()));
        }
    }
    for (field, duration) in [("expires", queue.expires), ("max_age", queue.max_age)] {
        if duration.is_some_and(|duration| duration.as_secs() == 0) {
            problems.push((field, "should be at least 1s".to_owned()));
        }
    }
    if queue.overflow.is_some() && queue.max_length.is_none() && queue.max_length_bytes.is_none() {
        problems.push((
            "overflow",
            "needs `max_length` or `max_length_bytes`; without them, the queue is never full".to_owned(),
        ));
    }
    if queue.overflow == Some(Overflow::RejectPublishDlx) && queue.kind == QueueKind::Quorum {
        problems.push((
            "overflow",
            "only classic queues have `reject-publish-dlx`; set type: classic, or overflow: reject-publish".to_owned(),
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(name: &str, queue: QueueOptions) -> Topology {
        Topology {
            exchanges: [
                ("orders".to_owned(), ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() }),
                ("plain".to_owned(), ExchangeOptions { kind: ExchangeKind::Direct, ..ExchangeOptions::default() }),
                ("all".to_owned(), ExchangeOptions { kind: ExchangeKind::Fanout, ..ExchangeOptions::default() }),
            ]
            .into(),
            queues: [(name.to_owned(), queue)].into(),
        }
    }

    fn problems(name: &str, queue: QueueOptions) -> Vec<String> {
        topology(name, queue).validate().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect()
    }

    #[test]
    fn nothing_is_declared_of_a_foreign_queue() {
        let options = QueueOptions { external: true, delivery_limit: Some(3), ..QueueOptions::default() };
        assert_eq!(
            problems("celery", options),
            ["queues.celery.delivery_limit: the owner of this `external` queue sets it; remove it here"]
        );
        assert!(problems("celery", QueueOptions { external: true, ..QueueOptions::default() }).is_empty());
    }

    fn bound(exchange: &str, key: &str) -> QueueOptions {
        let binding = Binding::new(exchange, key);
        QueueOptions { bindings: vec![binding], ..QueueOptions::default() }
    }

    #[test]
    fn what_can_be_declared_is_not_complained_about() {
        let fine = [
            bound("orders", "billing.#"),
            bound("plain", "x"),
            bound("all", ""),
            QueueOptions { kind: QueueKind::Classic, max_priority: Some(10), ..QueueOptions::default() },
            QueueOptions { delivery_limit: Some(20), prefetch: Some(Prefetch::Fixed(1)), ..QueueOptions::default() },
        ];
        for queue in fine {
            assert_eq!(problems("billing", queue), [""; 0]);
        }
    }

    #[test]
    fn names_that_cannot_be_are_named() {
        let cases = [
            ("", "queues.: a name should not be empty"),
            ("amq.gen", "queues.amq.gen: names that begin with `amq.` are reserved by RabbitMQ"),
            ("a.*", "queues.a.*: a name should not contain `*` or `#`, the wildcards of binding keys"),
            ("mail.dead", "queues.mail.dead: names that end in `.dead` are reserved for dead-letter queues"),
        ];
        for (name, problem) in cases {
            assert_eq!(problems(name, QueueOptions::default()), [problem]);
        }
        let long = "x".repeat(200);
        let problem = format!("queues.{long}: the name has 200 bytes; at most 199 are allowed");
        assert_eq!(problems(&long, QueueOptions::default()), [problem]);
    }

    #[test]
    fn arguments_that_do_not_fit_the_kind_are_named() {
        let classic = |max_priority| QueueOptions { kind: QueueKind::Classic, max_priority, ..QueueOptions::default() };
        let cases = [
            (
                QueueOptions { max_priority: Some(4), ..QueueOptions::default() },
                "queues.q.max_priority: only classic queues have priorities; set type: classic",
            ),
            (classic(Some(0)), "queues.q.max_priority: should be between 1 and 10, got 0"),
            (classic(Some(11)), "queues.q.max_priority: should be between 1 and 10, got 11"),
            (
                QueueOptions { delivery_limit: Some(3), ..classic(None) },
                "queues.q.delivery_limit: only quorum queues count deliveries; set type: quorum",
            ),
            (
                QueueOptions { delivery_limit: Some(0), ..QueueOptions::default() },
                "queues.q.delivery_limit: should be at least 1; with 0, the first requeue dead-letters a message",
            ),
            (
                QueueOptions { prefetch: Some(Prefetch::Fixed(0)), ..QueueOptions::default() },
                "queues.q.prefetch: should be at least 1",
            ),
        ];
        for (queue, problem) in cases {
            assert_eq!(problems("q", queue), [problem]);
        }
    }

    #[test]
    fn options_stand_where_they_mean_something() {
        let stream = || QueueOptions { kind: QueueKind::Stream, ..QueueOptions::default() };
        let broadcast = || QueueOptions { broadcast: true, ..QueueOptions::default() };
        let minute = Some(std::time::Duration::from_secs(60));
        let cases = [
            (
                QueueOptions { message_ttl: minute, ..stream() },
                "queues.q.message_ttl: a stream has no `message_ttl`; set `max_age`",
            ),
            (
                QueueOptions { prefetch: Some(Prefetch::Fixed(1)), ..stream() },
                "queues.q.prefetch: workers do not consume streams",
            ),
            (
                QueueOptions { max_age: minute, ..QueueOptions::default() },
                "queues.q.max_age: only streams have `max_age`; set `message_ttl`",
            ),
            (
                QueueOptions { overflow: Some(Overflow::DropHead), ..QueueOptions::default() },
                "queues.q.overflow: needs `max_length` or `max_length_bytes`; without them, the queue is never full",
            ),
            (
                QueueOptions {
                    overflow: Some(Overflow::RejectPublishDlx),
                    max_length: Some(1),
                    ..QueueOptions::default()
                },
                "queues.q.overflow: only classic queues have `reject-publish-dlx`; set type: classic, or overflow: reject-publish",
            ),
            (
                QueueOptions { lazy: true, ..QueueOptions::default() },
                "queues.q.lazy: only classic queues can be lazy; the others always keep messages on disk",
            ),
            (
                QueueOptions { single_active_consumer: true, ..broadcast() },
                "queues.q.single_active_consumer: the queues of a broadcast do not have this option; remove it",
            ),
            (
                QueueOptions { dead_letter_queue: Some("q".to_owned()), ..QueueOptions::default() },
                "queues.q.dead_letter_queue: queue `q` is declared in `queues`, so workers would run its dead letters; name another queue",
            ),
            (
                QueueOptions { max_age: Some(std::time::Duration::from_millis(5)), ..stream() },
                "queues.q.max_age: should be at least 1s",
            ),
        ];
        for (queue, problem) in cases {
            assert_eq!(problems("q", queue), [problem]);
        }
        assert_eq!(
            problems("all", broadcast()),
            [
                "queues.all: a broadcast declares an exchange of its name, and `exchanges` has one too; rename one of them"
            ]
        );
        let fine = QueueOptions { message_ttl: minute, dead_letter_queue: Some("failures".to_owned()), ..broadcast() };
        assert_eq!(problems("q", fine), [""; 0]);
    }

    #[test]
    fn exchanges_lead_somewhere() {
        let binding = |key: &str, headers: &[(&str, celeriac_protocol::Value)]| Binding {
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ..Binding::new("headers", key)
        };
        let topology = Topology {
            exchanges: [
                ("headers".to_owned(), ExchangeOptions { kind: ExchangeKind::Headers, ..ExchangeOptions::default() }),
                (
                    "a".to_owned(),
                    ExchangeOptions { alternate_exchange: Some("header".to_owned()), ..ExchangeOptions::default() },
                ),
                (
                    "b".to_owned(),
                    ExchangeOptions { alternate_exchange: Some("b".to_owned()), ..ExchangeOptions::default() },
                ),
                ("c".to_owned(), ExchangeOptions { bindings: vec![binding("", &[])], ..ExchangeOptions::default() }),
                (
                    "d".to_owned(),
                    ExchangeOptions {
                        bindings: vec![binding("k", &[("x-death", celeriac_protocol::Value::Int(1))])],
                        ..ExchangeOptions::default()
                    },
                ),
            ]
            .into(),
            ..Topology::default()
        };
        let found: Vec<_> = topology.validate().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        let expected = [
            "exchanges.a.alternate_exchange: exchange `header` is not declared, did you mean `headers`?",
            "exchanges.b.alternate_exchange: should name another exchange",
            "exchanges.c.bindings[0].headers: should name at least one header for a headers exchange",
            "exchanges.d.bindings[0].routing_key: should not be set for a headers exchange, which compares `headers`",
            "exchanges.d.bindings[0].headers: `x-death`: RabbitMQ does not compare headers that begin with `x-`",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn bindings_without_a_destination_are_named() {
        let cases = [
            (
                bound("ordres", "#"),
                "queues.q.bindings[0].exchange: exchange `ordres` is not declared, did you mean `orders`?",
            ),
            (bound("zzz", "#"), "queues.q.bindings[0].exchange: exchange `zzz` is not declared"),
            (
                bound("", "q"),
                "queues.q.bindings[0].exchange: the default exchange takes no bindings; it reaches every queue by its name",
            ),
            (bound("plain", ""), "queues.q.bindings[0].routing_key: should be set for a direct exchange"),
            (
                bound("orders", ""),
                "queues.q.bindings[0].routing_key: should be set for a topic exchange; `#` matches all",
            ),
        ];
        for (queue, problem) in cases {
            assert_eq!(problems("q", queue), [problem]);
        }
        let mut twice = bound("orders", "#");
        twice.bindings.push(twice.bindings[0].clone());
        assert_eq!(problems("q", twice), ["queues.q.bindings[1]: repeats an earlier binding; remove it"]);
    }
}
