//! The attribute of tests that run on real servers and in process.

use proc_macro::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Ident, ItemFn, LitInt, Token, parse_macro_input};

/// Makes two tests of a function that takes a `Bed`: `name::real` on RabbitMQ and Postgres, and
/// `name::in_process` on the broker in memory and SQLite. Everything that the body started is
/// stopped after it, and the bed is cleared.
///
/// `#[celeriac_tests::test(real)]` makes only the first, for features that only servers or
/// processes have: the management API, SQL of Postgres, transactions, TLS, another process, a
/// process that is killed. `threads = 2` sets the threads of the test's runtime. Default: the
/// test's own thread alone.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let function = parse_macro_input!(item as ItemFn);
    expand(&options, &function).unwrap_or_else(syn::Error::into_compile_error).into()
}

#[derive(Default)]
struct Options {
    real: bool,
    threads: Option<LitInt>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "real" => options.real = true,
                "threads" => {
                    input.parse::<Token![=]>()?;
                    options.threads = Some(input.parse()?);
                }
                _ => return Err(syn::Error::new_spanned(key, "should be `real` or `threads = …`")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn expand(options: &Options, function: &ItemFn) -> syn::Result<proc_macro2::TokenStream> {
    if function.sig.asyncness.is_none() || function.sig.inputs.len() != 1 {
        return Err(syn::Error::new_spanned(&function.sig, "should be `async fn name(bed: Bed)`"));
    }
    let name = &function.sig.ident;
    let threads = match &options.threads {
        Some(threads) => quote! { ::core::option::Option::Some(#threads) },
        None => quote! { ::core::option::Option::None },
    };
    let in_process = (!options.real).then(|| {
        quote! {
            #[::core::prelude::v1::test]
            fn in_process() {
                ::celeriac_tests::bed::in_process(#threads, super::#name);
            }
        }
    });
    Ok(quote! {
        #function

        mod #name {
            #[::core::prelude::v1::test]
            fn real() {
                ::celeriac_tests::bed::on_real_servers(#threads, super::#name);
            }

            #in_process
        }
    })
}
