//! Topology as code: plan, apply, export.
//!
//! - `ground`: a virtual host, its files, and the command line for both;
//! - `drift`: changes on the broker that the files do not have;
//! - `restricted`: programs without permission to configure;
//! - `setup`: tables and topology, once before workers start.

mod drift;
mod ground;
mod restricted;
mod setup;

use celeriac_tests::{Bed, eventually};
use serde_json::{Value, json};

use ground::{Ground, rows};

const FILES: &str = r##"
exchanges:
  orders: { type: topic, alternate_exchange: lost }
  audit: { type: headers, bindings: [{ exchange: orders, routing_key: "#" }] }
  lost: { type: fanout }
queues:
  orders.eu: { bindings: [{ exchange: orders, routing_key: "orders.eu.*" }], max_length: 1000, message_ttl: 1h }
  Orders_EU: { type: classic, max_priority: 5 }
  log: { type: stream, max_age: 7d, bindings: [{ exchange: audit, headers: { kind: "a: b" } }] }
  reload: { broadcast: true }
"##;

#[celeriac_tests::test(real)]
async fn what_is_applied_does_not_differ_and_is_applied_once(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await;
    let (code, said) = ground.run(&["topology", "plan"]).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("missing  queue `orders.eu`"), "{said}");
    let (code, said) = ground.run(&["topology", "apply"]).await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("give --yes"), "{said}");
    let (code, said) = ground.run_with_input(&["topology", "apply"], "y\n").await;
    assert_eq!(code, 4, "no terminal, no person: {said}");

    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("differences resolved"), "{said}");
    let before = ground.definitions().await;
    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!((code, said.trim()), (0, "nothing to change"));
    assert_eq!(ground.definitions().await, before);
    let (code, said) = ground.run(&["topology", "plan"]).await;
    assert_eq!((code, said.trim()), (0, "broker and files agree"));
}

#[celeriac_tests::test(real)]
async fn bindings_that_cannot_be_seen_are_no_reason_to_ask(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.without_api();
    assert_eq!(ground.run(&["topology", "apply"]).await.0, 4, "there is something to create");
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    let (code, said) = ground.run(&["topology", "apply"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("nothing to change") && said.contains("AMQP does not show which existed"), "{said}");
}

#[celeriac_tests::test(real)]
async fn a_migration_that_nobody_confirms_moves_nothing(bed: Bed) {
    let ground = Ground::new(&bed, "queues: { new: {} }").await;
    let old = json!({ "durable": true, "arguments": { "x-queue-type": "classic" } });
    ground.put(&format!("queues/{}/old", ground.vhost()), &old).await;
    let (code, said) = ground.run_with_input(&["topology", "migrate", "old", "--to", "new", "--delete"], "y\n").await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("give --yes"), "{said}");
    assert_eq!(ground.queue("old").await["name"], "old");
}

#[celeriac_tests::test(real)]
async fn policies_are_made_changed_and_pruned_by_apply(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(ground.plan().await, (0, Vec::new()));
    let kept = |queue: &Value| queue["effective_policy_definition"]["max-length"] == 1000;
    let queue = eventually("the policy to apply", async || ground.queue("orders.eu").await, kept).await;
    assert_eq!(queue["arguments"], json!({ "x-queue-type": "quorum" }));

    let policy = |name: &str, body: Value| (format!("policies/{}/{name}", ground.vhost()), body);
    let (path, body) = policy(
        "celeriac.orders.eu",
        json!({ "pattern": "^orders.eu$", "apply-to": "queues", "priority": 1, "definition": { "max-length": 5 } }),
    );
    ground.put(&path, &body).await;
    let (path, body) = policy("celeriac.gone", json!({ "pattern": "^gone$", "definition": { "max-length": 5 } }));
    ground.put(&path, &body).await;
    ground.delete(&format!("policies/{}/celeriac.log", ground.vhost())).await;
    let (code, found) = ground.plan().await;
    let expected = [
        "extra policy `celeriac.gone` - there -",
        "missing policy `celeriac.log` - - declared",
        "differs policy `celeriac.orders.eu` dead-letter-exchange - ",
        "differs policy `celeriac.orders.eu` dead-letter-routing-key - orders.eu.dead",
        "differs policy `celeriac.orders.eu` dead-letter-strategy - at-least-once",
        "differs policy `celeriac.orders.eu` delivery-limit - 100",
        "differs policy `celeriac.orders.eu` max-length 5 1000",
        "differs policy `celeriac.orders.eu` message-ttl - 3600000",
        "differs policy `celeriac.orders.eu` overflow - reject-publish",
        "differs policy `celeriac.orders.eu` pattern ^orders.eu$ ^orders\\.eu$",
    ];
    assert_eq!((code, found), (3, rows(&expected)));

    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 3, "what is extra stays unless it is to be pruned: {said}");
    assert_eq!(ground.plan().await.1, rows(&expected[..1]));
    let (code, said) = ground.run(&["topology", "apply", "--yes", "--prune"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(ground.plan().await, (0, Vec::new()));
}

#[celeriac_tests::test(real)]
async fn an_apply_that_was_killed_is_finished_by_the_next(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    let killed = ground.start(&["topology", "apply", "--yes"]);
    let policies = async || ground.api(&format!("policies/{}", ground.vhost())).await;
    eventually("the first policy", policies, |made| made != &json!([])).await;
    killed.kill().await;
    assert_eq!(ground.plan().await.0, 3, "it was killed before its end");
    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(ground.plan().await, (0, Vec::new()));
}

#[celeriac_tests::test(real)]
async fn a_worker_says_which_policies_are_not_there(bed: Bed) {
    let ground = Ground::new(&bed, "queues: { mail: {} }").await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    let mut worker = ground.start(&["worker"]);
    let said = worker.says("policies differ").await;
    assert!(said.contains("policy `celeriac.mail`") && said.contains("ERROR"), "{said}");
    worker.kill().await;
}

/// `export` prints definitions, and nothing differs after they are imported.
async fn imported_definitions_do_not_differ(ground: Ground) {
    let (code, said) = ground.run(&["topology", "export"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("guest"), "{said}");
    let definitions: Value = serde_json::from_str(&said).unwrap();
    ground.post(&format!("definitions/{}", ground.vhost()), &definitions).await;
    assert_eq!(ground.plan().await, (0, Vec::new()));
}

#[celeriac_tests::test(real)]
async fn definitions_imported_elsewhere_do_not_differ(bed: Bed) {
    imported_definitions_do_not_differ(Ground::new(&bed, FILES).await).await;
}

#[celeriac_tests::test(real)]
async fn definitions_with_policies_imported_elsewhere_do_not_differ(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    imported_definitions_do_not_differ(ground).await;
}

#[celeriac_tests::test(real)]
async fn manifests_are_yaml_for_the_topology_operator(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    let export = ["topology", "export", "--format", "manifests", "--cluster", "rabbit", "--namespace", "jobs"];
    let (code, said) = ground.run(&export).await;
    assert_eq!(code, 0, "{said}");
    let documents = yaml_rust2::YamlLoader::load_from_str(&said).unwrap();
    let names: std::collections::BTreeSet<_> = documents
        .iter()
        .map(|document| (document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(names.len(), documents.len(), "no name stands twice");
    let ours = said.replace(ground.vhost(), "VHOST");
    let ours: Vec<_> = ours.split("---\n").filter(|document| !document.contains("celery_delayed_")).collect();
    insta::assert_snapshot!(ours.join("---\n"));
}

#[celeriac_tests::test(real)]
async fn prune_never_deletes_a_queue_with_messages(bed: Bed) {
    let ground = Ground::new(&bed, "queues: { mail: {} }").await;
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    let queue = json!({ "durable": true, "arguments": { "x-queue-type": "quorum" } });
    for name in ["full.dead", "empty.dead"] {
        ground.put(&format!("queues/{}/{name}", ground.vhost()), &queue).await;
    }
    assert_eq!(ground.plan().await.1.len(), 2, "as long as nothing stands in them");
    let peer = ground.bed().peer().await;
    peer.put("full.dead", Default::default(), b"{}").await;
    let (code, said) = ground.run(&["topology", "apply", "--yes", "--prune"]).await;
    let left = ground.api(&format!("queues/{}", ground.vhost())).await.to_string();
    assert!(left.contains("full.dead") && !left.contains("empty.dead"), "{code} {said}");
}

#[celeriac_tests::test(real)]
async fn without_the_management_api_it_is_said_what_is_not_seen(bed: Bed) {
    let ground = Ground::new(&bed, "queues: { mail: { max_length: 5 }, plain: { type: classic } }").await.without_api();
    let (code, said) = ground.run(&["topology", "plan"]).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("missing  queue `mail`") && said.contains("bindings: AMQP does not list them"), "{said}");
    let queues = ground.api(&format!("queues/{}", ground.vhost())).await;
    assert_eq!(queues, json!([]), "a plan makes nothing");

    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(ground.run(&["topology", "plan"]).await.0, 0);
    let quorum = json!({ "durable": false, "arguments": { "x-max-priority": 5 } });
    ground.redeclare_queue("plain", &quorum).await;
    let (code, found) = ground.plan().await;
    let expected = [
        "differs queue `plain` durable false true",
        "differs queue `plain` x-dead-letter-exchange - ",
        "differs queue `plain` x-dead-letter-routing-key - plain.dead",
        "differs queue `plain` x-max-priority 5 -",
    ];
    assert_eq!((code, found), (3, rows(&expected)));
}
