//! Errors of the client library, and the broker's replies in them.

use lapin::ErrorKind;
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::error::Error;

/// Returns the error for a failure that has no variant of its own.
pub(super) fn client_error(doing: &str, error: lapin::Error) -> Error {
    Error::Amqp { doing: doing.to_owned(), source: Box::new(error) }
}

/// Returns the broker's reply, if it refused a request.
pub(super) fn protocol_error(error: &lapin::Error) -> Option<&AMQPError> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said),
        _ => None,
    }
}

/// Returns `true` if the broker refused a request with this code.
pub(super) fn is_soft(error: &lapin::Error, soft: AMQPSoftError) -> bool {
    protocol_error(error).is_some_and(|said| *said.kind() == AMQPErrorKind::Soft(soft))
}

/// Returns `true` if the connection was lost before the broker answered.
pub(super) fn lost_its_connection(error: &Error) -> bool {
    let Error::Amqp { source, .. } = error else { return false };
    let Some(error) = source.downcast_ref::<lapin::Error>() else { return false };
    match error.kind() {
        ErrorKind::IOError(_)
        | ErrorKind::MissingHeartbeatError
        | ErrorKind::InvalidConnectionState(_)
        | ErrorKind::InvalidChannelState(..) => true,
        ErrorKind::ProtocolError(said) => *said.kind() == AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED),
        _ => false,
    }
}
