//! The attribute `#[task]` and the macro `tasks![]`.
//!
//! Both expand to code that a person could write with the public names of the crate `celeriac`. In
//! reading order:
//!
//! - `mistakes`: mistakes, reported together; `syntax`: helpers for syntax trees;
//! - `written`: options as they are written; `values`: the types of their values;
//! - `retries`: options of retries;
//! - `transaction`, `signature`: parameters and result of the function; `rest`: parameters of any
//!   number of arguments;
//! - `name`, `options`: the options of the attribute, from the table in `celeriac_units`;
//! - `expand`: the code of a task; `foreign`: that of a task of another program;
//! - `list`: `tasks![]`.

mod mistakes;
mod syntax;

mod written;

mod values;

mod retries;

mod transaction;

mod rest;
mod signature;

mod name;

mod options;

mod expand;

mod foreign;

mod list;

use celeriac_units::{task_option_rows, task_options};
use proc_macro::TokenStream;
use quote::{ToTokens, quote};
use syn::{Item, ItemFn, TraitItemFn, Visibility, parse_quote};

use crate::mistakes::Mistakes;
use crate::options::Options;
use crate::signature::FunctionSignature;

/// Makes a task from a function.
///
/// ```
/// use celeriac::prelude::*;
///
/// /// Charges the card of an order.
/// #[task(name = "orders.charge", max_retries = 5, retry_backoff = "1s..10m")]
/// pub async fn charge(ctx: TaskContext, order: String, #[default(1299)] cents: i64) -> TaskResult<i64> {
///     if cents <= 0 {
///         let attempt = ctx.attempt();
///         return Err(TaskError::reject(format!("{order}: nothing to charge at attempt {attempt}")));
///     }
///     Ok(cents)
/// }
///
/// # async fn example(client: &Client) -> celeriac::Result<()> {
/// let handle = charge("A-17".to_owned(), 1299).delay(minutes(5)).submit(client).await?;
/// # Ok(())
/// # }
/// ```
///
/// - `charge(…)` takes the arguments without the context and returns a `Call`, to be submitted. A
///   task calls itself in this way too.
/// - `tasks![charge]` lists it for a worker. `charge` is a type as well: `Call<charge>`.
/// - `charge::charge(…)` is the function as it was written, for the tests of its module.
///
/// A module named `charge` beside the task clashes with the type.
///
/// # The function
///
/// An `async fn` runs on the runtime, beside many others. A plain `fn` may block: it gets a thread
/// of its own.
///
/// The function returns `TaskResult<T>`, or a `Result` with any error. It takes up to twelve
/// arguments, each named and owned. `T` and the arguments implement serde's `Serialize` and
/// `Deserialize`. Messages give arguments by position or by name. A `TaskContext` comes first, if
/// the function takes one.
///
/// A message may leave out:
///
/// - an argument of type `Option<…>`, which is `None` then;
/// - an argument with `#[default(10)]`; a text such as `#[default("eur")]` makes a `String`;
/// - an argument with `#[default]`, which is `Default::default()` then.
///
/// The last arguments may take any number of them: a `Vec` those by position, as Python's `*args`,
/// and a map those by name, as `**kwargs`.
///
/// ```
/// use celeriac::prelude::*;
/// use celeriac::protocol::{Map, Value};
///
/// #[task]
/// async fn audit(event: String, #[rest] args: Vec<Value>, #[rest] kwargs: Map) -> TaskResult<usize> {
///     tracing::info!(event, "audited");
///     Ok(args.len() + kwargs.len())
/// }
/// ```
///
/// The name of an argument in messages is its name without one leading underscore: the compiler's
/// hint to write `_expires` for an unused `expires` changes nothing for senders.
/// `#[name("order-id")]` before an argument gives it another name. Two arguments of one name are a
/// compile error.
///
/// # Options
///
/// | option | meaning | default |
/// | --- | --- | --- |
#[doc = task_options!(task_option_rows)]
///
/// An option names an error by its type, which the compiler checks, or by the kind in its row, such
/// as `"Panic"` or the kind given to `TaskError::of_kind`. The causes of an error do not count.
///
/// Durations are those of the configuration. Their units are `w`, `d`, `h`, `m`, `s`, `ms`, `us`
/// and `ns`, and several add up: `"1m 30s"`.
///
/// The default name is the same in every program of the package, and after the function has moved
/// to another module. Two tasks of one name are an error when the program is built.
///
/// `name` and `prefix` may be constants, or macros such as `concat!`. A prefix stands before the
/// name, or before that of the function. A constant prefix is that of a module:
///
/// ```
/// use celeriac::Task;
/// use celeriac::prelude::*;
///
/// const PREFIX: &str = "shop.orders.";
///
/// #[task(prefix = PREFIX)]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
///
/// assert_eq!(charge::NAME, "shop.orders.charge");
/// ```
///
/// # Transactional tasks
///
/// ```
/// use celeriac::prelude::*;
/// use celeriac::{PgConnection, sqlx};
///
/// /// Books a payment, once.
/// #[task(name = "orders.pay", transactional)]
/// async fn pay(tx: &mut PgConnection, order: i64) -> TaskResult<()> { sqlx::query("UPDATE orders
/// SET paid = true WHERE id = $1").bind(order).execute(&mut *tx).await?; Ok(()) }
/// ```
///
/// One commit holds the work of the task and its recorded success, or neither happens. The
/// transaction comes before the arguments, after the context if there is one. The result store has
/// to be Postgres, in the same database.
///
/// # Tasks of other programs
///
/// A function without a body describes a task that another program runs, in Python for example. It
/// needs a name, and returns the result without `TaskResult`. It is called, linked and awaited like
/// any other.
///
/// ```
/// use celeriac::prelude::*;
///
/// /// The price of an article, a task in Python.
/// #[task(name = "catalog.price")]
/// pub fn price(article: String, pieces: u32) -> i64;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let cents: i64 = price("teapot".to_owned(), 2).submit(client).await?.get().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Other attributes
///
/// `#[cfg]` applies to the whole task. Documentation and `#[deprecated]` apply to the function that
/// returns calls. All others, such as `#[tracing::instrument]`, apply to the function as it was
/// written.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_task(options.into(), item.into()).into()
}

/// Lists tasks, as a `Tasks` collection: `tasks![charge, reports::monthly]`.
///
/// Each task has its path, as in a call, without arguments. `#[cfg(…)]` before a task applies to
/// it.
///
/// ```
/// use celeriac::prelude::*;
///
/// mod reports {
///     use celeriac::prelude::*;
///
///     #[task]
///     pub async fn monthly(month: u8) -> TaskResult<u8> {
///         Ok(month)
///     }
///
///     pub fn tasks() -> Tasks {
///         tasks![monthly]
///     }
/// }
///
/// #[task]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
///
/// let app = Celeriac::builder().tasks(tasks![charge].and(reports::tasks()));
/// # let _ = app;
/// ```
#[proc_macro]
pub fn tasks(names: TokenStream) -> TokenStream {
    list::tasks(names.into()).into()
}

fn expand_task(options: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let mut mistakes = Mistakes::default();
    let options = Options::parse(options, &mut mistakes);
    if let Ok(TraitItemFn { attrs, sig, default: None, .. }) = syn::parse2(without_visibility(item.clone()).1) {
        let vis = without_visibility(item).0;
        let function = ItemFn { attrs, vis, sig, block: Box::new(parse_quote!({})) };
        return foreign::expand(&options, function, mistakes);
    }
    let expanded = match syn::parse2(item) {
        Ok(Item::Fn(mut function)) => match FunctionSignature::take(&mut function, &mut mistakes)
            .filter(|signature| options.check_transaction(signature, &function, &mut mistakes))
        {
            Some(signature) => {
                options.check_thread(&function, &mut mistakes);
                expand::task(&options, &signature, function)
            }
            // The function stays, so that its imports count as used and editors can complete in it.
            None => quote!(#[allow(dead_code)] #function),
        },
        Ok(other) => {
            mistakes.add(&other, "`#[task]` goes on a function");
            other.into_token_stream()
        }
        Err(error) => {
            mistakes.take(error);
            proc_macro2::TokenStream::new()
        }
    };
    let errors = mistakes.into_error().map(syn::Error::into_compile_error);
    quote!(#errors #expanded)
}

/// Splits off the visibility, because the parser of a function without a body accepts none.
fn without_visibility(item: proc_macro2::TokenStream) -> (Visibility, proc_macro2::TokenStream) {
    let split = |input: syn::parse::ParseStream<'_>| {
        let attributes = input.call(syn::Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        let rest: proc_macro2::TokenStream = input.parse()?;
        Ok((visibility, quote!(#(#attributes)* #rest)))
    };
    syn::parse::Parser::parse2(split, item.clone()).unwrap_or((Visibility::Inherited, item))
}
