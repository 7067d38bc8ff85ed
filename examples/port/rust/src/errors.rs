//! The exceptions of `fleet/errors.py`, which the callers of the fleet catch.

use celeriac::TaskError;
use celeriac::protocol::Value;

/// Returns an exception of `fleet.errors`.
fn exception<const N: usize>(kind: &str, args: [Value; N]) -> TaskError {
    TaskError::of_kind(kind, "").of_module("fleet.errors").with_args(args)
}

/// A bank refuses a payment.
pub(crate) fn declined(reason: impl Into<Value>, code: impl Into<Value>) -> TaskError {
    exception("Declined", [reason.into(), code.into()])
}

/// An account lacks an amount.
pub(crate) fn insufficient_funds(account: String, lacking: impl Into<Value>) -> TaskError {
    exception("InsufficientFunds", [account.into(), lacking.into()])
}

/// A service does not answer.
pub(crate) fn unavailable(service: String, status: u16) -> TaskError {
    exception("Unavailable", [service.into(), status.into()])
}
