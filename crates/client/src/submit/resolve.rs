//! Merges the options of a call: its own win over the overrides of the configuration, which win
//! over the declaration of its task.

use celeriac_protocol::task::{FieldPaths, TrackedStates};
use celeriac_protocol::{Body, Parameter, Task, TaskOptions, Value};
use jiff::Timestamp;

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

impl DynamicCall {
    /// Returns the name of the task whose routes the message follows. As in Celery, a task that
    /// calls another one with each item of a list goes where the other one goes.
    #[doc(hidden)]
    pub fn routed_as(&self) -> &str {
        routed_as(&self.task, &self.body)
    }
}

pub(super) fn routed_as<'a>(task: &'a str, body: &'a Body) -> &'a str {
    if !matches!(task, "celery.map" | "celery.starmap" | "celery.chunks") {
        return task;
    }
    match body.kwargs.get("task").or(body.args.first()) {
        Some(Value::Map(signature)) => signature.get("task").and_then(Value::as_str).unwrap_or(task),
        _ => task,
    }
}

/// A call with merged options.
#[derive(Debug)]
pub(crate) struct ResolvedCall {
    pub(crate) request: DynamicCall,
    /// The queue of the task's declaration.
    pub(crate) declared_queue: Option<&'static str>,
    /// Time of the call, from which delays and expiries count. Default: now.
    pub(crate) called_at: Option<Timestamp>,
    /// The states of the task that are written.
    pub(crate) track: TrackedStates,
    /// The arguments that headers for people do not show.
    pub(crate) redact: Option<FieldPaths>,
    /// The parameters, of a task that is declared.
    pub(crate) parameters: Option<&'static [Parameter]>,
}

impl Client {
    /// Resolves a call of a declared task.
    pub(crate) fn resolve_typed<T: Task>(&self, call: Call<T>) -> Result<ResolvedCall> {
        let (args, options, problem) = call.into_parts();
        if let Some(problem) = problem {
            return Err(problem.into());
        }
        let body = Body::of_task::<T>(&args).map_err(|source| unwritable(T::NAME, source))?;
        let request = DynamicCall { task: T::NAME.to_owned(), body, options };
        Ok(ResolvedCall { parameters: Some(T::parameters()), ..self.resolve(request, T::options()) })
    }

    /// Fills in the options that the call does not set.
    pub(crate) fn resolve(&self, mut request: DynamicCall, declared: TaskOptions) -> ResolvedCall {
        let declared = self.inner.overrides.apply(&request.task, declared);
        let options = &mut request.options;
        options.route.priority = options.route.priority.or(declared.priority);
        options.expires = options.expires.or(declared.expires.map(Expiry::After));
        if declared.ignore_result {
            options.ignore_result.get_or_insert(true);
        }
        let track = declared.track.unwrap_or(self.inner.track);
        ResolvedCall {
            request,
            declared_queue: declared.queue,
            called_at: None,
            track,
            redact: declared.redact.filter(|paths| !paths.is_empty()),
            parameters: None,
        }
    }
}

pub(super) fn unwritable(task: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Encode { task: task.to_owned(), source: Box::new(source) }
}
