//! `tasks![…]`: lists the tasks of a program for its builder.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, Token};

use crate::mistakes::Mistakes;

/// Returns the list of definitions.
pub(crate) fn tasks(tokens: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let named = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(tokens).unwrap_or_else(|error| {
        mistakes.take(error);
        Punctuated::new()
    });
    let mut definitions = Vec::new();
    for name in &named {
        match name {
            Expr::Path(named) if named.qself.is_none() => {
                let (attributes, path) = (&named.attrs, &named.path);
                definitions.push(quote_spanned!(path.span()=> #(#attributes)* ::celeriac::TaskDefinition::of(#path)));
            }
            Expr::Call(call) => mistakes.add(&call.args, "a task is listed by its name alone, without arguments"),
            other => mistakes.add(other, "expected the name of a task, such as `charge` or `orders::charge`"),
        }
    }
    let errors = mistakes.into_error().map(syn::Error::into_compile_error);
    quote!({
        #errors
        // A worker still runs a task that callers are to give up.
        #[allow(deprecated)]
        let definitions = [#(#definitions),*];
        <::celeriac::Tasks as ::core::iter::FromIterator<_>>::from_iter(definitions)
    })
}
