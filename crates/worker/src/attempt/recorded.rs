//! Facts about an attempt for its row: arguments and times.

use std::time::{Duration, Instant};

use celeriac_protocol::{Body, Codec};
use celeriac_results::TaskRecord;
use celeriac_telemetry::clock;
use jiff::Timestamp;

/// Arguments as JSON text.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordedArguments {
    pub(crate) args: Option<String>,
    pub(crate) kwargs: Option<String>,
}

impl RecordedArguments {
    pub(crate) fn of(body: &Body) -> Self {
        // Values of a codec can always be written as JSON. Any other value would be recorded as
        // unknown.
        Self { args: json(&body.args), kwargs: json(&body.kwargs) }
    }

    /// Returns the arguments of a row.
    pub(crate) fn of_row(row: TaskRecord) -> Self {
        Self { args: row.args, kwargs: row.kwargs }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Option<String> {
    String::from_utf8(Codec::Json.encode(value).ok()?).ok()
}

/// Start and duration of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTiming {
    pub(crate) started_at: Timestamp,
    began: Instant,
    pub(crate) runtime: Duration,
}

impl RunTiming {
    pub(crate) fn begin() -> Self {
        Self { started_at: clock::now(), began: Instant::now(), runtime: Duration::ZERO }
    }

    pub(crate) fn end(self) -> Self {
        Self { runtime: self.began.elapsed(), ..self }
    }
}
