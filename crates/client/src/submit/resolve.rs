//! The options that hold for a call: its own, then the configuration's overrides, then what is
//! declared with its task.

use celeriac_protocol::{Body, Task, TaskOptions};

use crate::call::{Call, CallOptions, Expiry};
use crate::client::Client;
use crate::error::{Error, Result};

/// A call of a task that this program knows by its name alone, for
/// [`Client::submit_dynamic`](crate::Client::submit_dynamic).
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicCall {
    /// Name of the task.
    pub task: String,
    /// Arguments.
    pub body: Body,
    /// Options of the call.
    pub options: CallOptions,
}

/// A call whose options are settled.
#[derive(Debug)]
pub(crate) struct ResolvedCall {
    pub(crate) request: DynamicCall,
    /// The queue that is declared with the task.
    pub(crate) declared_queue: Option<&'static str>,
}

impl Client {
    /// Resolves a call of a task that is known here.
    pub(crate) fn resolve_typed<T: Task>(&self, call: Call<T>) -> Result<ResolvedCall> {
        let body = Body::of_call(&call.args).map_err(|source| unwritable(T::NAME, source))?;
        Ok(self.resolve(DynamicCall { task: T::NAME.to_owned(), body, options: call.options }, T::options()))
    }

    /// Gives a call what it does not say itself.
    pub(crate) fn resolve(&self, mut request: DynamicCall, declared: TaskOptions) -> ResolvedCall {
        let declared = self.inner.overrides.apply(&request.task, declared);
        let options = &mut request.options;
        options.route.priority = options.route.priority.or(declared.priority);
        options.expires = options.expires.or(declared.expires.map(Expiry::After));
        if declared.ignore_result {
            options.ignore_result.get_or_insert(true);
        }
        ResolvedCall { request, declared_queue: declared.queue }
    }
}

pub(super) fn unwritable(task: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Encode { task: task.to_owned(), source: Box::new(source) }
}
