//! `queues`: the state of every queue, for a person.

use std::time::Duration;

use celeriac_config::Environment;
use celeriac_servers::MANAGEMENT_URL;
use celeriac_tests::{Bed, eventually};

async fn run(bed: &Bed, arguments: &[&str], configuration: &str) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("routes.yaml"), configuration).unwrap();
    let line = [&["--config", directory.path().to_str().unwrap()], arguments].concat();
    let mut program = bed.process(&line);
    let code = program.exit_code(Duration::from_secs(60)).await;
    (code, program.rest().await)
}

const ROUTES: &str = "queues: { mail: {}, reports: { type: classic }, log: { type: stream } }";

#[celeriac_tests::test(real)]
async fn queues_are_shown_with_what_a_person_should_know_of_them(bed: Bed) {
    let (code, said) = run(&bed, &["queues"], ROUTES).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("does not exist"), "{said}");
    let why = "no rates or unacknowledged messages: the management API does not answer this user at http://guest:***@";
    assert!(said.contains(why) && said.contains("; set broker.management_url"), "{said}");
    for _ in 0..2 {
        let (code, said) = run(&bed, &["call", "test.note", "-a", "[1]", "-Q", "mail"], ROUTES).await;
        assert_eq!(code, 0, "{said}");
    }
    // RabbitMQ counts a confirmed message with a small delay.
    let shown = eventually(
        "both to be counted",
        async || {
            let (code, said) = run(&bed, &["queues", "--json"], ROUTES).await;
            assert_eq!(code, 0, "{said}");
            serde_json::from_str::<serde_json::Value>(&said).unwrap()
        },
        |shown| shown[0]["ready"] == 2,
    )
    .await;
    let of = |name: &str| shown.as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone();
    let mail = of("mail");
    assert_eq!((&mail["type"], &mail["purpose"]), (&"quorum".into(), &"work".into()), "{mail}");
    assert_eq!((&mail["consumers"], &mail["remark"]), (&0.into(), &"no consumers, messages waiting".into()));
    assert_eq!(of("reports.dead")["purpose"], "dead_letters");
    assert_eq!(of("log")["purpose"], "log");

    let (code, said) = run(&bed, &["queues", "-Q", "mail", "--head"], ROUTES).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("first: test.note, sent "), "{said}");
    assert!(!said.contains("reports"), "{said}");
    let (code, said) = run(&bed, &["queues", "-Q", "mial"], ROUTES).await;
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("--queues: queue `mial` is not declared, did you mean `mail`?"), "{said}");
}

#[celeriac_tests::test(real)]
async fn with_the_management_api_rates_and_what_is_not_settled_are_shown_too(bed: Bed) {
    let api = Environment::from_process().get(MANAGEMENT_URL).map(str::to_owned).unwrap();
    let (code, said) = run(&bed, &["call", "test.note", "-a", "[1]", "-Q", "mail"], ROUTES).await;
    assert_eq!(code, 0, "{said}");
    let configuration = format!("{ROUTES}\nbroker: {{ management_url: \"{api}\" }}");
    let shown = eventually(
        "the API to know the queue",
        async || {
            let (code, said) = run(&bed, &["queues", "-Q", "mail", "--json"], &configuration).await;
            assert_eq!(code, 0, "{said}");
            serde_json::from_str::<serde_json::Value>(&said).unwrap()
        },
        |shown| shown[0]["state"] == "running",
    )
    .await;
    assert_eq!((&shown[0]["unacked"], &shown[0]["type"]), (&0.into(), &"quorum".into()), "{shown}");
    assert!(shown[0]["published"].is_number(), "{shown}");
    let (code, said) = run(&bed, &["queues", "-Q", "mail"], &configuration).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("unacked") && said.contains("in/s") && !said.contains("no rates"), "{said}");

    let nobody = format!("{ROUTES}\nbroker: {{ management_url: \"http://guest:guest@127.0.0.1:1\" }}");
    let (code, said) = run(&bed, &["queues"], &nobody).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("http://guest:***@127.0.0.1:1"), "{said}");
}

#[celeriac_tests::test(real)]
async fn an_option_that_the_broker_takes_and_does_not_heed_is_named_at_start(bed: Bed) {
    let directory = tempfile::tempdir().unwrap();
    let routes = "queues: { reports: { type: classic, lazy: true } }";
    std::fs::write(directory.path().join("routes.yaml"), routes).unwrap();
    let api = Environment::from_process().get(MANAGEMENT_URL).map(str::to_owned).unwrap();
    let line = ["--config", directory.path().to_str().unwrap(), "worker"];
    let mut worker = bed.process_with(&line, &[("CELERIAC__BROKER__MANAGEMENT_URL", api)]);
    worker.says("ready").await;
    // Since 3.12 this applies to all classic queues.
    let version = bed.management().0.version().await;
    let unheeded = !version.starts_with("3.10.") && !version.starts_with("3.11.");
    let said = worker.output();
    assert_eq!(said.contains("option has no effect option=queues.reports.lazy"), unheeded, "{version}: {said}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}
