//! `#[task(transactional)]`: the parameter for the transaction.

use syn::{PatType, Type};

use crate::mistakes::Mistakes;
use crate::syntax::last_segment;

/// Returns true if the type is a connection. References and paths count too, so that a wrong one
/// gets its own message.
pub(crate) fn names_connection(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => names_connection(&reference.elem),
        other => last_segment(other).is_some_and(|segment| segment.ident == "PgConnection"),
    }
}

/// Checks position and type of the transaction.
pub(crate) fn check(input: &PatType, comes_first: bool, mistakes: &mut Mistakes) -> bool {
    if !comes_first {
        mistakes.add(input, "the transaction comes before the arguments, and after the context if there is one");
        return false;
    }
    let lent = matches!(&*input.ty, Type::Reference(reference) if reference.mutability.is_some());
    if !lent {
        mistakes.add(&input.ty, "the worker owns the transaction: write `&mut PgConnection`");
    }
    if let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("default")) {
        mistakes.add(attribute, "the transaction is given by the worker and has no default");
    }
    if let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("name")) {
        mistakes.add(attribute, "the transaction is given by the worker and has no name in a message");
    }
    lent
}
