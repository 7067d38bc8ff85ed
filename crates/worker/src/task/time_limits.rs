//! Time limits of an attempt, from call, task and worker, and the notice to end.

use std::sync::OnceLock;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::task::TimeLimit;
use celeriac_protocol::{TaskOptions, TimeLimits};
use tokio_util::sync::CancellationToken;

use crate::options::WorkerOptions;

/// Returns the limits of one attempt. Those of the call override those of the task, which may have
/// been changed at run time.
pub(crate) fn in_force(call: TimeLimits, task: &TaskOptions, changed: Option<TimeLimits>) -> TimeLimits {
    let task = changed.unwrap_or(TimeLimits {
        hard: task.time_limit.and_then(TimeLimit::time),
        soft: task.soft_time_limit.and_then(TimeLimit::time),
    });
    // In Celery, zero is no limit.
    let said = |call: Option<Duration>| call.filter(|limit| !limit.is_zero());
    TimeLimits { hard: said(call.hard).or(task.hard), soft: said(call.soft).or(task.soft) }
}

/// Gives a task the limits of its worker where it sets none.
pub(crate) fn complete(task: &mut TaskOptions, worker: &WorkerOptions) {
    task.time_limit = task.time_limit.or(worker.time_limit.map(TimeLimit::After));
    task.soft_time_limit = task.soft_time_limit.or(worker.soft_time_limit.map(TimeLimit::After));
}

/// The place where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitSource {
    Task,
    Worker,
}

/// A limit that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitConflict {
    pub(crate) by: LimitSource,
    pub(crate) key: &'static str,
    pub(crate) why: String,
}

/// Returns a conflict in the limits of a task. `ended` is true if the task can be ended from
/// outside.
pub(crate) fn conflict(task: &TaskOptions, ended: bool, worker: &WorkerOptions) -> Option<LimitConflict> {
    let hard = said(task.time_limit, worker.time_limit);
    let soft = said(task.soft_time_limit, worker.soft_time_limit);
    if let (Some((_, by @ LimitSource::Task)), false) = (hard, ended) {
        return Some(LimitConflict { by, key: "time_limit", why: CANNOT_BE_ENDED.to_owned() });
    }
    let ((hard, by), (soft, LimitSource::Task)) = (hard.filter(|_| ended)?, soft?) else { return None };
    if soft < hard {
        return None;
    }
    let (hard, soft) = (duration::format(hard), duration::format(soft));
    Some(match by {
        LimitSource::Task => LimitConflict {
            by,
            key: "soft_time_limit",
            why: format!("soft_time_limit of {soft} is never reached: time_limit ends it after {hard}"),
        },
        LimitSource::Worker => LimitConflict {
            by,
            key: "time_limit",
            why: format!(
                "worker.time_limit ends it after {hard}, before its soft_time_limit of {soft}: give it a time_limit of \
                 its own, or none"
            ),
        },
    })
}

const CANNOT_BE_ENDED: &str = "time_limit cannot be kept: it runs on a thread of its own, which nobody can end. Make it \
                               an `async fn`, or give it a soft_time_limit and look at `ctx.is_cancelled()`";

fn said(task: Option<TimeLimit>, worker: Option<Duration>) -> Option<(Duration, LimitSource)> {
    match task {
        Some(limit) => limit.time().map(|limit| (limit, LimitSource::Task)),
        None => worker.map(|limit| (limit, LimitSource::Worker)),
    }
}

/// The reason why a task is signalled to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It has reached its soft time limit, or its hard one if it cannot be ended from outside.
    SoftTimeLimit,
    /// It was terminated, and its outcome is no longer needed.
    Terminated,
    /// The worker stops, and its drain time has passed.
    Stopping,
}

/// The notice to one attempt to end. The first reason counts.
#[derive(Debug, Default)]
pub(crate) struct CancellationNotice {
    why: OnceLock<Cancellation>,
    given: CancellationToken,
}

impl CancellationNotice {
    /// Signals the attempt to end.
    pub(crate) fn give(&self, why: Cancellation) {
        let _ = self.why.set(why);
        self.given.cancel();
    }

    /// Returns the reason, after the signal.
    pub(crate) fn why(&self) -> Option<Cancellation> {
        self.why.get().copied()
    }

    /// Completes after the signal.
    pub(crate) async fn given(&self) {
        self.given.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    fn task(hard: Option<TimeLimit>, soft: Option<TimeLimit>) -> TaskOptions {
        TaskOptions { time_limit: hard, soft_time_limit: soft, ..TaskOptions::default() }
    }

    const fn after(count: u64) -> Option<TimeLimit> {
        Some(TimeLimit::After(Duration::from_secs(count)))
    }

    #[test]
    fn the_call_counts_before_the_task_and_the_task_before_the_worker() {
        let worker =
            WorkerOptions { time_limit: seconds(60), soft_time_limit: seconds(50), ..WorkerOptions::default() };
        let limits = |hard, soft| TimeLimits { hard, soft };
        let unsaid = limits(None, None);
        let cases = [
            (unsaid, task(None, None), limits(seconds(60), seconds(50))),
            (unsaid, task(after(9), None), limits(seconds(9), seconds(50))),
            (unsaid, task(Some(TimeLimit::Never), Some(TimeLimit::Never)), unsaid),
            (limits(seconds(3), None), task(after(9), after(8)), limits(seconds(3), seconds(8))),
            (limits(None, seconds(2)), task(Some(TimeLimit::Never), None), limits(None, seconds(2))),
            (limits(seconds(0), seconds(0)), task(after(9), after(8)), limits(seconds(9), seconds(8))),
        ];
        for (call, mut task, expected) in cases {
            complete(&mut task, &worker);
            assert_eq!(in_force(call, &task, None), expected, "{call:?} {task:?}");
        }
        let changed = Some(limits(seconds(4), None));
        assert_eq!(in_force(unsaid, &task(after(9), after(8)), changed), limits(seconds(4), None));
        assert_eq!(in_force(limits(seconds(2), None), &task(after(9), None), changed), limits(seconds(2), None));
    }

    #[test]
    fn a_limit_that_cannot_be_kept_is_a_problem() {
        let worker =
            WorkerOptions { time_limit: seconds(20), soft_time_limit: seconds(10), ..WorkerOptions::default() };
        let cases = [
            (task(None, None), true, None),
            (task(None, None), false, None),
            (task(after(30), after(25)), true, None),
            (task(after(5), None), true, None),
            (task(Some(TimeLimit::Never), after(25)), true, None),
            (task(None, after(25)), false, None),
            (task(after(25), after(25)), true, Some((LimitSource::Task, "soft_time_limit"))),
            (task(None, after(25)), true, Some((LimitSource::Worker, "time_limit"))),
            (task(after(30), None), false, Some((LimitSource::Task, "time_limit"))),
        ];
        for (task, ended, expected) in cases {
            let found = conflict(&task, ended, &worker).map(|LimitConflict { by, key, .. }| (by, key));
            assert_eq!(found, expected, "{task:?} {ended}");
        }
    }

    #[tokio::test]
    async fn the_first_word_counts() {
        let notice = CancellationNotice::default();
        assert_eq!(notice.why(), None);
        notice.give(Cancellation::SoftTimeLimit);
        notice.give(Cancellation::Stopping);
        notice.given().await;
        assert_eq!(notice.why(), Some(Cancellation::SoftTimeLimit));
    }
}
