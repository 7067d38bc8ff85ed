//! The options of a signature for sending it.

use std::time::Duration;

use jiff::Timestamp;

use super::{Signature, SignatureError};
use crate::headers::TimeLimits;
use crate::time;
use crate::value::{KombuValue, Map, Value};

/// The options of a signature that affect sending or execution.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SignatureOptions {
    /// The task id.
    pub task_id: Option<String>,
    /// The reply queue.
    pub reply_to: Option<String>,
    /// The first task of the workflow.
    pub root_id: Option<String>,
    /// The task that sends this one.
    pub parent_id: Option<String>,
    /// The group of the task.
    pub group_id: Option<String>,
    /// The position in the group.
    pub group_index: Option<i64>,
    /// The body of the chord that the task is a part of.
    pub chord: Option<Box<Signature>>,
    /// The calls that follow the task, in order.
    pub chain: Vec<Signature>,
    /// Tasks to call with the result.
    pub link: Vec<Signature>,
    /// Tasks to call after a failure.
    pub link_error: Vec<Signature>,
    /// Wait before the task runs.
    pub countdown: Option<Duration>,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which the task must not start.
    pub expires: Option<Moment>,
    /// Number of earlier attempts.
    pub retries: u32,
    /// The destination queue.
    pub queue: Option<String>,
    /// The destination exchange.
    pub exchange: Option<String>,
    /// The routing key.
    pub routing_key: Option<String>,
    /// The priority.
    pub priority: Option<u8>,
    /// The serialiser of the body, by Celery's name.
    pub serializer: Option<String>,
    /// The compression of the body, by any of Celery's names.
    pub compression: Option<String>,
    /// Headers of the caller.
    pub headers: Map,
    /// The time limits of an attempt.
    pub limits: TimeLimits,
    /// A display name in place of the task's.
    pub shadow: Option<String>,
    /// True if no result is to be stored.
    pub ignore_result: Option<bool>,
    /// Number of times that the task was replaced by another one.
    pub replaced_task_nesting: u32,
    /// The stamps, by name.
    pub stamps: Map,
    /// The names of the stamps, in order.
    pub stamped_headers: Vec<String>,
}

/// A time, or a wait after sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This time.
    At(Timestamp),
    /// This long after sending.
    After(Duration),
}

impl SignatureOptions {
    /// Reads the options of a signature. Ignores unknown ones, such as those of other transports.
    ///
    /// # Errors
    /// Returns an error if an option is invalid.
    pub fn read(options: &Map) -> Result<Self, SignatureError> {
        let mut read = Self::default();
        for (key, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "task_id" => read.task_id = Some(text(key, value)?),
                "reply_to" => read.reply_to = Some(text(key, value)?),
                "root_id" => read.root_id = Some(text(key, value)?),
                "parent_id" => read.parent_id = Some(text(key, value)?),
                "group_id" => read.group_id = Some(text(key, value)?),
                "group_index" => read.group_index = Some(integer(key, value)?),
                "chord" => read.chord = Some(Box::new(Signature::read(value).map_err(|error| error.within(key))?)),
                "chain" => {
                    read.chain = Signature::read_list(key, value)?;
                    read.chain.reverse();
                }
                "link" => read.link = Signature::read_list(key, value)?,
                "link_error" => read.link_error = Signature::read_list(key, value)?,
                "countdown" => read.countdown = Some(seconds(key, value)?),
                "eta" => match moment(key, value)? {
                    Moment::At(time) => read.eta = Some(time),
                    Moment::After(_) => return Err(SignatureError::new(key, "a time", value)),
                },
                "expires" => read.expires = Some(moment(key, value)?),
                "retries" => read.retries = count(key, value)?,
                "queue" => read.queue = Some(text(key, value)?),
                "exchange" => read.exchange = Some(text(key, value)?),
                "routing_key" => read.routing_key = Some(text(key, value)?),
                "priority" => {
                    let fits = u8::try_from(integer(key, value)?);
                    read.priority = Some(fits.map_err(|_| SignatureError::new(key, "0 to 255", value))?);
                }
                "serializer" => read.serializer = Some(text(key, value)?),
                "compression" => read.compression = Some(text(key, value)?),
                "headers" => match value {
                    Value::Map(headers) => read.headers.clone_from(headers),
                    other => return Err(SignatureError::new(key, "an object", other)),
                },
                "time_limit" => read.limits.hard = Some(seconds(key, value)?),
                "soft_time_limit" => read.limits.soft = Some(seconds(key, value)?),
                "shadow" => read.shadow = Some(text(key, value)?),
                "ignore_result" => match value {
                    Value::Bool(ignore) => read.ignore_result = Some(*ignore),
                    other => return Err(SignatureError::new(key, "true or false", other)),
                },
                "replaced_task_nesting" => read.replaced_task_nesting = count(key, value)?,
                "stamped_headers" => read.stamped_headers = texts(key, value)?,
                _ => {}
            }
        }
        for name in &read.stamped_headers {
            if let Some(stamp) = options.get(name) {
                read.stamps.insert(name.clone(), stamp.clone());
            }
        }
        Ok(read)
    }
}

fn text(key: &str, value: &Value) -> Result<String, SignatureError> {
    value.as_str().map(str::to_owned).ok_or_else(|| SignatureError::new(key, "a string", value))
}

fn texts(key: &str, value: &Value) -> Result<Vec<String>, SignatureError> {
    match value {
        Value::List(items) => items.iter().map(|item| text(key, item)).collect(),
        other => Err(SignatureError::new(key, "a list of strings", other)),
    }
}

fn integer(key: &str, value: &Value) -> Result<i64, SignatureError> {
    value.as_i64().ok_or_else(|| SignatureError::new(key, "an integer", value))
}

fn count(key: &str, value: &Value) -> Result<u32, SignatureError> {
    let fits = value.as_i64().and_then(|number| u32::try_from(number).ok());
    fits.ok_or_else(|| SignatureError::new(key, "a count", value))
}

/// Reads a number of seconds. A negative number counts as zero: the task is due now.
fn seconds(key: &str, value: &Value) -> Result<Duration, SignatureError> {
    let wrong = || SignatureError::new(key, "a number of seconds", value);
    match value {
        Value::Int(seconds) => Ok(Duration::from_secs(u64::try_from(*seconds).unwrap_or_default())),
        Value::Float(seconds) => Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn moment(key: &str, value: &Value) -> Result<Moment, SignatureError> {
    match value {
        Value::Kombu(KombuValue::DateTime(text)) | Value::Text(text) => {
            let time = time::from_iso(text);
            time.map(Moment::At).ok_or_else(|| SignatureError::new(key, "a time in ISO 8601", value))
        }
        Value::Int(_) | Value::Float(_) => seconds(key, value).map(Moment::After),
        other => Err(SignatureError::new(key, "a time or a number of seconds", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SignatureOptions, SignatureError> {
        SignatureOptions::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn options_are_read_by_celerys_names() {
        let read = read(
            r#"{"task_id":"1","reply_to":"r","countdown":1.5,"expires":60,"queue":"q","priority":3,"time_limit":9,
                "headers":{"x":1},"link":{"task":"a"},"link_error":[{"task":"b"}],"stamped_headers":["team"],"team":"x",
                "delivery_mode":2,"eta":null,"group_index":0}"#,
        )
        .unwrap();
        assert_eq!(read.countdown, Some(Duration::from_millis(1_500)));
        assert_eq!(read.expires, Some(Moment::After(Duration::from_secs(60))));
        assert_eq!((read.priority, read.group_index), (Some(3), Some(0)));
        assert_eq!((read.link, read.link_error), (vec![Signature::new("a")], vec![Signature::new("b")]));
        assert_eq!(read.stamps["team"], Value::from("x"));
        assert_eq!(read.limits.hard, Some(Duration::from_secs(9)));
    }

    #[test]
    fn an_option_that_cannot_be_understood_is_named() {
        let cases = [
            (r#"{"priority":300}"#, "`priority` should be 0 to 255, got an integer"),
            (r#"{"eta":5}"#, "`eta` should be a time, got an integer"),
            (r#"{"countdown":"soon"}"#, "`countdown` should be a number of seconds, got a string"),
            (r#"{"link":[{}]}"#, "`link[0].task` should be the name of a task, got null"),
        ];
        for (text, message) in cases {
            assert_eq!(read(text).unwrap_err().to_string(), message);
        }
    }
}
