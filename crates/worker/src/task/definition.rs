//! A task as a worker knows it: a name and a function.
//!
//! A [`TaskDefinition`] has no type parameters, so the rest of the worker has none.

use std::fmt;
use std::future::Future;
use std::panic::Location;

use celeriac_client::Call;
use celeriac_protocol::redact::{RedactedValues, redact};
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::value::{Map, Value};
use celeriac_protocol::{ArgumentError, Arguments, Body, Parameter, Task, TaskOptions, TaskValue};
use celeriac_results::PgConnection;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::task::context::TaskContext;
use crate::task::error::{TaskError, TaskResult};
use crate::task::hooks::{HookList, Hooks};
use crate::task::result::{JsonResult, write};

/// A task that runs on the runtime, beside many others.
pub trait AsyncTask: Task {
    /// Runs the task.
    fn run(ctx: TaskContext, args: Self::Args) -> impl Future<Output = TaskResult<Self::Output>> + Send;
}

/// A task that blocks. It has a thread of its own while it runs.
pub trait BlockingTask: Task {
    /// Runs the task.
    ///
    /// # Errors
    /// Returns the error of the task.
    fn run(ctx: TaskContext, args: Self::Args) -> TaskResult<Self::Output>;
}

/// A task that works in a transaction of the worker, which commits together with its outcome.
pub trait TransactionalTask: Task {
    /// Runs the task.
    fn run(
        ctx: TaskContext,
        transaction: &mut PgConnection,
        args: Self::Args,
    ) -> impl Future<Output = TaskResult<Self::Output>> + Send;
}

/// A task that can be registered with a worker. `#[task]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not a task",
    note = "put `#[task]` on its function, and list it by the name of the function"
)]
pub trait IntoTaskDefinition: Task {
    /// Returns the name and the function of the task.
    fn definition() -> TaskDefinition;
}

/// A function that `#[task]` has made, as `tasks![…]` lists it. `Parameters` tells functions with
/// different numbers of arguments apart.
///
/// A list names functions and not the types of tasks. The compiler then reports a function without
/// `#[task]` as one, where a type would only be missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not a task",
    note = "put `#[task]` on the function, and list it by its name",
    note = "a task without a body runs in another program and is not listed"
)]
pub trait TaskFunction<Parameters> {
    /// Returns the name and the function of the task.
    fn definition(self) -> TaskDefinition;
}

macro_rules! task_functions {
    ($($argument:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<F, T, $($argument),*> TaskFunction<fn($($argument),*)> for F
        where
            F: Fn($($argument),*) -> Call<T>,
            T: IntoTaskDefinition,
        {
            fn definition(self) -> TaskDefinition {
                T::definition()
            }
        }
    };
}

task_functions!();
task_functions!(A);
task_functions!(A B);
task_functions!(A B C);
task_functions!(A B C D);
task_functions!(A B C D E);
task_functions!(A B C D E G);
task_functions!(A B C D E G H);
task_functions!(A B C D E G H I);
task_functions!(A B C D E G H I J);
task_functions!(A B C D E G H I J K);
task_functions!(A B C D E G H I J K L);
task_functions!(A B C D E G H I J K L M);

/// The return type of a task's function: a `Result` whose error becomes a [`TaskError`].
#[diagnostic::on_unimplemented(
    message = "a task returns `TaskResult<T>` or `Result<T, E>` with an error",
    label = "returns `{Self}`",
    note = "write `-> TaskResult<{Self}>` and wrap the value in `Ok(…)`"
)]
pub trait TaskReturn {
    /// The value of a success.
    type Output: TaskValue + Send + 'static;

    /// Converts to a [`TaskResult`].
    ///
    /// # Errors
    /// Returns an error if the task failed.
    fn into_task_result(self) -> TaskResult<Self::Output>;
}

impl<T, E> TaskReturn for Result<T, E>
where
    T: TaskValue + Send + 'static,
    E: Into<TaskError>,
{
    type Output = T;
    fn into_task_result(self) -> TaskResult<T> {
        self.map_err(Into::into)
    }
}

type AsyncRun = fn(TaskContext, Body) -> Result<BoxFuture<'static, JsonResult>, ArgumentError>;
type NativeRun = fn(TaskContext, Body) -> BoxFuture<'static, JsonResult>;
type TransactionalRun = fn(TaskContext, Body) -> Result<InTransaction, ArgumentError>;
/// An attempt, before its transaction is open.
pub(crate) type InTransaction = Box<dyn for<'t> FnOnce(&'t mut PgConnection) -> BoxFuture<'t, JsonResult> + Send>;
type BlockingRun = fn(TaskContext, Body) -> Result<Box<dyn FnOnce() -> JsonResult + Send>, ArgumentError>;

#[derive(Clone, Copy)]
pub(crate) enum Runner {
    Async(AsyncRun),
    Blocking(BlockingRun),
    Transactional(TransactionalRun),
    /// One of Celery's own tasks, which accepts any arguments.
    Native(NativeRun),
}

/// The parameters of a task, and the check that arguments fit them.
#[derive(Clone, Copy)]
struct AcceptedArguments {
    parameters: fn() -> &'static [Parameter],
    check: fn(Body) -> Result<(), ArgumentError>,
}

/// A task as a worker knows it.
#[derive(Clone)]
pub struct TaskDefinition {
    /// Name of the task.
    pub name: &'static str,
    /// Options declared with the task.
    pub options: TaskOptions,
    pub(crate) runner: Runner,
    /// `None` for Celery's own tasks, which accept any arguments.
    accepted: Option<AcceptedArguments>,
    hooks: HookList,
    defined: &'static Location<'static>,
}

impl TaskDefinition {
    /// Returns the definition of a function that `#[task]` has made.
    pub fn of<Parameters>(function: impl TaskFunction<Parameters>) -> Self {
        function.definition()
    }

    /// Defines an asynchronous task.
    #[track_caller]
    pub fn asynchronous<T: AsyncTask>() -> Self {
        Self::new::<T>(Runner::Async(run_async::<T>))
    }

    /// Defines a blocking task.
    #[track_caller]
    pub fn blocking<T: BlockingTask>() -> Self {
        Self::new::<T>(Runner::Blocking(run_blocking::<T>))
    }

    /// Defines a task that works in a transaction of the worker.
    #[track_caller]
    pub fn transactional<T: TransactionalTask>() -> Self {
        Self::new::<T>(Runner::Transactional(run_transactional::<T>))
    }

    /// Defines one of Celery's own tasks.
    #[track_caller]
    pub(crate) fn native(name: &'static str, options: TaskOptions, run: NativeRun) -> Self {
        Self::of_name(name, options, Runner::Native(run))
    }

    #[track_caller]
    fn new<T: Task>(runner: Runner) -> Self {
        let accepted = AcceptedArguments { parameters: T::parameters, check: check::<T> };
        Self { accepted: Some(accepted), ..Self::of_name(T::NAME, T::options(), runner) }
    }

    #[track_caller]
    fn of_name(name: &'static str, options: TaskOptions, runner: Runner) -> Self {
        let (hooks, defined) = (HookList::default(), Location::caller());
        Self { name, options, runner, accepted: None, hooks, defined }
    }

    /// Returns the place of its definition in the source: that of `#[task]`.
    pub fn defined_at(&self) -> &'static Location<'static> {
        self.defined
    }

    /// Returns the same task with these hooks, inside those that it has.
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.add(hooks);
        self
    }

    /// Returns its own hooks, or `None` for Celery's own tasks, which have no hooks at all.
    pub(crate) fn own_hooks(&self) -> Option<&HookList> {
        (!matches!(self.runner, Runner::Native(_))).then_some(&self.hooks)
    }

    /// Returns the parameters, or `None` for Celery's own tasks, which accept any arguments.
    pub fn parameters(&self) -> Option<&'static [Parameter]> {
        self.accepted.map(|accepted| (accepted.parameters)())
    }

    /// Decodes arguments as a worker does before it runs the task.
    ///
    /// # Errors
    /// Returns an error if an argument is missing, unexpected, given twice, or of the wrong type.
    pub fn check_arguments(&self, body: Body) -> Result<(), ArgumentError> {
        self.accepted.map_or(Ok(()), |accepted| (accepted.check)(body))
    }

    /// Replaces the arguments that the task redacts by a mark. Returns their values.
    pub(crate) fn redact(&self, args: &mut [Value], kwargs: &mut Map) -> RedactedValues {
        match &self.options.redact {
            Some(paths) => redact(paths, self.parameters(), args, kwargs),
            None => RedactedValues::default(),
        }
    }

    /// Returns the arguments as Python prints them, without those that the task redacts.
    pub(crate) fn shown_arguments(&self, body: &Body) -> (String, String) {
        if self.options.redact.is_none() {
            return (repr_args(&body.args), repr_kwargs(&body.kwargs));
        }
        let (mut args, mut kwargs) = (body.args.clone(), body.kwargs.clone());
        self.redact(&mut args, &mut kwargs);
        (repr_args(&args), repr_kwargs(&kwargs))
    }

    /// Returns `true` if the task has a thread of its own.
    pub fn is_blocking(&self) -> bool {
        matches!(self.runner, Runner::Blocking(_))
    }

    /// Returns `true` if the task works in a transaction of the worker.
    pub fn is_transactional(&self) -> bool {
        matches!(self.runner, Runner::Transactional(_))
    }

    /// Returns how it runs: `async`, `blocking` or `transactional`.
    pub fn kind(&self) -> &'static str {
        match self.runner {
            Runner::Async(_) | Runner::Native(_) => "async",
            Runner::Blocking(_) => "blocking",
            Runner::Transactional(_) => "transactional",
        }
    }

    /// Returns `true` if an attempt can be ended from outside, as by a hard time limit.
    pub fn can_be_ended(&self) -> bool {
        match self.runner {
            Runner::Async(_) | Runner::Native(_) | Runner::Transactional(_) => true,
            Runner::Blocking(_) => false,
        }
    }
}

impl fmt::Debug for TaskDefinition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskDefinition")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("blocking", &self.is_blocking())
            .finish()
    }
}

fn check<T: Task>(body: Body) -> Result<(), ArgumentError> {
    T::Args::bind(T::parameters(), body.args, body.kwargs).map(drop)
}

fn run_async<T: AsyncTask>(ctx: TaskContext, body: Body) -> Result<BoxFuture<'static, JsonResult>, ArgumentError> {
    let args = T::Args::bind(T::parameters(), body.args, body.kwargs)?;
    Ok(async move { write(&T::run(ctx, args).await?) }.boxed())
}

fn run_blocking<T: BlockingTask>(
    ctx: TaskContext,
    body: Body,
) -> Result<Box<dyn FnOnce() -> JsonResult + Send>, ArgumentError> {
    let args = T::Args::bind(T::parameters(), body.args, body.kwargs)?;
    Ok(Box::new(move || write(&T::run(ctx, args)?)))
}

fn run_transactional<T: TransactionalTask>(ctx: TaskContext, body: Body) -> Result<InTransaction, ArgumentError> {
    let args = T::Args::bind(T::parameters(), body.args, body.kwargs)?;
    Ok(Box::new(move |transaction| async move { write(&T::run(ctx, transaction, args).await?) }.boxed()))
}
