//! The result of a task as JSON text, as it is stored and sent.

use celeriac_protocol::{Codec, DecodeLimits, EncodeError, Value};
use serde::Serialize;

use crate::task::error::{TaskError, TaskResult};

/// The JSON text of a success, or the error.
pub(crate) type JsonResult = TaskResult<String>;

/// Returns a result as JSON text in the wire format, which keeps values beyond plain JSON.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T) -> JsonResult {
    text(Codec::Json.encode(value))
}

/// Does what [`write`](write()) does for a value, without a copy of it.
pub(crate) fn write_value(value: &Value) -> JsonResult {
    text(Codec::Json.encode_value(value))
}

fn text(written: Result<Vec<u8>, EncodeError>) -> JsonResult {
    let written = written.map_err(|error| error.to_string());
    let text = written.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
    text.map_err(|reason| TaskError::fatal(format!("the result {reason}")))
}

/// Returns the value that [`write`](write()) has written.
pub(crate) fn read(result: &str) -> TaskResult<Value> {
    let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
    Codec::Json
        .decode_value(result.as_bytes(), &limits)
        .map_err(|error| TaskError::fatal(format!("the result cannot be read back: {error}")))
}
