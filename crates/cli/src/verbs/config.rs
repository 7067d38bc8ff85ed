//! `config`: checks that the loaded configuration suits the program's tasks, or shows it.

use celeriac_worker::Error as WorkerError;
use serde::Serialize;

use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::worker::IN_PROCESS;

#[derive(Serialize)]
struct Checked {
    ok: bool,
}

pub(crate) fn check(program: &Program, json: bool) -> Result<(), Error> {
    if let Some(task) = program.registry.first_transactional()
        && !program.results.are_on_postgres()
    {
        return Err(WorkerError::NoTransactions { task }.into());
    }
    if program.is_in_process() {
        output::notice(IN_PROCESS);
    }
    for warning in &program.warnings {
        output::notice(&format!("warning: {warning}"));
    }
    output::answer(json, &Checked { ok: true }, || "configuration is valid".to_owned());
    Ok(())
}

/// Prints YAML even with `--json`, because the files hold YAML.
pub(crate) fn show(program: &Program) {
    output::answer(false, &(), || program.configuration.clone());
}
