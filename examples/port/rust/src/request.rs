//! Tasks that read their request.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::protocol::{Map, Value};

const PREFIX: &str = "fleet.request.";

pub(crate) fn tasks() -> Tasks {
    tasks![whoami, tenant, envelope, deadline, stamps]
}

#[task(prefix = PREFIX)]
async fn whoami(ctx: TaskContext) -> TaskResult<Value> {
    Ok(value!({
        "id": ctx.id(),
        "name": ctx.name(),
        "root": ctx.root_id(),
        "parent": ctx.parent_id(),
        "retries": ctx.attempt() - 1,
        "group": ctx.group(),
        "index": ctx.group_index(),
    }))
}

#[task(prefix = PREFIX)]
async fn tenant(ctx: TaskContext) -> TaskResult<Option<Value>> {
    Ok(ctx.header("tenant").cloned())
}

#[task(prefix = PREFIX)]
async fn envelope(ctx: TaskContext) -> TaskResult<Value> {
    Ok(value!({
        "priority": ctx.priority().unwrap_or_default(),
        "replies": ctx.reply_to().is_some(),
        "correlation": ctx.properties().correlation_id.clone(),
        "shadow": ctx.shadow(),
    }))
}

#[task(prefix = PREFIX)]
async fn deadline(ctx: TaskContext) -> TaskResult<Value> {
    let limits = ctx.call_time_limits();
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    Ok(value!({
        "eta": ctx.eta(),
        "expires": ctx.expires(),
        "limits": [seconds(limits.hard), seconds(limits.soft)],
    }))
}

#[task(prefix = PREFIX)]
async fn stamps(ctx: TaskContext) -> TaskResult<Map> {
    Ok(ctx.stamps().clone())
}
