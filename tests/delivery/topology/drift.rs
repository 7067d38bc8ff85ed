//! Changes on the broker that the files do not have: `plan` names each of them, and nothing else.

use celeriac_tests::Bed;
use serde_json::{Value, json};

use super::ground::{Ground, rows};

const FILES: &str = r##"
exchanges:
  x.type: {}
  x.gone: {}
  x.alternate: { alternate_exchange: x.other }
  x.no-alternate: {}
  x.other: { type: fanout }
  x.transient: { type: topic }
  x.auto: { type: topic }
  x.internal: { type: topic }
  x.filled: { type: topic, bindings: [{ exchange: x.transient, routing_key: "a.#" }, { exchange: x.transient, routing_key: "b.#" }] }
  x.headers: { type: headers }
  x.external: { external: true }
queues:
  q.type: { type: classic }
  q.priority: { type: classic, max_priority: 5 }
  q.no-priority: { type: classic }
  q.ttl: { message_ttl: 1m }
  q.expires: { expires: 1h }
  q.length: { max_length: 10 }
  q.no-length: {}
  q.bytes: { max_length_bytes: 1000000 }
  q.overflow: { overflow: drop-head, max_length: 10 }
  q.limit: { delivery_limit: 7 }
  q.dead-key: {}
  q.dead-exchange: {}
  q.strategy: {}
  q.single: { single_active_consumer: true }
  q.mode: { type: classic, lazy: true }
  q.transient: { type: classic, transient: true }
  q.durable: { type: classic }
  q.auto: { type: classic }
  q.replicas: { replicas: 1 }
  s.age: { type: stream, max_age: 1h }
  s.replicas: { type: stream, replicas: 1 }
  q.gone: {}
  q.dying: {}
  q.undelayed: {}
  q.bound: { bindings: [{ exchange: x.filled, routing_key: "a" }, { exchange: x.filled, routing_key: "b" }] }
  q.headers: { bindings: [{ exchange: x.headers, headers: { kind: mail }, match: any }] }
  q.external: { external: true }
"##;

/// Changes of properties, each with its line in `plan`: broker first, then files.
fn properties() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str)> {
    let argument = |name: &'static str, argument, value: Value, told| ("queues", name, argument, value, told);
    vec![
        argument("q.type", "x-queue-type", json!("quorum"), "quorum classic"),
        argument("q.priority", "x-max-priority", json!(9), "9 5"),
        argument("q.no-priority", "x-max-priority", json!(3), "3 -"),
        argument("q.ttl", "x-message-ttl", json!(30_000), "30000 60000"),
        argument("q.expires", "x-expires", json!(7_200_000), "7200000 3600000"),
        argument("q.length", "x-max-length", json!(11), "11 10"),
        argument("q.no-length", "x-max-length", json!(99), "99 -"),
        argument("q.bytes", "x-max-length-bytes", json!(1_000), "1000 1000000"),
        argument("q.overflow", "x-overflow", json!("reject-publish"), "reject-publish drop-head"),
        argument("q.limit", "x-delivery-limit", json!(8), "8 7"),
        argument("q.dead-key", "x-dead-letter-routing-key", json!("other.dead"), "other.dead q.dead-key.dead"),
        argument("q.dead-exchange", "x-dead-letter-exchange", json!("x.other"), "x.other "),
        argument("q.strategy", "x-dead-letter-strategy", json!("at-most-once"), "at-most-once at-least-once"),
        argument("q.single", "x-single-active-consumer", Value::Null, "- true"),
        argument("q.mode", "x-queue-mode", json!("default"), "default lazy"),
        argument("q.replicas", "x-quorum-initial-group-size", json!(3), "3 1"),
        argument("s.age", "x-max-age", json!("2h"), "2h 3600s"),
        argument("s.replicas", "x-initial-cluster-size", json!(3), "3 1"),
        argument("celery_delayed_3", "x-message-ttl", json!(9_000), "9000 8000"),
        argument("celery_delayed_4", "x-dead-letter-exchange", json!("x.other"), "x.other celery_delayed_3"),
        ("queues", "q.transient", "durable", json!(true), "true false"),
        ("queues", "q.durable", "durable", json!(false), "false true"),
        ("queues", "q.auto", "auto-delete", json!(true), "true false"),
        ("exchanges", "x.type", "type", json!("fanout"), "fanout direct"),
        ("exchanges", "x.alternate", "alternate-exchange", json!("x.type"), "x.type x.other"),
        ("exchanges", "x.no-alternate", "alternate-exchange", json!("x.other"), "x.other -"),
        ("exchanges", "x.transient", "durable", json!(false), "false true"),
        ("exchanges", "x.auto", "auto-delete", json!(true), "true false"),
        ("exchanges", "x.internal", "internal", json!(true), "true false"),
    ]
}

/// Changes one property of an existing object.
async fn change(ground: &Ground, kind: &str, name: &str, property: &str, value: &Value) {
    let mut definition = ground.api(&format!("{kind}/{}/{name}", ground.vhost())).await;
    match property {
        "durable" | "internal" | "type" => definition[property] = value.clone(),
        "auto-delete" => definition["auto_delete"] = value.clone(),
        argument => {
            let arguments = definition["arguments"].as_object_mut().unwrap();
            arguments.remove(argument);
            if !value.is_null() {
                arguments.insert(argument.to_owned(), value.clone());
            }
        }
    }
    let keep =
        ["type", "durable", "auto_delete", "internal", "arguments"].map(|key| (key.to_owned(), definition[key].take()));
    let queue = kind == "queues";
    let keep = keep.into_iter().filter(|(key, _)| !queue || (key != "type" && key != "internal")).collect();
    if queue {
        ground.redeclare_queue(name, &Value::Object(keep)).await;
    } else {
        ground.redeclare_exchange(name, &Value::Object(keep)).await;
    }
}

/// Returns the one binding of a destination to a source with this key.
async fn binding(ground: &Ground, source: &str, destination: &str, key: &str) -> Value {
    let all = ground.api(&format!("bindings/{}", ground.vhost())).await;
    let is = |binding: &&Value| {
        binding["source"] == source
            && binding["destination"] == destination
            && binding["routing_key"].as_str().unwrap().ends_with(key)
    };
    all.as_array().unwrap().iter().find(is).unwrap().clone()
}

/// Adds and removes objects, and returns their lines in `plan`.
async fn come_and_go(ground: &Ground) -> Vec<String> {
    let at = |path: &str| path.replace("VHOST", ground.vhost());
    let behind = |queue: &str| {
        let key = "*.".repeat(28) + queue;
        format!(
            "missing binding of queue `{queue}` to exchange `celery_delayed_delivery` with key `{key}` - - declared"
        )
    };
    for path in [
        "exchanges/VHOST/x.gone",
        "exchanges/VHOST/x.external",
        "queues/VHOST/q.gone",
        "queues/VHOST/q.dying.dead",
        "queues/VHOST/q.external",
        "queues/VHOST/celery_delayed_5",
    ] {
        ground.delete(&at(path)).await;
    }
    let undelayed = binding(ground, "celery_delayed_delivery", "q.undelayed", "q.undelayed").await;
    let unbound = binding(ground, "x.filled", "q.bound", "b").await;
    let unfilled = binding(ground, "x.transient", "x.filled", "b.#").await;
    let passing = binding(ground, "celery_delayed_9", "celery_delayed_8", "0.#").await;
    let mut otherwise = binding(ground, "x.headers", "q.headers", "").await;
    for gone in [&undelayed, &unbound, &unfilled, &passing, &otherwise] {
        ground.unbind(gone).await;
    }
    otherwise["arguments"]["kind"] = json!("letter");
    let mut more = unbound.clone();
    more["routing_key"] = json!("c");
    for new in [&otherwise, &more] {
        ground.bind(new).await;
    }
    let quorum = json!({ "durable": true, "arguments": { "x-queue-type": "quorum" } });
    ground.put(&at("queues/VHOST/past.dead"), &quorum).await;
    ground.put(&at("queues/VHOST/theirs"), &quorum).await;

    let passes = "*.".repeat(18) + "0.#";
    let waits = "*.".repeat(22) + "1.#";
    let headers = "binding of queue `q.headers` to exchange `x.headers` with key `` kind";
    let mut told = vec![behind("q.gone"), behind("q.external"), behind("q.undelayed")];
    told.extend([
        format!("missing binding of queue `celery_delayed_5` to exchange `celery_delayed_5` with key `{waits}` - - declared"),
        format!(
            "missing binding of exchange `celery_delayed_8` to exchange `celery_delayed_9` with key `{passes}` - - declared"
        ),
        format!("missing {headers}=mail x-match=any - - declared"),
        format!("extra {headers}=letter x-match=any - there -"),
    ]);
    let others = [
        "missing exchange `x.gone` - - declared",
        "missing exchange `x.external` - - declared",
        "missing queue `q.gone` - - declared",
        "missing queue `q.dying.dead` - - declared",
        "missing queue `q.external` - - declared",
        "missing queue `celery_delayed_5` - - declared",
        "missing binding of queue `q.bound` to exchange `x.filled` with key `b` - - declared",
        "missing binding of exchange `x.filled` to exchange `x.transient` with key `b.#` - - declared",
        "extra binding of queue `q.bound` to exchange `x.filled` with key `c` - there -",
        "extra queue `past.dead` - there -",
    ];
    told.extend(others.map(str::to_owned));
    told
}

#[celeriac_tests::test(real)]
async fn every_changed_property_is_named_and_nothing_else(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await;
    ground
        .put(&format!("exchanges/{}/x.external", ground.vhost()), &json!({ "type": "topic", "durable": false }))
        .await;
    ground.put(&format!("queues/{}/q.external", ground.vhost()), &json!({ "durable": true, "arguments": {} })).await;
    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(ground.plan().await, (0, Vec::new()));

    let mut expected = Vec::new();
    for (kind, name, property, value, told) in properties() {
        change(&ground, kind, name, property, &value).await;
        let object = kind.trim_end_matches('s');
        expected.push(format!("differs {object} `{name}` {property} {told}"));
        assert_eq!(ground.plan().await, (3, rows(&expected)), "{name} {property}");
    }
    expected.extend(come_and_go(&ground).await);
    assert_eq!(ground.plan().await, (3, rows(&expected)));

    // Missing objects are made, except external ones. Objects that cannot change stay, and are
    // named.
    let external =
        ["exchanges/VHOST/x.external", "queues/VHOST/q.external"].map(|path| path.replace("VHOST", ground.vhost()));
    ground.put(&external[0], &json!({ "type": "topic", "durable": false })).await;
    ground.put(&external[1], &json!({ "durable": true, "arguments": {} })).await;
    let (code, said) = ground.run(&["topology", "apply", "--yes", "--prune"]).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("celeriac-test-program topology migrate q.ttl --to NEW"), "{said}");
    expected.retain(|told| told.starts_with("differs"));
    assert_eq!(ground.plan().await, (3, rows(&expected)));
    let theirs = ground.api(&format!("queues/{}/theirs", ground.vhost())).await;
    assert_eq!(theirs["name"], "theirs", "what nobody here knows stays");
}
