//! JSON as Celery writes it: Python's, with the types that kombu adds.

mod read;
mod write;

pub(crate) use read::decode;
pub(crate) use write::encode;

pub(crate) const NAME: &str = "JSON";

/// The two keys of an object for a value of another type.
const TYPE: &str = "__type__";
const VALUE: &str = "__value__";

#[cfg(test)]
mod tests;
