//! From a typed call to a row in Postgres, over a real RabbitMQ.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod again;
mod answers;
mod broadcast;
mod builtin;
mod command_line;
mod conformance;
mod cookbook;
mod dead;
mod dead_reasons;
mod direct;
mod follow_ups;
mod foreign;
mod letter;
mod management;
mod not_followed_up;
mod outcomes;
mod permissions;
mod poison;
mod prefetch;
mod queues;
mod replies;
mod revoke;
mod routes;
mod sending;
mod stage;
mod stopping;
mod story;
mod tls;
mod topology;
