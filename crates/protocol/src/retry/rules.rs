//! Retry policies for kinds of errors.

use std::error::Error as StdError;
use std::fmt;

use super::RetryPolicy;

/// The rules for errors with a retry policy of their own. The first rule that matches an error
/// applies.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RetryRules {
    /// The rules, in order.
    pub rules: &'static [RetryRule],
    /// The answer to all other errors.
    pub others: RetryAnswer,
}

/// The rule for one class of errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryRule {
    /// The errors.
    pub class: ErrorClass,
    /// The answer to these errors.
    pub answer: RetryAnswer,
}

/// The answer to an error: a retry policy, or no retry.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RetryAnswer {
    /// The task's policy.
    #[default]
    AsTask,
    /// No retry.
    Never,
    /// This policy.
    By(RetryPolicy),
}

impl RetryRules {
    /// Returns the policy for errors of this kind, or `None` for no retry. `task` is the policy of
    /// the task.
    pub fn policy(&self, kind: &str, task: RetryPolicy) -> Option<RetryPolicy> {
        let rule = self.rules.iter().find(|rule| rule.class.is(kind));
        match rule.map_or(self.others, |rule| rule.answer) {
            RetryAnswer::AsTask => Some(task),
            RetryAnswer::Never => None,
            RetryAnswer::By(policy) => Some(policy),
        }
    }
}

/// A class of errors: all errors of one kind, as the row of a task names it.
///
/// Only the error that the task returned counts, not its cause.
#[derive(Clone, Copy)]
pub enum ErrorClass {
    /// Errors of this kind.
    Kind(&'static str),
    /// Errors of a type, by its full name.
    Type(fn() -> &'static str),
}

impl ErrorClass {
    /// Returns the class of a type's errors.
    pub const fn of<E: StdError + 'static>() -> Self {
        Self::Type(std::any::type_name::<E>)
    }

    /// Returns `true` if errors of this kind belong to the class.
    pub fn is(&self, kind: &str) -> bool {
        match self {
            Self::Kind(own) => *own == kind,
            Self::Type(name) => kind_of_type(name()) == kind,
        }
    }

    fn kind(&self) -> String {
        match self {
            Self::Kind(kind) => (*kind).to_owned(),
            Self::Type(name) => kind_of_type(name()),
        }
    }
}

impl PartialEq for ErrorClass {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }
}

impl fmt::Debug for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ErrorClass({})", self.kind())
    }
}

/// Returns the kind for the errors of a type, from its full name.
///
/// `shop::payment::Declined` becomes `Declined`, and parts in angle brackets are omitted. A type
/// that is called `Error` keeps its module: `std::io::error::Error` becomes `io::Error`,
/// `serde_json::error::Error` becomes `serde_json::Error`.
pub fn kind_of_type(full: &str) -> String {
    let outer = full.split('<').next().unwrap_or(full);
    let mut parts = outer.rsplit("::");
    let name = parts.next().unwrap_or(outer);
    if name != "Error" {
        return name.to_owned();
    }
    match parts.find(|part| !matches!(*part, "error" | "errors")) {
        Some(owner) => format!("{owner}::{name}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_that_is_called_error_says_whose_it_is() {
        assert_eq!(kind_of_type(type_name::<std::io::Error>()), "io::Error");
        assert_eq!(kind_of_type(type_name::<serde_json::Error>()), "serde_json::Error");
        assert_eq!(kind_of_type(type_name::<fmt::Error>()), "fmt::Error");
        assert_eq!(kind_of_type(type_name::<Box<fmt::Error>>()), "Box");
        assert_eq!(kind_of_type(type_name::<std::num::ParseIntError>()), "ParseIntError");
    }

    #[test]
    fn the_first_rule_that_names_an_error_holds() {
        let (task, own) = (RetryPolicy::immediately(9), RetryPolicy::backoff(Duration::ZERO, Duration::ZERO));
        let rule = |class, answer| RetryRule { class, answer };
        let rules: &'static [RetryRule] = Box::leak(Box::new([
            rule(ErrorClass::of::<std::io::Error>(), RetryAnswer::By(own)),
            rule(ErrorClass::Kind("Declined"), RetryAnswer::Never),
            rule(ErrorClass::Kind("Busy"), RetryAnswer::AsTask),
            rule(ErrorClass::Kind("Busy"), RetryAnswer::Never),
        ]));
        let open = RetryRules { rules, others: RetryAnswer::AsTask };
        let policies = ["io::Error", "Declined", "Busy", "Panic"].map(|kind| open.policy(kind, task));
        assert_eq!(policies, [Some(own), None, Some(task), Some(task)]);
        let closed = RetryRules { others: RetryAnswer::Never, ..open };
        assert_eq!((closed.policy("Busy", task), closed.policy("Panic", task)), (Some(task), None));
        assert_eq!(RetryRules::default().policy("Panic", task), Some(task));
    }
}
