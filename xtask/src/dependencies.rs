//! `dependencies`: the code of others that this project takes in, and its terms.

mod deny;
mod record;

use anyhow::Result;

pub(crate) use self::deny::deny;
use crate::run::step;

pub(crate) fn dependencies() -> Result<()> {
    step("record of dependencies", record)?;
    step("dependencies", deny)
}

/// Compares the record of direct dependencies with the dependencies.
pub(crate) fn record() -> Result<()> {
    record::check()
}
