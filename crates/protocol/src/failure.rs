//! The record of an error.

use serde::{Deserialize, Serialize};

use crate::repr::{repr_args, repr_value};
use crate::value::{Map, Value};

/// An error as it is stored, sent and shown: its kind, its message, and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the error's type, such as `PaymentDeclined`.
    pub kind: String,
    /// The Python module of that type, if it came from Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The message.
    pub message: String,
    /// Its causes, one in each line, and a backtrace if there is one.
    pub trace: Option<String>,
}

/// The reason for a revocation. Celery sends it as the argument of `TaskRevokedError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeReason {
    /// The task was revoked before it started.
    Revoked,
    /// The task was ended while it ran.
    Terminated,
    /// The task expired before it started.
    Expired,
}

impl RevokeReason {
    const ALL: [Self; 3] = [Self::Revoked, Self::Terminated, Self::Expired];

    /// Returns Celery's word for the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Terminated => "terminated",
            Self::Expired => "expired",
        }
    }
}

/// Celery's exception for a revoked task.
const REVOKED: &str = "TaskRevokedError";

/// Celery's exception for a retry.
const RETRY: &str = "Retry";

/// billiard's exception for a hard time limit.
const TIME_LIMIT: &str = "TimeLimitExceeded";

impl Failure {
    /// Returns the error of a revoked task.
    pub fn revoked(reason: RevokeReason) -> Self {
        Self::new(REVOKED, reason.as_str())
    }

    /// Returns the reason for the revocation, if this is the error of a revoked task.
    pub fn revoke_reason(&self) -> Option<RevokeReason> {
        let is_revoked = self.kind == REVOKED;
        RevokeReason::ALL.into_iter().find(|reason| is_revoked && self.message == reason.as_str())
    }

    /// Returns the end of a task that has asked for none, as the members of a chord see it.
    #[doc(hidden)]
    pub fn ignored() -> Self {
        Self::new("Ignore", "")
    }

    /// Returns the request of a task for another attempt. It is not an error: Celery stores none.
    #[doc(hidden)]
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::new(RETRY, reason)
    }

    /// Returns `true` if this is the request of a task for another attempt.
    pub(crate) fn asks_for_retry(&self) -> bool {
        self.kind == RETRY && self.module.is_none()
    }

    /// Returns the error as Python would print it.
    #[doc(hidden)]
    pub fn python_repr(&self) -> String {
        let (kind, _) = self.python_class();
        match self.python_argument() {
            None => format!("{kind}()"),
            Some(argument) => format!("{kind}({})", repr_value(&argument)),
        }
    }

    /// Returns an error without causes.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), module: None, message: message.into(), trace: None }
    }

    /// Returns the error in Celery's format for a result, which Python raises: `exc_type`,
    /// `exc_message`, `exc_module`.
    pub fn to_exception(&self) -> Value {
        let (kind, module) = self.python_class();
        let entries = [
            ("exc_type".to_owned(), kind.into()),
            ("exc_message".to_owned(), Value::List(self.python_argument().into_iter().collect())),
            ("exc_module".to_owned(), module.into()),
        ];
        Value::Map(entries.into())
    }

    /// Reads the format of [`Failure::to_exception`], and any other value in the place of an
    /// exception.
    pub fn from_exception(exception: Value) -> Self {
        let mut entries = match exception {
            Value::Map(entries) => entries,
            Value::Null => return Self::new(UNNAMED, ""),
            other => return Self::new(UNNAMED, text(&other)),
        };
        let kind = match take(&mut entries, "exc_type") {
            Value::Text(kind) if !kind.is_empty() => kind,
            _ => UNNAMED.to_owned(),
        };
        let module = match take(&mut entries, "exc_module") {
            Value::Text(module) => Some(module),
            _ => None,
        };
        let message = match take(&mut entries, "exc_message") {
            Value::List(args) => said(&kind, &args),
            Value::Null => String::new(),
            other => said(&kind, &[other]),
        };
        Self { module, ..Self::new(kind, message) }
    }

    /// Returns the argument of the exception in Python: the message, or the number of seconds of a
    /// time limit.
    fn python_argument(&self) -> Option<Value> {
        if self.message.is_empty() {
            return None;
        }
        let message = self.message.as_str();
        let number = match self.python_class() {
            (TIME_LIMIT, "billiard.exceptions") => {
                let float = || message.parse().ok().filter(|limit: &f64| limit.is_finite()).map(Value::Float);
                message.parse().ok().map(Value::Int).or_else(float)
            }
            _ => None,
        };
        Some(number.unwrap_or_else(|| message.into()))
    }

    /// Returns the class that Python looks up. If it does not exist, Python creates one of that
    /// name.
    fn python_class(&self) -> (&str, &str) {
        let kind = self.kind.as_str();
        if let Some(module) = &self.module {
            return (kind, module);
        }
        match kind {
            "ArgumentError" => ("TypeError", "builtins"),
            "NotRegistered" | "TaskRevokedError" | "MaxRetriesExceededError" | "Reject" | "ChordError" | "Ignore" => {
                (kind, "celery.exceptions")
            }
            TIME_LIMIT | "SoftTimeLimitExceeded" | "WorkerLostError" => (kind, "billiard.exceptions"),
            _ if BUILTINS.contains(&kind) => (kind, "builtins"),
            _ => (kind, "celeriac"),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

/// Kind of an error without a known type.
const UNNAMED: &str = "Exception";

/// Python's own exceptions that can be made from one message.
///
/// Those that end a program or an iteration are omitted, because a result must not raise them.
const BUILTINS: [&str; 43] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "EnvironmentError",
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "IOError",
    "ImportError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "SyntaxError",
    "SystemError",
    "TimeoutError",
    "TypeError",
    "UnicodeError",
    "ValueError",
    "ZeroDivisionError",
];

fn take(entries: &mut Map, name: &str) -> Value {
    entries.swap_remove(name).unwrap_or_default()
}

/// Returns the result of Python's `str` for an exception with these arguments, except for the
/// quotes around the only argument of a `KeyError`.
fn said(kind: &str, args: &[Value]) -> String {
    match args {
        [] => String::new(),
        [only] => text(only),
        [Value::Int(number), Value::Text(reason)] if is_os_error(kind) => format!("[Errno {number}] {reason}"),
        several => repr_args(several),
    }
}

fn is_os_error(kind: &str) -> bool {
    matches!(kind, "OSError" | "TimeoutError" | "FileNotFoundError" | "FileExistsError" | "PermissionError")
        || kind.starts_with("Connection")
        || kind.starts_with("BrokenPipe")
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => repr_value(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    fn read(json: &str) -> Failure {
        Failure::from_exception(value(json))
    }

    #[test]
    fn the_message_is_what_python_says_of_the_exception() {
        // Each expectation is CPython 3.11's answer to `str(exception_to_python(…))`. That answer
        // has quotes around the argument of a `KeyError`, and of a `NotRegistered`, which is a
        // `KeyError`.
        let cases = [
            (r#"{"exc_type": "ValueError", "exc_message": ["bad"], "exc_module": "builtins"}"#, "bad"),
            (r#"{"exc_type": "ValueError", "exc_message": ["bad", 3], "exc_module": "builtins"}"#, "('bad', 3)"),
            (r#"{"exc_type": "ValueError", "exc_message": [], "exc_module": "builtins"}"#, ""),
            (r#"{"exc_type": "ValueError", "exc_message": "bad", "exc_module": "builtins"}"#, "bad"),
            (r#"{"exc_type": "ValueError", "exc_message": [7], "exc_module": "builtins"}"#, "7"),
            (r#"{"exc_type": "ValueError", "exc_message": [[1, "a"]], "exc_module": "builtins"}"#, "[1, 'a']"),
            (r#"{"exc_type": "ValueError", "exc_message": [null], "exc_module": "builtins"}"#, "None"),
            (r#"{"exc_type": "KeyError", "exc_message": ["it's"], "exc_module": "builtins"}"#, "it's"),
            (r#"{"exc_type": "NotRegistered", "exc_message": ["a.b"], "exc_module": "celery.exceptions"}"#, "a.b"),
            (
                r#"{"exc_type": "FileNotFoundError", "exc_message": [2, "gone"], "exc_module": "builtins"}"#,
                "[Errno 2] gone",
            ),
            (
                r#"{"exc_type": "E", "exc_message": ["a\n\"'", {"k": [true, 1.5]}, null], "exc_module": "m"}"#,
                r#"('a\n"\'', {'k': [True, 1.5]}, None)"#,
            ),
        ];
        for (exception, message) in cases {
            assert_eq!(read(exception).message, message, "{exception}");
        }
    }

    #[test]
    fn kind_and_module_are_kept_and_written_again() {
        let exception = r#"{"exc_type": "Outer.Declined", "exc_message": ["no funds"], "exc_module": "shop.pay"}"#;
        let failure = read(exception);
        assert_eq!((failure.kind.as_str(), failure.module.as_deref()), ("Outer.Declined", Some("shop.pay")));
        assert_eq!(failure.to_exception(), value(exception));
    }

    #[test]
    fn what_is_no_exception_is_a_failure_nevertheless() {
        for (found, kind, message) in [
            ("null", "Exception", ""),
            (r#""it broke""#, "Exception", "it broke"),
            ("[1, 2]", "Exception", "[1, 2]"),
            ("{}", "Exception", ""),
            (r#"{"exc_type": 5, "exc_message": null, "exc_module": null}"#, "Exception", ""),
            (r#"{"exc_type": "Odd", "exc_message": "x", "exc_module": null}"#, "Odd", "x"),
        ] {
            assert_eq!(read(found), Failure::new(kind, message), "{found}");
        }
    }

    #[test]
    fn errors_are_written_as_the_class_that_python_knows_best() {
        for (kind, exc_type, module) in [
            ("ValueError", "ValueError", "builtins"),
            ("ArgumentError", "TypeError", "builtins"),
            ("NotRegistered", "NotRegistered", "celery.exceptions"),
            ("TaskRevokedError", "TaskRevokedError", "celery.exceptions"),
            ("MaxRetriesExceededError", "MaxRetriesExceededError", "celery.exceptions"),
            ("Reject", "Reject", "celery.exceptions"),
            ("TimeLimitExceeded", "TimeLimitExceeded", "billiard.exceptions"),
            ("SoftTimeLimitExceeded", "SoftTimeLimitExceeded", "billiard.exceptions"),
            ("WorkerLostError", "WorkerLostError", "billiard.exceptions"),
            ("PaymentDeclined", "PaymentDeclined", "celeriac"),
            // As an exception of a result it would end the calling program.
            ("SystemExit", "SystemExit", "celeriac"),
        ] {
            let Value::Map(written) = Failure::new(kind, "x").to_exception() else { panic!("no map") };
            let shown = (written["exc_type"].as_str(), written["exc_module"].as_str());
            assert_eq!(shown, (Some(exc_type), Some(module)), "{kind}");
            assert_eq!(written["exc_message"], Value::List(vec!["x".into()]));
        }
        for (message, argument) in [("30", Value::Int(30)), ("0.5", Value::Float(0.5)), ("soon", "soon".into())] {
            let Value::Map(written) = Failure::new("TimeLimitExceeded", message).to_exception() else {
                panic!("no map")
            };
            assert_eq!(written["exc_message"], Value::List(vec![argument]));
        }
        assert_eq!(Failure::new("TimeLimitExceeded", "30").python_repr(), "TimeLimitExceeded(30)");
        let empty = Failure::new("SoftTimeLimitExceeded", "").to_exception();
        let expected =
            r#"{"exc_type": "SoftTimeLimitExceeded", "exc_message": [], "exc_module": "billiard.exceptions"}"#;
        assert_eq!(empty, value(expected));
    }
}
