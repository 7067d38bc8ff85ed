//! The code that `#[task]` expands to. It uses only Celeriac's public names.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Ident, Index, ItemFn, Lit, Visibility, parse_quote};

use crate::name::NamePart;
use crate::options::Options;
use crate::rest::RestKind;
use crate::signature::{DefaultValue, FunctionSignature, TaskArgument};
use crate::syntax::{is_serializable, without_group};

/// Returns a task: its type, its traits, the function that makes calls, and the function as it was
/// written.
pub(crate) fn task(options: &Options, signature: &FunctionSignature, mut function: ItemFn) -> TokenStream {
    let Attributes { cfg, doc } = Attributes::take(&mut function);
    let ident = function.sig.ident.clone();
    let visibility = std::mem::replace(&mut function.vis, Visibility::Inherited);

    let type_doc = format!("The task behind [`{ident}()`](fn@{ident}), as a type.");
    let returns = &signature.returns;
    let output = quote_spanned!(returns.span()=> <#returns as ::celeriac::TaskReturn>::Output);
    let described = describe(&ident, options, signature, &output);
    let kind = FunctionKind::of(signature, &function);
    let run = run(&ident, signature, kind);
    let call = call(&ident, &visibility, signature);
    let constructor = kind.constructor();
    let hooks = options.hooks.iter().map(|hooks| quote_spanned!(hooks.span()=> .hooks(#hooks)));
    let declared = declare(&cfg, &ident, &visibility, &type_doc, &described);
    let checked = checked_name(&cfg, &ident, options);
    quote! {
        #declared
        #checked

        #(#cfg)*
        #run

        #(#cfg)*
        impl ::celeriac::IntoTaskDefinition for #ident {
            fn definition() -> ::celeriac::TaskDefinition {
                ::celeriac::TaskDefinition::#constructor::<Self>() #(#hooks)*
            }
        }

        // Not nested in `run`, where a task that calls its own name would find this function and
        // not the one that makes calls.
        #(#cfg)*
        impl #ident {
            // Tasks own their arguments, return results and are async even if their bodies need
            // none of it.
            #[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, clippy::unused_async)]
            #function
        }

        #(#cfg)*
        #(#doc)*
        #call
    }
}

/// Returns the type of a task and its description for callers.
pub(crate) fn declare(
    cfg: &[Attribute],
    ident: &Ident,
    visibility: &Visibility,
    doc: &str,
    described: &TokenStream,
) -> TokenStream {
    quote! {
        #(#cfg)*
        #[doc = #doc]
        #[allow(non_camel_case_types)]
        #[derive(::core::fmt::Debug, ::core::clone::Clone, ::core::marker::Copy)]
        #visibility enum #ident {}

        #(#cfg)*
        impl ::celeriac::Task for #ident { #described }
    }
}

/// Attributes that do not apply to the written function alone.
pub(crate) struct Attributes {
    /// `#[cfg]` conditions of the whole task.
    pub(crate) cfg: Vec<Attribute>,
    /// Documentation for callers.
    pub(crate) doc: Vec<Attribute>,
}

impl Attributes {
    pub(crate) fn take(function: &mut ItemFn) -> Self {
        let (mut cfg, mut doc, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in function.attrs.drain(..) {
            if attribute.path().is_ident("cfg") {
                cfg.push(attribute);
            } else if attribute.path().is_ident("doc") || attribute.path().is_ident("deprecated") {
                doc.push(attribute);
            } else {
                own.push(attribute);
            }
        }
        function.attrs = own;
        Self { cfg, doc }
    }
}

/// Returns the items of `impl Task`.
pub(crate) fn describe(
    ident: &Ident,
    options: &Options,
    signature: &FunctionSignature,
    output: &TokenStream,
) -> TokenStream {
    let name = name(ident, options);
    let args = args(signature);
    let parameters = signature.parameters.iter().map(parameter);
    let options = declared(options);
    quote! {
        const NAME: &'static str = #name;
        type Args = #args;
        type Output = #output;

        fn parameters() -> &'static [::celeriac::protocol::Parameter] {
            const { &[#(#parameters),*] }
        }

        #options
    }
}

/// Returns the task name. The default name contains the package, so that it is the same in every
/// program of the package and after a move to another module.
fn name(ident: &Ident, options: &Options) -> TokenStream {
    let plain = syn::ext::IdentExt::unraw(ident).to_string();
    match (&options.prefix, &options.name) {
        (None, None) => {
            let end = format!(".{plain}");
            quote!(::core::concat!(::core::env!("CARGO_PKG_NAME"), #end))
        }
        (None, Some(NamePart::Literal(name))) => name.to_token_stream(),
        (None, Some(NamePart::Constant(name))) => joined(&quote!(""), name),
        (Some(prefix), None) => joined(prefix, &plain),
        (Some(prefix), Some(name)) => joined(prefix, name),
    }
}

/// Returns an item that makes the compiler check a name even if nothing uses it.
pub(crate) fn checked_name(cfg: &[Attribute], ident: &Ident, options: &Options) -> Option<TokenStream> {
    let is_constant = options.prefix.is_some() || matches!(options.name, Some(NamePart::Constant(_)));
    is_constant.then(|| quote!(#(#cfg)* const _: &str = <#ident as ::celeriac::Task>::NAME;))
}

/// Returns the expression that joins the parts of a name, which may be constants of any names but
/// its own.
fn joined(prefix: &impl ToTokens, name: &impl ToTokens) -> TokenStream {
    quote! {{
        const __PREFIX: &str = #prefix;
        const __NAME: &str = #name;
        const __LENGTH: usize = __PREFIX.len() + __NAME.len();
        const __JOINED: [u8; __LENGTH] = ::celeriac::protocol::joined_name(__PREFIX, __NAME);
        ::celeriac::protocol::task_name(&__JOINED)
    }}
}

/// Returns the tuple of argument types. The compiler reports a type that cannot be serialized at
/// the span of the tuple. It is the only argument that may be of such a type, or the list of
/// parameters if there are several.
fn args(signature: &FunctionSignature) -> TokenStream {
    let types = signature.parameters.iter().map(|parameter| &parameter.ty);
    let mut unknown = signature.parameters.iter().map(|parameter| &parameter.ty).filter(|ty| !is_serializable(ty));
    let span = match (unknown.next(), unknown.next()) {
        (Some(only), None) => only.span(),
        _ => signature.list,
    };
    quote_spanned!(span=> (#(#types,)*))
}

fn parameter(parameter: &TaskArgument) -> TokenStream {
    let name = parameter.wire_name();
    let ty = &parameter.ty;
    let rest = match parameter.rest {
        None => None,
        Some(RestKind::Positional) => Some(quote!(::celeriac::protocol::Rest::Positional)),
        Some(RestKind::Named) => Some(quote!(::celeriac::protocol::Rest::Named)),
    };
    if let Some(rest) = rest {
        return quote!(::celeriac::protocol::Parameter::rest(#name, #rest));
    }
    let default = match &parameter.default {
        None => return quote!(::celeriac::protocol::Parameter::required(#name)),
        Some(DefaultValue::Nothing) => {
            return quote!(::celeriac::protocol::Parameter::optional(#name, || ::celeriac::protocol::Value::Null));
        }
        Some(DefaultValue::OfType) => quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default()),
        Some(DefaultValue::Given(value)) => given(value),
    };
    // A default that cannot be serialized becomes null. The error about null names the parameter.
    quote! {
        ::celeriac::protocol::Parameter::optional(#name, || {
            let default: #ty = #default;
            ::celeriac::protocol::Value::from_serialize(&default).unwrap_or_default()
        })
    }
}

/// Returns the expression of a default. A string literal is converted to the type of the argument,
/// most often `String`.
fn given(value: &Expr) -> TokenStream {
    match without_group(value) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            quote_spanned!(text.span()=> ::core::convert::From::from(#text))
        }
        other => other.to_token_stream(),
    }
}

/// Returns `fn options`, if an option is set.
fn declared(options: &Options) -> Option<TokenStream> {
    let fields = options.tokens();
    (!fields.is_empty()).then(|| {
        quote! {
            #[allow(clippy::needless_update)]
            fn options() -> ::celeriac::TaskOptions {
                ::celeriac::TaskOptions { #(#fields,)* ..::core::default::Default::default() }
            }
        }
    })
}

/// Kinds of functions, each with its trait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FunctionKind {
    Asynchronous,
    Blocking,
    Transactional,
}

impl FunctionKind {
    fn of(signature: &FunctionSignature, function: &ItemFn) -> Self {
        match (signature.transaction, function.sig.asyncness) {
            (true, Some(_)) => Self::Transactional,
            (false, Some(_)) => Self::Asynchronous,
            (_, None) => Self::Blocking,
        }
    }

    fn constructor(self) -> TokenStream {
        match self {
            Self::Asynchronous => quote!(asynchronous),
            Self::Blocking => quote!(blocking),
            Self::Transactional => quote!(transactional),
        }
    }

    fn implements(self) -> TokenStream {
        match self {
            Self::Asynchronous => quote!(AsyncTask),
            Self::Blocking => quote!(BlockingTask),
            Self::Transactional => quote!(TransactionalTask),
        }
    }
}

/// Returns the implementation of the trait that runs the task.
fn run(ident: &Ident, signature: &FunctionSignature, kind: FunctionKind) -> TokenStream {
    let types = args(signature);
    let fields = (0..signature.parameters.len()).map(Index::from);
    let args = if signature.parameters.is_empty() { quote!(_) } else { quote!(args) };
    let context = if signature.context { quote!(context) } else { quote!(_) };
    let passed_context = signature.context.then(|| quote!(context,));
    let transaction =
        (kind == FunctionKind::Transactional).then(|| quote!(transaction: &mut ::celeriac::PgConnection,));
    let passed_transaction = signature.transaction.then(|| quote!(transaction,));
    let passed = quote!(#passed_context #passed_transaction #(args.#fields),*);
    // The span is that of the result, because the compiler reports a future that is not `Send`
    // there.
    let span = signature.returns.span();
    let of = kind.implements();
    let (keyword, wait) = match kind {
        FunctionKind::Blocking => (TokenStream::new(), TokenStream::new()),
        _ => (quote_spanned!(span=> async), quote_spanned!(span=> .await)),
    };
    quote_spanned! {span=>
        impl ::celeriac::#of for #ident {
            #keyword fn run(
                #context: ::celeriac::TaskContext,
                #transaction
                #args: #types,
            ) -> ::celeriac::TaskResult<<Self as ::celeriac::Task>::Output> {
                let returned = Self::#ident(#passed)#wait;
                ::celeriac::TaskReturn::into_task_result(returned)
            }
        }
    }
}

/// Returns the function that makes calls.
pub(crate) fn call(ident: &Ident, visibility: &Visibility, signature: &FunctionSignature) -> ItemFn {
    let names: Vec<_> = signature.parameters.iter().map(|parameter| &parameter.name).collect();
    let types = signature.parameters.iter().map(|parameter| &parameter.ty);
    // Clippy refuses to read a name with a leading underscore, and the call has to read it.
    let unused = names.iter().any(|name| name.to_string().starts_with('_'));
    let allow = unused.then(|| quote!(#[allow(clippy::used_underscore_binding)]));
    parse_quote! {
        #allow
        #visibility fn #ident(#(#names: #types),*) -> ::celeriac::Call<#ident> {
            ::celeriac::Call::new((#(#names,)*))
        }
    }
}
