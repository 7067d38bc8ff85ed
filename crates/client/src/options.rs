//! The `client` section of the configuration.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Codec;
use celeriac_protocol::compression::Compression;
use serde::{Deserialize, Serialize};

/// Options of submitting and awaiting tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientOptions {
    /// Serializer of bodies. Routes and calls override it.
    pub serializer: Codec,
    /// Compression of bodies. Routes and calls override it. Default: none.
    pub compression: Option<Compression>,
    /// Headers to write.
    pub headers: HeaderStyle,
    /// Longest wait of `TaskHandle::get`. Then it returns an error.
    #[serde(with = "duration")]
    pub result_timeout: Duration,
    /// Time from the start of a chord to its end, unless the chord sets its own. Zero: none.
    #[serde(with = "duration")]
    pub chord_deadline: Duration,
    /// True if tasks request replies, also with a result store. `rpc://` as the result store sets
    /// it.
    pub request_replies: bool,
    /// Tells Celery's monitors of each task that is sent.
    pub task_sent_events: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            serializer: Codec::Json,
            compression: None,
            headers: HeaderStyle::Minimal,
            result_timeout: Duration::from_secs(600),
            chord_deadline: Duration::from_secs(30 * 24 * 3600),
            request_replies: false,
            task_sent_events: false,
        }
    }
}

/// Set of headers that a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderStyle {
    /// Headers whose value is not the default of every worker, including Celery's.
    #[default]
    Minimal,
    /// All headers of Celery, including those for display, such as arguments in Flower and in
    /// Celery's own logs.
    Full,
}
