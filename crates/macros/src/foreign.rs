//! A task that another program runs: a function without a body.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, ItemFn, ReturnType, parse_quote};

use crate::expand::{Attributes, call, checked_name, declare, describe};
use crate::mistakes::Mistakes;
use crate::options::Options;
use crate::signature::{FunctionSignature, names_context};
use crate::syntax::last_segment;

/// Returns the type of the task and the function that makes calls.
pub(crate) fn expand(options: &Options, mut function: ItemFn, mut mistakes: Mistakes) -> TokenStream {
    check(options, &function, &mut mistakes);
    if matches!(function.sig.output, ReturnType::Default) {
        function.sig.output = parse_quote!(-> ());
    }
    let Attributes { cfg, doc } = Attributes::take(&mut function);
    let signature = FunctionSignature::take(&mut function, &mut mistakes);
    let errors = mistakes.into_error().map(syn::Error::into_compile_error);
    let Some(signature) = signature.filter(|_| errors.is_none()) else { return quote!(#errors) };

    let ident = &function.sig.ident;
    let visibility = &function.vis;
    let type_doc = format!("The task behind [`{ident}()`](fn@{ident}), as a type. Another program runs it.");
    let returns = &signature.returns;
    let described = describe(ident, options, &signature, &quote!(#returns));
    let call = call(ident, visibility, &signature);
    let declared = declare(&cfg, ident, visibility, &type_doc, &described);
    let checked = checked_name(&cfg, ident, options);
    quote! {
        #declared
        #checked

        #(#cfg)*
        #(#doc)*
        #call
    }
}

fn check(options: &Options, function: &ItemFn, mistakes: &mut Mistakes) {
    let ident = &function.sig.ident;
    if options.name.is_none() && options.prefix.is_none() {
        let message = "a task of another program needs its name: `#[task(name = \"…\")]`";
        mistakes.add(ident, message);
    }
    if options.retries.are_declared() {
        mistakes.add(ident, "retries are declared where the task runs: leave them out");
    }
    if options.fields.time_limit.is_some() || options.fields.soft_time_limit.is_some() {
        mistakes.add(ident, "time limits are declared where the task runs, or set by the call: leave them out");
    }
    if !options.hooks.is_empty() {
        mistakes.add(ident, "hooks run where the task runs: leave `hooks` out");
    }
    if options.fields.rate_limit.is_some() {
        mistakes.add(ident, "`rate_limit` is declared where the task runs: leave it out");
    }
    if options.fields.acks.is_some() {
        mistakes.add(ident, "`acks` is declared where the task runs: leave it out");
    }
    if options.transactional.is_some() {
        mistakes.add(ident, "`transactional` is declared where the task runs: leave it out");
    }
    if let Some(FnArg::Typed(first)) = function.sig.inputs.first()
        && names_context(&first.ty)
    {
        mistakes.add(first, "a call has no context: leave it out of a task of another program");
    }
    if let ReturnType::Type(_, ty) = &function.sig.output
        && last_segment(ty).is_some_and(|segment| segment.ident == "TaskResult")
    {
        mistakes.add(ty, "write what the task returns when all goes well, without `TaskResult`");
    }
}
