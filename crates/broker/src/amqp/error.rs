//! Errors of the client library, and what the broker said in them.

use lapin::ErrorKind;
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

use crate::error::Error;

/// Anything that has no error of its own.
pub(super) fn client_error(doing: &str, error: lapin::Error) -> Error {
    Error::Amqp { doing: doing.to_owned(), source: Box::new(error) }
}

/// The broker's own words, where it refused a request.
pub(super) fn protocol_error(error: &lapin::Error) -> Option<&AMQPError> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said),
        _ => None,
    }
}

/// Whether the broker refused a request so.
pub(super) fn is_soft(error: &lapin::Error, soft: AMQPSoftError) -> bool {
    protocol_error(error).is_some_and(|said| *said.kind() == AMQPErrorKind::Soft(soft))
}
