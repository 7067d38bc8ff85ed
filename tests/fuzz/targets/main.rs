//! Every reader of what others write, on damaged inputs: messages, and the text of settings.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bodies;
mod config;
mod control;
mod headers;
mod messages;
mod text;
