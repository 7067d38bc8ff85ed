//! The attribute of tests that run on real servers and in process.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Ident, ItemFn, parse_macro_input};

/// Makes two tests of a function that takes a `Bed`: `name::real` on RabbitMQ and Postgres, and `name::in_process` on the
/// broker in memory and SQLite. What the body started is stopped after it, and the bed is cleared.
///
/// `#[celeriac_tests::test(real)]` makes the first alone, for what only servers or processes have: the management API,
/// SQL of Postgres, transactions, TLS, another process, a process that is killed.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    let only = match options.is_empty() {
        true => None,
        false => Some(parse_macro_input!(options as Ident)),
    };
    let function = parse_macro_input!(item as ItemFn);
    expand(only.as_ref(), &function).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(only: Option<&Ident>, function: &ItemFn) -> syn::Result<proc_macro2::TokenStream> {
    if let Some(other) = only.filter(|only| *only != "real") {
        return Err(syn::Error::new_spanned(other, "should be `real`, or nothing"));
    }
    if function.sig.asyncness.is_none() || function.sig.inputs.len() != 1 {
        return Err(syn::Error::new_spanned(&function.sig, "should be `async fn name(bed: Bed)`"));
    }
    let name = &function.sig.ident;
    let in_process = only.is_none().then(|| {
        quote! {
            #[::core::prelude::v1::test]
            fn in_process() {
                ::celeriac_tests::bed::in_process(super::#name);
            }
        }
    });
    Ok(quote! {
        #function

        mod #name {
            #[::core::prelude::v1::test]
            fn real() {
                ::celeriac_tests::bed::on_real_servers(super::#name);
            }

            #in_process
        }
    })
}
