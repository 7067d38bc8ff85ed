//! The effects of tasks: lines in a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use celeriac::prelude::*;
use celeriac::protocol::Value;

/// A file that tasks append lines to.
pub(crate) struct Journal(PathBuf);

impl Journal {
    /// Returns the file that `FLEET_JOURNAL` names.
    pub(crate) fn from_environment() -> Self {
        Self(std::env::var_os("FLEET_JOURNAL").map_or_else(|| "fleet.jsonl".into(), PathBuf::from))
    }

    /// Appends a line for a running task.
    pub(crate) fn write(ctx: &TaskContext, words: impl IntoIterator<Item = Value>) -> TaskResult<()> {
        let words: Value = words.into_iter().collect();
        let line = value!({"root": ctx.root_id(), "task": ctx.name(), "words": words});
        let line = format!("{}\n", serde_json::to_string(&line)?);
        let Self(path) = &*ctx.state::<Self>()?;
        Ok(OpenOptions::new().append(true).create(true).open(path)?.write_all(line.as_bytes())?)
    }
}
