//! Panics of users' code as errors: those of a call, of a future, and of the drop of a future.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use celeriac_protocol::TaskHeaders;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::task::TaskDropPanicked;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::task::error::TaskError;
use crate::task::received::Received;

/// Runs a call of users' code. Returns its panic as an error.
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, TaskError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(TaskError::from_panic)
}

/// A future of users' code. Its output is an error if it panics. A panic in its drop is logged: the
/// end of a future that a limit, a termination or a stop cuts off is decided already.
pub(crate) struct Contained<'a, T> {
    future: Option<BoxFuture<'a, T>>,
    received: Arc<Received>,
}

impl<'a, T> Contained<'a, T> {
    pub(crate) fn new(received: Arc<Received>, future: BoxFuture<'a, T>) -> Self {
        Self { future: Some(future), received }
    }

    fn drop_future(&mut self) {
        let Some(future) = self.future.take() else { return };
        if let Err(error) = catch(|| drop(future)) {
            let TaskHeaders { task, id, .. } = &self.received.headers;
            TaskDropPanicked { task, id, error: &error.failure().message }.emit();
        }
    }
}

impl<T> Future for Contained<'_, T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A future is not polled after its end.
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = match catch(|| future.poll_unpin(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        self.drop_future();
        Poll::Ready(polled)
    }
}

impl<T> Drop for Contained<'_, T> {
    fn drop(&mut self) {
        self.drop_future();
    }
}
