//! What is kept of an error.

use serde::{Deserialize, Serialize};

/// An error as it is stored, sent and shown: what kind, what it said, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the error's type, such as `PaymentDeclined`.
    pub kind: String,
    /// What it said.
    pub message: String,
    /// Its causes, one a line, and a backtrace where there is one.
    pub trace: Option<String>,
}

impl Failure {
    /// An error without causes.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), trace: None }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}
