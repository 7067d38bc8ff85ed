//! Facts about an attempt for its row: arguments and times.

use std::time::{Duration, Instant};

use celeriac_protocol::redact::RedactedValues;
use celeriac_protocol::{Body, Codec, Value};
use celeriac_results::{StoreClock, TaskRecord};
use jiff::Timestamp;

use crate::task::definition::TaskDefinition;

/// Arguments as JSON text.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordedArguments {
    pub(crate) args: Option<String>,
    pub(crate) kwargs: Option<String>,
}

impl RecordedArguments {
    /// Writes the arguments of a body. They move through a value and back, because a copy would
    /// take as much memory as the body.
    pub(crate) fn of(body: &mut Body) -> Self {
        let args = Value::List(std::mem::take(&mut body.args));
        let kwargs = Value::Map(std::mem::take(&mut body.kwargs));
        let recorded = Self { args: json(&args), kwargs: json(&kwargs) };
        if let (Value::List(args), Value::Map(kwargs)) = (args, kwargs) {
            (body.args, body.kwargs) = (args, kwargs);
        }
        recorded
    }

    /// Returns the arguments without the values that the task redacts, and those values.
    pub(crate) fn redacted(body: &Body, task: &TaskDefinition) -> (Self, RedactedValues) {
        let (mut args, mut kwargs) = (body.args.clone(), body.kwargs.clone());
        let values = task.redact(&mut args, &mut kwargs);
        (Self { args: json(&Value::List(args)), kwargs: json(&Value::Map(kwargs)) }, values)
    }

    /// Returns the arguments of a row.
    pub(crate) fn of_row(row: TaskRecord) -> Self {
        Self { args: row.args, kwargs: row.kwargs }
    }
}

/// Returns the JSON text of a value. Every value that a codec produces has one. Any other would be
/// recorded as unknown.
fn json(value: &Value) -> Option<String> {
    String::from_utf8(Codec::Json.encode_value(value).ok()?).ok()
}

/// Start and duration of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTiming {
    pub(crate) started_at: Timestamp,
    began: Instant,
    pub(crate) runtime: Duration,
}

impl RunTiming {
    pub(crate) fn begin(clock: &StoreClock) -> Self {
        Self { started_at: clock.now(), began: Instant::now(), runtime: Duration::ZERO }
    }

    pub(crate) fn end(self) -> Self {
        Self { runtime: self.began.elapsed(), ..self }
    }
}
