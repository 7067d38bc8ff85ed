//! Options as they are written: `key = value`, `key(…)`, `key`.

use std::fmt;
use std::str::FromStr;

use celeriac_units::{Error as UnitError, TASK_OPTIONS};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::token::Paren;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token};

use crate::mistakes::Mistakes;
use crate::syntax::without_group;

/// An option as it was written. A flag has no value.
pub(crate) struct WrittenOption {
    pub(crate) key: Ident,
    pub(crate) value: Option<Expr>,
}

/// Reads the options up to the first that cannot be read.
pub(crate) fn read(tokens: TokenStream, mistakes: &mut Mistakes) -> Vec<WrittenOption> {
    let mut written = Vec::new();
    if let Err(error) = (|input: ParseStream| read_all(input, &mut written)).parse2(tokens) {
        mistakes.take(error);
    }
    written
}

fn read_all(input: ParseStream, written: &mut Vec<WrittenOption>) -> Result<()> {
    while !input.is_empty() {
        written.push(read_one(input)?);
        if input.is_empty() {
            break;
        }
        if !input.peek(Token![,]) {
            // The mistake is most likely in the value. A second error that the value is missing
            // would not help.
            written.pop_if(|last| last.value.is_none());
            return Err(input.error("expected `,` or `=`: options are written `key = value, …`"));
        }
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

fn read_one(input: ParseStream) -> Result<WrittenOption> {
    if let Ok(text) = input.fork().parse::<LitStr>() {
        let message = format!("options are written `key = value`: `name = {}`", text.to_token_stream());
        return Err(Error::new(text.span(), message));
    }
    if !input.peek(Ident::peek_any) {
        return Err(input.error(format_args!("expected an option, known are: {}", known())));
    }
    let key = Ident::parse_any(input)?;
    let value = if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        Some(input.parse()?)
    } else if input.peek(Paren) {
        Some(input.parse()?)
    } else {
        None
    };
    Ok(WrittenOption { key, value })
}

impl WrittenOption {
    pub(crate) fn value(&self) -> Option<&Expr> {
        self.value.as_ref().map(without_group)
    }

    pub(crate) fn literal(&self) -> Option<&Lit> {
        match self.value() {
            Some(Expr::Lit(ExprLit { lit, .. })) => Some(lit),
            _ => None,
        }
    }

    /// Reads text as a value of its type.
    pub(crate) fn parse<T: FromStr<Err = UnitError>>(&self, text: &str) -> Result<T> {
        self.parse_with(str::parse, text)
    }

    /// Reads text. An error names the option.
    pub(crate) fn parse_with<T>(
        &self,
        read: impl FnOnce(&str) -> std::result::Result<T, UnitError>,
        text: &str,
    ) -> Result<T> {
        read(text).or_else(|error| self.refuse(format_args!("`{}` {error}", self.key)))
    }

    pub(crate) fn refuse<T>(&self, message: impl fmt::Display) -> Result<T> {
        Err(match &self.value {
            Some(value) => Error::new_spanned(value, message),
            None => Error::new_spanned(&self.key, message),
        })
    }

    /// Returns the error of an unknown option.
    pub(crate) fn unknown(&self) -> Error {
        const ALIKE: f64 = 0.75;
        let unknown = self.key.to_string();
        let nearest = TASK_OPTIONS
            .iter()
            .map(|known| (strsim::jaro_winkler(&unknown, known.key), known.key))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let meant = nearest.map_or(String::new(), |(_, known)| format!(", did you mean `{known}`?"));
        Error::new_spanned(&self.key, format!("unknown option `{unknown}`{meant}\nknown are: {}", known()))
    }
}

fn known() -> String {
    TASK_OPTIONS.iter().map(|option| option.key).collect::<Vec<_>>().join(", ")
}
