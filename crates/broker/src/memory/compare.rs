//! Comparison of the arguments of an existing object.

use crate::error::{Error, Result};

/// Compares an argument. An argument that the configuration omits may have any value.
pub(super) fn equal<T: PartialEq + ToString>(
    object: impl Fn() -> String,
    argument: &str,
    found: Option<T>,
    expected: Option<T>,
) -> Result<()> {
    if expected.is_none() || found == expected {
        return Ok(());
    }
    let shown =
        |value: Option<T>| value.map_or_else(|| "not set".to_owned(), |value| format!("`{}`", value.to_string()));
    Err(Error::Mismatch {
        object: object(),
        argument: argument.to_owned(),
        found: shown(found),
        expected: shown(expected),
    })
}
