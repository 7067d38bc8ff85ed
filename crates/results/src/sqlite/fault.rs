//! Errors of the driver, by their meaning for the caller.

use sqlx::Error as Cause;

use crate::error::Error;

/// Converts an error of the driver. `url` is the file.
pub(super) fn error(url: &str, doing: &'static str, cause: Cause) -> Error {
    if matches!(cause, Cause::PoolClosed) {
        return Error::Closed;
    }
    if matches!(cause, Cause::PoolTimedOut | Cause::WorkerCrashed | Cause::Io(_)) {
        return Error::Unreachable { url: url.to_owned(), source: cause.into() };
    }
    match code(&cause) {
        // SQLITE_CANTOPEN
        Some(14) => Error::Unreachable { url: url.to_owned(), source: cause.into() },
        // SQLITE_PERM, SQLITE_AUTH
        Some(3 | 23) => Error::Denied { url: url.to_owned(), reason: cause.to_string() },
        // SQLITE_BUSY, _LOCKED, _READONLY, _IOERR, _FULL
        Some(5 | 6 | 8 | 10 | 13) => Error::Busy { doing, source: cause.into() },
        _ => Error::Sql { doing, source: cause.into() },
    }
}

/// Returns the reason why the database refuses a value, if the value is at fault.
pub(super) fn refusal(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Encode(_) => Some(cause.to_string()),
        // SQLITE_TOOBIG, _CONSTRAINT, _MISMATCH
        Cause::Database(error) if matches!(code(cause), Some(18..=20)) => Some(error.message().to_owned()),
        _ => None,
    }
}

/// Returns the primary result code: the low byte of the driver's code.
fn code(cause: &Cause) -> Option<u32> {
    let code: u32 = cause.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
