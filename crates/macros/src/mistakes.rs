//! Mistakes, collected so that they are reported together.

use quote::ToTokens;
use syn::Error;

/// The mistakes in one use of a macro.
#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    /// Adds a mistake in these tokens.
    pub(crate) fn add(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.take(Error::new_spanned(tokens, message));
    }

    /// Adds a mistake of a parser.
    pub(crate) fn take(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// Returns all mistakes as one error, if there are any.
    pub(crate) fn into_error(self) -> Option<Error> {
        self.0
    }
}
