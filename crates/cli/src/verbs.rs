//! One file for each verb, and `arguments` for those that call.

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod config;
pub(crate) mod dead;
pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod queues;
pub(crate) mod relay;
pub(crate) mod result;
pub(crate) mod revoke;
pub(crate) mod routes;
pub(crate) mod setup;
pub(crate) mod topology;
pub(crate) mod worker;
