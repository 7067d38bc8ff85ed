//! Layered configuration with exact error paths.
//!
//! This crate knows no component. A program composes the options of its parts into one struct, and [`load()`] fills it
//! from [`Sources`]: embedded defaults, the files of a directory, the environment, the command line; what comes later
//! wins. Whatever is wrong is told at once, each problem with the source that said it and the full key.
//!
//! In reading order:
//!
//! - [`Sources`]: where values come from, and in which order;
//! - [`Environment`]: the variables of the process, read in one place;
//! - [`load()`]: layers become one tree, and the tree becomes the program's options;
//! - [`Problems`]: what was wrong, a line each;
//! - [`Loaded::show`]: what came out, and which source said it;
//! - [`Secret`], [`mod@text`], [`duration`]: values as people write them, and as they may be shown;
//! - [`nearest()`], [`closest_typo()`], [`did_you_mean()`]: the word that was probably meant.

mod sources;

mod environment;

mod yaml;

mod origin;

mod layer;

mod tree;

mod node_deserializer;

mod quote;

mod deserialize_error;

mod load;

mod problem;

mod show;

mod secret;

pub mod text;

pub mod duration;

mod suggest;

pub use celeriac_units::ByteSize;
pub use environment::{Environment, PREFIX};
pub use load::{Loaded, load, load_with};
pub use problem::{Problem, Problems};
pub use quote::quoted;
pub use secret::Secret;
pub use sources::Sources;
pub use suggest::{closest_typo, did_you_mean, nearest};
pub use text::{ConfigValue, Parsed};
