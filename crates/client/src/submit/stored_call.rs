//! Calls that SQL wrote to the outbox: Celery's signatures, of which the relay makes messages.

use celeriac_protocol::headers::names;
use celeriac_protocol::{Codec, DecodeLimits, Signature, TaskOptions, Value};
use celeriac_results::outbox::OutboxMessage;
use celeriac_topology::{CallRoute, RouteRequest, RouteRule};
use jiff::Timestamp;

use super::resolve::DynamicCall;
use crate::client::Client;
use crate::error::{Error, Result};

/// Entry of a signature with the number of replays, which `celeriac.retry` writes.
const REPLAYS: &str = "replays";

/// A call that SQL wrote to the outbox.
#[derive(Debug)]
#[doc(hidden)]
pub struct StoredCall {
    /// The call.
    pub request: DynamicCall,
    /// Number of replays, if it is one.
    replays: u32,
    order_key: Option<String>,
}

impl Client {
    /// Reads a call of an outbox row.
    ///
    /// # Errors
    /// Returns an error if it is not a valid signature.
    #[doc(hidden)]
    pub fn read_stored_call(&self, row: &OutboxMessage, call: &str) -> Result<StoredCall> {
        let refused = |reason: String| Error::Call { task: row.task.clone(), reason };
        let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
        let value = Codec::Json.decode_value(call.as_bytes(), &limits).map_err(|error| refused(error.to_string()))?;
        let mut signature = Signature::from_value(value).map_err(|error| refused(error.to_string()))?;
        let replays = signature.other.swap_remove(REPLAYS).and_then(|replays| replays.as_i64()).unwrap_or_default();
        let queue = match signature.options.swap_remove("queue") {
            Some(Value::Text(queue)) => Some(queue),
            _ => None,
        };
        let mut request = DynamicCall::from_signature(signature, self.topology())?;
        request.options.id = Some(row.id.clone());
        if queue.is_some() {
            // As for a call of a program, the queue has to be declared.
            request.options.route = CallRoute { queue, ..request.options.route };
        }
        let replays = u32::try_from(replays).unwrap_or_default();
        Ok(StoredCall { request, replays, order_key: row.order_key.clone() })
    }

    /// Returns true if neither the call nor a route names a destination.
    #[doc(hidden)]
    pub fn is_for_default_queue(&self, call: &DynamicCall) -> bool {
        let DynamicCall { task, body, options } = call;
        let request = RouteRequest { task, args: &body.args, kwargs: &body.kwargs, headers: &options.headers };
        let explained = self.inner.router.explain(request, &options.route, None);
        explained.is_ok_and(|explained| explained.rule == RouteRule::Default)
    }

    /// Makes a message of a call that was written at `called_at`, by the rules of
    /// [`Client::submit`]. `declared` are the options of the task's declaration.
    ///
    /// # Errors
    /// Returns an error if the options conflict, the arguments cannot be serialised, or no route
    /// matches.
    #[doc(hidden)]
    pub fn prepare_stored_call(
        &self,
        call: StoredCall,
        called_at: Timestamp,
        declared: TaskOptions,
    ) -> Result<OutboxMessage> {
        let StoredCall { request, replays, order_key } = call;
        let mut resolved = self.resolve(request, declared);
        resolved.called_at = Some(called_at);
        let mut message = self.prepare_resolved(resolved)?.into_outbox_message();
        message.order_key = order_key;
        if replays > 0 {
            message.message.headers.insert(names::REPLAYED, replays);
        }
        Ok(message)
    }
}
