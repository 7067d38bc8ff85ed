//! Which tasks a worker knows.

use std::collections::BTreeMap;

use crate::builtin;
use crate::error::{Error, Result};
use crate::handler::TaskDefinition;
use crate::limits;
use crate::options::WorkerOptions;

/// The tasks of a program, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tasks: BTreeMap<&'static str, TaskDefinition>,
}

impl Registry {
    /// A registry of these tasks.
    ///
    /// # Errors
    /// When two of them have the same name.
    pub fn new(tasks: impl IntoIterator<Item = TaskDefinition>) -> Result<Self> {
        let mut registry = Self::default();
        for task in tasks {
            let name = task.name;
            if registry.tasks.insert(name, task).is_some() {
                return Err(Error::DuplicateTask { name });
            }
        }
        Ok(registry)
    }

    /// The same tasks, with the worker's word where a task says nothing itself.
    ///
    /// # Errors
    /// With what is wrong, each with the key of the worker's that has a part in it.
    pub fn completed(mut self, worker: &WorkerOptions) -> Result<Self, Vec<(Option<&'static str>, String)>> {
        let mut problems = Vec::new();
        for task in self.tasks.values_mut() {
            if let Some((key, problem)) = limits::problem(&task.options, task.can_be_ended(), worker) {
                problems.push((key, format!("task `{}`: {problem}", task.name)));
            }
            limits::complete(&mut task.options, worker);
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// The task of this name; also one of Celery's own, which a program may replace.
    pub fn get(&self, name: &str) -> Option<&TaskDefinition> {
        self.tasks.get(name).or_else(|| builtin::find(name))
    }

    /// All tasks, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.tasks.values()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The name most like `name`, for messages to people.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        celeriac_config::nearest(name, self.tasks.keys().copied())
    }
}
