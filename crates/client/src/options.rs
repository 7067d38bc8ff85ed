//! The `client` section of the configuration.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Codec;
use serde::{Deserialize, Serialize};

/// How tasks are sent and awaited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientOptions {
    /// How bodies are written where neither route nor call says.
    pub serializer: Codec,
    /// How long `TaskHandle::get` waits for a result before it is an error.
    #[serde(with = "duration")]
    pub result_timeout: Duration,
    /// Whether outcomes are asked for as replies, beside what is stored. Without a store of its own, `rpc://` sets it.
    pub replies: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { serializer: Codec::Json, result_timeout: Duration::from_secs(600), replies: false }
    }
}
