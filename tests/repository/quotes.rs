//! Code that a page quotes is code that runs.

use std::path::Path;

use crate::files::{files, root};

/// A line between two parts of a quotation.
const LEFT_OUT: &str = "…";

#[test]
fn quoted_code_stands_in_the_file_it_is_from() {
    let page = root().join("docs/coming-from-celery.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let mut source = None;
    let mut quoted = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(named) = named_file(line) {
            source = Some(page.parent().unwrap().join(named));
        }
        let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty()) else { continue };
        let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").map(str::trim).collect();
        let source = source.as_deref().unwrap_or_else(|| panic!("{language} before any file is named"));
        for piece in code.split(|line| *line == LEFT_OUT) {
            assert!(stands_in(piece, source), "{} does not have\n{}", source.display(), piece.join("\n"));
            quoted += 1;
        }
    }
    assert!(quoted > 10, "{quoted} pieces");
}

#[test]
fn the_canvases_of_the_guide_are_those_of_its_test() {
    let page = std::fs::read_to_string(root().join("docs/canvas.md")).unwrap();
    let test = root().join("tests/delivery/guide.rs");
    let mut quoted = 0;
    // The handles and the rest of the page show parts of calls.
    let before = page.split("## Handles").next().unwrap();
    let transaction = page.split("## In a transaction").nth(1).unwrap().split("\n## ").next().unwrap();
    for part in [before, transaction] {
        for code in part.split("```rust\n").skip(1) {
            let code = code.split("```").next().unwrap().replace('?', ".unwrap()");
            for piece in code.trim_end().split("\n\n") {
                let piece: Vec<_> = piece.lines().map(str::trim).collect();
                assert!(stands_in(&piece, &test), "{} does not have\n{}", test.display(), piece.join("\n"));
                quoted += 1;
            }
        }
    }
    assert_eq!(quoted, 7);
}

#[test]
fn the_lines_of_the_port_stand_in_its_files() {
    let folder = root().join("examples/port");
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let texts = |under: &str, ending: &str| -> String {
        let files = files(under, ending);
        files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    };
    let (python, rust) = (texts("examples/port/fleet", ".py"), texts("examples/port/rust/src", ".rs"));
    let table = page.split("## Said differently").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut quoted = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split(" | ").collect();
        for (cell, source) in [(cells[0], &python), (cells[1], &rust)] {
            let code = cell.split('`').nth(1).unwrap();
            assert!(source.contains(code), "no file has {code}");
            quoted += 1;
        }
    }
    assert!(quoted > 50, "{quoted} pieces");
}

/// Returns the last link of a line to a file of the examples.
fn named_file(line: &str) -> Option<&str> {
    let (_, target) = line.rsplit_once("](")?;
    let (target, _) = target.split_once(')')?;
    let in_examples =
        target.starts_with("../examples/") && Path::new(target).extension().is_some_and(|kind| kind != "md");
    in_examples.then_some(target)
}

/// Returns `true` if the lines are consecutive in a file, with any indentation.
fn stands_in(piece: &[&str], file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.windows(piece.len()).any(|window| window == piece)
}
