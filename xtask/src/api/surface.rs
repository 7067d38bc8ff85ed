//! Merges the lists of several crates into one text: the exports of the façade, under the paths
//! that users write.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Result, ensure};

/// An item of another crate that the façade exports.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    /// Path of its definition, one segment each.
    pub(crate) target: Vec<String>,
    /// Path in the façade.
    pub(crate) path: String,
    pub(crate) is_module: bool,
}

/// Paths in the façade, by library and name of an item. The modules in between do not count: a type
/// name is unique in the workspace, and the name of an error type is unique in its library.
struct Exports {
    items: BTreeMap<(String, String), String>,
    modules: BTreeMap<String, String>,
}

/// Returns the text.
///
/// # Errors
/// Returns an error if a line names an item that the façade does not export, or if an item has two
/// paths.
pub(crate) fn surface(exports: &[Export], lists: &BTreeMap<String, Vec<String>>) -> Result<String> {
    let exports = Exports::of(exports)?;
    let mut seen = HashSet::new();
    let mut found: Vec<(String, String)> = Vec::new();
    let mut holes = BTreeSet::new();
    for (library, lines) in lists {
        for line in without_methods_of_traits(lines) {
            let Some(subject) = subject(line).and_then(|path| exports.exported(library, path)) else { continue };
            let (text, unknown) = exports.rewrite(line);
            holes.extend(unknown.into_iter().map(|path| format!("{path}, in `{text}`")));
            if seen.insert(text.clone()) {
                found.push((subject, text));
            }
        }
    }
    let holes: Vec<_> = holes.into_iter().collect();
    ensure!(holes.is_empty(), "the façade names these items and does not export them:\n{}", holes.join("\n"));
    // The sort is stable, so the members of an item stay in the order of its list.
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut text = String::new();
    for (_, line) in found {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

impl Exports {
    fn of(exports: &[Export]) -> Result<Self> {
        let mut all = Self { items: BTreeMap::new(), modules: BTreeMap::new() };
        for Export { target, path, is_module } in exports {
            let (Some(library), Some(name)) = (target.first(), target.last()) else { continue };
            // Prelude items are exported elsewhere too. That path counts.
            if path.starts_with("celeriac::prelude::") {
                continue;
            }
            if *is_module {
                all.modules.insert(target.join("::"), path.clone());
                continue;
            }
            let second = all.items.insert((library.clone(), name.clone()), path.clone());
            ensure!(second.is_none(), "{} has two paths: {path} and {}", target.join("::"), second.unwrap_or_default());
        }
        Ok(all)
    }

    /// Returns the path in the façade of an item or of its owner.
    fn exported(&self, library: &str, path: &str) -> Option<String> {
        if library == "celeriac" {
            return path.starts_with("celeriac::").then(|| path.to_owned());
        }
        self.translated(path)
    }

    /// Returns a path as users write it. Its end, such as a method, stays.
    fn translated(&self, path: &str) -> Option<String> {
        for (module, exported) in &self.modules {
            if let Some(rest) =
                path.strip_prefix(module.as_str()).filter(|rest| rest.is_empty() || rest.starts_with("::"))
            {
                return Some(format!("{exported}{rest}"));
            }
        }
        let segments: Vec<_> = path.split("::").collect();
        // Variants and methods follow the type, and may have the name of another type.
        let is_type = |segment: &str| segment.starts_with(|first: char| first.is_uppercase());
        let last = segments.iter().position(|segment| is_type(segment)).unwrap_or(segments.len() - 1);
        (1..=last).find_map(|place| {
            let key = (segments[0].to_owned(), segments[place].to_owned());
            let exported = self.items.get(&key)?;
            Some(
                std::iter::once(exported.as_str())
                    .chain(segments[place + 1..].iter().copied())
                    .collect::<Vec<_>>()
                    .join("::"),
            )
        })
    }

    /// Returns a line with paths of the façade, and the paths that the façade lacks.
    fn rewrite(&self, line: &str) -> (String, Vec<String>) {
        let (mut text, mut unknown) = (String::new(), Vec::new());
        let mut rest = line;
        while let Some(start) = rest.find("celeriac_") {
            let (before, found) = rest.split_at(start);
            let path = leading_path(found);
            text.push_str(before);
            rest = &found[path.len()..];
            match (self.translated(path), self.error_of_alias(path)) {
                (Some(translated), _) => text.push_str(&translated),
                // A library's `Result` is `core`'s, with the library's error.
                (None, Some(error)) if rest.starts_with('<') => {
                    let end = closing(rest);
                    let (inner, unknown_inside) = self.rewrite(&rest[..end]);
                    text.push_str(&format!("core::result::Result{inner}, {error}>"));
                    unknown.extend(unknown_inside);
                    rest = &rest[end + 1..];
                }
                (None, _) => {
                    text.push_str(path);
                    unknown.push(path.to_owned());
                }
            }
        }
        text.push_str(rest);
        (text, unknown)
    }

    fn error_of_alias(&self, path: &str) -> Option<&str> {
        let library = path.split("::").next().filter(|_| path.ends_with("::Result"))?;
        self.items.get(&(library.to_owned(), "Error".to_owned())).map(String::as_str)
    }
}

/// Returns the position of the bracket that closes the first one.
fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (place, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if before != '-' => {
                depth -= 1;
                if depth == 0 {
                    return place;
                }
            }
            _ => {}
        }
        before = character;
    }
    text.len()
}

/// Returns the path at the beginning of a text.
fn leading_path(text: &str) -> &str {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | ':');
    let path = &text[..text.find(|character| !is_part(character)).unwrap_or(text.len())];
    path.trim_end_matches(':')
}

/// Returns the first path of a text into a crate of the workspace.
fn own_path(text: &str) -> Option<&str> {
    let start = text.find("celeriac")?;
    Some(leading_path(&text[start..]))
}

/// Returns the item that a line is about. For an implementation that is the type, or the trait if
/// the type is from elsewhere.
fn subject(line: &str) -> Option<&str> {
    let Some(implementation) = line.strip_prefix("impl") else { return own_path(line) };
    let implementation = if implementation.starts_with('<') {
        &implementation[(closing(implementation) + 1).min(implementation.len())..]
    } else {
        implementation
    };
    let bound = implementation.find(" where ").unwrap_or(implementation.len());
    match implementation[..bound].split_once(" for ") {
        Some((of, ty)) if own_path(ty).is_some() && ty.trim_start_matches('&').starts_with("celeriac") => {
            let _ = of;
            own_path(ty)
        }
        Some((of, _)) => of.trim().starts_with("celeriac").then(|| own_path(of)).flatten(),
        None => own_path(&implementation[..bound]),
    }
}

/// Returns the lines without methods and types of trait implementations, because the line of the
/// implementation covers them.
fn without_methods_of_traits(lines: &[String]) -> impl Iterator<Item = &str> {
    let mut of: Option<&str> = None;
    lines.iter().map(String::as_str).filter(move |line| {
        if line.starts_with("impl") {
            of = if line.contains(" for ") { subject(line) } else { None };
            return true;
        }
        let is_member = ["pub fn ", "pub type ", "pub const ", "pub async fn ", "pub unsafe fn ", "pub const fn "]
            .iter()
            .any(|start| line.starts_with(start));
        match (of, own_path(line)) {
            (Some(of), Some(path)) if is_member && path.starts_with(of) => false,
            _ => {
                of = None;
                true
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(target: &str, path: &str) -> Export {
        Export { target: target.split("::").map(str::to_owned).collect(), path: path.to_owned(), is_module: false }
    }

    fn lists(lines: &[&str]) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("celeriac_client".to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())])
    }

    fn exports() -> Vec<Export> {
        vec![
            export("celeriac_client::call::Call", "celeriac::Call"),
            export("celeriac_client::error::Error", "celeriac::ClientError"),
            export("celeriac_client::error::Error", "celeriac::prelude::ClientError"),
            export("celeriac_protocol::task::Task", "celeriac::Task"),
        ]
    }

    #[test]
    fn an_exported_item_has_the_path_that_users_write() {
        let lists = lists(&[
            "pub struct celeriac_client::Hidden",
            "pub struct celeriac_client::Call<T: celeriac_protocol::task::Task>",
            "impl<T: celeriac_protocol::task::Task> celeriac_client::Call<T>",
            "pub fn celeriac_client::Call<T>::submit(self, F: Fn(u8) -> u8) -> celeriac_client::error::Result<Option<T>>",
            "impl<T> core::clone::Clone for celeriac_client::Call<T>",
            "pub fn celeriac_client::Call<T>::clone(&self) -> celeriac_client::Call<T>",
            "impl celeriac_protocol::task::Task for ()",
            "pub celeriac_client::Hidden::Call(celeriac_client::Hidden)",
        ]);
        let expected = "pub struct celeriac::Call<T: celeriac::Task>\n\
             impl<T: celeriac::Task> celeriac::Call<T>\n\
             pub fn celeriac::Call<T>::submit(self, F: Fn(u8) -> u8) -> core::result::Result<Option<T>, celeriac::ClientError>\n\
             impl<T> core::clone::Clone for celeriac::Call<T>\n\
             impl celeriac::Task for ()\n";
        assert_eq!(surface(&exports(), &lists).unwrap(), expected);
    }

    #[test]
    fn a_type_that_is_named_and_not_exported_is_a_hole() {
        let lists = lists(&["pub fn celeriac_client::Call<T>::when(self, celeriac_client::call::When) -> Self"]);
        let error = surface(&exports(), &lists).unwrap_err().to_string();
        assert!(error.contains("celeriac_client::call::When, in `pub fn celeriac::Call<T>::when"), "{error}");
    }

    #[test]
    fn a_second_path_of_a_type_is_an_error() {
        let twice = [
            export("celeriac_client::call::Call", "celeriac::Call"),
            export("celeriac_client::call::Call", "celeriac::call::Call"),
        ];
        let error = surface(&twice, &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(error, "celeriac_client::call::Call has two paths: celeriac::call::Call and celeriac::Call");
    }
}
