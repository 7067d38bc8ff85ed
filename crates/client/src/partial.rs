//! Tasks by their names alone: with the arguments after the first, and called with each item of a
//! list.

use std::any::type_name;
use std::marker::PhantomData;

use celeriac_protocol::task::FieldPaths;
use celeriac_protocol::value::ValueError;
use celeriac_protocol::{Arguments, Body, Parameter, Signature, Task, TaskOptions, TaskValue, Value};
use serde::{Serialize, ser};

use crate::call::{Call, part_of};
use crate::canvas::{Bound, Part, PartOrigin, PartProblem, Step, clone_and_debug};
use crate::group::Group;

/// The arguments of a call without the first one, which is the result of the task before.
/// [`TaskVerbs::with`] makes such a call.
pub struct Partial<First> {
    rest: Body,
    first: PhantomData<fn(First)>,
}

clone_and_debug!(Partial { rest, first });

/// Verbs of a task by its name alone.
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// #[task]
/// async fn add(left: i64, right: i64) -> TaskResult<i64> {
///     Ok(left + right)
/// }
///
/// #[task]
/// async fn double(number: i64) -> TaskResult<i64> {
///     Ok(number * 2)
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// // (2 + 2) * 2 + 5, each step a task.
/// let number = add(2, 2).then(double).then(add.with(5)).submit(client).await?;
/// assert_eq!(number.get().await?, 13);
/// # Ok(())
/// # }
/// ```
pub trait TaskVerbs<Form>: Sized {
    /// The task.
    type Task: Task;
    /// Its first argument.
    type First: TaskValue;
    /// Its other arguments: nothing, the second one, or a tuple of several.
    type Rest;

    /// Writes the other arguments.
    #[doc(hidden)]
    fn write(rest: &Self::Rest) -> Result<Vec<Value>, ValueError>;

    /// Gives the task its arguments after the first: Celery's `s`. A task with more than two
    /// arguments takes them as a tuple, `ship.with(("Ada", 3))`, and one with a single argument
    /// takes `()`.
    ///
    /// The options of a call can follow: `add.with(5).queue("sums")`.
    fn with(self, rest: Self::Rest) -> Call<Self::Task, Partial<Self::First>> {
        let others = Self::Task::parameters().get(1..).unwrap_or_default();
        let body = Self::write(&rest).and_then(|args| Body { args, ..Body::default() }.spread(others));
        let (rest, problem) = match body {
            Ok(rest) => (rest, not_a_step::<Self, Self::Task>()),
            Err(error) => (Body::default(), Some(PartProblem::encode(Self::Task::NAME, &error))),
        };
        Call::made(Partial { rest, first: PhantomData }, problem)
    }

    /// Calls the task with each item, one after the other, in one task: Celery's `map`. The result
    /// is the list of results.
    ///
    /// The worker that runs it has to know the task. A transactional task cannot be called so.
    fn map(self, items: impl IntoIterator<Item = Self::First>) -> Call<MapOf<Self::Task>>
    where
        Self: TaskVerbs<Form, Rest = ()>,
    {
        each(items.into_iter().map(|item| Value::from_serialize(&item)))
    }

    /// Calls the task with each tuple of arguments, one after the other, in one task: Celery's
    /// `starmap`.
    fn starmap(self, items: impl IntoIterator<Item = <Self::Task as Task>::Args>) -> Call<StarmapOf<Self::Task>> {
        starmap::<Self::Task>(items)
    }

    /// Splits the tuples of arguments into parts of `size`, each of which is a
    /// [`starmap`](Self::starmap), and returns the group of them: Celery's `chunks`.
    fn chunks(
        self,
        items: impl IntoIterator<Item = <Self::Task as Task>::Args>,
        size: usize,
    ) -> Group<Vec<<Self::Task as Task>::Output>> {
        let mut items = items.into_iter().peekable();
        let parts = std::iter::from_fn(|| {
            items.peek()?;
            Some(starmap::<Self::Task>(items.by_ref().take(size.max(1))))
        });
        let group: Group<_> = parts.collect();
        match size {
            0 => group.refused(PartProblem::call(Self::Task::NAME, "chunks have at least one item")),
            _ => group,
        }
    }
}

/// Calls a task with each tuple of arguments.
fn starmap<T: Task>(items: impl IntoIterator<Item = T::Args>) -> Call<StarmapOf<T>> {
    each(items.into_iter().map(|args| match Body::of_task::<T>(&args)? {
        Body { args, kwargs, .. } if kwargs.is_empty() => Ok(Value::List(args)),
        _ => Err(ser::Error::custom("an item has no arguments by name")),
    }))
}

/// Makes a call of Celery's task that calls another one with each item.
fn each<T: CallsEach>(items: impl Iterator<Item = Result<Value, ValueError>>) -> Call<T> {
    let (values, problem) = match items.collect() {
        Ok(values) => (values, None),
        Err(error) => (Vec::new(), Some(PartProblem::encode(T::Each::NAME, &error))),
    };
    Call::made((Signature::new(T::Each::NAME).into(), values), problem)
}

/// A task of Celery that calls another one with each item of a list.
trait CallsEach: Task<Args = (Value, Vec<Value>)> {
    /// The other task.
    type Each: Task;
}

macro_rules! calls_each {
    ($(#[$doc:meta])* $name:ident, $task:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<T>(PhantomData<fn() -> T>);

        impl<T: Task> Task for $name<T> {
            const NAME: &'static str = $task;
            type Args = (Value, Vec<Value>);
            type Output = Vec<T::Output>;

            fn parameters() -> &'static [Parameter] {
                const { &[Parameter::required("task"), Parameter::required("it")] }
            }

            fn options() -> TaskOptions {
                let TaskOptions { queue, priority, expires, ignore_result, track, redact, .. } = T::options();
                // The list has the arguments of all calls.
                let redact = redact.map(|_| FieldPaths::of(&["it"]));
                TaskOptions { queue, priority, expires, ignore_result, track, redact, ..TaskOptions::default() }
            }
        }

        impl<T: Task> CallsEach for $name<T> {
            type Each = T;
        }
    };
}

calls_each!(
    /// Celery's `celery.map` of a task: see [`TaskVerbs::map`].
    MapOf,
    "celery.map"
);
calls_each!(
    /// Celery's `celery.starmap` of a task: see [`TaskVerbs::starmap`].
    StarmapOf,
    "celery.starmap"
);

/// Writes arguments as a list.
fn list<A: Arguments>(args: &A) -> Result<Vec<Value>, ValueError> {
    Body::of_call(args).map(|body| body.args)
}

/// Writes one argument as a list.
fn one<A: Serialize>(arg: &A) -> Result<Vec<Value>, ValueError> {
    Value::from_serialize(arg).map(|arg| vec![arg])
}

macro_rules! task_verbs {
    ($rest:ty, $write:ident: $($argument:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<F, T, A, $($argument),*> TaskVerbs<fn(A, $($argument),*)> for F
        where
            F: Fn(A, $($argument),*) -> Call<T>,
            T: Task<Args = (A, $($argument),*)>,
            A: TaskValue,
            $($argument: TaskValue + Send + 'static,)*
        {
            type Task = T;
            type First = A;
            type Rest = $rest;

            fn write(rest: &$rest) -> Result<Vec<Value>, ValueError> {
                $write(rest)
            }
        }
    };
}

task_verbs!((), list:);
task_verbs!(B, one: B);
task_verbs!((B, C), list: B C);
task_verbs!((B, C, D), list: B C D);
task_verbs!((B, C, D, E), list: B C D E);
task_verbs!((B, C, D, E, G), list: B C D E G);
task_verbs!((B, C, D, E, G, H), list: B C D E G H);
task_verbs!((B, C, D, E, G, H, I), list: B C D E G H I);
task_verbs!((B, C, D, E, G, H, I, J), list: B C D E G H I J);
task_verbs!((B, C, D, E, G, H, I, J, K), list: B C D E G H I J K);
task_verbs!((B, C, D, E, G, H, I, J, K, L), list: B C D E G H I J K L);
task_verbs!((B, C, D, E, G, H, I, J, K, L, M), list: B C D E G H I J K L M);

impl<T: Task, First> Step<First, Bound> for Call<T, Partial<First>> {
    type Output = T::Output;

    fn into_part(self) -> Part {
        let (Partial { rest, .. }, options, problem) = self.into_parts();
        part_of::<T>(rest, options, problem)
    }
}

#[diagnostic::do_not_recommend]
impl<F, T, A> Step<A, fn(A)> for F
where
    F: Fn(A) -> Call<T>,
    T: Task<Args = (A,)>,
{
    type Output = T::Output;

    fn into_part(self) -> Part {
        Part { signature: Signature::new(T::NAME), origin: PartOrigin::of::<T>(not_a_step::<F, T>()) }
    }
}

/// Makes the compiler report a name that is no step as such, which it does if several
/// implementations might apply. It never applies.
#[diagnostic::do_not_recommend]
impl<F, T, A, B, Input> Step<Input, fn(A, B)> for F
where
    F: Fn(A, B) -> Call<T>,
    T: Task,
    (A, B): OneArgument,
{
    type Output = T::Output;

    fn into_part(self) -> Part {
        Part::from(Signature::new(T::NAME))
    }
}

/// The arguments of a task that is a step by its name alone. No type implements it.
#[doc(hidden)]
pub trait OneArgument {}

/// Returns the problem of a closure, or of another function that returns calls: only the name of a
/// task says that its first argument is the result before. `#[task]` makes a function and a type of
/// one path, which have one name.
fn not_a_step<F, T: Task>() -> Option<PartProblem> {
    let reason = if type_name::<F>() != type_name::<T>() {
        "a step is the name of a task, and not a function that calls it: write `task` or `task.with(…)`"
    } else if T::parameters().first().is_some_and(|first| first.rest.is_some()) {
        "its first argument takes any number of arguments, so it is no step: write a `Signature`"
    } else {
        return None;
    };
    Some(PartProblem::call(T::NAME, reason))
}
