//! Bytes and UUIDs.

use celeriac::prelude::*;
use celeriac::protocol::Value;
use uuid::Uuid;

const PREFIX: &str = "fleet.blobs.";

pub(crate) fn tasks() -> Tasks {
    tasks![name_id, mask]
}

#[task(prefix = PREFIX)]
async fn name_id(namespace: Uuid, name: String) -> TaskResult<Value> {
    Ok(Uuid::new_v5(&namespace, name.as_bytes()).into())
}

#[task(prefix = PREFIX)]
async fn mask(data: Vec<u8>, key: u8) -> TaskResult<Value> {
    Ok(Value::Bytes(data.into_iter().map(|byte| byte ^ key).collect()))
}
