//! The signature of a task's function: its parameters and its result.

use proc_macro2::Span;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{
    Attribute, Expr, FnArg, Ident, ItemFn, Lifetime, LitStr, Meta, Pat, PatType, ReturnType, Type, TypeBareFn,
    TypeImplTrait, TypeInfer, TypeReference,
};

use crate::mistakes::Mistakes;
use crate::rest::{self, RestKind};
use crate::syntax::last_segment;
use crate::transaction;

/// Largest number of arguments of a task.
const MOST_PARAMETERS: usize = 12;

/// The signature of a task's function.
pub(crate) struct FunctionSignature {
    /// True if the function takes a `TaskContext` first.
    pub(crate) context: bool,
    /// True if the function takes the connection of its transaction next.
    pub(crate) transaction: bool,
    pub(crate) parameters: Vec<TaskArgument>,
    /// The span of the parameters and their parentheses.
    pub(crate) list: Span,
    pub(crate) returns: Type,
}

/// One argument of a call.
pub(crate) struct TaskArgument {
    pub(crate) name: Ident,
    /// The name of `#[name("…")]`.
    pub(crate) explicit_name: Option<LitStr>,
    pub(crate) ty: Type,
    pub(crate) default: Option<DefaultValue>,
    /// The arguments that it takes in place of one.
    pub(crate) rest: Option<RestKind>,
}

/// The value of an argument that a message leaves out.
pub(crate) enum DefaultValue {
    /// `None`, of an `Option`.
    Nothing,
    /// `#[default]`.
    OfType,
    /// `#[default(…)]`.
    Given(Box<Expr>),
}

impl FunctionSignature {
    /// Reads the signature of a function, and removes the attributes of this crate from it. Returns
    /// `None` after a mistake.
    pub(crate) fn take(function: &mut ItemFn, mistakes: &mut Mistakes) -> Option<Self> {
        let mut found = Mistakes::default();
        check_qualifiers(function, &mut found);
        let (mut context, mut transaction) = (false, false);
        let mut parameters = Vec::new();
        for (position, input) in function.sig.inputs.iter_mut().enumerate() {
            match input {
                FnArg::Receiver(receiver) => found.add(receiver, "a task is a free function and takes no `self`"),
                FnArg::Typed(input) if names_context(&input.ty) => {
                    context |= check_context(input, position, &mut found);
                }
                FnArg::Typed(input) if transaction::names_connection(&input.ty) => {
                    transaction |= transaction::check(input, position == usize::from(context), &mut found);
                }
                FnArg::Typed(input) => parameters.extend(TaskArgument::take(input, &mut found)),
            }
        }
        if let Some(beyond) = parameters.get(MOST_PARAMETERS) {
            found.add(&beyond.name, "a task takes up to 12 arguments: put what belongs together into a struct");
        }
        check_wire_names(&parameters, &mut found);
        let rests: Vec<_> = parameters.iter().map(|parameter| (&parameter.name, parameter.rest)).collect();
        rest::check_order(&rests, &mut found);
        let returns = check_return(function, &mut found);
        let list = function.sig.paren_token.span.join();
        match (found.into_error(), returns) {
            (None, Some(returns)) => Some(Self { context, transaction, parameters, list, returns }),
            (error, _) => {
                error.into_iter().for_each(|error| mistakes.take(error));
                None
            }
        }
    }
}

fn check_qualifiers(function: &ItemFn, mistakes: &mut Mistakes) {
    let signature = &function.sig;
    if let Some(token) = &signature.constness {
        mistakes.add(token, "a task is run by a worker and cannot be `const`");
    }
    if let Some(token) = &signature.unsafety {
        mistakes.add(token, "a task cannot be `unsafe`: a worker has nothing to promise it");
    }
    if let Some(token) = &signature.abi {
        mistakes.add(token, "a task cannot be `extern`: a worker calls it as a Rust function");
    }
    if let Some(token) = &signature.variadic {
        mistakes.add(token, "a task takes a fixed number of arguments");
    }
    if !signature.generics.params.is_empty() {
        mistakes.add(
            &signature.generics,
            "a task cannot be generic: a message names a task, and has no types to choose from",
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        mistakes.add(clause, "a task cannot be generic: leave the `where` clause out");
    }
}

/// Checks position, attributes and type of the context.
fn check_context(input: &mut PatType, position: usize, mistakes: &mut Mistakes) -> bool {
    if position > 0 {
        mistakes.add(&*input, "the context comes first: put `ctx: TaskContext` before the other arguments");
        return false;
    }
    if take_default(&mut input.attrs, mistakes).is_some() {
        mistakes.add(&*input, "the context is given by the worker and has no default");
    }
    if take_name(&mut input.attrs, mistakes).is_some() {
        mistakes.add(&*input, "the context is given by the worker and has no name in a message");
    }
    if rest::take_attribute(&mut input.attrs).is_some() {
        mistakes.add(&*input, "the context is given by the worker and is no rest of the arguments");
    }
    check_owned(&input.ty, "an argument", mistakes);
    true
}

/// Returns true if the type is the context, or a reference to it, which `check_owned` refuses with
/// its own message.
pub(crate) fn names_context(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => names_context(&reference.elem),
        other => last_segment(other).is_some_and(|segment| segment.ident == "TaskContext"),
    }
}

impl TaskArgument {
    fn take(input: &mut PatType, mistakes: &mut Mistakes) -> Option<Self> {
        let default = take_default(&mut input.attrs, mistakes);
        let explicit_name = take_name(&mut input.attrs, mistakes);
        let rest = rest::take(input, default.is_some() || explicit_name.is_some(), mistakes);
        if let Some(cfg) = input.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
            mistakes
                .add(cfg, "an argument is always there: what a message carries cannot depend on how this was compiled");
        }
        check_owned(&input.ty, "an argument", mistakes);
        let default = default.or_else(|| {
            let optional = last_segment(&input.ty).is_some_and(|segment| segment.ident == "Option");
            optional.then_some(DefaultValue::Nothing)
        });
        match &*input.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
                Some(Self { name: name.ident.clone(), explicit_name, ty: (*input.ty).clone(), default, rest })
            }
            pattern => {
                let ty = input.ty.to_token_stream();
                mistakes.add(
                    pattern,
                    format_args!(
                        "an argument needs a name, which messages use: write `name: {ty}` and take it apart inside"
                    ),
                );
                None
            }
        }
    }

    /// Returns the name in messages: the parameter's without one leading underscore. Senders are
    /// not affected when an argument becomes unused.
    pub(crate) fn wire_name(&self) -> String {
        if let Some(name) = &self.explicit_name {
            return name.value();
        }
        let name = self.name.unraw().to_string();
        match name.strip_prefix('_') {
            Some(rest) if rest.starts_with(|first: char| first.is_alphabetic() || first == '_') => rest.to_owned(),
            _ => name,
        }
    }
}

fn check_wire_names(parameters: &[TaskArgument], mistakes: &mut Mistakes) {
    for (index, parameter) in parameters.iter().enumerate() {
        let name = parameter.wire_name();
        if let Some(first) = parameters[..index].iter().find(|other| other.wire_name() == name) {
            let (first, second) = (&first.name, &parameter.name);
            let message = format_args!(
                "`{first}` and `{second}` are both `{name}` in a message: rename one, or put `#[name(\"…\")]` before it"
            );
            match &parameter.explicit_name {
                Some(explicit) => mistakes.add(explicit, message),
                None => mistakes.add(&parameter.name, message),
            }
        }
    }
}

/// Removes `#[name("…")]`, which the compiler does not know.
fn take_name(attributes: &mut Vec<Attribute>, mistakes: &mut Mistakes) -> Option<LitStr> {
    let mut taken = Vec::new();
    attributes.retain(|attribute| {
        let ours = attribute.path().is_ident("name");
        if ours {
            taken.push(attribute.clone());
        }
        !ours
    });
    if let Some(second) = taken.get(1) {
        mistakes.add(second, "`name` is given twice");
    }
    let attribute = taken.first()?;
    match &attribute.meta {
        Meta::List(list) => match list.parse_args::<LitStr>() {
            Ok(name) if !name.value().is_empty() => Some(name),
            _ => {
                mistakes.add(list, "a name is a text, such as `#[name(\"order_id\")]`");
                None
            }
        },
        Meta::NameValue(pair) => {
            let value = pair.value.to_token_stream();
            mistakes.add(pair, format_args!("write `#[name({value})]`"));
            None
        }
        Meta::Path(path) => {
            mistakes.add(path, "a name is a text, such as `#[name(\"order_id\")]`");
            None
        }
    }
}

/// Removes `#[default]`, which the compiler does not know.
fn take_default(attributes: &mut Vec<Attribute>, mistakes: &mut Mistakes) -> Option<DefaultValue> {
    let mut taken = Vec::new();
    attributes.retain(|attribute| {
        let ours = attribute.path().is_ident("default");
        if ours {
            taken.push(attribute.clone());
        }
        !ours
    });
    if let Some(second) = taken.get(1) {
        mistakes.add(second, "`default` is given twice");
    }
    let attribute = taken.first()?;
    match &attribute.meta {
        Meta::Path(_) => Some(DefaultValue::OfType),
        Meta::List(list) => match list.parse_args() {
            Ok(value) => Some(DefaultValue::Given(Box::new(value))),
            Err(_) => {
                mistakes.add(list, "a default is one expression, such as `#[default(10)]`");
                None
            }
        },
        Meta::NameValue(pair) => {
            let value = pair.value.to_token_stream();
            mistakes.add(pair, format_args!("write `#[default({value})]`"));
            None
        }
    }
}

fn check_return(function: &ItemFn, mistakes: &mut Mistakes) -> Option<Type> {
    match &function.sig.output {
        ReturnType::Type(_, ty) => {
            check_owned(ty, "a result", mistakes);
            Some((**ty).clone())
        }
        ReturnType::Default => {
            let span = function.sig.ident.span();
            let message = "a task returns a result: write `-> TaskResult<()>` and end with `Ok(())`";
            mistakes.take(syn::Error::new(span, message));
            None
        }
    }
}

/// Reports parts of a type that a message cannot contain, at any depth.
fn check_owned(ty: &Type, what: &'static str, mistakes: &mut Mistakes) {
    Borrowed { what, mistakes }.visit_type(ty);
}

struct Borrowed<'a> {
    what: &'static str,
    mistakes: &'a mut Mistakes,
}

impl<'ast> Visit<'ast> for Borrowed<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let owned = owned_form(&reference.elem);
        self.mistakes.add(reference, format_args!("{} is owned: write `{owned}`", self.what));
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.mistakes
                .add(lifetime, format_args!("{} is owned and has no lifetime, other than `'static`", self.what));
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.mistakes.add(ty, format_args!("{} has one type that a message is read into: write it out", self.what));
    }

    fn visit_type_infer(&mut self, ty: &'ast TypeInfer) {
        self.mistakes.add(ty, format_args!("{} has one type that a message is read into: write it out", self.what));
    }

    // References in the type of a function pointer are not visited, because the pointer is refused
    // anyway.
    fn visit_type_bare_fn(&mut self, ty: &'ast TypeBareFn) {
        self.mistakes.add(ty, format_args!("{} is data, and a function is none", self.what));
    }
}

/// Returns the owned type to write in place of a reference.
fn owned_form(referred: &Type) -> String {
    match referred {
        Type::Slice(slice) => format!("Vec<{}>", compact(&slice.elem)),
        Type::Reference(inner) => owned_form(&inner.elem),
        other => match last_segment(other).map(|segment| segment.ident.to_string()).as_deref() {
            Some("str") => "String".to_owned(),
            Some("Path") => "PathBuf".to_owned(),
            _ => compact(other),
        },
    }
}

/// Returns a type as it was written. Tokens alone would have blanks around each sign.
fn compact(ty: &Type) -> String {
    ty.span().source_text().unwrap_or_else(|| ty.to_token_stream().to_string())
}
