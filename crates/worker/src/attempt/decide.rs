//! Decides on a task after an attempt. [`choose`] is pure: clock and random number are arguments.

use std::time::Duration;

use celeriac_protocol::{Failure, HeaderMap, Signature, TaskHeaders, TaskOptions};
use jiff::Timestamp;

use crate::attempt::Attempt;
use crate::task::definition::TaskDefinition;
use crate::task::error::{ErrorAction, TaskError};
use crate::task::result::JsonResult;
use crate::task::retry_options::RetryOptions;

/// The reason of a dead letter that its task has rejected.
pub(crate) const REJECTED: &str = "rejected";

/// The decision on a task after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// The task ended with this result, as JSON text.
    Succeed(String),
    /// The task is tried again after a wait.
    Retry {
        wait: Duration,
        failure: Failure,
        /// Changes for the next attempt.
        options: Option<Box<RetryOptions>>,
    },
    /// The task ended with an error.
    Fail(Failure),
    /// The task ended with an error, and its message is kept in the dead-letter queue.
    DeadLetter { reason: &'static str, failure: Failure },
    /// The task ended, and no outcome of it is stored.
    Ignore,
    /// The message returns to its queue after a wait, for this reason.
    Requeue { wait: Duration, reason: String },
    /// Another task takes the place of this one.
    Replace(Box<Signature>),
}

impl Decision {
    /// Changes the failure, if there is one.
    pub(crate) fn map_failure(self, change: impl FnOnce(Failure) -> Failure) -> Self {
        match self {
            Self::Retry { wait, failure, options } => Self::Retry { wait, failure: change(failure), options },
            Self::Fail(failure) => Self::Fail(change(failure)),
            Self::DeadLetter { reason, failure } => Self::DeadLetter { reason, failure: change(failure) },
            Self::Succeed(_) | Self::Ignore | Self::Requeue { .. } | Self::Replace(_) => self,
        }
    }
}

/// Facts about an attempt, beside its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryFacts {
    /// Number of earlier attempts.
    pub(crate) retries: u32,
    pub(crate) now: Timestamp,
    /// Latest start of the last attempt.
    pub(crate) until: Option<Timestamp>,
    /// A random number from 0 to 1.
    pub(crate) chance: f64,
}

impl RetryFacts {
    fn is_in_time(&self, wait: Duration) -> bool {
        self.until.is_none_or(|until| self.now.checked_add(wait).is_ok_and(|due| due <= until))
    }
}

/// Decides on a task after its attempt has ended.
pub(crate) fn decide(attempt: &Attempt<'_>, task: &TaskDefinition, result: JsonResult) -> Decision {
    let started_at = attempt.timing.map(|timing| timing.started_at);
    let until = retry_until(&task.options, attempt.message_headers(), started_at);
    let retries = attempt.headers().retries;
    let facts = RetryFacts { retries, now: attempt.runtime.clock.now(), until, chance: fastrand::f64() };
    choose(result, &task.options, &facts).map_failure(|failure| with_celerys_text(attempt, failure))
}

/// Gives the error of a last attempt without a reason the text that Celery has for it.
fn with_celerys_text(attempt: &Attempt<'_>, failure: Failure) -> Failure {
    if failure.kind != MAX_RETRIES_EXCEEDED || !failure.message.is_empty() {
        return failure;
    }
    let TaskHeaders { task, id, .. } = attempt.headers();
    Failure::new(MAX_RETRIES_EXCEEDED, format!("Can't retry {task}[{id}]"))
}

/// Celery's exception for a request for one attempt too many.
const MAX_RETRIES_EXCEEDED: &str = "MaxRetriesExceededError";

/// Decides from outcome, policy, and the facts of the attempt.
pub(crate) fn choose(finished: JsonResult, options: &TaskOptions, tried: &RetryFacts) -> Decision {
    let TaskError { action, failure, retry: options_of_retry, replacement } = match finished {
        Ok(result) => return Decision::Succeed(result),
        Err(error) => error,
    };
    let failure = *failure;
    let policy = match action {
        ErrorAction::Ignore => return Decision::Ignore,
        ErrorAction::Requeue(wait) => return Decision::Requeue { wait, reason: failure.message },
        ErrorAction::Replace => return Decision::Replace(replacement.unwrap_or_default()),
        ErrorAction::Reject => return Decision::DeadLetter { reason: REJECTED, failure },
        ErrorAction::Refuse(reason) => return Decision::DeadLetter { reason, failure },
        ErrorAction::Fatal => return Decision::Fail(failure),
        ErrorAction::RetryIn(_) | ErrorAction::RetryAt(_) => Some(options.retry),
        ErrorAction::RetryDelay(_) | ErrorAction::Policy | ErrorAction::Database(_) => {
            options.retry_rules.policy(&failure.kind, options.retry)
        }
    };
    let Some(mut policy) = policy else { return Decision::Fail(failure) };
    if let Some(max_retries) = options_of_retry.as_ref().and_then(|options| options.max_retries) {
        policy = policy.times(max_retries);
    }
    let wait = action.wait(tried.now).unwrap_or_else(|| policy.wait(tried.retries, tried.chance));
    if policy.allows(tried.retries) && tried.is_in_time(wait) {
        return Decision::Retry { wait, failure, options: options_of_retry };
    }
    if action.asks_for_retry() && failure.is_retry() {
        // A request for another attempt without a cause is not an error, so the last attempt fails
        // with an error of its own.
        let failure = Failure { kind: MAX_RETRIES_EXCEEDED.to_owned(), ..failure };
        return Decision::DeadLetter { reason: "exhausted", failure };
    }
    if tried.retries == 0 && !policy.allows(0) && !action.asks_for_retry() {
        // The task has no retries, so this is an ordinary failure, with a row and without a dead
        // letter.
        return Decision::Fail(failure);
    }
    Decision::DeadLetter { reason: "exhausted", failure }
}

/// Returns the latest start of the last attempt.
///
/// The first attempt writes it to the message. Without it this attempt is the first, and the time
/// counts from its start.
pub(crate) fn retry_until(
    options: &TaskOptions,
    message: &HeaderMap,
    started_at: Option<Timestamp>,
) -> Option<Timestamp> {
    let within = options.retry_within?;
    message.retry_until().or_else(|| started_at?.checked_add(within).ok())
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::{ErrorClass, RetryAnswer, RetryPolicy, RetryRule, RetryRules};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn tried(retries: u32) -> RetryFacts {
        RetryFacts { retries, now: NOW, until: None, chance: 0.0 }
    }

    fn options(retry: RetryPolicy) -> TaskOptions {
        TaskOptions { retry, ..TaskOptions::default() }
    }

    fn again(wait: Duration, failure: &Failure) -> Decision {
        Decision::Retry { wait, failure: failure.clone(), options: None }
    }

    fn exhausted(failure: &Failure) -> Decision {
        Decision::DeadLetter { reason: "exhausted", failure: failure.clone() }
    }

    #[test]
    fn an_outcome_and_a_policy_decide() {
        let twice = options(RetryPolicy::backoff(SECOND, SECOND * 60).times(2));
        let never = TaskOptions::default();
        let failure = Failure::new("TaskError", "no");
        let hint = Failure::new("Retry", "busy");
        let given_up = Failure::new("MaxRetriesExceededError", "busy");
        let no = || TaskError::new("no");
        let busy = || TaskError::retry_in(SECOND * 9, "busy");
        let at = |seconds| TaskError::retry_at(NOW.checked_add(SECOND * seconds).unwrap(), "busy");
        let cases = [
            (Ok("3".to_owned()), &never, 0, Decision::Succeed("3".to_owned())),
            (Err(no()), &never, 0, Decision::Fail(failure.clone())),
            (Err(no()), &twice, 0, again(SECOND, &failure)),
            (Err(no()), &twice, 1, again(SECOND * 2, &failure)),
            (Err(no()), &twice, 2, exhausted(&failure)),
            // Another worker with another policy ran the earlier attempts.
            (Err(no()), &never, 3, exhausted(&failure)),
            (Err(no().with_retry_delay(SECOND * 9)), &twice, 0, again(SECOND * 9, &failure)),
            (Err(no().with_retry_delay(SECOND * 9)), &twice, 2, exhausted(&failure)),
            (Err(no().with_retry_delay(SECOND * 9)), &never, 0, Decision::Fail(failure.clone())),
            (Err(busy()), &twice, 0, again(SECOND * 9, &hint)),
            (Err(busy()), &twice, 2, exhausted(&given_up)),
            (Err(busy()), &never, 0, exhausted(&given_up)),
            (
                Err(TaskError::requeue_in(SECOND, "not here")),
                &never,
                9,
                Decision::Requeue { wait: SECOND, reason: "not here".to_owned() },
            ),
            (
                Err(TaskError::replace(Signature::new("t.other"))),
                &never,
                9,
                Decision::Replace(Box::new(Signature::new("t.other"))),
            ),
            (Err(busy().with_retry_options(RetryOptions::new().max_retries(2))), &twice, 2, exhausted(&given_up)),
            // A request with a cause fails with it.
            (Err(busy().caused_by(no())), &twice, 0, again(SECOND * 9, &failure)),
            (Err(busy().caused_by(no())), &twice, 2, exhausted(&failure)),
            (Err(at(5)), &twice, 1, again(SECOND * 5, &hint)),
            (Err(at(0)), &twice, 1, again(Duration::ZERO, &hint)),
            (Err(at(5)), &twice, 2, exhausted(&given_up)),
            (Err(no().permanent()), &twice, 0, Decision::Fail(failure.clone())),
            (Err(TaskError::fatal("no")), &twice, 0, Decision::Fail(Failure::new("Fatal", "no"))),
            (
                Err(TaskError::reject("no")),
                &twice,
                0,
                Decision::DeadLetter { reason: "rejected", failure: Failure::new("Reject", "no") },
            ),
            (Err(TaskError::ignore()), &twice, 0, Decision::Ignore),
        ];
        for (finished, options, retries, expected) in cases {
            let shown = format!("{finished:?} after {retries}");
            assert_eq!(choose(finished, options, &tried(retries)), expected, "{shown}");
        }
    }

    #[test]
    fn the_kind_of_an_error_chooses_the_policy() {
        const RULES: &[RetryRule] = &[
            RetryRule { class: ErrorClass::Kind("Broken"), answer: RetryAnswer::By(RetryPolicy::immediately(5)) },
            RetryRule { class: ErrorClass::Kind("Declined"), answer: RetryAnswer::Never },
            RetryRule { class: ErrorClass::Kind("Busy"), answer: RetryAnswer::AsTask },
        ];
        let retry = RetryPolicy::backoff(SECOND, SECOND * 60).times(2);
        let rules = |others| TaskOptions { retry_rules: RetryRules { rules: RULES, others }, ..options(retry) };
        let (open, closed) = (rules(RetryAnswer::AsTask), rules(RetryAnswer::Never));
        let failure = |kind: &str| Failure::new(kind, "no");
        let cases = [
            ("Broken", &open, 4, again(Duration::ZERO, &failure("Broken"))),
            ("Broken", &open, 5, exhausted(&failure("Broken"))),
            // All errors share one count, so an error of another class continues it.
            ("Busy", &open, 4, exhausted(&failure("Busy"))),
            ("Busy", &closed, 1, again(SECOND * 2, &failure("Busy"))),
            ("Declined", &open, 0, Decision::Fail(failure("Declined"))),
            ("Declined", &open, 2, Decision::Fail(failure("Declined"))),
            ("Panic", &open, 0, again(SECOND, &failure("Panic"))),
            ("Panic", &closed, 0, Decision::Fail(failure("Panic"))),
        ];
        for (kind, options, retries, expected) in cases {
            let finished = Err(TaskError::of_kind(kind, "no"));
            assert_eq!(choose(finished, options, &tried(retries)), expected, "{kind} after {retries}");
        }
        // A request for another attempt does not depend on the policy for errors.
        let wish = choose(Err(TaskError::retry_in(SECOND, "busy")), &closed, &tried(0));
        assert_eq!(wish, again(SECOND, &Failure::new("Retry", "busy")));
    }

    #[test]
    fn an_attempt_that_would_come_too_late_is_not_made() {
        let often = options(RetryPolicy::backoff(SECOND, SECOND * 60).times(100));
        let failure = Failure::new("TaskError", "no");
        let until = Some(NOW.checked_add(SECOND * 4).unwrap());
        let decided = |error, retries| choose(Err(error), &often, &RetryFacts { until, ..tried(retries) });
        assert_eq!(decided(TaskError::new("no"), 2), again(SECOND * 4, &failure));
        assert_eq!(decided(TaskError::new("no"), 3), exhausted(&failure));
        assert_eq!(decided(TaskError::new("no").with_retry_delay(SECOND * 5), 0), exhausted(&failure));
        let given_up = Failure::new("MaxRetriesExceededError", "busy");
        assert_eq!(decided(TaskError::retry_in(Duration::MAX, "busy"), 0), exhausted(&given_up));
    }

    #[test]
    fn the_first_attempt_sets_the_time_for_all() {
        let mut message = HeaderMap::new();
        let bounded = TaskOptions { retry_within: Some(SECOND * 60), ..TaskOptions::default() };
        let minute = NOW.checked_add(SECOND * 60).unwrap();
        let later = NOW.checked_add(SECOND * 30).unwrap();
        assert_eq!(retry_until(&bounded, &message, Some(NOW)), Some(minute));
        message.set_retry_until(minute);
        assert_eq!(retry_until(&bounded, &message, Some(later)), Some(minute));
        assert_eq!(retry_until(&TaskOptions::default(), &message, Some(later)), None, "it has no bound any more");
    }
}
