//! Assertions on the end of a task.

use std::fmt::Write;

use celeriac::{TaskHandle, TaskRecord, TaskState};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Waits for the end of a task and asserts its outcome: `assert_outcome!(handle, Failure, attempts:
/// 3, kind: "Busy")`.
///
/// Accepts a handle or a row. The names are those of the methods of
/// [`Expected`](crate::outcome::Expected).
#[macro_export]
macro_rules! assert_outcome {
    ($task:expr, $state:ident $(, $field:ident: $value:expr)* $(,)?) => {{
        let row = $crate::outcome::Outcome::row(&$task).await;
        let expected = $crate::outcome::Expected::of(::celeriac::TaskState::$state)$(.$field($value))*;
        expected.assert(&row);
    }};
}

/// Expectations of a row. Fields without an expectation may have any value.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    state: TaskState,
    attempts: Option<u32>,
    kind: Option<String>,
    message: Option<String>,
    result: Option<Json>,
    parent: Option<String>,
    root: Option<String>,
}

impl Expected {
    /// Expects this state.
    pub fn of(state: TaskState) -> Self {
        Self { state, attempts: None, kind: None, message: None, result: None, parent: None, root: None }
    }

    /// Expects this many attempts.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// Expects an error of this kind.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        Self { kind: Some(kind.into()), ..self }
    }

    /// Expects an error with this message.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// Expects this result.
    #[must_use]
    pub fn result(self, result: impl Into<Json>) -> Self {
        Self { result: Some(result.into()), ..self }
    }

    /// Expects this parent.
    #[must_use]
    pub fn parent(self, id: impl Into<String>) -> Self {
        Self { parent: Some(id.into()), ..self }
    }

    /// Expects this root.
    #[must_use]
    pub fn root(self, id: impl Into<String>) -> Self {
        Self { root: Some(id.into()), ..self }
    }

    /// Compares.
    ///
    /// # Panics
    /// Panics if a field differs; the message has all that do.
    #[track_caller]
    pub fn assert(&self, row: &TaskRecord) {
        let failure = row.failure.as_ref();
        let result = row.result.as_deref().map(|result| serde_json::from_str(result).unwrap_or(Json::Null));
        let mut differences = String::new();
        let mut compare = |name: &str, expected: Option<String>, found: Option<String>| {
            if expected.is_some() && expected != found {
                let [expected, found] = [expected, found].map(|value| value.unwrap_or_else(|| "none".to_owned()));
                let _ = write!(differences, "\n{name}: {found}, expected {expected}");
            }
        };
        compare("state", Some(self.state.to_string()), Some(row.state.to_string()));
        compare("attempts", self.attempts.map(|it| it.to_string()), Some(row.attempts.to_string()));
        compare("kind", self.kind.clone(), failure.map(|failure| failure.kind.clone()));
        compare("message", self.message.clone(), failure.map(|failure| failure.message.clone()));
        compare("result", self.result.as_ref().map(Json::to_string), result.as_ref().map(Json::to_string));
        compare("parent", self.parent.clone(), row.parent_id.clone());
        compare("root", self.root.clone(), row.root_id.clone());
        assert!(differences.is_empty(), "{}[{}]:{differences}\n{row:#?}", row.name, row.id);
    }
}

/// A value with an outcome, at present or soon.
pub trait Outcome {
    /// Returns the row, after its end.
    fn row(&self) -> impl Future<Output = TaskRecord>;
}

impl Outcome for TaskRecord {
    async fn row(&self) -> TaskRecord {
        self.clone()
    }
}

impl<O: Outcome> Outcome for &O {
    async fn row(&self) -> TaskRecord {
        (**self).row().await
    }
}

impl<T: DeserializeOwned> Outcome for TaskHandle<T> {
    async fn row(&self) -> TaskRecord {
        self.wait().await.expect("the row of a task")
    }
}
