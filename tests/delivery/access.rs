//! Brokers that refuse access, and brokers that cannot be reached.

use std::time::Duration;

use celeriac_servers::RabbitNode;
use celeriac_tests::{Bed, Program};

fn variables(url: &str) -> [(&'static str, String); 2] {
    [("CELERIAC__BROKER__URL", url.to_owned()), ("CELERIAC__RESULTS__URL", "none".to_owned())]
}

/// Nothing listens there.
const NOBODY: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

#[celeriac_tests::test(real)]
async fn refused_credentials_and_a_missing_virtual_host_end_the_program_and_are_named(bed: Bed) {
    let good = bed.amqp_url();
    let wrong_password = good.replace("guest:guest@", "guest:nonsense@");
    let (server, _) = good.rsplit_once('/').unwrap();
    let no_vhost = format!("{server}/nowhere");
    for (url, part) in [
        (&wrong_password, "ACCESS_REFUSED"),
        (&no_vhost, "vhost nowhere not found"),
        (&format!("{wrong_password},{no_vhost}"), "refused access"),
    ] {
        for verb in [&["worker"][..], &["call", "test.note", "-a", "[1]"]] {
            let mut program = Program::start(verb, &variables(url));
            let code = program.exit_code(Duration::from_secs(60)).await;
            let said = program.rest().await;
            assert_eq!(code, 77, "{verb:?} {said}");
            assert!(said.contains(part) && said.contains("help: check user, password, virtual host"), "{said}");
            assert!(!said.contains("nonsense"), "{said}");
        }
    }
}

#[celeriac_tests::test(real)]
async fn a_node_that_refuses_or_is_down_does_not_hide_one_that_is_good(bed: Bed) {
    let refuses = bed.amqp_url().replace("guest:guest@", "guest:nonsense@");
    let variables = variables(&format!("{refuses},{NOBODY},{}", bed.amqp_url()));
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &variables);
    worker.says("ready").await;
    let mut call = Program::start(&["call", "test.note", "-a", "[1]", "--id", "n-1"], &variables);
    assert_eq!(call.exit_code(Duration::from_secs(60)).await, 0, "{}", call.output());
    worker.says("task succeeded task=test.note id=n-1").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[celeriac_tests::test(real)]
async fn while_one_node_is_down_a_refusal_by_another_is_told_and_not_the_end(bed: Bed) {
    let refuses = bed.amqp_url().replace("guest:guest@", "guest:nonsense@");
    let node = RabbitNode::start().unwrap();
    node.kill().unwrap();
    let variables = variables(&format!("{refuses},{}", node.url()));
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &variables);
    worker.says("refused access").await;
    node.restart().unwrap();
    worker.says("ready").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[tokio::test]
async fn a_caller_waits_for_an_absent_broker_until_its_deadline() {
    let [url, results] = variables(NOBODY);
    let variables = [url, results, ("CELERIAC__BROKER__PUBLISH_TIMEOUT", "1s".to_owned())];
    let mut call = Program::start(&["call", "test.note", "-a", "[1]"], &variables);
    let code = call.exit_code(Duration::from_secs(60)).await;
    let said = call.rest().await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("no connection to") && said.contains("help: check that the broker runs"), "{said}");
}

#[tokio::test]
async fn a_worker_that_starts_before_its_broker_waits_for_it() {
    let node = RabbitNode::start().unwrap();
    node.kill().unwrap();
    let variables = variables(&node.url());
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &variables);
    worker.says("connection failed").await;
    node.restart().unwrap();
    worker.says("ready").await;
    let mut call = Program::start(&["call", "test.note", "-a", "[1]", "--id", "w-1"], &variables);
    assert_eq!(call.exit_code(Duration::from_secs(60)).await, 0, "{}", call.output());
    worker.says("task succeeded task=test.note id=w-1").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}
