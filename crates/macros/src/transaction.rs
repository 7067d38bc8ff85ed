//! `#[task(transactional)]`: a task that is given a transaction by the worker.

use celeriac_units::AckMode;
use syn::{ItemFn, PatType, Type};

use crate::options::Options;
use crate::problems::Problems;
use crate::signature::{Signature, last_segment};

/// Whether a parameter is the transaction of the task: looks through references, so that a wrong one gets a message of its
/// own.
pub(crate) fn names_connection(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => names_connection(&reference.elem),
        other => last_segment(other).is_some_and(|segment| segment.ident == "PgConnection"),
    }
}

/// Whether the transaction stands where it has to, in the form that it has to have.
pub(crate) fn check(input: &PatType, comes_first: bool, problems: &mut Problems) -> bool {
    if !comes_first {
        problems.add(input, "the transaction comes before the arguments, and after the context if there is one");
        return false;
    }
    let lent = matches!(&*input.ty, Type::Reference(reference) if reference.mutability.is_some());
    if !lent {
        problems.add(&input.ty, "the transaction is lent by the worker: write `&mut PgConnection`");
    }
    if let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("default")) {
        problems.add(attribute, "the transaction is given by the worker and has no default");
    }
    lent
}

/// Whether function and options agree on a transaction.
pub(crate) fn fits(options: &Options, signature: &Signature, function: &ItemFn, problems: &mut Problems) -> bool {
    let mut found = Problems::default();
    match &options.transactional {
        None if signature.transaction => {
            let message = "only a transactional task is given a transaction: write `#[task(transactional)]`";
            found.add(&function.sig.inputs, message);
        }
        None => {}
        Some(transactional) => {
            if !signature.transaction {
                let message =
                    "a transactional task takes its transaction: put `tx: &mut PgConnection` before the arguments";
                found.add(transactional, message);
            }
            if function.sig.asyncness.is_none() {
                let message = "a task that blocks its thread cannot be transactional: make it an `async fn`";
                found.add(transactional, message);
            }
            if options.acks == Some(AckMode::Early) {
                let message = "a transactional task is acknowledged after its commit: leave `acks` out";
                found.add(transactional, message);
            }
        }
    }
    match found.into_error() {
        None => true,
        Some(error) => {
            problems.take(error);
            false
        }
    }
}
