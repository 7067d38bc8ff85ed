//! From a typed call to a row in Postgres, over a real RabbitMQ.

mod command_line;
mod conformance;
mod cookbook;
mod outcomes;
mod sending;
mod stopping;
mod story;
