//! Exchanges logical clocks and revoked tasks with the other workers at the start.

use std::sync::Arc;

use celeriac_client::RemoteControl;
use celeriac_protocol::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::control::inspect::revoked;
use crate::control::node::ControlNode;
use crate::control::revoke::merge_revoked;

/// Says hello to the other workers, and takes over what they reply. Workers that do not answer
/// within a second are left out, as in Celery.
pub(crate) async fn mingle(node: Arc<ControlNode>, stop: CancellationToken) {
    let remote = RemoteControl::new(Arc::clone(&node.runtime.broker), Arc::clone(&node.clock));
    let mut arguments = Map::new();
    arguments.insert("from_node".to_owned(), node.name().into());
    arguments.insert("revoked".to_owned(), revoked(&node).into());
    let replies = stop.run_until_cancelled(remote.ask("hello", arguments)).await;
    remote.close().await;
    // Without the broker there is nobody to ask. The queue of requests tells of that.
    let Some(Ok(replies)) = replies else { return };
    for reply in replies.into_iter().filter(|reply| reply.node != node.name()) {
        node.clock.adjust(reply.value.get("clock").and_then(Value::as_u64).unwrap_or_default());
        let ids = reply.value.get("revoked").and_then(Value::as_list).unwrap_or_default();
        let ids = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        // What is not stored is asked for again at the next start.
        let _ = stop.run_until_cancelled(merge_revoked(&node, ids)).await;
    }
}
