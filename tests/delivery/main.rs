//! From a typed call to a row in Postgres, over a real RabbitMQ.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod again;
mod answers;
mod broadcast;
mod builtin;
mod command_line;
mod conformance;
mod cookbook;
mod follow_ups;
mod foreign;
mod letter;
mod management;
mod not_followed_up;
mod outcomes;
mod replies;
mod sending;
mod stage;
mod stopping;
mod story;
mod topology;
