//! Results of tasks, as Celery's result backends write them.

use jiff::Timestamp;

use crate::failure::Failure;
use crate::state::TaskState;
use crate::time;
use crate::value::{Map, Value};

/// Celery's result meta: the body of a reply, and the content of its stores.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultMeta {
    /// The task id.
    pub task_id: String,
    /// The state of the task: the name of a [`TaskState`], or one that a task chose for its
    /// progress.
    pub status: String,
    /// The return value, or the progress. Null after a failure.
    pub result: Value,
    /// The failure.
    pub failure: Option<Failure>,
    /// The tasks that it sent, in Celery's format. Null is written as an empty list.
    pub children: Value,
    /// End of the task. Written only for a task that has ended.
    pub date_done: Option<Timestamp>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// The group of the task.
    pub group_id: Option<String>,
}

impl ResultMeta {
    /// Returns the meta in Celery's format.
    pub fn to_value(&self) -> Value {
        let (result, trace) = match &self.failure {
            // Celery stores no exception for a retry without a cause.
            Some(failure) if self.status == RETRY && failure.is_retry() => (Value::Null, failure.trace.clone()),
            Some(failure) => (failure.to_exception(), failure.trace.clone()),
            None => (self.result.clone(), None),
        };
        let children = if self.children.is_null() { Value::List(Vec::new()) } else { self.children.clone() };
        let date_done = self.date_done.filter(|_| is_ready(&self.status)).map(time::to_iso);
        let optional = |text: Option<String>| text.map_or(Value::Null, Value::Text);
        let mut meta = Map::with_capacity(8);
        meta.insert("status".to_owned(), self.status.as_str().into());
        meta.insert("result".to_owned(), result);
        meta.insert("traceback".to_owned(), optional(trace));
        meta.insert("children".to_owned(), children);
        meta.insert("date_done".to_owned(), optional(date_done));
        for (name, id) in [("group_id", &self.group_id), ("parent_id", &self.parent_id)] {
            if let Some(id) = id {
                meta.insert(name.to_owned(), id.as_str().into());
            }
        }
        meta.insert("task_id".to_owned(), self.task_id.as_str().into());
        Value::Map(meta)
    }

    /// Reads Celery's format. Ignores unknown keys, and optional ones of another type.
    ///
    /// # Errors
    /// Returns an error if the task id or the state is missing or invalid.
    pub fn read(value: Value) -> Result<Self, MetaError> {
        let mut meta = match value {
            Value::Map(meta) => meta,
            other => return Err(MetaError::NotAnObject { found: other.kind() }),
        };
        let task_id = required(&mut meta, "task_id")?;
        let status = required(&mut meta, "status")?;
        let result = meta.swap_remove("result").unwrap_or_default();
        let trace = optional(&mut meta, "traceback");
        let (result, failure) = match has_exception(&status) {
            true if status == RETRY && result.is_null() => (Value::Null, Some(Failure { trace, ..Failure::retry("") })),
            true => (Value::Null, Some(Failure { trace, ..Failure::from_exception(result) })),
            false => (result, None),
        };
        Ok(Self {
            result,
            failure,
            children: meta.swap_remove("children").unwrap_or_default(),
            date_done: optional(&mut meta, "date_done").and_then(|text| time::from_iso(&text)),
            parent_id: optional(&mut meta, "parent_id"),
            group_id: optional(&mut meta, "group_id"),
            task_id,
            status,
        })
    }

    /// Returns `true` if a task has given itself this state.
    pub fn is_custom(&self) -> bool {
        is_custom_state(&self.status)
    }

    /// Returns the nearest state. A task with a progress state of its own has started.
    pub fn state(&self) -> TaskState {
        self.status.parse().unwrap_or(match self.status.as_str() {
            "RECEIVED" => TaskState::Pending,
            _ => TaskState::Started,
        })
    }
}

const RETRY: &str = TaskState::Retry.as_str();

/// Returns `true` if neither Celery nor Celeriac has a state of this name.
pub fn is_custom_state(name: &str) -> bool {
    name.parse::<TaskState>().is_err() && name != "RECEIVED"
}

/// Returns `true` if Celery counts the state as ended.
fn is_ready(status: &str) -> bool {
    matches!(status, "SUCCESS" | "FAILURE" | "REVOKED")
}

/// Returns `true` if Celery writes an exception in place of a result.
fn has_exception(status: &str) -> bool {
    matches!(status, "FAILURE" | "REVOKED" | "RETRY")
}

fn required(meta: &mut Map, name: &'static str) -> Result<String, MetaError> {
    match meta.swap_remove(name) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text),
        Some(other) => Err(MetaError::Invalid { name, found: other.kind() }),
        None => Err(MetaError::Missing { name }),
    }
}

fn optional(meta: &mut Map, name: &str) -> Option<String> {
    match meta.swap_remove(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// An invalid result meta.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// The value is not an object.
    #[error("result should be an object, got {found}")]
    NotAnObject {
        /// The kind of the value.
        found: &'static str,
    },
    /// A required key is missing.
    #[error("result lacks `{name}`")]
    Missing {
        /// The key.
        name: &'static str,
    },
    /// A key has an invalid value.
    #[error("result: `{name}` should be text, got {found}")]
    Invalid {
        /// The key.
        name: &'static str,
        /// The kind of the value.
        found: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ResultMeta, MetaError> {
        ResultMeta::read(serde_json::from_str(json).unwrap())
    }

    /// The keys that Celery writes by default, in order.
    const SUCCESS: &str = r#"{"status":"SUCCESS","result":3,"traceback":null,"children":[[["ceb34706-38c5",null],null]],"date_done":"2026-11-20T09:29:25.651459+00:00","task_id":"96283690-7a31"}"#;
    const FAILURE: &str = r#"{"status":"FAILURE","result":{"exc_type":"ValueError","exc_message":["bad",3],"exc_module":"builtins"},"traceback":"Traceback (most recent call last):\n","children":[],"date_done":"2026-11-20T09:29:25.651459+00:00","group_id":"g","parent_id":"p","task_id":"t"}"#;

    #[test]
    fn a_success_of_celery_is_read_and_written_byte_for_byte() {
        let meta = read(SUCCESS).unwrap();
        assert_eq!(
            (meta.task_id.as_str(), meta.state(), &meta.result),
            ("96283690-7a31", TaskState::Success, &Value::Int(3))
        );
        assert_eq!(meta.date_done, Some("2026-11-20T09:29:25.651459Z".parse().unwrap()));
        assert_eq!(serde_json::to_string(&meta.to_value()).unwrap(), SUCCESS);
    }

    #[test]
    fn a_failure_of_celery_is_an_error_with_its_kind_and_trace() {
        let meta = read(FAILURE).unwrap();
        let failure = meta.failure.clone().unwrap();
        assert_eq!((failure.kind.as_str(), failure.module.as_deref()), ("ValueError", Some("builtins")));
        assert_eq!(failure.message, "('bad', 3)");
        assert_eq!(failure.trace.as_deref(), Some("Traceback (most recent call last):\n"));
        assert_eq!((meta.parent_id.as_deref(), meta.group_id.as_deref()), (Some("p"), Some("g")));
        assert_eq!((&meta.result, meta.state()), (&Value::Null, TaskState::Failure));
        assert_eq!(serde_json::to_string(&meta.to_value()).unwrap(), FAILURE);
    }

    #[test]
    fn replies_that_were_recorded_from_celery_are_read() {
        // Celery 5.7.0, `rpc://`: bodies as received, with a shortened traceback.
        let started = r#"{"status": "STARTED", "result": {"pid": 10270, "hostname": "celery@vm"}, "traceback": null, "children": [], "date_done": null, "task_id": "d297c28c-e373-4e5c-b960-951151ab3d7c"}"#;
        let failed = r#"{"status": "FAILURE", "result": {"exc_type": "Declined", "exc_message": ["no funds", 3], "exc_module": "app"}, "traceback": "Traceback (most recent call last):\n  File \"/srv/app.py\", line 11, in fail\n    def fail(): raise Declined('no funds', 3)\n                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\napp.Declined: ('no funds', 3)\n", "children": [], "date_done": "2026-11-21T04:58:51.347853+00:00", "task_id": "97ff8b15-b31a-41cb-aefc-89e3837e51fa"}"#;
        let meta = read(started).unwrap();
        assert_eq!((meta.state(), meta.date_done, &meta.failure), (TaskState::Started, None, &None));
        assert_eq!(meta.to_value(), serde_json::from_str::<Value>(started).unwrap());
        let meta = read(failed).unwrap();
        assert_eq!((meta.state(), meta.date_done), (TaskState::Failure, "2026-11-21T04:58:51.347853Z".parse().ok()));
        let failure = meta.failure.unwrap();
        assert_eq!((failure.kind.as_str(), failure.module.as_deref()), ("Declined", Some("app")));
        // The last line of Python's own traceback is the same.
        let last = failure.trace.as_deref().and_then(|trace| trace.lines().last());
        assert_eq!(last, Some(format!("app.Declined: {}", failure.message).as_str()));
    }

    #[test]
    fn what_has_not_ended_has_no_date() {
        let meta = ResultMeta {
            task_id: "t".to_owned(),
            status: "RETRY".to_owned(),
            failure: Some(Failure::new("Busy", "later")),
            date_done: Some(Timestamp::UNIX_EPOCH),
            ..ResultMeta::default()
        };
        let expected = r#"{"status":"RETRY","result":{"exc_type":"Busy","exc_message":["later"],"exc_module":"celeriac"},"traceback":null,"children":[],"date_done":null,"task_id":"t"}"#;
        assert_eq!(serde_json::to_string(&meta.to_value()).unwrap(), expected);
    }

    #[test]
    fn a_retry_without_a_cause_has_no_exception() {
        let text = r#"{"status":"RETRY","result":null,"traceback":"Traceback …","children":[],"date_done":null,"task_id":"t"}"#;
        let meta = read(text).unwrap();
        let failure = Failure { trace: Some("Traceback …".to_owned()), ..Failure::retry("") };
        assert_eq!((meta.state(), &meta.failure), (TaskState::Retry, &Some(failure)));
        assert_eq!(serde_json::to_string(&meta.to_value()).unwrap(), text);
        let asked = ResultMeta { failure: Some(Failure::retry("the shop is closed")), ..meta };
        assert_eq!(asked.to_value(), serde_json::from_str::<Value>(&text.replace(r#""Traceback …""#, "null")).unwrap());
    }

    #[test]
    fn a_state_of_a_tasks_own_is_progress_and_unknown_keys_are_left_out() {
        let meta = read(
            r#"{"status": "PROGRESS", "result": {"done": 5}, "children": null, "date_done": null, "task_id": "t",
                "worker": "w1@vm", "stamped_headers": [], "exotic": {"x": 1}}"#,
        )
        .unwrap();
        assert_eq!((meta.state(), meta.status.as_str()), (TaskState::Started, "PROGRESS"));
        assert_eq!(meta.result, Value::Map([("done".to_owned(), Value::Int(5))].into()));
        assert_eq!(meta.failure, None);
    }

    #[test]
    fn what_tells_nothing_is_an_error() {
        for (found, message) in [
            ("[1]", "result should be an object, got a list"),
            ("{}", "result lacks `task_id`"),
            (r#"{"task_id": "t"}"#, "result lacks `status`"),
            (r#"{"task_id": "t", "status": 5}"#, "result: `status` should be text, got an integer"),
        ] {
            assert_eq!(read(found).unwrap_err().to_string(), message);
        }
    }
}
