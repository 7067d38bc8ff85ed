//! Which uses of the macros compile, and what the others are answered.

#[test]
fn what_is_right_compiles_and_runs() {
    trybuild::TestCases::new().pass("tests/accepted/*.rs");
}

// The messages that come from the compiler itself are those of the toolchain that the project is developed with.
#[test]
fn mistakes_are_answered_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
