//! What follows from how a task ended. Pure: the clock and chance arrive as arguments.

use std::time::Duration;

use celeriac_protocol::{Failure, RetryPolicy};

use crate::handler::Finished;
use crate::outcome::Steer;

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ended with this result, as JSON text.
    Succeed(String),
    /// It is tried again after a wait.
    Retry { wait: Duration, failure: Failure },
    /// It ended with an error.
    Fail(Failure),
    /// It ended with an error, and its message is kept in the dead-letter queue.
    DeadLetter { reason: &'static str, failure: Failure },
    /// It ended, and nothing is kept of it.
    Ignore,
}

/// Decides what becomes of a task after an attempt that had `retries` before it.
pub(crate) fn decide(finished: Finished, policy: &RetryPolicy, retries: u32, chance: f64) -> Verdict {
    let error = match finished {
        Ok(result) => return Verdict::Succeed(result),
        Err(error) => error,
    };
    let failure = error.failure;
    let wait = match error.steer {
        Steer::Ignore => return Verdict::Ignore,
        Steer::Reject => return Verdict::DeadLetter { reason: "rejected", failure },
        Steer::Fatal => return Verdict::Fail(failure),
        Steer::RetryIn(wait) => wait,
        Steer::Policy => policy.wait(retries, chance),
    };
    if policy.allows(retries) {
        return Verdict::Retry { wait, failure };
    }
    if retries == 0 && error.steer == Steer::Policy {
        // It was never meant to be tried again: an ordinary failure, told by its row alone.
        return Verdict::Fail(failure);
    }
    // A wish to be tried again is no error to be remembered by.
    let failure = match error.steer {
        Steer::RetryIn(_) => Failure { kind: "MaxRetriesExceededError".to_owned(), ..failure },
        _ => failure,
    };
    Verdict::DeadLetter { reason: "exhausted", failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TaskError;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outcome_and_a_policy_decide() {
        let twice = RetryPolicy::backoff(SECOND, SECOND * 60).times(2);
        let never = RetryPolicy::never();
        let failure = Failure::new("TaskError", "no");
        let exhausted = |failure: &Failure| Verdict::DeadLetter { reason: "exhausted", failure: failure.clone() };
        let hint = Failure::new("Retry", "busy");
        let given_up = Failure::new("MaxRetriesExceededError", "busy");
        let cases = [
            (Ok("3".to_owned()), &never, 0, Verdict::Succeed("3".to_owned())),
            (Err(TaskError::new("no")), &never, 0, Verdict::Fail(failure.clone())),
            (Err(TaskError::new("no")), &twice, 0, Verdict::Retry { wait: SECOND, failure: failure.clone() }),
            (Err(TaskError::new("no")), &twice, 1, Verdict::Retry { wait: SECOND * 2, failure: failure.clone() }),
            (Err(TaskError::new("no")), &twice, 2, exhausted(&failure)),
            (
                Err(TaskError::retry_in(SECOND * 9, "busy")),
                &twice,
                0,
                Verdict::Retry { wait: SECOND * 9, failure: hint.clone() },
            ),
            (Err(TaskError::retry_in(SECOND * 9, "busy")), &twice, 2, exhausted(&given_up)),
            (Err(TaskError::retry_in(SECOND * 9, "busy")), &never, 0, exhausted(&given_up)),
            (Err(TaskError::fatal("no")), &twice, 0, Verdict::Fail(Failure::new("Fatal", "no"))),
            (
                Err(TaskError::reject("no")),
                &twice,
                0,
                Verdict::DeadLetter { reason: "rejected", failure: Failure::new("Reject", "no") },
            ),
            (Err(TaskError::ignore()), &twice, 0, Verdict::Ignore),
        ];
        for (finished, policy, retries, expected) in cases {
            let shown = format!("{finished:?} after {retries}");
            assert_eq!(decide(finished, policy, retries, 0.0), expected, "{shown}");
        }
    }
}
