//! Errors of the driver, by their meaning for the caller.

use sqlx::Error as Cause;

use crate::error::Error;

/// Converts an error of the driver. `url` is the store without password.
pub(super) fn error(url: &str, doing: &'static str, cause: Cause) -> Error {
    if let Some(reason) = distrust(&cause) {
        return Error::Untrusted { url: url.to_owned(), reason };
    }
    if is_lost(&cause) || is_read_only(&cause) {
        return Error::Unreachable { url: url.to_owned(), source: cause.into() };
    }
    match code(&cause).as_deref() {
        Some(code) if is_denied(code) => Error::Denied { url: url.to_owned(), reason: said(&cause) },
        Some("42P01" | "42703" | "3F000") => Error::Schema { url: url.to_owned(), reason: said(&cause) },
        Some(code) if is_pooled(code) => Error::Pooled { doing, url: url.to_owned() },
        Some(code) if is_passing(code) => Error::Busy { doing, source: cause.into() },
        _ => Error::Sql { doing, source: cause.into() },
    }
}

/// Returns the reason why there is no TLS with the server, or not with the one that is meant.
fn distrust(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Tls(error) => Some(error.to_string()),
        // The TLS library reports its own errors in this form, such as an unknown authority.
        Cause::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Some(error.to_string()),
        _ => None,
    }
}

/// Returns the reason why the database refuses a value, if the value is the cause.
pub(super) fn refusal(cause: &Cause) -> Option<String> {
    if matches!(cause, Cause::Encode(_)) {
        return Some(cause.to_string());
    }
    // 22: invalid value for its type; 23: constraint; 54: too large or too deep.
    let code = code(cause)?;
    ["22", "23", "54"].iter().any(|class| code.starts_with(class)).then(|| said(cause))
}

/// Returns `true` if the connection is lost or unusable.
pub(super) fn is_lost(cause: &Cause) -> bool {
    match cause {
        Cause::Database(_) => code(cause).is_some_and(|code| {
            // 57P: the server ends the session or is not ready; 08: protocol; 53300: too many
            // connections.
            code.starts_with("57P") || code.starts_with("08") || code == "53300"
        }),
        Cause::Io(_) | Cause::Protocol(_) | Cause::PoolTimedOut | Cause::WorkerCrashed => true,
        _ => false,
    }
}

/// Returns `true` if the server takes no writes: it is a standby, or read-only.
pub(super) fn is_read_only(cause: &Cause) -> bool {
    code(cause).is_some_and(|code| code == "25006")
}

/// Returns `true` if a disk of the server is full.
pub(super) fn is_disk_full(cause: &Cause) -> bool {
    // A statement whose own temporary files fill the disk is at fault itself.
    code(cause).is_some_and(|code| code == "53100") && !said(cause).contains("pgsql_tmp")
}

/// Returns `true` if an earlier statement of the transaction has failed.
pub(super) fn is_aborted(cause: &Cause) -> bool {
    code(cause).is_some_and(|code| code == "25P02")
}

/// Returns `true` if another attempt to connect may succeed within a moment.
pub(super) fn is_starting(cause: &Cause) -> bool {
    match cause {
        Cause::Io(error) => {
            use std::io::ErrorKind as Kind;
            // `NotFound`: the socket file of a local server that has not started yet.
            matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::BrokenPipe
                    | Kind::UnexpectedEof
                    | Kind::NotFound
            )
        }
        // The driver's message for a server or proxy that closes the connection before its first
        // answer.
        Cause::Protocol(said) => said.contains("SSLRequest: 0x00"),
        Cause::Database(_) => is_lost(cause),
        _ => false,
    }
}

fn is_denied(code: &str) -> bool {
    // 28: authentication; 3D000: no such database; 42501: permission denied.
    code.starts_with("28") || code == "3D000" || code == "42501"
}

fn is_passing(code: &str) -> bool {
    // 40: deadlock or serialisation; 53: out of disk, memory or connections; 55: lock; 57014:
    // statement timeout.
    ["40", "53", "55"].iter().any(|class| code.starts_with(class)) || code == "57014"
}

/// Returns `true` if the store takes no writes at present, whoever writes.
pub(super) fn is_unwritable(error: &Error) -> bool {
    let Error::Busy { source, .. } = error else { return false };
    let code = source.downcast_ref::<Cause>().and_then(code);
    // 53: out of disk or memory; 25006: a standby, or read-only.
    code.is_some_and(|code| code.starts_with("53") || code == "25006")
}

fn is_pooled(code: &str) -> bool {
    // A prepared statement is unknown, or known already: it belongs to another client's session.
    code == "26000" || code == "42P05"
}

fn code(cause: &Cause) -> Option<String> {
    Some(cause.as_database_error()?.code()?.into_owned())
}

fn said(cause: &Cause) -> String {
    match cause.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => cause.to_string(),
    }
}
