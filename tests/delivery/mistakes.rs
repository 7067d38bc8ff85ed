//! Mistakes at the command line, and what it answers.

use std::time::Duration;

use celeriac_tests::{Bed, Program};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::Value as Json;

use crate::command_line::{run, write};
use crate::dead::Console;

/// No server listens there.
const NOBODY: [&str; 2] = ["amqp://guest:guest@127.0.0.1:1/%2f", "postgres://postgres@127.0.0.1:1/nowhere"];

fn has_all(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[celeriac_tests::test(real)]
async fn a_call_that_the_programs_own_workers_would_refuse_is_not_sent(bed: Bed) {
    let console = Console::new(&bed, "queues: { celeriac: {} }").await;
    for (line, expected) in [
        (["test.nott", "-a", "[1]"], "no task has the name `test.nott`, did you mean `test.note`?"),
        (["elsewhere.note", "-a", "[1]"], "no task has the name `elsewhere.note`\n"),
        (["test.note", "-a", "[]"], "task `test.note`: missing argument `number`; it takes `number`"),
        (["test.note", "-a", "[1, 2]"], "task `test.note`: takes 1 arguments, got 2; it takes `number`"),
        (["test.note", "-k", r#"{"numbre": 1}"#], "task `test.note`: missing argument `number`"),
        (["test.note", "-a", r#"["x"]"#], "argument `number`: invalid type: string \"x\", expected u64"),
        (
            ["test.note", "-a", r#"{"number": 1}"#],
            r#"--args: expected a JSON list; give it as --kwargs '{"number":1}'"#,
        ),
        (["test.note", "-k", "[1]"], "--kwargs: expected a JSON object; give it as --args '[1]'"),
    ] {
        let (code, said) = console.run(&[&["call"], &line[..]].concat()).await;
        assert_eq!(code, 65, "{line:?}: {said}");
        has_all(&said, &[expected]);
    }
    assert_eq!(console.peer.ready("celeriac").await, 0, "nothing was sent");

    let (code, said) = console.run(&["call", "celery.ping"]).await;
    assert_eq!(code, 0, "one of Celery's own: {said}");
    for line in [["test.nott", "-a", "[1]"], ["test.note", "-a", "[]"]] {
        let (code, said) = console.run(&[&["call", "--external"], &line[..]].concat()).await;
        assert_eq!(code, 0, "{line:?}: {said}");
    }
    assert_eq!(console.peer.take_all("celeriac").await.len(), 3);
}

#[celeriac_tests::test(real)]
async fn a_call_to_a_queue_of_another_program_is_not_checked(bed: Bed) {
    let queues = "queues: { celeriac: {}, catalog: { external: true } }\n\
                  task_routes: [{ task: 'catalog.*', queue: catalog }]\n";
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "routes.yaml", "queues: { celeriac: {}, catalog: {} }\n");
    let directory = folder.path().to_str().unwrap();
    let variables = bed.environment_with(&[("CELERIAC__RESULTS__URL", "none".to_owned())]);
    // The other program makes its queue.
    let (code, said) = run(&["--config", directory, "topology", "apply", "--yes"], &variables).await;
    assert_eq!(code, 0, "{said}");
    write(folder.path(), "routes.yaml", queues);
    let calls: [&[&str]; 3] = [&["catalog.find"], &["anything", "-Q", "catalog"], &["test.note", "-Q", "catalog"]];
    for call in calls {
        let (code, said) = run(&[&["--config", directory, "call"], call].concat(), &variables).await;
        assert_eq!(code, 0, "{call:?}: {said}");
    }
    let (code, said) = run(&["--config", directory, "call", "anything", "-Q", "celeriac"], &variables).await;
    assert_eq!(code, 65, "{said}");
    has_all(&said, &["help: `celeriac-test-program list` shows the tasks of this program; add --external"]);
    assert_eq!(bed.peer().await.ready("catalog").await, 3);
}

#[tokio::test]
async fn a_verb_says_what_it_waits_for() {
    let [broker, results] = NOBODY;
    let broker = [
        ("CELERIAC__BROKER__URL", broker.to_owned()),
        ("CELERIAC__RESULTS__URL", "none".to_owned()),
        ("CELERIAC__BROKER__PUBLISH_TIMEOUT", "4s".to_owned()),
    ];
    let results = [
        ("CELERIAC__BROKER__URL", broker[0].1.clone()),
        ("CELERIAC__RESULTS__URL", results.to_owned()),
        ("CELERIAC__RESULTS__CONNECT_TIMEOUT", "4s".to_owned()),
    ];
    let broker_verbs: [&[&str]; 6] = [
        &["call", "test.note", "-a", "[1]"],
        &["queues"],
        &["dead", "list"],
        &["topology", "plan"],
        &["topology", "migrate", "old", "--to", "celeriac", "--yes"],
        &["setup", "--check"],
    ];
    let results_verbs: [&[&str]; 4] =
        [&["call", "test.note", "-a", "[1]"], &["result", "x"], &["revoke", "x"], &["setup"]];
    let on_broker = "waiting for the broker at 127.0.0.1:1, for at most 4s (broker.publish_timeout): ";
    let on_results = "waiting for the database at 127.0.0.1:1, for at most 4s (results.connect_timeout): ";
    let waits = broker_verbs.iter().map(|verb| (*verb, &broker[..], on_broker));
    let waits = waits.chain(results_verbs.iter().map(|verb| (*verb, &results[..], on_results)));
    let waits = waits.map(|(verb, variables, notice)| async move {
        let mut program = Program::start(verb, variables);
        let line = program.says(notice).await;
        assert!(line.to_lowercase().contains("connection refused"), "{verb:?}: {line}");
        let code = program.exit_code(Duration::from_secs(60)).await;
        let said = program.rest_with_notices().await;
        assert_eq!((code, said.matches("waiting for").count()), (69, 1), "{verb:?}: {said}");
    });
    futures::future::join_all(waits).await;
}

#[celeriac_tests::test(real)]
async fn a_reason_that_nobody_knows_is_refused_unless_a_dead_letter_has_it(bed: Bed) {
    let console = Console::new(&bed, "queues: { celeriac: {} }").await;
    let buried = |id: &str, reason: &str| {
        let headers = [("task", "test.note"), ("id", id), ("celeriac-dead-reason", reason)];
        dead_letter(&headers)
    };
    console.peer.put("celeriac.dead", buried("a", "exhausted"), b"[[7],{},{}]").await;
    console.peer.put("celeriac.dead", buried("b", "out-of-stock"), b"[[7],{},{}]").await;
    console.dead("celeriac", 2).await;
    let lines: [&[&str]; 4] = [
        &["dead", "list", "--reason", "exausted"],
        &["dead", "replay", "--yes", "--reason", "exausted"],
        &["dead", "purge", "--dry-run", "--reason", "exausted"],
        &["dead", "purge", "--yes", "--reason", "exausted"],
    ];
    for line in lines {
        let (code, said) = console.run(line).await;
        assert_eq!(code, 65, "{line:?}: {said}");
        let expected =
            "--reason: no dead letter has the reason `exausted`, did you mean `exhausted`?; known are exhausted, ";
        has_all(&said, &[expected, "delivery_limit"]);
    }
    let (code, said) = console.run(&["dead", "list", "--reason", "maxlen"]).await;
    assert_eq!((code, said.as_str()), (0, "0 of 2 dead letters match"));
    let (code, said) = console.run(&["dead", "purge", "--yes", "--reason", "out-of-stock"]).await;
    assert_eq!((code, said.as_str()), (0, "1 purged, 1 left"));
}

fn dead_letter(headers: &[(&str, &str)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString(LongString::from(*value)));
    }
    BasicProperties::default().with_headers(table).with_content_type("application/json".into()).with_delivery_mode(2)
}

#[celeriac_tests::test(real)]
async fn a_message_does_not_steer_the_terminal(bed: Bed) {
    const CLIPBOARD: &str = "\u{1b}]52;c;cm0gLXJm\u{7}";
    let console = Console::new(&bed, "queues: { celeriac: {} }").await;
    let headers = [
        ("task", "test.note\r\u{1b}[2K\nforged line"),
        ("id", "x\u{1b}[1A\u{202e}"),
        ("celeriac-dead-reason", "exhausted\u{1b}[8m"),
        ("celeriac-dead-error", "no\u{9b}31m\u{2066} funds\n0 of 1 dead letters match"),
        ("celeriac-dead-queue", CLIPBOARD),
        ("celeriac-dead-worker", CLIPBOARD),
        ("head\u{1b}er", CLIPBOARD),
    ];
    console.peer.put("celeriac.dead", dead_letter(&headers), "[[\"\u{202e}\u{1b}[2J\"],{},{}]".as_bytes()).await;
    console.peer.put("celeriac", dead_letter(&headers), b"[[1],{},{}]").await;
    console.dead("celeriac", 1).await;
    let id = headers[1].1;
    let lines: [&[&str]; 6] = [
        &["dead", "list"],
        &["dead", "show", id],
        &["dead", "purge", "--dry-run"],
        &["dead", "replay", "--yes"],
        &["queues", "--head"],
        &["result", id],
    ];
    for line in lines {
        let (_, said) = console.run(line).await;
        let steers = |found: char| {
            found != '\n' && (found.is_control() || matches!(found, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        };
        assert!(!said.contains(steers), "{line:?}: {said:?}");
        assert!(said.contains("\\u{1b}"), "{line:?}: {said}");
        assert!(!said.lines().any(|line| line.starts_with("forged") || line.starts_with("0 of 1")), "{line:?}: {said}");
    }
    let (_, said) = console.run(&["dead", "list", "--json"]).await;
    let listed: Json = serde_json::from_str(&said).unwrap();
    assert!(!said.contains("u{1b}") && listed["letters"].is_array(), "{said}");
}

#[celeriac_tests::test(real)]
async fn what_cannot_be_awaited_is_not_sent(bed: Bed) {
    let variables = bed.environment_with(&[("CELERIAC__RESULTS__URL", "none".to_owned())]);
    let (code, said) = run(&["call", "test.note", "-a", "[1]", "--wait", "5s"], &variables).await;
    assert_eq!(code, 78, "{said}");
    has_all(&said, &["results are not stored", "help: set results.url"]);
    // The first call would have made the queue.
    let (code, said) = run(&["queues", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let queues: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(queues[0]["ready"], Json::Null, "{said}");
    let (code, said) = run(&["call", "test.note", "-a", "[1]", "--eta", "2020-01-01T00:00:00Z"], &variables).await;
    assert_eq!(code, 0, "{said}");
    has_all(&said, &["warning: --eta is in the past"]);
}

#[tokio::test]
async fn a_call_that_could_never_start_is_refused() {
    let broker = ["--broker", NOBODY[0], "--results", "none"];
    let times: [&[&str]; 3] = [
        &["--expires", "0s"],
        &["--countdown", "10m", "--expires", "5m"],
        &["--eta", "2999-01-01T00:00:00Z", "--expires", "1h"],
    ];
    for times in times {
        let (code, said) = run(&[&["call", "test.note", "-a", "[1]"], times, &broker[..]].concat(), &[]).await;
        assert_eq!(code, 65, "{times:?}: {said}");
        has_all(&said, &["--expires: the task would expire before it may start"]);
    }
    let (code, said) = run(&["call", "test.note", "-a", "[1]", "--eta", "2026-12-24T18:00:00"], &[]).await;
    assert_eq!(code, 2, "{said}");
    has_all(&said, &["should be a time with its offset, such as 2026-12-24T18:00:00+01:00"]);
}

#[tokio::test]
async fn a_broker_inside_the_process_gets_no_messages_of_the_outbox_and_a_worker_warns_of_it() {
    for verb in ["relay", "events", "status"] {
        let (code, said) = run(&[verb], &[]).await;
        assert_eq!(code, 78, "{verb}: {said}");
        has_all(&said, &["broker.url is memory://", "help: give --broker"]);
    }
    let warning = "warning: broker.url is memory://, so only this process can send tasks";
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = run(&["--config", folder.path().to_str().unwrap(), "config", "check"], &[]).await;
    assert_eq!(code, 0, "a folder without celeriac.yaml: {said}");
    has_all(&said, &[warning, "configuration is valid"]);
    let mut worker = Program::start(&["worker", "--results", "none"], &[]);
    worker.says(warning).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[tokio::test]
async fn a_queue_is_not_migrated_to_itself() {
    let broker = ["--broker", NOBODY[0]];
    let (code, said) =
        run(&[&["topology", "migrate", "celeriac", "--to", "celeriac"], &broker[..]].concat(), &[]).await;
    assert_eq!(code, 65, "{said}");
    has_all(&said, &["--to: `celeriac` is the queue to move from; give the new queue another name"]);
}
