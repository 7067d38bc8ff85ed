//! Helpers for syntax trees. They look through the invisible groups of `macro_rules!`.

use syn::{Expr, ExprPath, PathSegment, Type};

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
