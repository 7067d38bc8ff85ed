//! `task_options` of the configuration: what operators say of tasks, above what is declared with them.

mod words;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_broker::route::Pattern;
use celeriac_config::{duration, nearest};
use celeriac_protocol::task::{Acks, Limit};
use celeriac_protocol::{Rate, RetryPolicy, TaskOptions};
use serde::{Deserialize, Serialize};

pub use words::{Backoff, InCode, Word, Written};

/// Each key of a line once: its name and type, and what it means to a task.
macro_rules! keys {
    ($($(#[$attribute:meta])* $key:ident: $type:ty => $apply:expr;)*) => {
        /// One line of `task_options`. What it does not say, later lines say, or else the task.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TaskLine {
            /// The tasks it is for: a whole name, a glob (`*` any text, `?` any character), or a `/regular expression/` for
            /// the whole name.
            pub task: String,
            $($(#[$attribute])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
            /// Belongs to the code, and is never said here.
            #[serde(default, skip_serializing)]
            pub retry_on: Option<InCode>,
            /// Belongs to the code, and is never said here.
            #[serde(default, skip_serializing)]
            pub retry_within: Option<InCode>,
        }

        impl TaskLine {
            /// Takes from a later line what this one does not say.
            fn fill(&mut self, later: &Self) {
                $(self.$key = self.$key.or(later.$key);)*
            }

            /// Says it all.
            fn apply(&self, options: &mut TaskOptions) {
                $(if let Some(said) = self.$key {
                    let apply: fn(&mut TaskOptions, $type) = $apply;
                    apply(options, said);
                })*
            }

            /// The keys it says.
            fn said(&self) -> Vec<&'static str> {
                [$((stringify!($key), self.$key.is_some())),*]
                    .into_iter().filter(|(_, said)| *said).map(|(key, _)| key).collect()
            }
        }
    };
}

keys! {
    /// Its priority when the call does not say.
    priority: u8 => |options, priority| options.priority = Some(priority);
    /// How long a message may wait that does not say, before it must not start any more.
    #[serde(with = "duration::option")]
    expires: Duration => |options, expires| options.expires = Some(expires);
    /// Whether its result is not worth storing.
    ignore_result: bool => |options, ignore_result| options.ignore_result = ignore_result;
    /// When its messages are acknowledged.
    acks: Acks => |options, acks| options.acks = acks;
    /// The first and the longest wait between attempts, such as `1s..10m`, or one wait. Comes with three retries where the
    /// task has none.
    retry_backoff: Written<Backoff> => |options, Written(Backoff { first, cap })| {
        let backoff = RetryPolicy::backoff(first, cap);
        if options.retry.max_retries == Some(0) {
            options.retry.max_retries = backoff.max_retries;
        }
        (options.retry.first, options.retry.cap) = (backoff.first, backoff.cap);
    };
    /// The share of a wait, from 0 to 1, that is left to chance.
    retry_jitter: f64 => |options, jitter| options.retry.jitter = jitter;
    /// Attempts after the first; `none`: without end.
    max_retries: Written<Option<u32>> => |options, Written(retries)| options.retry.max_retries = retries;
    /// How long an attempt may take before it is ended; `none`: as long as it takes.
    time_limit: Written<Limit> => |options, Written(limit)| options.time_limit = Some(limit);
    /// How long an attempt may take before it is told to come to an end; `none`: it is not told.
    soft_time_limit: Written<Limit> => |options, Written(limit)| options.soft_time_limit = Some(limit);
    /// How often it starts on each worker; `none` or `0`: as often as it can.
    rate_limit: Written<Option<Rate>> => |options, Written(rate)| options.rate_limit = rate;
    /// How often a message of it may be delivered that seems to bring its worker down; at least 2.
    max_deliveries: u32 => |options, most| options.max_deliveries = Some(most);
}

/// What is wrong with lines, each with its full key.
pub fn problems(lines: &[TaskLine]) -> Vec<(String, String)> {
    let found = lines.iter().enumerate().flat_map(|(index, line)| {
        let of_keys = problems_of(line).into_iter();
        let of_keys = of_keys.map(move |(key, problem)| (format!("task_options[{index}].{key}"), problem));
        // Of the line as a whole: it may only seem to say nothing, because what it says is wrong.
        let whole = line.said().is_empty().then(|| format!("nothing is said of `{}`", line.task));
        of_keys.chain(whole.map(|problem| (format!("task_options[{index}]"), problem)))
    });
    found.collect()
}

fn problems_of(line: &TaskLine) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if line.task.trim().is_empty() {
        problems.push(("task", "should be a task name, a glob or a /regular expression/".to_owned()));
    } else if let Err(problem) = Pattern::read(&line.task) {
        problems.push(("task", problem));
    }
    if line.expires.is_some_and(|expires| expires.is_zero()) {
        problems.push(("expires", "of zero would let no message start".to_owned()));
    }
    if line.max_deliveries.is_some_and(|most| most < 2) {
        problems.push(("max_deliveries", "should be at least 2".to_owned()));
    }
    if line.retry_jitter.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        problems.push(("retry_jitter", "should be a number from 0.0 to 1.0".to_owned()));
    }
    if let (Some(Written(Limit::After(hard))), Some(Written(Limit::After(soft)))) =
        (line.time_limit, line.soft_time_limit)
        && soft >= hard
    {
        problems.push(("soft_time_limit", "should be shorter than time_limit".to_owned()));
    }
    problems
}

/// All lines, ready to be asked.
#[derive(Debug, Default)]
pub struct TaskLines {
    lines: Vec<(Pattern, TaskLine)>,
    /// What they say of tasks already seen, so that patterns are tried once for each name.
    seen: RwLock<HashMap<String, Arc<TaskLine>>>,
}

/// Task names beyond so many are looked up anew each time, so that names made up by callers take no memory.
const MOST_SEEN: usize = 4096;

impl TaskLines {
    /// Lines without [`problems`].
    ///
    /// # Errors
    /// With the first pattern that is none.
    pub fn new(lines: &[TaskLine]) -> Result<Self, String> {
        let lines = lines.iter().map(|line| Ok((Pattern::read(&line.task)?, line.clone())));
        Ok(Self { lines: lines.collect::<Result<_, String>>()?, seen: RwLock::default() })
    }

    /// What holds for a task: for each key the first line that says it, and otherwise what is declared.
    #[must_use]
    pub fn over(&self, task: &str, mut declared: TaskOptions) -> TaskOptions {
        if !self.lines.is_empty() {
            self.said_of(task).apply(&mut declared);
        }
        declared
    }

    /// The line that says a key of a task, as the configuration names it: `task_options[2].time_limit`.
    pub fn key_of(&self, task: &str, key: &str) -> Option<String> {
        let mut lines = self.lines.iter().enumerate();
        let (index, _) = lines.find(|(_, (pattern, line))| pattern.matches(task) && line.said().contains(&key))?;
        Some(format!("task_options[{index}].{key}"))
    }

    /// The lines that are for none of these tasks, each with its key and a sentence.
    pub fn strays(&self, tasks: &[&str]) -> Vec<(String, String)> {
        let lines = self.lines.iter().enumerate();
        let strays = lines.filter(|(_, (pattern, _))| !tasks.iter().any(|task| pattern.matches(task)));
        let told = strays.map(|(index, (_, TaskLine { task, .. }))| {
            let near = nearest(task, tasks.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
            let message = format!("`{task}` is none of this program's tasks{}", near.unwrap_or_default());
            (format!("task_options[{index}].task"), message)
        });
        told.collect()
    }

    fn said_of(&self, task: &str) -> Arc<TaskLine> {
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(task).cloned();
        known.unwrap_or_else(|| self.look_for(task))
    }

    fn look_for(&self, task: &str) -> Arc<TaskLine> {
        let mut said = TaskLine::default();
        for (_, line) in self.lines.iter().filter(|(pattern, _)| pattern.matches(task)) {
            said.fill(line);
        }
        let said = Arc::new(said);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_SEEN {
            seen.insert(task.to_owned(), Arc::clone(&said));
        }
        said
    }
}

#[cfg(test)]
mod tests;
