//! The modules of a crate, as the compiler sees them: their places, and the names that each uses.
//!
//! They are read from the tokens of the files, because a text search would take comments and
//! strings for code. Items under `#[cfg(test)]` are omitted, with their files, and so is the output
//! of a procedural macro (`quote!`).

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::files::root;

/// A path in code, such as `crate::route::Router`.
pub(crate) type Segments = Vec<String>;

/// A type that a module declares.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// True for `pub` without a restriction in parentheses.
    pub(crate) public: bool,
}

/// A name that a module imports.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) path: Segments,
    /// Its name in this module, or `*`.
    pub(crate) name: String,
    /// True if it is exported, by `pub` of any kind.
    pub(crate) exported: bool,
}

/// A module, without the modules below it.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    pub(crate) types: Vec<Declared>,
    /// Every item with a name: types, functions, constants.
    pub(crate) items: HashSet<String>,
    pub(crate) imports: Vec<Import>,
    /// Paths of more than one segment, outside of imports.
    pub(crate) mentions: Vec<Segments>,
    /// Every word outside of imports that is not part of a longer path.
    pub(crate) words: HashSet<String>,
}

/// The modules of a library, by their paths. The path of the root is empty.
pub(crate) type Modules = BTreeMap<Segments, Module>;

/// Returns crates by name, each with the modules of its library. Programs in `src/bin` are omitted.
pub(crate) fn libraries() -> Vec<(String, Modules)> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let mut crates: Vec<_> = crates.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir()).collect();
    crates.sort_by_key(std::fs::DirEntry::file_name);
    crates
        .iter()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), library(&entry.path().join("src/lib.rs"))))
        .collect()
}

fn library(file: &Path) -> Modules {
    let mut modules = Modules::new();
    read_file(file, &[], file.parent().unwrap(), &mut modules);
    modules
}

/// Reads a file and the files of its modules. `folder` has those files.
fn read_file(file: &Path, path: &[String], folder: &Path, modules: &mut Modules) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_module(tokens, file, path, folder, modules);
}

/// Reads a module from its source text alone, for planted cases.
pub(crate) fn modules_of(text: &str) -> Modules {
    let mut modules = Modules::new();
    read_module(text.parse().unwrap(), Path::new("planted.rs"), &[], Path::new(""), &mut modules);
    modules
}

fn read_module(tokens: TokenStream, file: &Path, path: &[String], folder: &Path, modules: &mut Modules) {
    let module = Module { file: file.to_owned(), ..Module::default() };
    let mut reader = Reader { module, inner: Vec::new() };
    reader.read(&tokens.into_iter().collect::<Vec<_>>());
    modules.insert(path.to_vec(), reader.module);
    for (name, body) in reader.inner {
        let path = [path, std::slice::from_ref(&name)].concat();
        let below = folder.join(&name);
        match body {
            Some(body) => read_module(body, file, &path, &below, modules),
            None => {
                let beside = folder.join(format!("{name}.rs"));
                let file = if beside.exists() { beside } else { below.join("mod.rs") };
                read_file(&file, &path, &below, modules);
            }
        }
    }
}

struct Reader {
    module: Module,
    /// Modules below this one. Those without a body have a file.
    inner: Vec<(String, Option<TokenStream>)>,
}

impl Reader {
    fn read(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        let mut visibility = None;
        while at < tokens.len() {
            let rest = &tokens[at..];
            if is_test(rest) {
                at += length_of_item(rest);
                continue;
            }
            at += match rest {
                [TokenTree::Ident(word), TokenTree::Group(bound), ..] if word == "pub" && is_bound(bound) => {
                    visibility = Some(false);
                    2
                }
                [TokenTree::Ident(word), ..] if word == "pub" => {
                    visibility = Some(true);
                    1
                }
                [TokenTree::Ident(word), ..] if word == "use" => {
                    let tree: Vec<_> = rest[1..].iter().take_while(|token| !is_punct(token, ';')).cloned().collect();
                    self.import(&tree, &mut Vec::new(), visibility.take().is_some());
                    tree.len() + 2
                }
                [TokenTree::Ident(word), TokenTree::Ident(name), ..] if word == "mod" => {
                    let body = match rest.get(2) {
                        Some(TokenTree::Group(body)) => Some(body.stream()),
                        _ => None,
                    };
                    self.inner.push((name.to_string(), body));
                    visibility = None;
                    3
                }
                [TokenTree::Ident(word), TokenTree::Ident(name), ..] if declares(&word.to_string(), rest) => {
                    let (word, name) = (word.to_string(), name.to_string());
                    // Macros have lists such as `struct identifier`.
                    let is_type = name.starts_with(char::is_uppercase);
                    if is_type && ["struct", "enum", "trait", "union"].contains(&word.as_str()) {
                        let public = visibility == Some(true);
                        let line = rest[1].span().start().line;
                        self.module.types.push(Declared { name: name.clone(), line, public });
                    }
                    self.module.items.insert(name);
                    visibility = None;
                    2
                }
                [TokenTree::Ident(name), TokenTree::Punct(mark), TokenTree::Group(_), ..]
                    if mark.as_char() == '!'
                        && ["quote", "quote_spanned", "parse_quote"].iter().any(|it| name == it) =>
                {
                    3
                }
                [TokenTree::Ident(_), ..] => {
                    let path = leading_path(rest);
                    let length = path.len() * 3 - 2;
                    match path.len() {
                        1 => drop(self.module.words.insert(path.concat())),
                        _ => self.module.mentions.push(path),
                    }
                    length
                }
                [TokenTree::Group(group), ..] => {
                    self.read(&group.stream().into_iter().collect::<Vec<_>>());
                    1
                }
                _ => 1,
            };
        }
    }

    /// Reads the tree of a `use`.
    fn import(&mut self, tree: &[TokenTree], before: &mut Segments, exported: bool) {
        for part in tree.split(|token| is_punct(token, ',')) {
            let mut path = before.clone();
            let mut alias = None;
            let mut at = 0;
            while at < part.len() {
                match &part[at] {
                    TokenTree::Ident(word) if word == "as" => {
                        alias = part.get(at + 1).map(ToString::to_string);
                        at += 1;
                    }
                    TokenTree::Ident(word) => path.push(word.to_string()),
                    TokenTree::Punct(mark) if mark.as_char() == '*' => path.push("*".to_owned()),
                    TokenTree::Group(group) => {
                        self.import(&group.stream().into_iter().collect::<Vec<_>>(), &mut path, exported);
                        path.clear();
                    }
                    _ => {}
                }
                at += 1;
            }
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            if let Some(last) = path.last() {
                let name = alias.unwrap_or_else(|| last.clone());
                self.module.imports.push(Import { path, name, exported });
            }
        }
    }
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Returns `true` for the parentheses of `pub(crate)`, `pub(super)` and `pub(in crate::…)`, not for
/// those of a field's type.
fn is_bound(group: &Group) -> bool {
    let first = group.stream().into_iter().next().map(|token| token.to_string());
    let words = ["crate", "super", "self", "in"];
    group.delimiter() == Delimiter::Parenthesis
        && first.is_some_and(|first| words.contains(&first.as_str()))
        && (group.stream().into_iter().count() == 1 || group.stream().to_string().starts_with("in "))
}

/// Returns `true` if these tokens declare an item with a name.
fn declares(word: &str, tokens: &[TokenTree]) -> bool {
    let body = |token: Option<&TokenTree>| {
        token.is_some_and(|token| is_punct(token, '<') || matches!(token, TokenTree::Group(_)))
    };
    match word {
        "struct" | "enum" | "trait" | "fn" | "static" | "type" => true,
        "const" => !matches!(&tokens[1], TokenTree::Ident(next) if next == "fn" || next == "unsafe" || next == "async"),
        // Elsewhere it is an ordinary name.
        "union" => body(tokens.get(2)),
        _ => false,
    }
}

/// Returns `true` for an attribute `#[cfg(test)]`.
fn is_test(tokens: &[TokenTree]) -> bool {
    match tokens {
        [mark, TokenTree::Group(attribute), ..] if is_punct(mark, '#') => {
            attribute.stream().to_string().replace(' ', "") == "cfg(test)"
        }
        _ => false,
    }
}

/// Returns the number of tokens in the item that starts here: up to its semicolon or its braces.
fn length_of_item(tokens: &[TokenTree]) -> usize {
    let end = tokens.iter().position(|token| {
        is_punct(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
    });
    end.map_or(tokens.len(), |end| end + 1)
}

/// Returns the path that starts here: `a::b::c`, without type arguments.
fn leading_path(tokens: &[TokenTree]) -> Segments {
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        path.push(word.to_string());
        let goes_on = tokens.get(at + 1).is_some_and(|token| is_punct(token, ':'))
            && tokens.get(at + 2).is_some_and(|token| is_punct(token, ':'))
            && matches!(tokens.get(at + 3), Some(TokenTree::Ident(_)));
        if !goes_on {
            break;
        }
        at += 3;
    }
    path
}
