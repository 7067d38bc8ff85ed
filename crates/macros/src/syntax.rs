//! Helpers for syntax trees. They look through the invisible groups of `macro_rules!`.

use syn::{Expr, ExprPath, GenericArgument, PathArguments, PathSegment, Type};

/// Names of types that implement serde's traits if the types in their brackets do.
const SERIALIZABLE: &[&str] = &[
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize", "BTreeMap", "Box", "Duration", "HashMap", "Option", "String", "Uuid", "Vec",
];

/// Unwraps the invisible groups in which a `macro_rules!` passes on an expression.
pub(crate) fn without_group(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => without_group(&group.expr),
        other => other,
    }
}

/// Returns true if the path is this word.
pub(crate) fn is_word(path: &ExprPath, word: &str) -> bool {
    path.qself.is_none() && path.path.is_ident(word)
}

/// Returns the last segment of a path.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Group(group) => last_segment(&group.elem),
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Returns true for a type of the standard library, by its name, that messages can contain.
pub(crate) fn is_serializable(ty: &Type) -> bool {
    let Some(segment) = last_segment(ty) else { return false };
    let has_serializable_types = match &segment.arguments {
        PathArguments::None => true,
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .all(|argument| matches!(argument, GenericArgument::Type(inner) if is_serializable(inner))),
        PathArguments::Parenthesized(_) => false,
    };
    has_serializable_types && SERIALIZABLE.iter().any(|name| segment.ident == name)
}
