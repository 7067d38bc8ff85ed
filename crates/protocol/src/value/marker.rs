//! Marker names by which serde exchanges the kinds that only a `Value` has.
//!
//! Serde has no decimals, and no integers beyond 128 bits. A newtype struct is transparent in every
//! format, so its name can mark such a kind: other serialisers see the text inside, and this
//! crate's see the kind.

pub(super) const PREFIX: &str = "$celeriac::";
pub(super) const VALUE: &str = "$celeriac::Value";
pub(super) const BIG_INT: &str = "$celeriac::BigInt";
pub(super) const DATE_TIME: &str = "$celeriac::DateTime";
pub(super) const DATE: &str = "$celeriac::Date";
pub(super) const TIME: &str = "$celeriac::Time";
pub(super) const DECIMAL: &str = "$celeriac::Decimal";
pub(super) const UUID: &str = "$celeriac::Uuid";
