//! `config`: the configuration was read before; what is left is to say so.

use serde::Serialize;

use crate::application::Program;
use crate::output;

#[derive(Serialize)]
struct Checked {
    ok: bool,
}

pub(crate) fn check(json: bool) {
    output::answer(json, &Checked { ok: true }, || "the configuration can start".to_owned());
}

/// YAML in either case: it is what the files hold.
pub(crate) fn show<P: Program>(program: &P) {
    output::answer(false, &(), || program.configuration());
}
