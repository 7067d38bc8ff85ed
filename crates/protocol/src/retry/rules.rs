//! The policies of retries by error.

use std::error::Error as StdError;
use std::fmt;

use super::RetryPolicy;

/// The rules for errors that are tried again in a way of their own. The first rule that names an error holds for it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RetryRules {
    /// In this order.
    pub rules: &'static [RetryRule],
    /// The answer to all other errors.
    pub others: RetryAnswer,
}

/// The rule for one class of errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryRule {
    /// The errors.
    pub class: ErrorClass,
    /// The answer to them.
    pub answer: RetryAnswer,
}

/// The answer to an error: a policy of retries, or none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RetryAnswer {
    /// As the task's policy says.
    #[default]
    AsTask,
    /// It is final.
    Never,
    /// By a policy of its own.
    By(RetryPolicy),
}

impl RetryRules {
    /// The policy for errors of this kind, where `task` is that of the task. `None`: they are final.
    pub fn policy(&self, kind: &str, task: RetryPolicy) -> Option<RetryPolicy> {
        let rule = self.rules.iter().find(|rule| rule.class.is(kind));
        match rule.map_or(self.others, |rule| rule.answer) {
            RetryAnswer::AsTask => Some(task),
            RetryAnswer::Never => None,
            RetryAnswer::By(policy) => Some(policy),
        }
    }
}

/// Errors that belong together: those of one kind, as it stands in the row of a task.
///
/// The cause of an error does not count, only the error that the task returned.
#[derive(Clone, Copy)]
pub enum ErrorClass {
    /// Those of this kind.
    Kind(&'static str),
    /// Those of a type, by its full name.
    Type(fn() -> &'static str),
}

impl ErrorClass {
    /// The errors of a type.
    pub const fn of<E: StdError + 'static>() -> Self {
        Self::Type(std::any::type_name::<E>)
    }

    /// True if errors of this kind belong to it.
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

/// The kind of errors of a type, by its full name: `shop::payment::Declined` becomes `Declined`; what stands in angle brackets
/// is left out. One that is called `Error` says whose: `std::io::error::Error` becomes `io::Error`,
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
