//! Mistakes, collected so that all of them are reported at once.

use quote::ToTokens;
use syn::Error;

/// The mistakes in one use of a macro.
#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    /// Reports a mistake in these tokens.
    pub(crate) fn add(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.take(Error::new_spanned(tokens, message));
    }

    /// Reports a mistake found elsewhere.
    pub(crate) fn take(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// All of them as one, if there are any.
    pub(crate) fn into_error(self) -> Option<Error> {
        self.0
    }
}
