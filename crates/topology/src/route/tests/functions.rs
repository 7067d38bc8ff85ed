//! Functions that stand in for routes.

use super::*;

fn functions() -> RouteFunctions {
    let by_region: RouteFunction = Arc::new(|call: &RouteRequest<'_>| {
        let region = call.kwargs.get("region")?.as_str()?;
        Some(RouteDecision::queue(region).priority(7))
    });
    let by_tenant: RouteFunction = Arc::new(|call: &RouteRequest<'_>| {
        let (_, tenant) = call.headers.iter().find(|(name, _)| name == "tenant")?;
        Some(RouteDecision::exchange("orders", format!("billing.{}", tenant.as_str()?)))
    });
    let typo: RouteFunction = Arc::new(|call: &RouteRequest<'_>| match call.args {
        [] => Some(RouteDecision::queue("biling")),
        [_] => Some(RouteDecision::exchange("ordres", "k")),
        _ => Some(RouteDecision::queue("billing").header("task", "other")),
    });
    let panics: RouteFunction = Arc::new(|call: &RouteRequest<'_>| panic!("no idea of {}", call.task));
    [("by_region", by_region), ("by_tenant", by_tenant), ("typo", typo), ("panics", panics)]
        .into_iter()
        .fold(RouteFunctions::default(), |functions, (name, function)| functions.with(name, function))
}

fn by(function: &str, task: &str) -> TaskRoute {
    TaskRoute { function: text(function), ..route(task) }
}

fn with_functions() -> RoutesOptions {
    let task_routes = vec![
        TaskRoute { priority: Some(3), serializer: Some(Codec::Msgpack), ..by("by_region", "orders.*") },
        by("by_tenant", "/orders\\..*/"),
        TaskRoute { queue: text("mail"), ..route("orders.charge") },
        by("typo", "typo"),
        by("panics", "panics"),
    ];
    RoutesOptions { task_routes, ..options() }
}

fn router() -> Router {
    let options = with_functions();
    assert_eq!(told(&options), [""; 0]);
    Router::new(&options).unwrap().with_functions(&functions()).unwrap()
}

/// `rule: exchange/key`, or the error.
fn shown(explained: Result<Explanation<'_>>) -> String {
    match explained {
        Ok(Explanation { rule: RouteRule::Route { index, function, .. }, destination }) => {
            format!("{index} {}: {}/{}", function.unwrap_or("-"), destination.exchange, destination.routing_key)
        }
        Ok(Explanation { rule, destination }) => {
            format!("{rule:?}: {}/{}", destination.exchange, destination.routing_key)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_function_answers_or_passes_the_call_on() {
    let router = router();
    let region = |region: &str| Map::from([("region".to_owned(), Value::from(region))]);
    let tenant = [("tenant".to_owned(), Value::from("x"))];
    let nothing = Map::new();
    type Case<'a> = (&'a str, &'a Map, &'a [(String, Value)], &'a str);
    let audit = region("audit");
    let cases: [Case<'_>; 6] = [
        ("orders.charge", &audit, &[], "0 by_region: /audit"),
        ("orders.charge", &nothing, &tenant, "1 by_tenant: orders/billing.x"),
        ("orders.charge", &audit, &tenant, "0 by_region: /audit"),
        ("orders.charge", &nothing, &[], "2 -: /mail"),
        ("orders.refund", &nothing, &[], "Default: /celeriac"),
        ("orders.refund", &audit, &[], "0 by_region: /audit"),
    ];
    // Twice: the cached route of a name must not keep a function's decision.
    for (task, kwargs, headers, expected) in cases.iter().chain(&cases) {
        let question = RouteRequest { task, args: &[], kwargs, headers };
        assert_eq!(shown(router.explain(question, &CallRoute::default(), None)), *expected, "{question:?}");
    }
}

#[test]
fn a_function_stands_above_its_line_and_the_call_above_both() {
    let router = router();
    let kwargs = Map::from([("region".to_owned(), Value::from("audit"))]);
    let question = RouteRequest { kwargs: &kwargs, ..RouteRequest::from("orders.charge") };
    let manner = |call: &CallRoute| {
        let found = router.route(question, call, None).unwrap();
        (found.routing_key, found.send_options.priority, found.send_options.codec)
    };
    assert_eq!(manner(&CallRoute::default()), ("audit".to_owned(), Some(7), Some(Codec::Msgpack)));
    let call = CallRoute { queue: text("mail"), priority: Some(1), ..CallRoute::default() };
    assert_eq!(manner(&call), ("mail".to_owned(), Some(1), Some(Codec::Msgpack)));
}

#[test]
fn an_answer_that_cannot_be_is_an_error_of_the_call() {
    let router = router();
    let (one, two) = ([Value::Null], [Value::Null, Value::Null]);
    let cases: [(&str, &[Value], &str); 4] = [
        ("typo", &[], "function `typo` of task_routes[3]: queue `biling` is not declared, did you mean `billing`?"),
        ("typo", &one, "function `typo` of task_routes[3]: exchange `ordres` is not declared, did you mean `orders`?"),
        ("typo", &two, "function `typo` of task_routes[3]: header `task` is reserved; choose another name"),
        ("panics", &[], "function `panics` of task_routes[4] panicked: no idea of panics"),
    ];
    for (task, args, expected) in cases {
        let question = RouteRequest { args, ..RouteRequest::from(task) };
        let expected = format!("no route for task `{task}`: {expected}");
        assert_eq!(shown(router.explain(question, &CallRoute::default(), None)), expected);
    }
    let call = CallRoute { queue: text("mail"), ..CallRoute::default() };
    assert_eq!(shown(router.explain("typo", &call, None)), "Call: /mail", "the call says the way itself");
}

#[test]
fn a_function_that_another_program_has_is_not_guessed() {
    let options = with_functions();
    assert_eq!(options.validate_functions(&RouteFunctions::Elsewhere), []);
    let router = Router::new(&options).unwrap().with_functions(&RouteFunctions::Elsewhere).unwrap();
    let explained = router.explain("orders.charge", &CallRoute::default(), None);
    let error = explained.unwrap_err();
    assert_eq!(
        error.to_string(),
        "task_routes[0] routes task `orders.charge` by function `by_region`, which this program does not have"
    );
    assert_eq!(error.help(), Some("ask the program's own binary, which has the function, or name the queue (--queue)"));
    let call = CallRoute { queue: text("mail"), ..CallRoute::default() };
    let found = router.route("orders.charge", &call, None).unwrap();
    assert_eq!((found.routing_key.as_str(), found.send_options.priority), ("mail", Some(3)));
}

#[test]
fn an_unknown_function_is_refused_with_the_nearest() {
    let options = RoutesOptions { task_routes: vec![by("by_regoin", "a"), by("zzz", "b")], ..options() };
    let told = |functions: &RouteFunctions| {
        let problems = options.validate_functions(functions).into_iter();
        problems.map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&functions()),
        [
            "task_routes[0].function: function `by_regoin` does not exist, did you mean `by_region`?",
            "task_routes[1].function: function `zzz` does not exist",
        ]
    );
    assert_eq!(
        told(&RouteFunctions::default())[0],
        "task_routes[0].function: function `by_regoin` does not exist; add it to the builder with \
         `.route(\"by_regoin\", …)`"
    );
    let refused = Router::new(&options).unwrap().with_functions(&functions()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "task_routes[0].function: function `by_regoin` does not exist, did you mean `by_region`?"
    );
}

#[test]
fn a_line_with_a_function_leaves_the_way_to_it() {
    let both = TaskRoute { queue: text("mail"), routing_key: text("k"), ..by("by_region", "a") };
    assert_eq!(
        told(&RoutesOptions { task_routes: vec![both], ..options() }),
        [
            "task_routes[0].queue: the function chooses the destination; remove it",
            "task_routes[0].routing_key: the function chooses the destination; remove it",
        ]
    );
}
