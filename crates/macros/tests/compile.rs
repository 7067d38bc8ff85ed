//! Uses of the macros that compile, and the messages for those that do not.
//!
//! The compiler is called for each fixture with the libraries that Cargo has built for this test:
//! nothing is built once more. Messages that come from the compiler itself are those of the
//! toolchain that the project is developed with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use self::rendered::normalised;

#[path = "compile/rendered.rs"]
mod rendered;

/// The arguments that this test was compiled with.
const ARGUMENTS: &[&str] = &celeriac_rustc::arguments!();

#[test]
fn accepted_programs_compile_and_run() {
    let failed = for_each("accepted", |fixture| {
        let program = built(fixture);
        let compiled = rustc(fixture, &["--emit=link", "-o", &program.display().to_string()]);
        let compiled = succeeded("does not compile", &compiled);
        compiled.and_then(|()| succeeded("does not run", &Command::new(&program).output().unwrap()))
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn mistakes_are_answered_where_they_stand() {
    let failed = for_each("refused", |fixture| {
        let metadata = built(fixture).with_extension("rmeta");
        let compiled = rustc(fixture, &["--emit=metadata", "-o", &metadata.display().to_string()]);
        if compiled.status.success() {
            return Err("compiles".to_owned());
        }
        let found = normalised(&String::from_utf8(compiled.stderr).unwrap());
        let expected = fixture.with_extension("stderr");
        if std::fs::read_to_string(&expected).is_ok_and(|expected| expected == found) {
            return Ok(());
        }
        let actual = built(fixture).with_extension("stderr");
        std::fs::write(&actual, &found).unwrap();
        Err(format!("is answered:\n{found}\nif that is right: cp {} {}", actual.display(), expected.display()))
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Checks the fixtures of a folder, as many at once as there are processors. What was wrong, each
/// with its fixture.
fn for_each(folder: &str, check: impl Fn(&Path) -> Result<(), String> + Sync) -> Vec<String> {
    let fixtures = std::fs::read_dir(Path::new("tests").join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = fixtures.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    fixtures.sort();
    assert!(!fixtures.is_empty(), "no fixtures in {folder}");
    let (left, failed) = (Mutex::new(fixtures), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(fixture) = next() {
                    if let Err(problem) = check(&fixture) {
                        failed.lock().unwrap().push(format!("{} {problem}", fixture.display()));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

fn succeeded(problem: &str, output: &Output) -> Result<(), String> {
    let said = || format!("{problem}:\n{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// Compiles a program with this test's own libraries.
fn rustc(fixture: &Path, arguments: &[&str]) -> Output {
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--crate-type=bin",
        "--edition=2024",
        "--error-format=human",
        "--color=never",
        "--diagnostic-width=140",
    ]);
    for pair in ARGUMENTS.windows(2).filter(|pair| matches!(pair[0], "--extern" | "-L")) {
        rustc.args(pair);
    }
    // From the root, where the paths lead that the libraries give for their own lines.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let fixture = Path::new("crates/macros").join(fixture);
    rustc.env("CARGO_PKG_NAME", "fixtures").current_dir(root).args(arguments).arg(fixture).output().unwrap()
}

/// Returns the place for the result of a fixture.
fn built(fixture: &Path) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(fixture.file_stem().unwrap())
}
