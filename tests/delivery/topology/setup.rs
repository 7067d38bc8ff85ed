//! `setup`: tables and topology, once before workers start.

use celeriac_tests::Bed;
use serde_json::Value;

use super::ground::Ground;
use super::restricted::user;

const FILES: &str = r##"
exchanges:
  orders: { type: topic }
queues:
  orders.eu: { bindings: [{ exchange: orders, routing_key: "orders.eu.*" }], max_length: 1000 }
"##;

/// No server listens there.
const NOBODY: [&str; 2] = ["amqp://guest:guest@127.0.0.1:1/%2f", "postgres://postgres@127.0.0.1:1/nowhere"];

fn has_all(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[celeriac_tests::test(real)]
async fn a_setup_creates_tables_and_topology_and_a_second_one_nothing(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await;
    for _ in 0..2 {
        let (code, said) = ground.run(&["setup", "--check"]).await;
        assert_eq!(code, 3, "{said}");
        let missing =
            ["missing   tables: migration 1 (tasks)", "missing   exchange `orders`", "missing   delay levels"];
        has_all(&said, &missing);
        assert!(!said.contains("exists"), "a check makes nothing: {said}");
    }
    let (code, said) = ground.run(&["setup"]).await;
    assert_eq!(code, 0, "{said}");
    let created = [
        "created   tables: migration 1 (tasks)\n",
        "created   tables: migration 4 (outbox)\n",
        "created   exchange `orders`\n",
        "created   queue `orders.eu`\n",
        "created   queue `orders.eu.dead`\n",
        "created   binding of queue `orders.eu` to exchange `orders` with key `orders.eu.*`\n",
        "created   delay levels `celery_delayed_…`: ",
    ];
    has_all(&said, &created);
    assert_eq!(ground.plan().await, (0, Vec::new()));

    let before = ground.definitions().await;
    for again in [&["setup", "--json"][..], &["setup", "--check", "--json"]] {
        let (code, said) = ground.run(again).await;
        assert_eq!(code, 0, "{said}");
        let report: Value = serde_json::from_str(&said).unwrap();
        let objects = report["objects"].as_array().unwrap();
        assert!(objects.len() > 100 && objects.iter().all(|object| object["state"] == "exists"), "{said}");
    }
    assert_eq!(ground.definitions().await, before);
}

#[celeriac_tests::test(real)]
async fn a_setup_names_what_differs_and_leaves_it(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await;
    let other = serde_json::json!({ "durable": true, "arguments": { "x-queue-type": "quorum", "x-max-length": 5 } });
    ground.put(&format!("queues/{}/orders.eu", ground.vhost()), &other).await;
    let (code, said) = ground.run(&["setup"]).await;
    assert_eq!(code, 3, "{said}");
    has_all(&said, &["differs   queue `orders.eu`: ", "x-max-length is 5 on the broker, 1000 in the files"]);
    has_all(&said, &["\nremedies:\n", "  celeriac-test-program topology migrate orders.eu --to NEW"]);
    assert_eq!(said.matches("topology migrate").count(), 1, "{said}");
    assert_eq!(ground.queue("orders.eu").await["arguments"]["x-max-length"], 5);
}

#[celeriac_tests::test(real)]
async fn a_setup_sets_policies_over_the_management_api_and_refuses_without_it(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.with("CELERIAC__BROKER__USE_POLICIES", "true");
    let (code, said) = ground.run(&["setup"]).await;
    assert_eq!(code, 0, "{said}");
    has_all(&said, &["created   policy `celeriac.orders.eu`\n"]);
    assert_eq!(ground.run(&["setup", "--check"]).await.0, 0);
    let (code, said) = ground.without_api().run(&["setup"]).await;
    assert_eq!(code, 78, "{said}");
    has_all(&said, &["policies are set over the management API"]);
}

#[celeriac_tests::test(real)]
async fn a_setup_over_amqp_alone_says_what_it_does_not_see(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.without_api();
    let bound = "declared  binding of queue `orders.eu` to exchange `orders`";
    for first in ["created   queue `orders.eu`", "exists    queue `orders.eu`"] {
        let (code, said) = ground.run(&["setup"]).await;
        assert_eq!(code, 0, "{said}");
        has_all(&said, &[first, bound, "AMQP does not show whether a declared binding existed before"]);
    }
    let (code, said) = ground.run(&["setup", "--check"]).await;
    assert_eq!(code, 0, "{said}");
    has_all(&said, &["unseen    binding of queue `orders.eu`", "not seen:\n  bindings: "]);
}

#[celeriac_tests::test(real)]
async fn a_setup_needs_a_user_who_may_configure_and_a_check_does_not(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await;
    let url = user(&ground, "^$").await;
    let name = ground.vhost().to_owned();
    let restricted = ["--broker", &url];
    let ground = ground.without_api();
    let (code, said) = ground.run(&[&["setup"], &restricted[..]].concat()).await;
    assert_eq!(code, 77, "{said}");
    assert_eq!(ground.run(&["setup"]).await.0, 0);
    let (code, said) = ground.run(&[&["setup", "--check"], &restricted[..]].concat()).await;
    assert_eq!(code, 0, "{said}");
    ground.delete(&format!("users/{name}")).await;
}

#[celeriac_tests::test(real)]
async fn a_setup_without_a_server_or_with_a_wrong_password_changes_nothing(bed: Bed) {
    let ground = Ground::new(&bed, FILES).await.without_api();
    let ground = ground.with("CELERIAC__BROKER__PUBLISH_TIMEOUT", "1s");
    let ground = ground.with("CELERIAC__RESULTS__CONNECT_TIMEOUT", "1s");
    let refused = bed.amqp_url().replace("guest:guest@", "guest:nonsense@");
    let (_, address) =
        bed.database_url().split_once('@').map(|(user, rest)| (user.to_owned(), rest.to_owned())).unwrap();
    let unknown = format!("postgres://nobody_of_that_name:nonsense@{address}");
    for (flag, url, expected) in [
        ("--broker", NOBODY[0], 69),
        ("--results", NOBODY[1], 69),
        ("--broker", refused.as_str(), 77),
        ("--results", unknown.as_str(), 77),
    ] {
        let (code, said) = ground.run(&["setup", flag, url]).await;
        assert_eq!(code, expected, "{flag} {url}: {said}");
        assert!(!said.contains("nonsense"), "{said}");
    }
    let (_, said) = ground.run(&["setup", "--check"]).await;
    assert!(!said.contains("exists"), "{said}");
}
