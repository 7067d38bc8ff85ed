//! The tasks of a program or of one of its modules.

use crate::task::definition::TaskDefinition;

/// A collection of tasks, which `tasks![…]` makes and `Builder::tasks` takes.
///
/// A module returns its tasks, and the program puts modules together:
///
/// ```
/// use celeriac::prelude::*;
///
/// mod orders {
///     use celeriac::prelude::*;
///
///     #[task]
///     async fn charge(cents: i64) -> TaskResult<i64> {
///         Ok(cents)
///     }
///
///     pub fn tasks() -> Tasks {
///         tasks![charge]
///     }
/// }
///
/// #[task]
/// async fn email(to: String) -> TaskResult<()> {
///     println!("sending to {to}");
///     Ok(())
/// }
///
/// let app = Celeriac::builder().tasks(orders::tasks().and(tasks![email]));
/// # let _ = app;
/// ```
///
/// Two tasks of one name are an error when the program is built.
#[derive(Debug, Clone, Default)]
#[must_use = "tasks run once the builder has them: `.tasks(…)`"]
pub struct Tasks(Vec<TaskDefinition>);

impl Tasks {
    /// Makes an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds tasks, such as those of another module.
    pub fn and(mut self, others: impl IntoIterator<Item = TaskDefinition>) -> Self {
        self.extend(others);
        self
    }

    /// Iterates over the tasks.
    pub fn iter(&self) -> std::slice::Iter<'_, TaskDefinition> {
        self.0.iter()
    }

    /// Returns the number of tasks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<TaskDefinition> for Tasks {
    fn from_iter<I: IntoIterator<Item = TaskDefinition>>(tasks: I) -> Self {
        Self(tasks.into_iter().collect())
    }
}

impl Extend<TaskDefinition> for Tasks {
    fn extend<I: IntoIterator<Item = TaskDefinition>>(&mut self, tasks: I) {
        self.0.extend(tasks);
    }
}

impl IntoIterator for Tasks {
    type Item = TaskDefinition;
    type IntoIter = std::vec::IntoIter<TaskDefinition>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'t> IntoIterator for &'t Tasks {
    type Item = &'t TaskDefinition;
    type IntoIter = std::slice::Iter<'t, TaskDefinition>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
