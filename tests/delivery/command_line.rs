//! The command line, for a person and for a supervisor.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use celeriac::Celeriac;
use celeriac::cli::Exit;
use celeriac_config::Environment;
use celeriac_tests::{Bed, Program};

pub(crate) async fn run(arguments: &[&str], variables: &[(&str, String)]) -> (i32, String) {
    let mut program = Program::start(arguments, variables);
    let code = program.exit_code(Duration::from_secs(60)).await;
    (code, program.rest().await)
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[celeriac_tests::test(real)]
async fn a_task_is_called_awaited_and_looked_up(bed: Bed) {
    let variables = bed.environment();
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &variables);
    worker.says("ready").await;
    let (code, said) = run(&["call", "test.note", "-a", "[42]", "--id", "a-1", "--wait", "30s"], &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("a-1 test.note SUCCESS") && said.contains("42"), "{said}");
    let (code, said) = run(&["result", "a-1", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&shown["state"], &shown["result"]), (&"SUCCESS".into(), &42.into()));

    let (code, said) = run(&["call", "test.note", "-a", "[\"x\"]", "--external", "--wait", "30s"], &variables).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("argument `number`: invalid type: string"), "{said}");
    let (code, said) = run(&["call", "test.note", "-a", "[oops"], &variables).await;
    assert_eq!(code, 65, "{said}");
    let (code, said) = run(&["call", "celery.ping", "--wait", "30s"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&["result", "nobody"], &variables).await;
    assert_eq!(code, 65, "{said}");
    for line in
        [["result", "nobody", "--wait", "100ms"].as_slice(), &["call", "test.rest", "-a", "[5000]", "--wait=1s"]]
    {
        let (code, said) = run(line, &variables).await;
        assert_eq!(code, 75, "{said}");
    }
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
    assert!(worker.output().contains("task succeeded task=test.note id=a-1"), "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn the_banner_says_what_runs_and_hides_the_password(bed: Bed) {
    let variables = bed.environment();
    let mut worker = Program::start(&["worker", "-n", "w1@here", "-c", "3"], &variables);
    worker.says("ready").await;
    let said = worker.output();
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "w1@here",
        "guest:***@",
        "postgres://",
        "concurrency 3",
        "celeriac prefetch auto exchange=(default) routing_key=celeriac",
        "test.note async",
        "test.rest async",
        "test.block blocking",
        "test.pay transactional",
    ] {
        assert!(words.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("guest:guest"), "{said}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[tokio::test]
async fn a_program_can_compare_the_exit_code_and_return_it() {
    let run = |arguments: [&'static str; 3]| {
        let app = Celeriac::builder().environment(Environment::default());
        celeriac::cli::run_with(app, arguments.map(OsString::from))
    };
    assert_eq!(run(["app", "config", "check"]).await, Exit::Done);
    assert_eq!(run(["app", "worker", "--nothing-of-the-kind"]).await, Exit::Usage);
    let exit = run(["app", "call", "any.task"]).await;
    assert_eq!((exit, exit.code()), (Exit::Config, 78), "memory:// reaches nobody");
    let _returned_by_main: ExitCode = exit.into();
}

#[tokio::test]
async fn tasks_are_listed() {
    let (code, said) = run(&["list"], &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("test.note") && said.contains("test.rest"), "{said}");
}

#[tokio::test]
async fn a_task_for_a_broker_inside_this_process_is_refused() {
    let (code, said) = run(&["call", "test.note", "-a", "[1]"], &[]).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("memory://"), "{said}");
}

#[tokio::test]
async fn a_configuration_with_mistakes_does_not_start_and_all_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "celeriac.yaml",
        "broker: { url: \"amqp://guest:secret@localhost\", heartbeet: 10s }\nworker: { concurrency: many }\n",
    );
    write(
        folder.path(),
        "routes.yaml",
        "queues:\n  billing: {}\n  billing: {}\ntask_routes:\n  - { task: \"orders.*\", queue: billling }\n",
    );
    let directory = folder.path().to_str().unwrap();
    for arguments in [
        ["--config", directory, "config", "check"],
        ["config", "check", "--config", directory],
        ["worker", "--config", directory, "-Qbilling"],
    ] {
        let (code, said) = run(&arguments, &[("CELERIAC__WORKER__DRIAN_TIMEOUT", "5s".to_owned())]).await;
        assert_eq!(code, 78, "{said}");
        for part in [
            "celeriac.yaml: broker.heartbeet: unknown key, did you mean broker.heartbeat?",
            "celeriac.yaml: worker.concurrency:",
            "billing",
            "CELERIAC__WORKER__DRIAN_TIMEOUT",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_route_to_an_undeclared_queue_names_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "routes.yaml",
        "queues: { billing: {} }\ntask_routes: [{ task: \"orders.*\", queue: billling }]\n",
    );
    let (code, said) = run(&["config", "check", "--config", folder.path().to_str().unwrap()], &[]).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("routes.yaml: task_routes[0].queue") && said.contains("did you mean `billing`"), "{said}");
}

#[tokio::test]
async fn a_queue_cannot_take_a_name_of_the_delays() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "celeriac.yaml", "broker: { delay_prefix: wait }\n");
    write(folder.path(), "routes.yaml", "queues: { wait_3: {}, celery_delayed_3: {} }\n");
    let (code, said) = run(&["config", "check", "--config", folder.path().to_str().unwrap()], &[]).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("routes.yaml: queues.wait_3: the name is reserved for delayed messages"), "{said}");
    assert!(!said.contains("celery_delayed_3"), "{said}");
}

#[tokio::test]
async fn a_good_configuration_is_shown_with_its_secrets_masked() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "celeriac.yaml", "broker: { url: \"amqp://guest:topsecret@localhost/%2f\" }\n");
    let directory = folder.path().to_str().unwrap();
    assert_eq!(run(&["config", "check", "--config", directory], &[]).await.0, 0);
    let (code, said) =
        run(&["config", "show", "--config", directory], &[("CELERIAC__WORKER__CONCURRENCY", "7".to_owned())]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("guest:***@localhost") && !said.contains("topsecret"), "{said}");
    assert!(said.contains("concurrency: 7") && said.contains("CELERIAC__WORKER__CONCURRENCY"), "{said}");
}

#[tokio::test]
async fn a_check_finds_what_keeps_a_worker_from_starting() {
    // With this variable, the program has a transactional task.
    let variables = [("CELERIAC__RESULTS__URL", "postgres://localhost/none".to_owned())];
    assert_eq!(run(&["config", "check"], &variables).await.0, 0);
    for verb in [["config", "check"], ["worker", "--name=w"]] {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = format!("sqlite://{}", folder.path().join("x.db").display());
        let (code, said) = run(&[verb[0], verb[1], "--results", &elsewhere], &variables).await;
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("is transactional, and results.url is no Postgres database"), "{said}");
    }
}

#[tokio::test]
async fn a_check_warns_of_options_for_tasks_that_are_not_there() {
    let lines = "[{ task: test.nott, priority: 1 }, { task: test.note, priority: 2 }]";
    let (code, said) = run(&["config", "check"], &[("CELERIAC__TASK_OPTIONS", lines.to_owned())]).await;
    assert_eq!(code, 0, "{said}");
    let warning =
        "warning: task_options[0].task: `test.nott` matches no task of this program, did you mean `test.note`?";
    assert!(said.contains(warning) && !said.contains("task_options[1]"), "{said}");
}

#[tokio::test]
async fn a_wrong_value_of_a_task_option_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "task_options: [{ task: a, time_limit: 5 }, { task: b, time_limt: 5s }, { task: c, retry_within: 1h }, { task: d }]\n";
    write(folder.path(), "celeriac.yaml", lines);
    let (code, said) = run(&["config", "check", "--config", folder.path().to_str().unwrap()], &[]).await;
    assert_eq!(code, 78, "{said}");
    for part in [
        "task_options[0].time_limit: should be a duration with a unit such as 5s or 5ms, or none, found `5`",
        "task_options[1].time_limt: unknown key, did you mean task_options[1].time_limit?",
        "task_options[2].retry_within: belongs in `#[task(…)]`; remove it here",
        "task_options[3]: entry for `d` sets no options",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("sets no options").count(), 1, "{said}");
}

#[tokio::test]
async fn a_variable_that_would_change_nothing_is_a_mistake() {
    for (variable, value, expected) in [
        ("CELERIAC_WORKER_CONCURRENCY", "4", "did you mean CELERIAC__WORKER__CONCURRENCY?"),
        ("CELERIAC__WORKER_CONCURRENCY", "4", "did you mean CELERIAC__WORKER__CONCURRENCY?"),
        ("CELERIAC_DEFAULT_QUEUE", "mail", "did you mean CELERIAC__DEFAULT_QUEUE?"),
        ("CELERIAC__WORKER__TIME_LIMIT", "5M", "did you mean 5m?"),
        ("CELERIAC__TELEMETRY__LOG__LEVEL", "inof", "did you mean info?"),
    ] {
        let (code, said) = run(&["config", "check"], &[(variable, value.to_owned())]).await;
        assert_eq!(code, 78, "{variable}: {said}");
        assert!(said.contains(&format!("environment: {variable}: ")) && said.contains(expected), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "production.yaml", "");
    let check = ["config", "check", "--config", folder.path().to_str().unwrap()];
    assert_eq!(run(&check, &[("CELERIAC_ENV", "production".to_owned())]).await.0, 0);
    let (code, said) = run(&check, &[("CELERIAC_ENV", "prodution".to_owned())]).await;
    assert_eq!(code, 78, "{said}");
    let expected = "prodution.yaml: file does not exist, but CELERIAC_ENV is `prodution`, did you mean production?";
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn what_cannot_be_revoked_is_the_callers_mistake_or_the_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("x.db").display());
    let (code, said) = run(&["revoke", "", "--results", &store], &[]).await;
    assert_eq!((code, said.contains("a task id has 1 to 255 bytes")), (65, true), "{said}");
    let (code, said) = run(&["revoke", "x", "--for", "5M", "--results", &store], &[]).await;
    assert_eq!((code, said.contains("did you mean 5m?")), (2, true), "{said}");
    let (code, said) = run(&["revoke", "x", "--results", "none"], &[]).await;
    assert_eq!((code, said.contains("revocations are in the result store")), (78, true), "{said}");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_a_mistake() {
    let (code, said) = run(&["config", "check", "--config", "/nonexistent"], &[]).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("/nonexistent"), "{said}");
}

#[celeriac_tests::test(real)]
async fn a_queue_that_exists_otherwise_on_the_broker_is_named_with_both_values(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "routes.yaml", "queues: { mail: { type: classic } }\n");
    let variables = bed.environment();
    let directory = folder.path().to_str().unwrap();
    let mut first = Program::start(&["worker", "--config", directory], &variables);
    first.says("ready").await;
    first.signal("TERM");
    assert_eq!(first.exit_code(Duration::from_secs(20)).await, 0);
    write(folder.path(), "routes.yaml", "queues: { mail: { type: quorum } }\n");
    let (code, said) = run(&["worker", "--config", directory], &variables).await;
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains("mail") && said.contains("x-queue-type") && said.contains("classic") && said.contains("quorum"),
        "{said}"
    );
    assert!(said.contains("topology plan") && said.contains("topology migrate") && !said.contains("delete"), "{said}");
}

#[tokio::test]
async fn a_route_is_explained_without_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let routes = "queues: { reports: { type: classic, max_priority: 4 } }\n\
                  task_routes: [{ task: 'reports.*', queue: reports, priority: 2, serializer: msgpack, expires: 1h }]\n";
    write(folder.path(), "routes.yaml", routes);
    let config = folder.path().to_str().unwrap();
    let (code, said) = run(&["--config", config, "routes", "explain", "reports.daily"], &[]).await;
    assert_eq!(code, 0, "{said}");
    let expected = "reports.daily\n  rule         task_routes[0]: reports.*\n  exchange     (default)\n  \
                    routing key  reports\n  queues       reports\n  priority     2\n  serializer   msgpack\n  expires      1h";
    assert_eq!(said, expected);
    let (code, said) = run(&["--config", config, "routes", "explain", "x", "-Q", "report", "--json"], &[]).await;
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("did you mean `reports`?"), "{said}");
}
