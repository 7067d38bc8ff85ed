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
//! - [`nearest()`], [`slip_of()`]: the word that was probably meant.

mod sources;

mod environment;

mod yaml;

mod origin;

mod layer;

mod tree;

mod reader;

mod fault;

mod load;

mod problem;

mod show;

mod secret;

pub mod text;

pub mod duration;

mod nearest;

mod meant;

pub use celeriac_units::ByteSize;
pub use environment::{Environment, PREFIX};
pub use fault::quoted;
pub use load::{Loaded, load, load_with};
pub use nearest::{nearest, slip_of};
pub use problem::{Problem, Problems};
pub use secret::Secret;
pub use sources::Sources;
pub use text::{ConfigValue, Parsed};
