//! From a typed call to a row in Postgres, over a real RabbitMQ.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod again;
mod command_line;
mod conformance;
mod cookbook;
mod outcomes;
mod replies;
mod sending;
mod stopping;
mod story;
