//! What is wrong with a topology before any broker has seen it.

use celeriac_config::nearest;

use super::{Binding, ExchangeKind, QueueKind, QueueOptions, Topology, is_dead_letter_queue};
use crate::prefetch::Prefetch;

/// The most bytes that AMQP allows for a name.
const LONGEST_NAME: usize = 255;
/// The most priorities that a classic queue should have: each costs RabbitMQ a process.
const MOST_PRIORITIES: u8 = 10;
/// Bytes that are kept free in a queue's name: its dead-letter queue and its delayed messages need them.
const ROOM_FOR_DELAY: usize = 56;

impl Topology {
    /// What is wrong, each with the key it stands under.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for name in self.exchanges.keys() {
            let key = format!("exchanges.{name}");
            let longest = LONGEST_NAME;
            problems.extend(problems_of_name(name, longest).into_iter().map(|problem| (key.clone(), problem)));
        }
        for (name, queue) in &self.queues {
            self.validate_queue(name, queue, &mut problems);
        }
        problems
    }

    fn validate_queue(&self, name: &str, queue: &QueueOptions, problems: &mut Vec<(String, String)>) {
        let key = format!("queues.{name}");
        let longest = LONGEST_NAME - ROOM_FOR_DELAY;
        problems.extend(problems_of_name(name, longest).into_iter().map(|problem| (key.clone(), problem)));
        if is_dead_letter_queue(name) {
            problems.push((key.clone(), "names that end with `.dead` belong to dead-letter queues".to_owned()));
        }
        problems
            .extend(problems_of_kind(queue).into_iter().map(|(field, problem)| (format!("{key}.{field}"), problem)));
        for (index, binding) in queue.bind.iter().enumerate() {
            let key = format!("{key}.bind[{index}]");
            self.validate_binding(binding, &key, problems);
            if queue.bind[..index].contains(binding) {
                problems.push((key, "stands here twice".to_owned()));
            }
        }
    }

    fn validate_binding(&self, binding: &Binding, key: &str, problems: &mut Vec<(String, String)>) {
        let Some(exchange) = self.exchanges.get(&binding.exchange) else {
            let problem = if binding.exchange.is_empty() {
                "the default exchange knows every queue by its name and takes no bindings".to_owned()
            } else {
                let known = self.exchanges.keys().map(String::as_str);
                format!("exchange `{}` is not declared{}", binding.exchange, did_you_mean(&binding.exchange, known))
            };
            problems.push((format!("{key}.exchange"), problem));
            return;
        };
        let problem = match exchange.kind {
            _ if binding.key.len() > LONGEST_NAME => "is longer than 255 bytes",
            ExchangeKind::Direct if binding.key.is_empty() => "a direct exchange needs a binding key",
            ExchangeKind::Topic if binding.key.is_empty() => "a topic exchange needs a binding key, `#` takes all",
            ExchangeKind::Direct | ExchangeKind::Topic | ExchangeKind::Fanout => return,
        };
        problems.push((format!("{key}.key"), problem.to_owned()));
    }
}

/// What is wrong with a name for an exchange or a queue.
fn problems_of_name(name: &str, longest: usize) -> Vec<String> {
    let mut problems = Vec::new();
    if name.trim().is_empty() {
        problems.push("a name should not be empty".to_owned());
    }
    if name.len() > longest {
        problems.push(format!("the name has {} bytes, allowed are {longest}", name.len()));
    }
    for prefix in ["amq.", "celery_delayed_"] {
        if name.starts_with(prefix) {
            problems.push(format!("names that begin with `{prefix}` are reserved"));
        }
    }
    if name.contains(['*', '#']) {
        problems.push("a name should not contain `*` or `#`, which have a meaning in binding keys".to_owned());
    }
    problems
}

fn problems_of_kind(queue: &QueueOptions) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if queue.foreign {
        let said = [
            ("bind", !queue.bind.is_empty()),
            ("max_priority", queue.max_priority.is_some()),
            ("delivery_limit", queue.delivery_limit.is_some()),
        ];
        for (field, _) in said.into_iter().filter(|(_, said)| *said) {
            let problem = "somebody else declares this queue, since it is `foreign`: leave this to them";
            problems.push((field, problem.to_owned()));
        }
        return problems;
    }
    match (queue.kind, queue.max_priority) {
        (QueueKind::Quorum, Some(_)) => {
            problems.push(("max_priority", "only classic queues have priorities; set type: classic".to_owned()));
        }
        (QueueKind::Classic, Some(priorities)) if !(1..=MOST_PRIORITIES).contains(&priorities) => {
            problems.push(("max_priority", format!("should be between 1 and {MOST_PRIORITIES}, got {priorities}")));
        }
        (QueueKind::Classic | QueueKind::Quorum, _) => {}
    }
    match (queue.kind, queue.delivery_limit) {
        (QueueKind::Classic, Some(_)) => {
            problems.push(("delivery_limit", "only quorum queues count deliveries; set type: quorum".to_owned()));
        }
        (QueueKind::Quorum, Some(0)) => {
            problems.push(("delivery_limit", "should be at least 1: with 0 the first requeue is the last".to_owned()));
        }
        (QueueKind::Classic | QueueKind::Quorum, _) => {}
    }
    if queue.prefetch == Some(Prefetch::Fixed(0)) {
        problems.push(("prefetch", "should be at least 1".to_owned()));
    }
    problems
}

/// `, did you mean …?` for the known name that was probably meant; nothing where none is like it.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::ExchangeOptions;
    use super::*;

    fn topology(name: &str, queue: QueueOptions) -> Topology {
        Topology {
            exchanges: [
                ("orders".to_owned(), ExchangeOptions { kind: ExchangeKind::Topic }),
                ("plain".to_owned(), ExchangeOptions { kind: ExchangeKind::Direct }),
                ("all".to_owned(), ExchangeOptions { kind: ExchangeKind::Fanout }),
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
        let options = QueueOptions { foreign: true, delivery_limit: Some(3), ..QueueOptions::default() };
        assert_eq!(
            problems("celery", options),
            [
                "queues.celery.delivery_limit: somebody else declares this queue, since it is `foreign`: leave this to them"
            ]
        );
        assert!(problems("celery", QueueOptions { foreign: true, ..QueueOptions::default() }).is_empty());
    }

    fn bound(exchange: &str, key: &str) -> QueueOptions {
        let binding = Binding { exchange: exchange.to_owned(), key: key.to_owned() };
        QueueOptions { bind: vec![binding], ..QueueOptions::default() }
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
            ("amq.gen", "queues.amq.gen: names that begin with `amq.` are reserved"),
            ("celery_delayed_3", "queues.celery_delayed_3: names that begin with `celery_delayed_` are reserved"),
            ("a.*", "queues.a.*: a name should not contain `*` or `#`, which have a meaning in binding keys"),
            ("mail.dead", "queues.mail.dead: names that end with `.dead` belong to dead-letter queues"),
        ];
        for (name, problem) in cases {
            assert_eq!(problems(name, QueueOptions::default()), [problem]);
        }
        let long = "x".repeat(200);
        let problem = format!("queues.{long}: the name has 200 bytes, allowed are 199");
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
                "queues.q.delivery_limit: should be at least 1: with 0 the first requeue is the last",
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
    fn bindings_that_lead_nowhere_are_named() {
        let cases = [
            (
                bound("ordres", "#"),
                "queues.q.bind[0].exchange: exchange `ordres` is not declared, did you mean `orders`?",
            ),
            (bound("zzz", "#"), "queues.q.bind[0].exchange: exchange `zzz` is not declared"),
            (
                bound("", "q"),
                "queues.q.bind[0].exchange: the default exchange knows every queue by its name and takes no bindings",
            ),
            (bound("plain", ""), "queues.q.bind[0].key: a direct exchange needs a binding key"),
            (bound("orders", ""), "queues.q.bind[0].key: a topic exchange needs a binding key, `#` takes all"),
        ];
        for (queue, problem) in cases {
            assert_eq!(problems("q", queue), [problem]);
        }
        let mut twice = bound("orders", "#");
        twice.bind.push(twice.bind[0].clone());
        assert_eq!(problems("q", twice), ["queues.q.bind[1]: stands here twice"]);
    }
}
