//! The destination of a call in `routes explain`, and errors for unknown names.

use celeriac::prelude::*;
use celeriac_config::Environment;

use crate::command_line::{run, write};

const ROUTES: &str = r#"
exchanges: { orders: { type: topic } }
queues:
  billing: { bindings: [{ exchange: orders, routing_key: "billing.#" }] }
  reports: {}
task_routes:
  - { task: orders.charge, exchange: orders, routing_key: billing.charge }
  - { task: "reports.*", queue: reports, priority: 2, serializer: msgpack, compression: zlib, expires: 1h, headers: { team: x } }
  - { task: '/sms\..*/', queue: billing }
  - { task: "test.*", function: by_size, priority: 5 }
  - { task: test.note, queue: reports }
"#;

#[tokio::test]
async fn each_kind_of_rule_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "routes.yaml", ROUTES);
    let config = folder.path().to_str().unwrap();
    let manner = "  priority     2\n  serializer   msgpack\n  compression  application/x-gzip\n  expires      1h\n  headers      team";
    let cases: [(&[&str], &str, [&str; 3], &str); 9] = [
        (&["orders.charge"], "task_routes[0]: orders.charge", ["orders", "billing.charge", "billing"], ""),
        (&["reports.daily"], "task_routes[1]: reports.*", ["(default)", "reports", "reports"], manner),
        (&["sms.send"], r"task_routes[2]: /sms\..*/", ["(default)", "billing", "billing"], ""),
        (
            &["test.rest", "-a", "[1000]"],
            "task_routes[3]: test.* → function by_size → queue reports",
            ["(default)", "reports", "reports"],
            "  priority     5",
        ),
        (
            &["test.rest", "-k", "{\"size\": 1}"],
            "task_routes[3]: test.* → function by_size → exchange orders, key billing.small",
            ["orders", "billing.small", "billing"],
            "  priority     5",
        ),
        (&["test.note"], "task_routes[4]: test.note", ["(default)", "reports", "reports"], ""),
        (&["orders.charge", "-Q", "reports"], "the call itself", ["(default)", "reports", "reports"], ""),
        (
            &["other", "--exchange", "foreign", "--routing-key", "k"],
            "the call itself",
            ["foreign", "k", "unknown: no declared queue is bound there"],
            "",
        ),
        (&["other"], "default_queue", ["(default)", "celeriac", "celeriac"], ""),
    ];
    for (call, rule, [exchange, key, queues], rest) in cases {
        let (code, said) = run(&[&["--config", config, "routes", "explain"], call].concat(), &[]).await;
        let expected = format!(
            "{}\n  rule         {rule}\n  exchange     {exchange}\n  routing key  {key}\n  queues       {queues}\n{rest}",
            call[0]
        );
        assert_eq!((code, said.trim_end()), (0, expected.trim_end()), "{call:?}");

        let (code, said) = run(&[&["--config", config, "--json", "routes", "explain"], call].concat(), &[]).await;
        let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
        let exchange = if exchange == "(default)" { "" } else { exchange };
        let told = [&shown["rule"], &shown["exchange"], &shown["routing_key"]].map(|value| value.as_str().unwrap());
        assert_eq!((code, told), (0, [rule, exchange, key]), "{said}");
    }
}

#[test]
fn the_functions_of_another_program_are_no_mistake_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "routes.yaml", ROUTES);
    let program = || Celeriac::from_config(folder.path()).environment(Environment::default());
    program().functions_elsewhere().build().unwrap();
    let refused = program().build().unwrap_err().to_string();
    assert!(
        refused.contains("routes.yaml: task_routes[3].function: ")
            && refused
                .contains("function `by_size` does not exist; add it to the builder with `.route(\"by_size\", …)`"),
        "{refused}"
    );
    let misspelt = program().route("by_sise", |_| None).build().unwrap_err().to_string();
    assert!(misspelt.contains("did you mean `by_sise`?"), "{misspelt}");
}

#[tokio::test]
async fn a_queue_or_exchange_that_is_misspelt_is_refused_with_the_nearest_wherever_it_stands() {
    const DECLARED: &str = "exchanges: { orders: { type: topic } }\n\
                            queues: { billing: { bindings: [{ exchange: orders, routing_key: k }] } }\n";
    let route = |route: &str| format!("{DECLARED}task_routes: [{{ task: a, {route} }}]\n");
    let bound = DECLARED.replace("exchange: orders", "exchange: ordres");
    let worker = "worker: { queues: [biling] }\n".to_owned();
    let none: (&[&str], &[(&str, &str)]) = (&["config", "check"], &[]);
    let cases = [
        ("routes.yaml", route("queue: biling"), none, "routes.yaml: task_routes[0].queue: ", "billing"),
        (
            "routes.yaml",
            route("exchange: ordres, routing_key: k"),
            none,
            "routes.yaml: task_routes[0].exchange: ",
            "orders",
        ),
        ("routes.yaml", bound, none, "routes.yaml: queues.billing.bindings[0].exchange: ", "orders"),
        ("celeriac.yaml", worker, none, "celeriac.yaml: worker.queues[0]: ", "billing"),
        ("celeriac.yaml", String::new(), (&["worker", "-Q", "biling"], &[]), "--queues: worker.queues", "billing"),
        (
            "celeriac.yaml",
            String::new(),
            (&["config", "check"], &[("CELERIAC__WORKER__QUEUES", "biling")]),
            "CELERIAC__WORKER__QUEUES: worker.queues",
            "billing",
        ),
        (
            "celeriac.yaml",
            String::new(),
            (&["routes", "explain", "a", "-Q", "biling"], &[]),
            "no route for task `a`: ",
            "billing",
        ),
    ];
    for (file, text, (arguments, variables), place, nearest) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "routes.yaml", DECLARED);
        if !text.is_empty() {
            write(folder.path(), file, &text);
        }
        let config = ["--config", folder.path().to_str().unwrap()];
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let (code, said) = run(&[arguments, &config].concat(), &variables).await;
        assert_ne!(code, 0, "{place}: {said}");
        for part in [place, "is not declared", &format!("did you mean `{nearest}`?")] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

/// Has a wrong name on purpose.
#[task(name = "t.stray", queue = "biling")]
async fn stray() -> TaskResult<()> {
    Ok(())
}

#[test]
fn a_queue_that_is_misspelt_beside_a_task_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "routes.yaml", "queues: { billing: {} }\n");
    let program = Celeriac::from_config(folder.path()).environment(Environment::default());
    let refused = program.tasks(tasks![stray]).build().unwrap_err().to_string();
    assert!(refused.contains("task `t.stray`: queue `biling` is not declared, did you mean `billing`?"), "{refused}");
}
