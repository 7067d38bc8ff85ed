//! The record of an error.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::repr::{repr_args, repr_value};
use crate::value::{Map, Value, ValueError};

/// An error as it is stored, sent and shown: its kind, its message, and its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the error's type, such as `PaymentDeclined`.
    pub kind: String,
    /// The Python module of that type, if it came from Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The message.
    pub message: String,
    /// The arguments of the exception, if the message is not the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Box<[Value]>>,
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

/// The kind of a request for another attempt.
const RETRY: &str = "Retry";

/// Celery's exception for a revoked task.
const REVOKED: &str = "TaskRevokedError";

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

    /// Returns the request of a task for another attempt. Celery stores no exception for it.
    #[doc(hidden)]
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::new(RETRY, reason)
    }

    /// Returns `true` for the request of a task for another attempt, which no error has caused.
    #[doc(hidden)]
    pub fn is_retry(&self) -> bool {
        self.kind == RETRY && self.module.is_none()
    }

    /// Returns the end of a task that has asked for none, as the members of a chord see it.
    #[doc(hidden)]
    pub fn ignored() -> Self {
        Self::new("Ignore", "")
    }

    /// Returns the error as Python would print it.
    #[doc(hidden)]
    pub fn python_repr(&self) -> String {
        let (kind, _) = self.python_class();
        match &*self.args() {
            [only] => format!("{kind}({})", repr_value(only)),
            args => format!("{kind}{}", repr_args(args)),
        }
    }

    /// Returns an error without causes.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), module: None, message: message.into(), args: None, trace: None }
    }

    /// Returns the same error with these arguments of its exception. The message becomes the text
    /// that Python's `str` returns for it.
    #[must_use]
    pub fn with_args(self, args: Vec<Value>) -> Self {
        let message = said(&self.kind, &args);
        let is_message = match args.as_slice() {
            [] => true,
            [Value::Text(only)] => !only.is_empty(),
            _ => false,
        };
        Self { message, args: Some(args.into()).filter(|_| !is_message), ..self }
    }

    /// Returns the arguments of the exception. Without others, the message is the only one, or the
    /// number of seconds of a time limit.
    pub fn args(&self) -> Cow<'_, [Value]> {
        match &self.args {
            Some(args) => Cow::Borrowed(args),
            None if self.message.is_empty() => Cow::Borrowed(&[]),
            None => Cow::Owned(vec![self.seconds_of_limit().unwrap_or_else(|| self.message.as_str().into())]),
        }
    }

    /// Returns the arguments of the exception as a typed value, such as a tuple.
    ///
    /// ```
    /// use celeriac_protocol::Failure;
    /// use celeriac_protocol::value::ValueError;
    ///
    /// fn code(failure: &Failure) -> Result<i64, ValueError> {
    ///     let (_reason, code): (String, i64) = failure.args_as()?;
    ///     Ok(code)
    /// }
    ///
    /// let declined = Failure::new("Declined", "").with_args(vec!["no funds".into(), 7.into()]);
    /// assert_eq!(code(&declined).unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// Returns an error if the arguments have another shape.
    pub fn args_as<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        Value::List(self.args().into_owned()).into_typed()
    }

    /// Returns the error in Celery's format for a result, which Python raises: `exc_type`,
    /// `exc_message`, `exc_module`.
    pub fn to_exception(&self) -> Value {
        let (kind, module) = self.python_class();
        let args = self.args().into_owned();
        let entries = [
            ("exc_type".to_owned(), kind.into()),
            ("exc_message".to_owned(), Value::List(args)),
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
        let args = match take(&mut entries, "exc_message") {
            Value::List(args) => args,
            Value::Null => Vec::new(),
            other => vec![other],
        };
        Self { module, ..Self::new(kind, "") }.with_args(args)
    }

    /// Returns the number of seconds of a time limit, which is the argument of its exception.
    fn seconds_of_limit(&self) -> Option<Value> {
        if self.python_class() != (TIME_LIMIT, "billiard.exceptions") {
            return None;
        }
        let float = || self.message.parse().ok().filter(|limit: &f64| limit.is_finite()).map(Value::Float);
        self.message.parse().ok().map(Value::Int).or_else(float)
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
            let failure = read(found);
            assert_eq!((failure.kind.as_str(), failure.message.as_str()), (kind, message), "{found}");
        }
    }

    #[test]
    fn arguments_of_any_value_survive() {
        let exception =
            r#"{"exc_type": "Declined", "exc_message": ["no funds", 7, {"limit": null}], "exc_module": "shop"}"#;
        let failure = read(exception);
        assert_eq!(failure.to_exception(), value(exception));
        assert_eq!(failure.message, "('no funds', 7, {'limit': None})");
        let (reason, code, _): (String, i64, Value) = failure.args_as().unwrap();
        assert_eq!((reason.as_str(), code), ("no funds", 7));
        assert!(failure.args_as::<(String, i64)>().is_err());
        assert_eq!(failure.python_repr(), "Declined('no funds', 7, {'limit': None})");

        let plain = Failure::new("Declined", "no");
        assert_eq!(plain.args_as::<(String,)>().unwrap().0, "no");
        assert_eq!(plain.python_repr(), "Declined('no')");
        assert_eq!(plain.clone().with_args(vec!["no".into()]), plain);
        assert_eq!(plain.with_args(vec![]), Failure::new("Declined", ""));
        for args in ["[0.5]", "[\"\"]", "[null]"] {
            let exception = format!(r#"{{"exc_type": "E", "exc_message": {args}, "exc_module": "m"}}"#);
            assert_eq!(read(&exception).to_exception(), value(&exception), "{args}");
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
