//! The table of errors: which are tried again, which are final, and which have their own policy.

use std::time::Duration;

use celeriac_units::DurationRange;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, Result};

use super::policy::{LONGEST, MaxRetries, policy};
use crate::mistakes::Mistakes;
use crate::syntax::{is_word, without_group};
use crate::written::WrittenOption;

/// Rows in the order in which they are matched.
#[derive(Default)]
pub(super) struct RetryTable {
    own: Vec<RetryRow>,
    never: Vec<RetryRow>,
    as_task: Vec<RetryRow>,
    /// True if errors without a row are final.
    selective: bool,
}

struct RetryRow {
    class: Expr,
    answer: RowAnswer,
}

enum RowAnswer {
    AsTask,
    Never,
    /// Number of retries, or that of the task; first wait; longest wait.
    By(Option<u32>, Duration, Duration),
}

impl RetryTable {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.never.is_empty() && self.as_task.is_empty()
    }

    /// Returns true if the task lists the errors that are tried again.
    pub(super) fn is_selective(&self) -> bool {
        self.selective
    }

    pub(super) fn add(&mut self, key: &str, option: &WrittenOption) -> Result<()> {
        match key {
            "retry_on" => self.own = rows(option)?,
            "dont_autoretry_for" => self.never = classes(option, || RowAnswer::Never)?,
            _ => {
                self.as_task = classes(option, || RowAnswer::AsTask)?;
                self.selective = true;
                let everything = self.as_task.iter().find(|row| named(&row.class).as_deref() == Some("Exception"));
                if let Some(row) = everything {
                    let message = "every error is tried again unless `autoretry_for` names some: leave it out";
                    return Err(Error::new_spanned(&row.class, message));
                }
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &RetryRow> {
        self.own.iter().chain(&self.never).chain(&self.as_task)
    }

    /// Reports an error that has two rows.
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        let mut seen = Vec::new();
        for row in self.all() {
            let class = row.class.to_token_stream().to_string();
            if seen.contains(&class) {
                mistakes.add(&row.class, "this error has two answers: name it once");
            }
            seen.push(class);
        }
    }

    /// Returns the rules, as code. `times` is the number of retries of a row that has none.
    pub(super) fn rules(&self, times: MaxRetries) -> TokenStream {
        let rules = self.all().map(|row| {
            let (class, answer) = (row.class(), row.answer(times));
            quote!(::celeriac::RetryRule { class: #class, answer: ::celeriac::RetryAnswer::#answer })
        });
        let others = if self.selective { quote!(Never) } else { quote!(AsTask) };
        quote! {
            ::celeriac::RetryRules { rules: const { &[#(#rules),*] }, others: ::celeriac::RetryAnswer::#others }
        }
    }
}

impl RetryRow {
    fn class(&self) -> TokenStream {
        let class = &self.class;
        match named(class) {
            Some(kind) => quote!(::celeriac::ErrorClass::Kind(#kind)),
            // The span is that of the type, because the compiler reports a path that is no error
            // type there.
            None => quote_spanned!(class.span()=> ::celeriac::ErrorClass::of::<#class>()),
        }
    }

    fn answer(&self, as_often: MaxRetries) -> TokenStream {
        match self.answer {
            RowAnswer::AsTask => quote!(AsTask),
            RowAnswer::Never => quote!(Never),
            RowAnswer::By(times, first, cap) => {
                let jitter = if cap.is_zero() { 0.0 } else { 0.5 };
                let policy = policy(times.map_or(as_often, MaxRetries::Times), first, cap, 2.0, jitter);
                quote!(By(#policy))
            }
        }
    }
}

/// `[io::Error, "Declined"]`
fn classes(option: &WrittenOption, answer: impl Fn() -> RowAnswer) -> Result<Vec<RetryRow>> {
    let key = &option.key;
    let Some(Expr::Array(list)) = option.value() else {
        return option.refuse(format_args!("`{key}` is a list of errors, such as `{key} = [io::Error, \"Declined\"]`"));
    };
    list.elems.iter().map(|class| Ok(RetryRow { class: checked(class)?, answer: answer() })).collect()
}

/// `(io::Error = "3 times immediately", Declined = never)`
fn rows(option: &WrittenOption) -> Result<Vec<RetryRow>> {
    let rows: Vec<&Expr> = match option.value() {
        Some(Expr::Tuple(rows)) => rows.elems.iter().collect(),
        Some(Expr::Paren(row)) => vec![&row.expr],
        _ => Vec::new(),
    };
    if rows.is_empty() {
        return option.refuse(FORM);
    }
    rows.into_iter().map(row).collect()
}

const FORM: &str = "`retry_on` is a table, such as `retry_on(io::Error = \"3 times immediately\", Busy = \"5s..1m\", Declined = never)`";

fn row(row: &Expr) -> Result<RetryRow> {
    let Expr::Assign(row) = without_group(row) else { return Err(Error::new_spanned(row, FORM)) };
    let class = checked(&row.left)?;
    match without_group(&row.right) {
        Expr::Path(path) if is_word(path, "never") => Ok(RetryRow { class, answer: RowAnswer::Never }),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => match by(&text.value()) {
            Ok(answer) => Ok(RetryRow { class, answer }),
            Err(message) => Err(Error::new_spanned(text, message)),
        },
        other => Err(Error::new_spanned(other, ANSWERS)),
    }
}

const ANSWERS: &str = "an error is tried again `never`, `\"immediately\"`, or after a wait, `\"5s..1m\"`; `\"3 times 5s..1m\"` says how often";

/// `3 times immediately`, `10 times 5s..1m`, `5s..1m`
fn by(text: &str) -> std::result::Result<RowAnswer, String> {
    let (times, pace) = match text.split_once(" times") {
        Some((times, pace)) => match times.trim().parse::<u32>() {
            Ok(0) => return Err("0 times is `never`".to_owned()),
            Ok(times) => (Some(times), pace.trim()),
            Err(_) => return Err(format!("`{times}` is no number of times: write `3 times {}`", pace.trim())),
        },
        None => (None, text.trim()),
    };
    match pace {
        "immediately" => Ok(RowAnswer::By(times, Duration::ZERO, Duration::ZERO)),
        "" => Ok(RowAnswer::By(times, Duration::from_secs(1), LONGEST)),
        // A word is not a wait, so the message lists every answer.
        word if word.starts_with(char::is_alphabetic) => Err(format!("`{word}`: {ANSWERS}")),
        pace => match pace.parse() {
            Ok(DurationRange { first, cap }) => Ok(RowAnswer::By(times, first, cap)),
            Err(error) => Err(format!("a wait {error}")),
        },
    }
}

/// Checks that an error is a type by its path, or a kind as a string.
fn checked(class: &Expr) -> Result<Expr> {
    match without_group(class) {
        Expr::Path(path) if path.qself.is_none() => Ok(Expr::Path(path.clone())),
        Expr::Lit(ExprLit { lit: Lit::Str(kind), .. }) if !kind.value().is_empty() => Ok(without_group(class).clone()),
        other => {
            Err(Error::new_spanned(other, "an error is named by its type, `io::Error`, or by its kind, `\"Declined\"`"))
        }
    }
}

/// Returns the kind of a row whose error is a string.
fn named(class: &Expr) -> Option<String> {
    match class {
        Expr::Lit(ExprLit { lit: Lit::Str(kind), .. }) => Some(kind.value()),
        _ => None,
    }
}
