//! Canvases and the steps behind them, with the types of their results.
//!
//! Tasks are put together by type, and turn into Celery's signatures at once. What cannot be
//! written is kept as a problem, which `submit` returns.

use std::future::Future;
use std::marker::PhantomData;

use celeriac_protocol::signature::{SignatureError, SignatureKind};
use celeriac_protocol::{Parameter, Signature, Task, TaskOptions, Value};
use celeriac_results::PgConnection;

use crate::client::Client;
use crate::error::{Error, Result};

/// A task with its arguments, or several tasks that belong together, ready to be submitted: a call,
/// chain, group or chord, or a [`Signature`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call, a chain, a group or a chord",
    label = "cannot be submitted",
    note = "the name of a task alone is not a call: give it its arguments, as in `charge(1299)`"
)]
pub trait Canvas: Sized + Send {
    /// The type of its result.
    type Output;

    /// The handle to it.
    type Handle;

    /// Makes a signature of it.
    #[doc(hidden)]
    fn into_part(self) -> Part;

    /// Writes its messages in a transaction.
    #[doc(hidden)]
    fn submit_within(
        self,
        client: &Client,
        transaction: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Handle>> + Send;
}

/// A canvas that can be a member of a group: a call, a chain, or a [`Signature`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a member of a group",
    label = "not a call or a chain",
    note = "the name of a task alone is not a call: give it its arguments, as in `render(7)`",
    note = "chords cannot be members of a group yet, and the members of a group are added one by one"
)]
pub trait Member: Canvas {}

/// A task that can follow another one, whose result has the type `Input`.
///
/// | step | in Celery | takes |
/// | --- | --- | --- |
/// | `double`, the name of a task with one argument | `double.s()` | the result |
/// | `add.with(5)`: see [`TaskVerbs`](crate::TaskVerbs) | `add.s(5)` | the result, before its other arguments |
/// | `add(2, 3).immutable()` | `add.si(2, 3)` | nothing |
/// | `(double, add.with(5))`, up to six steps in parallel | `group(double.s(), add.s(5))` | the result, each of them |
/// | a [`Signature`] | | whatever it takes: the compiler does not check it |
#[diagnostic::on_unimplemented(
    message = "this task does not take `{Input}` as its first argument",
    label = "its first argument has to be `{Input}`",
    note = "`.then` and `.link` give it the result of the task before, `.on_error` the id of the failed task",
    note = "a task with one argument is a step by its name: `.then(double)`",
    note = "`.with(…)` gives a task its arguments after the first: `.then(add.with(5))`",
    note = "a call with all its arguments ignores the result before it: `.then(add(2, 3).immutable())`"
)]
pub trait Step<Input, Form>: Sized {
    /// The type of its result.
    type Output;

    /// Makes a signature of it.
    #[doc(hidden)]
    fn into_part(self) -> Part;
}

/// The form of a step that is a value, and not the name of a task.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Bound {}

/// A signature that was made of typed parts.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Part {
    pub(crate) signature: Signature,
    pub(crate) origin: PartOrigin,
}

/// Declarations of the parts of a canvas, and the first problem, beside their signatures.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartOrigin {
    declared: Vec<Declaration>,
    problem: Option<PartProblem>,
}

/// The declaration of a task, for its first message. A worker that sends later ones has its own.
#[derive(Debug, Clone, Copy)]
struct Declaration {
    task: &'static str,
    options: fn() -> TaskOptions,
    parameters: fn() -> &'static [Parameter],
}

/// A part that cannot be sent.
#[derive(Debug, Clone)]
pub(crate) enum PartProblem {
    /// Its arguments cannot be written.
    Encode { task: String, reason: String },
    /// Its options are not those of a part.
    Call { task: String, reason: String },
}

impl From<PartProblem> for Error {
    fn from(problem: PartProblem) -> Self {
        match problem {
            PartProblem::Encode { task, reason } => Self::Encode { task, source: reason.into() },
            PartProblem::Call { task, reason } => Self::Call { task, reason },
        }
    }
}

impl PartProblem {
    pub(crate) fn encode(task: &str, reason: &impl ToString) -> Self {
        Self::Encode { task: task.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn call(task: &str, reason: &str) -> Self {
        Self::Call { task: task.to_owned(), reason: reason.to_owned() }
    }
}

impl PartOrigin {
    /// Returns the origin of a call of a declared task.
    pub(crate) fn of<T: Task>(problem: Option<PartProblem>) -> Self {
        let declaration = Declaration { task: T::NAME, options: T::options, parameters: T::parameters };
        Self { declared: vec![declaration], problem }
    }

    /// Adds what is known of another part. The first problem counts.
    pub(crate) fn add(&mut self, other: Self) {
        for declaration in other.declared {
            if self.declared.iter().all(|known| known.task != declaration.task) {
                self.declared.push(declaration);
            }
        }
        self.problem = self.problem.take().or(other.problem);
    }

    pub(crate) fn into_problem(self) -> Option<PartProblem> {
        self.problem
    }

    /// Adds a problem, unless there is one.
    pub(crate) fn refuse(&mut self, problem: PartProblem) {
        self.problem.get_or_insert(problem);
    }

    /// Returns the first problem as an error.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.problem {
            None => Ok(()),
            Some(problem) => Err(problem.clone().into()),
        }
    }

    /// Returns the options and parameters of a task, if it is declared in one of the parts.
    pub(crate) fn declaration(&self, task: &str) -> (TaskOptions, Option<&'static [Parameter]>) {
        match self.declared.iter().find(|declaration| declaration.task == task) {
            None => (TaskOptions::default(), None),
            Some(known) => ((known.options)(), Some((known.parameters)())),
        }
    }
}

impl Part {
    /// Returns the signature, or the first problem as an error.
    ///
    /// # Errors
    /// Returns an error if a part cannot be sent.
    #[doc(hidden)]
    pub fn finish(self) -> Result<Signature> {
        self.origin.check().map(|()| self.signature)
    }

    /// Returns the same part, which ignores the arguments of its caller.
    pub(crate) fn immutable(self) -> Self {
        let Self { signature, mut origin } = self;
        let task = signature.task.clone();
        match ignoring_caller(signature) {
            Ok(signature) => Self { signature, origin },
            Err(error) => {
                origin.refuse(PartProblem::call(&task, &error.to_string()));
                Self { signature: Signature::default(), origin }
            }
        }
    }
}

impl From<Signature> for Part {
    fn from(signature: Signature) -> Self {
        Self { signature, origin: PartOrigin::default() }
    }
}

/// Makes the tasks immutable that would get the arguments of the caller.
fn ignoring_caller(mut signature: Signature) -> Result<Signature, SignatureError> {
    let each = |members: Vec<Signature>| members.into_iter().map(ignoring_caller).collect::<Result<Vec<_>, _>>();
    let list = |members: Vec<Signature>| Value::List(members.into_iter().map(Value::from).collect());
    match signature.kind() {
        SignatureKind::Task => signature.immutable = true,
        SignatureKind::Chain => {
            let mut steps = signature.members()?;
            if let Some(first) = steps.first_mut() {
                *first = ignoring_caller(std::mem::take(first))?;
            }
            signature.kwargs.insert("tasks".to_owned(), list(steps));
        }
        SignatureKind::Group => {
            let members = each(signature.members()?)?;
            signature.kwargs.insert("tasks".to_owned(), list(members));
        }
        SignatureKind::Chord => {
            let parts = signature.clone().into_chord_parts()?;
            signature.kwargs.insert("header".to_owned(), Signature::group(each(parts.header)?).into());
        }
    }
    Ok(signature)
}

/// Implements `Clone` and `Debug` for every type of a result. The derives would ask this type for
/// both.
macro_rules! clone_and_debug {
    ($name:ident { $($field:ident),* }) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone()),* }
            }
        }

        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish()
            }
        }
    };
}
pub(crate) use clone_and_debug;

/// A step that ignores the result of the step before: Celery's `si`. `Call::immutable` makes one,
/// and so do the methods of the same name.
#[must_use = "a step does nothing by itself: `.then(…)` adds it"]
pub struct Immutable<T> {
    part: Part,
    output: PhantomData<fn() -> T>,
}

clone_and_debug!(Immutable { part, output });

impl<T> Immutable<T> {
    pub(crate) fn of(part: Part) -> Self {
        Self { part: part.immutable(), output: PhantomData }
    }
}

impl<Input, T> Step<Input, Bound> for Immutable<T> {
    type Output = T;

    fn into_part(self) -> Part {
        self.part
    }
}

impl<Input> Step<Input, Bound> for Signature {
    type Output = serde_json::Value;

    fn into_part(self) -> Part {
        self.into()
    }
}

macro_rules! step_of_several {
    ($($step:ident $form:ident),*) => {
        /// Steps in parallel, each of which takes the result of the step before. Their results are
        /// a tuple.
        #[diagnostic::do_not_recommend]
        impl<Input, $($step, $form),*> Step<Input, ($($form,)*)> for ($($step,)*)
        where
            $($step: Step<Input, $form>,)*
        {
            type Output = ($($step::Output,)*);

            fn into_part(self) -> Part {
                #[expect(non_snake_case, reason = "each type parameter names its value")]
                let ($($step,)*) = self;
                let (mut members, mut origin) = (Vec::new(), PartOrigin::default());
                $(
                    let part = $step.into_part();
                    members.push(part.signature);
                    origin.add(part.origin);
                )*
                Part { signature: Signature::group(members), origin }
            }
        }
    };
}

step_of_several!(A FormOfA, B FormOfB);
step_of_several!(A FormOfA, B FormOfB, C FormOfC);
step_of_several!(A FormOfA, B FormOfB, C FormOfC, D FormOfD);
step_of_several!(A FormOfA, B FormOfB, C FormOfC, D FormOfD, E FormOfE);
step_of_several!(A FormOfA, B FormOfB, C FormOfC, D FormOfD, E FormOfE, G FormOfG);
