//! Names under which serde is asked for, and given, what only a `Value` can be.
//!
//! serde knows no decimals and no integers beyond 128 bits. A newtype struct is transparent in every format, so that its name
//! is a place for such a kind: foreign serialisers see the text inside, our own sees what it is.

pub(super) const PREFIX: &str = "$celeriac::";
pub(super) const VALUE: &str = "$celeriac::Value";
pub(super) const BIG_INT: &str = "$celeriac::BigInt";
pub(super) const DATE_TIME: &str = "$celeriac::DateTime";
pub(super) const DATE: &str = "$celeriac::Date";
pub(super) const TIME: &str = "$celeriac::Time";
pub(super) const DECIMAL: &str = "$celeriac::Decimal";
pub(super) const UUID: &str = "$celeriac::Uuid";
