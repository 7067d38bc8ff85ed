//! The attribute `#[task]` and the list `tasks![]`.
//!
//! Both expand to code that a person could write with the public names of the `celeriac` crate. In reading order:
//!
//! - `mistakes`: mistakes, reported all at once; `syntax`: what the others look at;
//! - `written`: options as they are written; `values`: the types of their values;
//! - `retries`: when a task is tried again;
//! - `transaction`, `signature`: what the function itself says;
//! - `options`: what stands in the parentheses of the attribute, from the table in `celeriac_units`;
//! - `expand`: the task that follows from both; `foreign`: one that somebody else runs;
//! - `list`: `tasks![]`.

mod mistakes;
mod syntax;

mod written;

mod values;

mod retries;

mod transaction;

mod signature;

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

/// Makes a task of a function.
///
/// ```
/// use celeriac::prelude::*;
///
/// /// Charges the card of an order.
/// #[task(name = "orders.charge", max_retries = 5, retry_backoff = "1s..10m")]
/// pub async fn charge(ctx: TaskContext, order: String, #[default(1299)] cents: i64) -> TaskResult<i64> {
///     if cents <= 0 {
///         return Err(TaskError::reject(format!("{order}: nothing to charge at attempt {}", ctx.attempt())));
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
/// Afterwards `charge(…)` takes the arguments without the context and makes a `Call`, to be submitted; a task may call
/// itself in this way. `charge` is also a type: it stands in `tasks![charge]`, and `charge::charge(…)` is the function
/// as it was written, for the module's own tests. A module of the same name beside it would be taken for that type.
///
/// # The function
///
/// An `async fn` runs on the runtime, beside many others. A plain `fn` may block: it gets a thread of its own.
///
/// It returns `TaskResult<T>`, or a `Result` with any error, where `T` can be written and read by serde. Its arguments
/// are named and owned, up to twelve, and can be written and read too; messages give them by position or by name. A
/// `TaskContext`, if it wants one, comes first.
///
/// A message may leave out:
///
/// - an argument of type `Option<…>`, which then is `None`;
/// - one with `#[default(10)]`, where a text such as `#[default("eur")]` makes a `String`;
/// - one with `#[default]`, which then is `Default::default()`.
///
/// # Options
///
/// | option | meaning | default |
/// | --- | --- | --- |
#[doc = task_options!(task_option_rows)]
///
/// An error is named by its type, which the compiler checks, or by the kind that stands in its row, such as `"Panic"` or what
/// `TaskError::of_kind` was given. Its causes do not count.
///
/// Durations have the units `w`, `d`, `h`, `m`, `s`, `ms`, `us` and `ns`, and may be put together: `"1m 30s"`. They are read
/// as in the configuration.
///
/// The default name stays the same when the function moves to another module, and in every program of its package. Two
/// tasks of one name are refused when the app is built.
///
/// # Transactional tasks
///
/// ```
/// use celeriac::prelude::*;
/// use celeriac::{PgConnection, sqlx};
///
/// /// Books a payment, once.
/// #[task(name = "orders.pay", transactional)]
/// async fn pay(tx: &mut PgConnection, order: i64) -> TaskResult<()> {
///     sqlx::query("UPDATE orders SET paid = true WHERE id = $1").bind(order).execute(&mut *tx).await?;
///     Ok(())
/// }
/// ```
///
/// Its work in the transaction and its recorded success are committed as one, or neither is. The transaction stands
/// before the arguments, after the context if there is one. The store of results has to be Postgres, and the same database.
///
/// # Tasks that others run
///
/// A function without a body describes a task that this program does not have: one in Python, or in another program.
/// It needs its name, and returns the result itself. It can be called, linked and awaited as any other.
///
/// ```
/// use celeriac::prelude::*;
///
/// /// What an article costs; Python knows.
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
/// `#[cfg]` holds for the whole task. Documentation and `#[deprecated]` go to the function that makes calls. All others,
/// such as `#[tracing::instrument]`, stay with the function as it was written.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_task(options.into(), item.into()).into()
}

/// The tasks of a program, for its builder: `tasks![charge, reports::monthly]`.
///
/// Each stands under its path, as for a call, but without arguments. `#[cfg(…)]` before one of them holds for it.
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
            // The function by itself, so that its imports count as used and editors know what is in it.
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

/// A function of a trait has no visibility; ours may.
fn without_visibility(item: proc_macro2::TokenStream) -> (Visibility, proc_macro2::TokenStream) {
    let split = |input: syn::parse::ParseStream<'_>| {
        let attributes = input.call(syn::Attribute::parse_outer)?;
        let visibility: Visibility = input.parse()?;
        let rest: proc_macro2::TokenStream = input.parse()?;
        Ok((visibility, quote!(#(#attributes)* #rest)))
    };
    syn::parse::Parser::parse2(split, item.clone()).unwrap_or((Visibility::Inherited, item))
}
