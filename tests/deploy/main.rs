//! The files in `deploy/` are checked by the programs that they are for.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod compose;
mod image;
mod kubernetes;
mod notify;
mod runbooks;
mod supervisord;
mod units;

use std::path::{Path, PathBuf};

/// Returns a path in `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Returns the text of a file in `deploy/`, with the test program in place of the user's.
fn with_test_program(path: &str) -> String {
    let text = std::fs::read_to_string(deploy(path)).unwrap();
    assert!(text.contains("/usr/bin/my-app"), "{path} names the program");
    text.replace("/usr/bin/my-app", &celeriac_tests::program::path())
}

/// Returns a text with a mistake in place of what is right.
fn planted(text: &str, right: &str, wrong: &str) -> String {
    let planted = text.replace(right, wrong);
    assert_ne!(planted, text, "{right}");
    planted
}
