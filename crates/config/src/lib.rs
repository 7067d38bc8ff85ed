//! Layered configuration with exact error paths.
//!
//! This crate does not depend on any component. A program composes the options of its parts into
//! one struct. [`load()`] fills it from [`Sources`]: embedded defaults, files of a directory, the
//! environment, the command line. Later sources win. It reports all problems together, each with
//! its source and its full key.
//!
//! In reading order:
//!
//! - [`Sources`]: sources of values, and their order;
//! - [`Environment`]: the variables of the process, read in one place;
//! - [`load()`]: merges layers into one tree, and reads the options from it;
//! - [`Problems`]: the problems, one a line;
//! - [`Loaded::show`]: the values in force, with their sources;
//! - [`Secret`], [`mod@text`], [`duration`]: values in their written form;
//! - [`nearest()`], [`closest_typo()`], [`did_you_mean()`]: suggestions for misspelt words.

mod sources;

mod environment;

mod yaml;

mod origin;

mod layer;

mod tree;

mod node_deserializer;

mod quote;

mod deserialize_error;

mod references;

mod load;

mod problem;

mod show;

mod secret;

pub mod text;

pub mod duration;

mod suggest;

mod url;

pub use celeriac_units::ByteSize;
pub use environment::{Environment, PREFIX};
pub use load::{Loaded, load, load_with};
pub use problem::{Problem, Problems};
pub use quote::quoted;
pub use secret::Secret;
pub use sources::{ExplainUnknown, Sources};
pub use suggest::{closest_typo, did_you_mean, nearest};
pub use text::{ConfigValue, Parsed};
pub use url::{URL_ESCAPES, has_several_at_signs};
