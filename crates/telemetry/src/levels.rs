//! The level of log lines, which a signal can change while the program runs.
//!
//! A line that is not written costs nothing more: `tracing` keeps the verdict of the filter for
//! each place in the code, and asks again only after a change. A line that is written reads a lock.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{EnvFilter, Registry};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::LogLevelChanged;
use crate::trace;

/// Levels of libraries. `telemetry.log.level` overrides them if it names the library.
///
/// lapin logs lost connections as errors, which this project handles and logs itself. sqlx logs at
/// `INFO` that it replaced a pooled connection that did not answer, and at `WARN` each lost
/// connection that returns to its pool. OpenTelemetry logs at `INFO` that it was set up.
const OTHERS: &str = "opentelemetry=warn,lapin=off,sqlx_core=warn,sqlx_core::pool::connection=off";

/// Level of this project's lines while they are debugged.
const DEBUG: &str = "celeriac=debug";

static LEVELS: OnceLock<Mutex<LogLevels>> = OnceLock::new();

/// The filter of the log lines, with its handle.
pub(crate) type LogFilter = (reload::Layer<EnvFilter, Registry>, LogLevels);

/// The levels of the log lines.
#[derive(Debug)]
pub(crate) struct LogLevels {
    filter: Handle<EnvFilter, Registry>,
    /// The configured level.
    configured: String,
    is_debug: bool,
}

/// Returns the filter of a configured level, and the handle that changes it.
pub(crate) fn filter(level: &str) -> Result<LogFilter> {
    let (filter, handle) = reload::Layer::new(read(level)?);
    Ok((filter, LogLevels { filter: handle, configured: level.to_owned(), is_debug: false }))
}

/// Makes these levels the ones that [`toggle_debug`] changes.
pub(crate) fn install(levels: LogLevels) {
    let _ = LEVELS.set(Mutex::new(levels));
}

/// Logs the lines of this project from `DEBUG` on, or as configured again. Does nothing if the
/// program has a `tracing` subscriber of its own.
pub fn toggle_debug() {
    if let Some(levels) = LEVELS.get() {
        levels.lock().unwrap_or_else(PoisonError::into_inner).toggle();
    }
}

impl LogLevels {
    fn toggle(&mut self) {
        let configured = self.configured.as_str();
        let level = if self.is_debug { configured.to_owned() } else { format!("{configured},{DEBUG}") };
        let Ok(filter) = read(&level) else { return };
        // Written while the lines of both levels are enabled.
        let changed = LogLevelChanged { level: &level };
        if self.is_debug {
            changed.emit();
        }
        if self.filter.reload(filter).is_ok() {
            self.is_debug = !self.is_debug;
        }
        if self.is_debug {
            changed.emit();
        }
    }
}

fn read(level: &str) -> Result<EnvFilter> {
    let invalid = |error: &dyn std::error::Error| Error::Invalid {
        key: "telemetry.log.level".to_owned(),
        reason: error.to_string(),
    };
    let mut filter = EnvFilter::try_new(format!("{OTHERS},{level}")).map_err(|error| invalid(&error))?;
    if filter.max_level_hint() != Some(LevelFilter::OFF) {
        // The span that names the task is always enabled, so that every log line has task, id and
        // trace id.
        let names: Directive = format!("{}=error", trace::TASK_TARGET).parse().map_err(|error| invalid(&error))?;
        filter = filter.add_directive(names);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use tracing::Dispatch;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::events::client::TaskWritten;
    use crate::lines::LogLayer;
    use crate::options::LogFormat;
    use crate::setup::testing::Captured;

    #[test]
    fn a_signal_shows_the_lines_of_this_project_and_the_next_one_hides_them() {
        let captured = Captured::default();
        let (filter, mut levels) = filter("warn,celeriac::broker=error").unwrap();
        let written = captured.clone();
        let layer = LogLayer { format: LogFormat::Text, color: false, writer: move || written.clone() };
        let dispatch = Dispatch::from(Registry::default().with(layer.with_filter(filter)));
        tracing::dispatcher::with_default(&dispatch, || {
            let step = |id| {
                TaskWritten { task: "t", id }.emit();
                tracing::debug!(target: "app", id, "a line of the program");
                tracing::debug!(target: "celeriac::broker", id, "a line with a level of its own");
            };
            step("1");
            levels.toggle();
            step("2");
            levels.toggle();
            step("3");
        });
        let lines = captured.text();
        let ends: Vec<_> = lines.lines().filter_map(|line| line.split_once(": ")).map(|(_, end)| end).collect();
        let changed = |level| format!("log level changed level=\"{level}\"");
        let debug = "warn,celeriac::broker=error,celeriac=debug";
        assert_eq!(
            ends,
            [changed(debug), "task written to outbox task=t id=2".to_owned(), changed("warn,celeriac::broker=error")]
        );
    }
}
