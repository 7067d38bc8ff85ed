//! The answers to `/livez` and `/readyz`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Heartbeat, UnreadyPart, sources};

/// Silence of the runtime from which a process is not live. Longer than the time after which a
/// worker logs a task that does not yield, so that the log names the task first.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);

/// Silence of the runtime from which a process is not ready.
const LONGEST_SILENCE_IF_READY: Duration = Duration::from_secs(5);

/// The answer to `/livez`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// True if the runtime runs.
    pub live: bool,
    /// Name of the process: the worker's.
    pub name: String,
    /// Time for which the runtime has not run. `None` if no runtime is watched.
    pub silent_seconds: Option<f64>,
}

/// The answer to `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyAnswer {
    /// True if everything is ready.
    pub ready: bool,
    /// Name of the process: the worker's.
    pub name: String,
    /// The parts that are not ready.
    pub not_ready: Vec<UnreadyPart>,
}

impl LiveAnswer {
    pub(super) fn now(name: &str, heartbeat: Option<&Heartbeat>) -> Self {
        let silence = heartbeat.map(Heartbeat::silence);
        Self {
            live: silence.is_none_or(|silence| silence < LONGEST_SILENCE),
            name: name.to_owned(),
            silent_seconds: silence.map(|silence| silence.as_secs_f64()),
        }
    }
}

impl ReadyAnswer {
    pub(super) fn now(name: &str, heartbeat: Option<&Heartbeat>) -> Self {
        let mut not_ready: Vec<_> = sources().iter().flat_map(|source| source.unready()).collect();
        let silence = heartbeat.map(Heartbeat::silence).unwrap_or_default();
        if silence >= LONGEST_SILENCE_IF_READY {
            let reason = format!("it has not run for {:.1}s: a task does not yield", silence.as_secs_f64());
            not_ready.push(UnreadyPart::new("runtime", reason));
        }
        Self { ready: not_ready.is_empty(), name: name.to_owned(), not_ready }
    }
}
