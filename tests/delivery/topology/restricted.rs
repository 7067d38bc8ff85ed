//! Programs whose user may not configure anything.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_broker::{Error, connect};
use celeriac_tests::{Bed, Running};
use serde_json::json;

use super::ground::Ground;
use crate::management;

/// Fails at its first attempt.
#[task(name = "t.second", max_retries = 2, retry_backoff = "1s..2s")]
async fn second(ctx: TaskContext) -> TaskResult<u32> {
    if ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(ctx.attempt())
}

/// The names of reply queues, which are ids.
const REPLIES: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";

/// Creates a user of this virtual host alone, who may write and read, and configure the objects
/// that match `configure`.
pub(super) async fn user(ground: &Ground, configure: &str) -> String {
    let name = ground.vhost();
    ground.put(&format!("users/{name}"), &json!({ "password": "secret", "tags": "" })).await;
    let rights = json!({ "configure": configure, "write": ".*", "read": ".*" });
    ground.put(&format!("permissions/{name}/{name}"), &rights).await;
    ground.bed().amqp_url().replace("guest:guest@", &format!("{name}:secret@"))
}

#[celeriac_tests::test(real)]
async fn tasks_retries_and_delays_need_no_right_to_configure(bed: Bed) {
    let ground = Ground::new(&bed, "{}").await;
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    let url = user(&ground, "^$").await;
    for declare in ["false", "true"] {
        let program =
            ground.bed().program(tasks![second]).set("broker.url", url.clone()).set("broker.declare", declare);
        let running = Running::start(&program.build().unwrap()).await;
        let handle = second().delay(Duration::from_secs(1)).submit(&running.client).await.unwrap();
        assert_eq!(handle.get().await.unwrap(), 2, "broker.declare: {declare}");
        running.stop().await;
    }
    ground.delete(&format!("users/{}", ground.vhost())).await;
}

#[celeriac_tests::test(real)]
async fn what_is_missing_is_named_and_not_made(bed: Bed) {
    let ground = Ground::new(&bed, "{}").await;
    let options = celeriac_broker::BrokerOptions { declare: false, ..management::options(ground.bed()) };
    let broker = connect(&options, "test").unwrap();
    let queues = [("celeriac".to_owned(), Default::default())].into();
    let topology = celeriac_topology::Topology { queues, ..Default::default() };
    let error = broker.declare(&topology).await.unwrap_err();
    let Error::Absent { objects } = &error else { panic!("{error:?}") };
    assert!(objects.contains(&"queue `celeriac`".to_owned()), "{objects:?}");
    assert!(error.help().unwrap().contains("celeriac topology apply"));
    assert_eq!(ground.api(&format!("queues/{}", ground.vhost())).await, json!([]));

    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    broker.declare(&topology).await.unwrap();
    ground.delete(&format!("queues/{}/celeriac.dead", ground.vhost())).await;
    let error = broker.declare(&topology).await.unwrap_err();
    assert_eq!(error.to_string(), "missing on the broker: queue `celeriac.dead`");
    broker.close().await;
}

#[celeriac_tests::test(real)]
async fn a_workers_own_queue_is_made_by_it_and_kept_by_no_policy(bed: Bed) {
    let ground = Ground::new(&bed, "queues: { reload: { broadcast: true } }")
        .await
        .with("CELERIAC__BROKER__USE_POLICIES", "true");
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    user(&ground, "^reload\\.").await;
    let name = ground.vhost().to_owned();
    let url = ground.bed().amqp_url().replace("guest:guest@", &format!("{name}:secret@"));
    let ground = ground.with("CELERIAC__BROKER__DECLARE", "false").with("CELERIAC__BROKER__URL", &url);
    let mut worker = ground.start(&["worker", "-n", "one"]);
    worker.says("ready").await;
    let queue = ground.queue("reload.one").await;
    let arguments = &queue["arguments"];
    assert_eq!(
        (&arguments["x-expires"], &arguments["x-dead-letter-routing-key"]),
        (&json!(3_600_000), &json!("reload.dead"))
    );
    worker.kill().await;
    ground.delete(&format!("users/{name}")).await;
}

#[celeriac_tests::test(real)]
async fn who_may_look_can_plan_and_not_apply(bed: Bed) {
    let ground = Ground::new(&bed, "{}").await;
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    let name = ground.vhost().to_owned();
    user(&ground, "^$").await;
    ground.put(&format!("users/{name}"), &json!({ "password": "secret", "tags": "management" })).await;
    let api = ground.api_url().replace("guest:guest@", &format!("{name}:secret@"));
    let ground = ground.with("CELERIAC__BROKER__MANAGEMENT_URL", &api);
    assert_eq!(ground.plan().await, (0, Vec::new()));
    let ground = ground.with("CELERIAC__BROKER__USE_POLICIES", "true");
    assert_eq!(ground.plan().await.0, 3);
    let (code, said) = ground.run(&["topology", "apply", "--yes"]).await;
    assert_eq!(code, 77, "{said}");
    ground.delete(&format!("users/{name}")).await;
}

#[celeriac_tests::test(real)]
async fn a_client_that_awaits_replies_configures_its_own_queue_and_no_other(bed: Bed) {
    let ground = Ground::new(&bed, "{}").await;
    assert_eq!(ground.run(&["topology", "apply", "--yes"]).await.0, 0);
    for (configure, allowed) in [("^$", false), (REPLIES, true)] {
        let url = user(&ground, configure).await;
        let options =
            celeriac_broker::BrokerOptions { url: url.into(), declare: false, ..management::options(ground.bed()) };
        let broker = connect(&options, "test").unwrap();
        match broker.replies("01998ff4-2f5c-7d33-a0a3-5a8b2d5e3c11").await {
            Ok(replies) => {
                assert!(allowed);
                replies.close().await;
            }
            Err(error) => assert!(!allowed, "{error:?}"),
        }
        broker.close().await;
    }
    ground.delete(&format!("users/{}", ground.vhost())).await;
}
