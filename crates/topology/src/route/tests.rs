//! The destinations that win, and those that are refused.

mod functions;
mod properties;

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Codec, Compression, Map, Value};

use super::*;
use crate::delay::Ladder;
use crate::exchange::{Binding, ExchangeKind, ExchangeOptions};
use crate::pattern::MAX_KNOWN;
use crate::queue::QueueOptions;

fn options() -> RoutesOptions {
    let bind = |key: &str| QueueOptions {
        bindings: vec![Binding::new("orders".to_owned(), key.to_owned())],
        ..QueueOptions::default()
    };
    RoutesOptions {
        exchanges: [("orders".to_owned(), ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() })]
            .into(),
        queues: [
            ("billing".to_owned(), bind("billing.#")),
            ("audit".to_owned(), bind("#.charge")),
            ("reports".to_owned(), QueueOptions::default()),
            ("mail".to_owned(), QueueOptions::default()),
        ]
        .into(),
        task_routes: vec![
            TaskRoute { exchange: text("orders"), routing_key: text("billing.refund"), ..route("orders.refund") },
            TaskRoute {
                queue: text("reports"),
                priority: Some(2),
                serializer: Some(Codec::Msgpack),
                ..route("reports.*")
            },
            TaskRoute { queue: text("mail"), ..route("/(mail|sms)\\..*/") },
        ],
        ..RoutesOptions::default()
    }
}

fn route(task: &str) -> TaskRoute {
    TaskRoute { task: task.to_owned(), ..TaskRoute::default() }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// `exchange/key → queues`, or the error.
fn way(task: &str, call: &CallRoute, declared: Option<&str>) -> String {
    match Router::new(&options()).unwrap().route(task, call, declared) {
        Ok(found) => format!("{}/{} → {}", found.exchange, found.routing_key, found.queues.join(",")),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_call_decides_then_the_route_then_the_task_then_the_default() {
    let nothing = CallRoute::default();
    let queue = CallRoute { queue: text("audit"), ..CallRoute::default() };
    let cases = [
        ("reports.daily", &queue, Some("mail"), "/audit → audit"),
        ("reports.daily", &nothing, Some("mail"), "/reports → reports"),
        ("orders.refund", &nothing, None, "orders/billing.refund → billing"),
        ("sms.send", &nothing, None, "/mail → mail"),
        ("other", &nothing, Some("mail"), "/mail → mail"),
        ("other", &nothing, None, "/celeriac → celeriac"),
        ("other", &queue, None, "/audit → audit"),
    ];
    for (task, call, declared, expected) in cases {
        assert_eq!(way(task, call, declared), expected, "{task} {call:?} {declared:?}");
    }
}

#[test]
fn a_call_may_name_exchange_and_key() {
    let call = |exchange: Option<&str>, key: Option<&str>| CallRoute {
        exchange: exchange.map(str::to_owned),
        routing_key: key.map(str::to_owned),
        ..CallRoute::default()
    };
    let cases = [
        ("other", call(Some("orders"), Some("billing.charge")), "orders/billing.charge → billing,audit"),
        ("other", call(Some("orders"), None), "orders/ → "),
        ("other", call(Some("external"), Some("k")), "external/k → "),
        ("other", call(Some(""), Some("mail")), "/mail → mail"),
        ("other", call(Some(""), Some("reply-7")), "/reply-7 → "),
        ("orders.refund", call(None, Some("x.charge")), "orders/x.charge → audit"),
        (
            "reports.daily",
            call(None, Some("k")),
            "no route for task `reports.daily`: routing key `k` needs an exchange, and its route names none",
        ),
    ];
    for (task, call, expected) in cases {
        assert_eq!(way(task, &call, None), expected, "{task} {call:?}");
    }
}

#[test]
fn a_queue_that_is_not_declared_is_refused_with_the_nearest() {
    let call = CallRoute { queue: text("biling"), ..CallRoute::default() };
    assert_eq!(
        way("reports.daily", &call, None),
        "no route for task `reports.daily`: queue `biling` is not declared, did you mean `billing`?"
    );
    assert_eq!(
        way("other", &CallRoute::default(), Some("zzz")),
        "no route for task `other`: queue `zzz` is not declared"
    );
    let both = CallRoute { queue: text("mail"), exchange: text("orders"), ..CallRoute::default() };
    assert_eq!(
        way("other", &both, None),
        "no route for task `other`: the call names queue `mail` and an exchange or a routing key; name one way"
    );
}

#[test]
fn priority_and_serialiser_come_from_the_call_or_the_route() {
    let router = Router::new(&options()).unwrap();
    let call = CallRoute { queue: text("mail"), priority: Some(9), ..CallRoute::default() };
    let found = router.route("reports.daily", &call, None).unwrap();
    assert_eq!((found.send_options.priority, found.send_options.codec), (Some(9), Some(Codec::Msgpack)));
    let call = CallRoute { codec: Some(Codec::Json), ..CallRoute::default() };
    let found = router.route("reports.daily", &call, None).unwrap();
    assert_eq!((found.send_options.priority, found.send_options.codec), (Some(2), Some(Codec::Json)));
    let found = router.route("other", &CallRoute::default(), None).unwrap();
    assert_eq!((found.send_options.priority, found.send_options.codec), (None, None));
}

#[test]
fn a_delay_leads_to_one_queue_by_name() {
    let router = Router::new(&options()).unwrap();
    let delayed = |exchange: &str, key: &str, delay| {
        let call = CallRoute { exchange: text(exchange), routing_key: text(key), ..CallRoute::default() };
        router.route("t", &call, None).unwrap().delayed(delay, &Ladder::default())
    };
    let minute = Duration::from_secs(60);

    let found = delayed("orders", "billing.refund", minute).unwrap();
    let (exchange, key) = Ladder::default().address(minute, "billing").unwrap();
    assert_eq!((&*found.exchange, found.routing_key), (exchange.as_str(), key));

    let found = delayed("orders", "billing.refund", Duration::from_millis(999)).unwrap();
    assert_eq!((&*found.exchange, found.routing_key.as_str()), ("orders", "billing.refund"));

    let refused = |exchange, key| delayed(exchange, key, minute).unwrap_err().to_string();
    assert_eq!(
        refused("orders", "billing.charge"),
        "cannot delay a message for exchange `orders` with routing key `billing.charge`: \
         it leads to 2 queues (billing, audit)"
    );
    assert_eq!(
        refused("external", "k"),
        "cannot delay a message for exchange `external` with routing key `k`: no declared queue is bound there"
    );
}

#[test]
fn names_made_up_by_callers_take_no_memory_for_ever() {
    let router = Router::new(&options()).unwrap();
    for index in 0..MAX_KNOWN + 10 {
        let found = router.route(format!("reports.{index}").as_str(), &CallRoute::default(), None).unwrap();
        assert_eq!(found.routing_key, "reports");
    }
    assert_eq!(router.patterns.known_names(), MAX_KNOWN);
}

#[test]
fn the_default_queue_needs_no_mention() {
    let router = Router::new(&RoutesOptions::default()).unwrap();
    assert_eq!(router.topology().queues.keys().collect::<Vec<_>>(), ["celeriac"]);
    let listed = RoutesOptions { default_queue: "mail".to_owned(), ..options() };
    assert_eq!(Router::new(&listed).unwrap().topology().queues.len(), 4);
}

#[test]
fn routes_that_lead_nowhere_are_named() {
    let to = |queue: &str| TaskRoute { queue: text(queue), ..route("t") };
    let at = |exchange: &str, key: Option<&str>| TaskRoute {
        exchange: text(exchange),
        routing_key: key.map(str::to_owned),
        ..route("t")
    };
    let cases = [
        (to("billling"), "task_routes[0].queue: queue `billling` is not declared, did you mean `billing`?"),
        (to("zzz"), "task_routes[0].queue: queue `zzz` is not declared"),
        (at("order", Some("k")), "task_routes[0].exchange: exchange `order` is not declared, did you mean `orders`?"),
        (at("orders", None), "task_routes[0].routing_key: exchange `orders` needs a routing key"),
        (
            at("orders", Some("billing.#")),
            "task_routes[0].routing_key: a routing key has no wildcards, found `billing.#`",
        ),
        (
            at("orders", Some("k")),
            "task_routes[0].routing_key: no queue is bound to exchange `orders` for routing key `k`",
        ),
        (route("t"), "task_routes[0].queue: a route needs a queue, an exchange or a function; this one has none"),
        (
            TaskRoute { exchange: text("orders"), ..to("mail") },
            "task_routes[0].exchange: a route has a queue or an exchange; this one has both",
        ),
        (
            TaskRoute { routing_key: text("k"), ..to("mail") },
            "task_routes[0].routing_key: only a route to an exchange has a routing key; remove it",
        ),
        (
            TaskRoute { task: String::new(), ..to("mail") },
            "task_routes[0].task: should be a task name, a glob or a /regular expression/",
        ),
    ];
    for (route, problem) in cases {
        let options = RoutesOptions { task_routes: vec![route], ..options() };
        assert_eq!(told(&options), [problem]);
        assert!(matches!(Router::new(&options), Err(Error::Invalid { .. })));
    }
    let broken = RoutesOptions { task_routes: vec![TaskRoute { task: "/(/".to_owned(), ..to("mail") }], ..options() };
    let [problem] = told(&broken).try_into().unwrap();
    assert!(problem.starts_with("task_routes[0].task: `/(/` is not a regular expression: "), "{problem}");
    let nameless = RoutesOptions { default_queue: String::new(), ..options() };
    assert_eq!(told(&nameless), ["default_queue: a name should not be empty"]);
}

#[test]
fn names_of_the_delay_ladder_are_taken() {
    let options = RoutesOptions {
        exchanges: [("wait_27".to_owned(), ExchangeOptions::default())].into(),
        queues: [("celery_delayed_3".to_owned(), QueueOptions::default())].into(),
        default_queue: "wait_3".to_owned(),
        ..RoutesOptions::default()
    };
    let keys = |prefix: &str| {
        let taken = options.taken_from(&Ladder::new(prefix));
        taken.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys("wait"), ["exchanges.wait_27", "default_queue"]);
    assert_eq!(keys("celery_delayed"), ["queues.celery_delayed_3"]);
}

#[test]
fn routes_that_are_never_reached_are_named() {
    let cases = [
        ("a.b", "a.b", true),
        ("a.*", "a.*", true),
        ("*", "a.?", true),
        ("a.*", "a.b", true),
        ("/a|b/", "b", true),
        ("a.b", "a.*", false),
        ("a.*", "b", false),
        ("/a|b/", "c", false),
    ];
    for (earlier, later, unreachable) in cases {
        let to_mail = |task| TaskRoute { queue: text("mail"), ..route(task) };
        let options = RoutesOptions { task_routes: vec![to_mail(earlier), to_mail(later)], ..options() };
        let problem = format!(
            "task_routes[1].task: `{later}` never matches, because task_routes[0] matches all of its tasks; remove it or move it up"
        );
        let expected = if unreachable { vec![problem] } else { vec![] };
        assert_eq!(told(&options), expected, "{earlier} {later}");
    }
}

fn told(options: &RoutesOptions) -> Vec<String> {
    options.validate().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect()
}

#[test]
fn a_route_says_how_also_where_the_call_chooses_the_way() {
    let mut options = options();
    let headers = [("team".to_owned(), Value::from("x"))].into_iter().collect();
    options.task_routes[1].compression = Some(Compression::Zstd);
    options.task_routes[1].expires = Some(Duration::from_secs(60));
    options.task_routes[1].headers = headers;
    let router = Router::new(&options).unwrap();
    let call = CallRoute { queue: text("mail"), ..CallRoute::default() };
    let manner = router.route("reports.daily", &call, None).unwrap().send_options;
    assert_eq!((manner.compression, manner.expires), (Some(Compression::Zstd), Some(Duration::from_secs(60))));
    assert_eq!(*manner.headers, [("team".to_owned(), Value::from("x"))]);
    assert_eq!(router.route("other", &call, None).unwrap().send_options, SendOptions::default());
}

#[test]
fn what_decided_is_told() {
    let router = Router::new(&options()).unwrap();
    let nothing = CallRoute::default();
    let call = CallRoute { queue: text("mail"), ..CallRoute::default() };
    let cases = [
        ("reports.daily", &call, None, RouteRule::Call),
        ("reports.daily", &nothing, Some("mail"), RouteRule::Route { index: 1, pattern: "reports.*", function: None }),
        ("other", &nothing, Some("mail"), RouteRule::Task),
        ("other", &nothing, None, RouteRule::Default),
    ];
    for (task, call, declared, rule) in cases {
        assert_eq!(router.explain(task, call, declared).unwrap().rule, rule, "{task}");
    }
}

#[test]
fn a_route_may_not_set_the_frameworks_own_headers() {
    let mut options = options();
    options.task_routes[0].headers = [("task".to_owned(), Value::Null)].into_iter().collect();
    let problems = options.validate();
    assert_eq!(
        problems,
        [("task_routes[0].headers".to_owned(), "header `task` is reserved; choose another name".to_owned())]
    );
}
