//! `config`: the configuration was read before; what is left is whether it suits the program's tasks, and to say so.

use serde::Serialize;

use crate::application::Program;
use crate::error::Error;
use crate::output;

#[derive(Serialize)]
struct Checked {
    ok: bool,
}

pub(crate) fn check<P: Program>(program: &P, json: bool) -> Result<(), Error> {
    for warning in program.check()? {
        output::notice(&format!("warning: {warning}"));
    }
    output::answer(json, &Checked { ok: true }, || "the configuration can start".to_owned());
    Ok(())
}

/// YAML in either case: it is what the files hold.
pub(crate) fn show<P: Program>(program: &P) {
    output::answer(false, &(), || program.configuration());
}
