//! The repository keeps its own rules.

mod edges;
mod files;
mod reference;
