//! A compiler's messages, without what changes when nothing about them does.

/// The folder of the fixtures, seen from the root of the checkout.
const FIXTURES: &str = "crates/macros/tests/";

/// Leaves out the compiler's summary, the place of this checkout, and the lines of the library that
/// messages point to: an unrelated edit moves them.
pub(crate) fn normalised(rendered: &str) -> String {
    let messages = rendered.trim_end().split("\n\n").filter(|message| !is_summary(message));
    messages.map(message).collect::<Vec<_>>().join("\n\n") + "\n"
}

fn is_summary(message: &str) -> bool {
    [
        "error: aborting due to",
        "For more information about",
        "Some errors have detailed",
        "warning: `",
        "error: could not",
    ]
    .iter()
    .any(|start| message.trim_start().starts_with(start))
}

/// One message. Its gutter is as wide as the lines of the fixture need.
fn message(message: &str) -> String {
    let mut is_fixture = true;
    let mut lines = Vec::new();
    for line in message.lines() {
        let (number, rest) = split_gutter(line);
        if let Some(place) = rest.strip_prefix("-->").or_else(|| rest.strip_prefix(":::")) {
            is_fixture = place.contains(FIXTURES);
            let place = if is_fixture { rest.replace(FIXTURES, "tests/") } else { in_workspace(rest) };
            lines.push((String::new(), place));
        } else if rest.starts_with('|') || rest.starts_with('=') || rest.starts_with("...") {
            lines.push((if is_fixture { number.to_owned() } else { String::new() }, rest.to_owned()));
        } else {
            lines.push((String::new(), line.to_owned()));
        }
    }
    let width = lines.iter().map(|(number, _)| number.len()).max().unwrap_or_default();
    let lines = lines.into_iter().map(|(number, rest)| match rest.as_bytes() {
        [b'-', b'-', b'>', ..] | [b':', b':', b':', ..] => format!("{:width$}{rest}", ""),
        [b'|' | b'=', ..] => format!("{number:>width$} {rest}"),
        _ => rest,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The number in the gutter, and what follows it.
fn split_gutter(line: &str) -> (&str, &str) {
    let rest = line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit());
    (line[..line.len() - rest.len()].trim(), rest.trim_start())
}

/// A place in the library, without the line.
fn in_workspace(place: &str) -> String {
    let (arrow, path) = place.split_once(' ').unwrap_or((place, ""));
    let path = path.split(".rs:").next().unwrap_or(path);
    let inside = path.split_once("crates/").map_or(path, |(_, inside)| inside);
    format!("{arrow} $WORKSPACE/crates/{inside}.rs")
}
