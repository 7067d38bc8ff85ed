//! Which uses of the macros compile, and what the others are answered.

// One run for both: each would build all dependencies again. Messages that come from the compiler itself are those of
// the toolchain that the project is developed with.
#[test]
fn what_is_right_runs_and_mistakes_are_answered_where_they_stand() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/accepted/*.rs");
    cases.compile_fail("tests/refused/*.rs");
}
