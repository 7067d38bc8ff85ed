//! Reads the arguments of Celery's own tasks.

use celeriac_protocol::{Body, Signature, Value};

use crate::task::error::{TaskError, TaskResult};

/// The arguments of a task that takes them by name or by position.
pub(super) struct TaskArguments(pub(super) Body);

impl TaskArguments {
    pub(super) fn take(&mut self, name: &str, position: usize) -> Value {
        let Body { args, kwargs, .. } = &mut self.0;
        kwargs.swap_remove(name).or_else(|| args.get_mut(position).map(std::mem::take)).unwrap_or_default()
    }

    pub(super) fn list(&mut self, name: &str, position: usize) -> TaskResult<Vec<Value>> {
        match self.take(name, position) {
            Value::List(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            other => Err(TaskError::of_kind("TypeError", format!("`{name}` should be a list, got {}", other.kind()))),
        }
    }

    /// Returns a task from its signature or its name.
    pub(super) fn task(&mut self) -> TaskResult<Signature> {
        match self.take("task", 0) {
            Value::Text(name) => Ok(Signature::new(name)),
            value => Signature::from_value(value).map_err(|error| TaskError::of_kind("TypeError", error.to_string())),
        }
    }
}
