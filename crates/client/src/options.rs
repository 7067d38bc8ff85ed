//! The `client` section of the configuration.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Codec;
use celeriac_protocol::compression::Compression;
use serde::{Deserialize, Serialize};

/// The options of sending tasks and awaiting them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientOptions {
    /// The serializer of bodies where neither route nor call says.
    pub serializer: Codec,
    /// The compression of bodies where the call does not say. Default: not at all.
    pub compression: Option<Compression>,
    /// The headers that are written beside those that say something.
    pub headers: HeaderStyle,
    /// The longest that `TaskHandle::get` waits for a result before it is an error.
    #[serde(with = "duration")]
    pub result_timeout: Duration,
    /// True if outcomes are asked for as replies, beside what is stored. Without a store of its
    /// own, `rpc://` sets it.
    pub request_replies: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            serializer: Codec::Json,
            compression: None,
            headers: HeaderStyle::Minimal,
            result_timeout: Duration::from_secs(600),
            request_replies: false,
        }
    }
}

/// The headers of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderStyle {
    /// Those that say something: every worker, Celery's too, takes the others for their defaults.
    #[default]
    Minimal,
    /// All that Celery writes: also for what people look at, such as arguments in Flower and in
    /// Celery's own logs.
    Full,
}
