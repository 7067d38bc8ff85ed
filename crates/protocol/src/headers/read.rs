//! Reads the values of headers.

use std::time::Duration;

use jiff::Timestamp;

use super::limits::TimeLimits;
use crate::time;
use crate::value::{Map, Value};

pub(super) fn text(name: &'static str, value: &Value) -> Result<Option<String>, HeaderError> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.clone())),
        other => Err(HeaderError::wrong(name, "a string", other)),
    }
}

/// The id of another task, or of a group.
pub(super) fn optional_id(name: &'static str, value: &Value) -> Result<Option<String>, HeaderError> {
    let id = text(name, value)?;
    if let Some(id) = &id {
        fits(name, id)?;
    }
    Ok(id)
}

pub(super) fn required_text(name: &'static str, value: &Value) -> Result<String, HeaderError> {
    match value {
        Value::Text(text) => fits(name, text).map(|()| text.clone()),
        other => Err(HeaderError::wrong(name, "a string", other)),
    }
}

/// The mark of a message that was changed on its way.
pub(super) fn changed(value: &Value) -> HeaderError {
    HeaderError::Changed { changes: value.as_str().unwrap_or("no reason is known").to_owned() }
}

/// Checks that a name or an id can be stored.
pub(super) fn fits(name: &'static str, text: &str) -> Result<(), HeaderError> {
    /// Longer names and ids fit neither Celery's result tables nor Celeriac's.
    const LONGEST: usize = 255;
    if text.len() > LONGEST {
        return Err(HeaderError::Invalid {
            name,
            expected: "at most 255 bytes",
            found: format!("{} bytes", text.len()),
        });
    }
    if text.contains('\0') {
        return Err(HeaderError::Invalid { name, expected: "text", found: "text with a zero byte".to_owned() });
    }
    Ok(())
}

pub(super) fn count(name: &'static str, value: &Value) -> Result<u32, HeaderError> {
    match value {
        Value::Null => Ok(0),
        Value::Int(number) => u32::try_from(*number).map_err(|_| HeaderError::Invalid {
            name,
            expected: "a count",
            found: number.to_string(),
        }),
        other => Err(HeaderError::wrong(name, "a count", other)),
    }
}

pub(super) fn integer(name: &'static str, value: &Value) -> Result<Option<i64>, HeaderError> {
    match value {
        Value::Null => Ok(None),
        Value::Int(number) => Ok(Some(*number)),
        other => Err(HeaderError::wrong(name, "an integer", other)),
    }
}

pub(super) fn limits(name: &'static str, value: &Value) -> Result<TimeLimits, HeaderError> {
    const EXPECTED: &str = "[hard, soft] in seconds";
    let seconds = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::Int(seconds) => {
            u64::try_from(*seconds).map(|seconds| Some(Duration::from_secs(seconds))).map_err(|_| seconds.to_string())
        }
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).map(Some).map_err(|_| seconds.to_string()),
        other => Err(other.kind().to_owned()),
    };
    let invalid = |found| HeaderError::Invalid { name, expected: EXPECTED, found };
    match value {
        Value::Null => Ok(TimeLimits::default()),
        Value::List(both) => match both.as_slice() {
            [hard, soft] => {
                Ok(TimeLimits { hard: seconds(hard).map_err(invalid)?, soft: seconds(soft).map_err(invalid)? })
            }
            other => Err(invalid(format!("a list of {}", other.len()))),
        },
        other => Err(HeaderError::wrong(name, EXPECTED, other)),
    }
}

pub(super) fn texts(name: &'static str, value: &Value) -> Result<Vec<String>, HeaderError> {
    const EXPECTED: &str = "a list of strings";
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| HeaderError::wrong(name, EXPECTED, item)))
            .collect(),
        other => Err(HeaderError::wrong(name, EXPECTED, other)),
    }
}

pub(super) fn map(name: &'static str, value: &Value) -> Result<Map, HeaderError> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Map(entries) => Ok(entries.clone()),
        other => Err(HeaderError::wrong(name, "an object", other)),
    }
}

pub(super) fn flag(name: &'static str, value: &Value) -> Result<Option<bool>, HeaderError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        other => Err(HeaderError::wrong(name, "true or false", other)),
    }
}

pub(super) fn moment(name: &'static str, value: &Value) -> Result<Option<Timestamp>, HeaderError> {
    const EXPECTED: &str = "a time in ISO 8601";
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => time::from_iso(text).map(Some).ok_or_else(|| HeaderError::Invalid {
            name,
            expected: EXPECTED,
            found: shortened(text),
        }),
        other => Err(HeaderError::wrong(name, EXPECTED, other)),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}

/// A header that makes a message unreadable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required header is missing.
    #[error("header `{name}` is missing")]
    Missing {
        /// The header.
        name: &'static str,
    },
    /// Parts of the message are not as they were sent.
    #[error("the message cannot be delivered as it was sent: {changes}")]
    Changed {
        /// The parts, and the reasons.
        changes: String,
    },
    /// A header has an invalid value.
    #[error("header `{name}` should be {expected}, got {found}")]
    Invalid {
        /// The header.
        name: &'static str,
        /// The expected form.
        expected: &'static str,
        /// The kind of the value.
        found: String,
    },
}

impl HeaderError {
    fn wrong(name: &'static str, expected: &'static str, found: &Value) -> Self {
        Self::Invalid { name, expected, found: found.kind().to_owned() }
    }
}
