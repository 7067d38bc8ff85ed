//! Rules of prose that a machine can check: first words of summaries, and the width of lines.
//!
//! The first line of a comment must not begin with a question word. This covers rustdoc, help texts
//! and the comments of YAML. Comments and pages have at most 100 columns, except for tables, code,
//! headings, URLs, and words that cannot break.

use std::path::{Path, PathBuf};

use crate::files::{files, root, sources};

/// The page with the rules.
const STYLE: &str = "docs/contributing/style.md";

const QUESTION_WORDS: [&str; 9] = ["What", "Who", "Where", "How", "Whether", "When", "Why", "Which", "Whose"];

const WIDTH: usize = 100;

/// The line of a text, from 1, and the rule that it breaks.
type Offence = (usize, &'static str);

/// Returns the question words at the beginnings of doc comments, and of clap's `about` and `help`.
fn questions_in_rust(text: &str) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut before = None;
    for (number, line) in numbered(text) {
        let doc = doc_line(line);
        let is_first = doc.is_some() && doc.map(|(kind, _)| kind) != before;
        before = doc.map(|(kind, _)| kind);
        if is_first && doc.is_some_and(|(_, summary)| is_question(summary)) {
            offences.push((number, "a doc summary begins with a question word"));
        }
        let help = ["about = \"", "help = \""].iter().find_map(|key| line.split_once(key));
        if help.is_some_and(|(_, text)| is_question(text)) {
            offences.push((number, "a help text begins with a question word"));
        }
    }
    offences
}

/// Returns the question words at the beginnings of YAML comments.
fn questions_in_yaml(text: &str) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut continues = false;
    for (number, line) in numbered(text) {
        let is_comment = line.trim_start().starts_with('#');
        let comment = yaml_comment(line).map(str::trim_start);
        if !(continues && is_comment) && comment.is_some_and(is_question) {
            offences.push((number, "a YAML comment begins with a question word"));
        }
        continues = is_comment && comment.is_some_and(|comment| !comment.is_empty());
    }
    offences
}

/// Returns the comment lines of Rust that are too long.
fn long_lines_in_rust(text: &str) -> Vec<Offence> {
    let mut is_code = false;
    let mut offences = Vec::new();
    for (number, line) in numbered(text) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_code = false;
            continue;
        };
        if is_too_long(line, comment.trim_start_matches(['/', '!']), &mut is_code) {
            offences.push((number, "a comment line has more than 100 columns"));
        }
    }
    offences
}

/// Returns the comments of YAML that are too long.
fn long_lines_in_yaml(text: &str) -> Vec<Offence> {
    let comments = numbered(text).filter_map(|(number, line)| Some((number, line, yaml_comment(line)?)));
    let long = comments.filter(|(_, line, comment)| is_too_long(line, comment, &mut false));
    long.map(|(number, ..)| (number, "a YAML comment has more than 100 columns")).collect()
}

/// Returns the lines of a page that are too long.
fn long_lines_in_markdown(text: &str) -> Vec<Offence> {
    let mut is_code = false;
    let long = numbered(text).filter(|(_, line)| is_too_long(line, line, &mut is_code));
    long.map(|(number, _)| (number, "a line has more than 100 columns")).collect()
}

/// Returns `true` if a line is too long and its prose could break. Sets `is_code` between fences.
fn is_too_long(line: &str, prose: &str, is_code: &mut bool) -> bool {
    let prose = prose.trim_start();
    if prose.starts_with("```") {
        *is_code = !*is_code;
    }
    let is_exempt = *is_code || prose.starts_with(['|', '#']);
    let width = line.trim_end().chars().count();
    width > WIDTH && !is_exempt && can_break(prose.trim_end(), width)
}

/// Returns `true` if the unit that crosses the last column could go on a line of its own. A unit
/// that starts the line stays, and so does a URL.
fn can_break(prose: &str, width: usize) -> bool {
    let mut column = width - prose.chars().count();
    let mut is_first = true;
    for unit in units(prose) {
        column += unit.chars().count();
        if column > WIDTH {
            return !is_first && !unit.contains("://");
        }
        is_first = is_first && !unit.contains(char::is_alphanumeric);
        column += 1;
    }
    false
}

/// Splits prose at its spaces, except for those in code spans and link targets.
fn units(prose: &str) -> impl Iterator<Item = &str> {
    let (mut is_span, mut is_target, mut previous) = (false, false, ' ');
    prose.split(move |character| {
        match (previous, character) {
            (_, '`') => is_span = !is_span,
            (']', '(') => is_target = true,
            (_, ')') => is_target = false,
            _ => {}
        }
        previous = character;
        character == ' ' && !is_span && !is_target
    })
}

/// Returns kind and text of a doc comment. The kind has the indentation, which separates blocks.
fn doc_line(line: &str) -> Option<((usize, &str), &str)> {
    let (indent, text) = (line.len() - line.trim_start().len(), line.trim_start());
    let kind = text.get(..3).filter(|kind| ["///", "//!"].contains(kind))?;
    (!text.starts_with("////")).then(|| ((indent, kind), text[3..].trim_start()))
}

/// Returns the comment of a YAML line, without its sign.
fn yaml_comment(line: &str) -> Option<&str> {
    let whole = line.trim_start().strip_prefix('#');
    whole.or_else(|| line.split_once(" #").map(|(_, comment)| comment))
}

fn is_question(text: &str) -> bool {
    let word = text.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default();
    QUESTION_WORDS.contains(&word)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn pages() -> Vec<PathBuf> {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root().join(page));
    pages.into_iter().chain(files("docs", ".md")).collect()
}

/// Fails with the place and the rule of every offence.
fn assert_none(paths: &[PathBuf], check: impl Fn(&str) -> Vec<Offence>) {
    let place = |path: &Path, (line, rule)| format!("{}:{line}: {rule}", path.strip_prefix(root()).unwrap().display());
    let of = |path: &PathBuf| check(&std::fs::read_to_string(path).unwrap());
    let offences: Vec<_> =
        paths.iter().flat_map(|path| of(path).into_iter().map(|offence| place(path, offence))).collect();
    assert!(offences.is_empty(), "see {STYLE}\n{}", offences.join("\n"));
}

#[test]
fn no_summary_or_help_text_begins_with_a_question_word() {
    assert_none(&sources(), questions_in_rust);
}

#[test]
fn no_yaml_comment_begins_with_a_question_word() {
    assert_none(&files("config", ".yaml"), questions_in_yaml);
}

#[test]
fn comments_have_at_most_100_columns() {
    assert_none(&sources(), long_lines_in_rust);
    assert_none(&files("config", ".yaml"), long_lines_in_yaml);
}

#[test]
fn pages_have_at_most_100_columns() {
    assert_none(&pages(), long_lines_in_markdown);
}

#[test]
fn planted_questions_are_found() {
    let rust = "/// How it goes.\n/// Where it ends.\nfn a() {}\n    //! Whoever it is.\n    //! What is it?\n/// Why.\n\
        // Which.\n#[arg(help = \"When to stop\")]\n/// A noun.\n///\n/// Whose.\n";
    assert_eq!(lines(&questions_in_rust(rust)), [1, 6, 8]);
    let yaml = "# How long.\n#\n# Whether.\nkey: 1 # Whose\n# A noun.\n# What follows.\n'a#b': Why\n";
    assert_eq!(lines(&questions_in_yaml(yaml)), [1, 3, 4]);
}

#[test]
fn planted_long_lines_are_found() {
    let long = "word ".repeat(21);
    let rust = format!(
        "/// {long}\n    // {long}\nlet a = \"{long}\";\n/// ```\n/// {long}\n/// ```\n/// | {long}\n//! {long}\n"
    );
    assert_eq!(lines(&long_lines_in_rust(&rust)), [1, 2, 8]);
    let yaml = format!("# {long}\nkey: 1 # {long}\nkey: '{long}'\n");
    assert_eq!(lines(&long_lines_in_yaml(&yaml)), [1, 2]);
    let unbroken = "word".repeat(30);
    let page = format!(
        "{long}\n# {long}\n```text\n{long}\n```\n- {unbroken}\nsee [a page]({unbroken})\n| {long}\nsee https://{unbroken}\n`{long}`\n{long}\n"
    );
    assert_eq!(lines(&long_lines_in_markdown(&page)), [1, 7, 11]);
}

fn lines(offences: &[Offence]) -> Vec<usize> {
    offences.iter().map(|(line, _)| *line).collect()
}
