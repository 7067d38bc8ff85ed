//! The name of a task, and the prefix before it: strings or constants.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Expr, LitStr, Result};

use crate::values::OptionValue;
use crate::written::WrittenOption;

/// A part of a name.
pub(crate) enum NamePart {
    /// A string, which is checked here.
    Literal(LitStr),
    /// A constant, or a macro such as `concat!`. The compiler knows its value.
    Constant(Expr),
}

impl NamePart {
    /// Reads the value of an option. `example` is the whole option, for messages.
    pub(crate) fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        match option.value() {
            Some(constant @ (Expr::Path(_) | Expr::Macro(_))) => Ok(Self::Constant(constant.clone())),
            _ => LitStr::read(option, example).map(Self::Literal),
        }
    }
}

impl ToTokens for NamePart {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Literal(text) => text.to_tokens(tokens),
            Self::Constant(constant) => constant.to_tokens(tokens),
        }
    }
}
