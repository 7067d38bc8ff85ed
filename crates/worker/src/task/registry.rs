//! The tasks of a worker.

use std::collections::BTreeMap;

use celeriac_config::closest_typo;
use celeriac_protocol::task::AckMode;
use celeriac_topology::TaskOverrides;

use crate::error::{Error, Result};
use crate::options::{CHORD_UNLOCK, WorkerOptions};
use crate::task::builtin;
use crate::task::definition::TaskDefinition;
use crate::task::time_limits::{self, LimitConflict, LimitSource};

/// The tasks of a program, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tasks: BTreeMap<&'static str, TaskDefinition>,
    /// Celery's own tasks that it runs, of all that it knows. `None`: all of them.
    builtin: Option<Vec<String>>,
}

impl Registry {
    /// Returns a registry of these tasks.
    ///
    /// # Errors
    /// Returns an error if two of them have the same name.
    pub fn new(tasks: impl IntoIterator<Item = TaskDefinition>) -> Result<Self> {
        let mut registry = Self::default();
        for task in tasks {
            let (name, second) = (task.name, task.defined_at());
            if let Some(first) = registry.tasks.insert(name, task) {
                return Err(Error::DuplicateTask { name, first: first.defined_at(), second });
            }
        }
        Ok(registry)
    }

    /// Returns the same tasks with their effective options: the configuration overrides the
    /// declaration, and the worker's limits apply where neither sets one.
    ///
    /// # Errors
    /// Returns the limits that conflict, each with its key, or without one if the program sets it.
    pub fn in_force(
        mut self,
        overrides: &TaskOverrides,
        worker: &WorkerOptions,
    ) -> Result<Self, Vec<(Option<String>, String)>> {
        let mut problems = Vec::new();
        self.builtin = Some(worker.builtin_tasks.clone());
        for task in self.tasks.values_mut() {
            task.options = overrides.apply(task.name, task.options.clone());
            if let Some(LimitConflict { by, key, why }) =
                time_limits::conflict(&task.options, task.can_be_ended(), worker)
            {
                let key = match by {
                    LimitSource::Task => overrides.key_of(task.name, key),
                    LimitSource::Worker => Some(format!("worker.{key}")),
                };
                problems.push((key, format!("task `{}`: {why}", task.name)));
            }
            if task.is_transactional() && task.options.acks == AckMode::Early {
                let why = "a transactional task cannot acknowledge its message early";
                problems.push((overrides.key_of(task.name, "acks"), format!("task `{}`: {why}", task.name)));
            }
            time_limits::complete(&mut task.options, worker);
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// Returns the task of this name. Celery's own tasks are included, and a program may replace
    /// them.
    pub fn get(&self, name: &str) -> Option<&TaskDefinition> {
        self.tasks.get(name).or_else(|| builtin::find(name).filter(|_| self.runs_builtin(name)))
    }

    /// Returns the reason why one of Celery's own tasks does not run here.
    pub(crate) fn why_unserved(&self, name: &str) -> Option<&'static str> {
        match builtin::find(name) {
            Some(_) => (!self.runs_builtin(name)).then_some("worker.builtin_tasks does not list it"),
            None => builtin::why_unserved(name),
        }
    }

    /// Returns `true` if it waits for the members of chords that Celery's clients send.
    pub(crate) fn unlocks_chords(&self) -> bool {
        self.get(CHORD_UNLOCK).is_some()
    }

    fn runs_builtin(&self, name: &str) -> bool {
        self.builtin.as_ref().is_none_or(|builtin| builtin.iter().any(|listed| listed == name))
    }

    /// Returns the error of a name that none of these tasks has.
    pub fn unknown(&self, name: &str) -> Error {
        Error::UnknownTask { name: name.to_owned(), nearest: self.nearest(name).map(str::to_owned) }
    }

    /// Returns an error for a name that is almost that of one of these tasks. A name that is unlike
    /// all of them is a task of another program.
    pub fn misspelt(&self, name: &str) -> Option<Error> {
        let meant = closest_typo(name, self.tasks.keys().copied()).filter(|_| self.get(name).is_none())?;
        Some(Error::UnknownTask { name: name.to_owned(), nearest: Some(meant.to_owned()) })
    }

    /// Returns the first task that works in a transaction, which only Postgres has.
    pub fn first_transactional(&self) -> Option<&'static str> {
        self.iter().find(|task| task.is_transactional()).map(|task| task.name)
    }

    /// Returns all tasks, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.tasks.values()
    }

    /// Returns `true` if there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns the name most like `name`, for error messages.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        celeriac_config::nearest(name, self.tasks.keys().copied())
    }
}
