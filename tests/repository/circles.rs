//! No circles among the modules of a crate, so that each module can be read after the modules that
//! it uses.
//!
//! Modules are compared with their siblings. The nodes of a level are the child modules of a
//! module, each with everything below it, and the items of the module's own file. A node uses
//! another if its code names an item that is declared in the other, by `use` or by a path.
//!
//! A parent is a namespace, and a part with items of its own. As a namespace it makes no circle: an
//! item that it exports with `pub use` counts as used from the module that declares it, and the
//! export itself is not a use. As a part it can: if a child uses an item of the parent's file, and
//! that file uses the child, both are a circle. Moving the common items to a module of their own
//! ends it. The lists call such a part `module (itself)`.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Import, Modules, Segments, libraries, modules_of};
use crate::standing;

const ITSELF: &str = "(itself)";

/// The nodes of one level, each with those that it uses and an example of the use.
type Level = BTreeMap<String, BTreeMap<String, String>>;

/// Returns the module that declares the target of a path, seen from a module. Returns `None` for a
/// path out of the crate.
fn declaring(modules: &Modules, from: &Segments, path: &[String], depth: usize) -> Option<Segments> {
    let (first, rest) = path.split_first()?;
    let mut at = from.clone();
    match first.as_str() {
        "crate" => at = Vec::new(),
        "self" => {}
        "super" => at.truncate(from.len().checked_sub(1)?),
        _ => return descend(modules, from.clone(), path, depth, false),
    }
    let mut rest = rest;
    while let Some((_, after)) = rest.split_first().filter(|(word, _)| *word == "super") {
        at.pop();
        rest = after;
    }
    descend(modules, at, rest, depth, true)
}

/// Descends from a module along a path. If the start is not known to be in this crate, the first
/// word must be known.
fn descend(modules: &Modules, mut at: Segments, path: &[String], depth: usize, ours: bool) -> Option<Segments> {
    for (place, word) in path.iter().enumerate() {
        let below = [at.clone(), vec![word.clone()]].concat();
        if modules.contains_key(&below) {
            at = below;
            continue;
        }
        let module = &modules[&at];
        if module.items.contains(word) {
            return Some(at);
        }
        let known = ours || place > 0;
        let import = module.imports.iter().find(|import| import.name == *word).filter(|_| depth < 16);
        if let Some(import) = import {
            let path = [&import.path[..], &path[place + 1..]].concat();
            // A name of another crate, such as `use syn::Error`, has no module here.
            return declaring(modules, &at, &path, depth + 1);
        }
        for glob in module.imports.iter().filter(|import| import.name == "*" && depth < 16) {
            let within = [&glob.path[..glob.path.len() - 1], &path[place..]].concat();
            let found = declaring(modules, &at, &within, depth + 1);
            if found.as_ref().is_some_and(|found| modules[found].items.contains(word)) {
                return found;
            }
        }
        return known.then_some(at);
    }
    Some(at)
}

/// Returns the levels of a crate, by the module whose children are compared.
fn levels(modules: &Modules) -> BTreeMap<Segments, Level> {
    let mut levels: BTreeMap<Segments, Level> = BTreeMap::new();
    for (path, module) in modules {
        // An exported name that this module does not use.
        let told_on = |import: &Import| import.exported && !module.words.contains(&import.name);
        let imports = module.imports.iter().map(|import| (&import.path, told_on(import)));
        let uses = imports.chain(module.mentions.iter().map(|mention| (mention, false)));
        for (used, exported) in uses {
            let Some(target) = declaring(modules, path, used, 0).filter(|target| target != path) else { continue };
            let common = path.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if exported && path.len() == common {
                continue;
            }
            let node = |of: &Segments| of.get(common).cloned().unwrap_or_else(|| ITSELF.to_owned());
            let example = format!("{} names {}", module.file.display(), used.join("::"));
            let level = levels.entry(path[..common].to_vec()).or_default();
            level.entry(node(path)).or_default().entry(node(&target)).or_insert(example);
        }
    }
    levels
}

fn reachable<'a>(level: &'a Level, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for next in level.get(node).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

/// Returns every module of a circle, with the uses that close it.
fn circles(modules: &Modules) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (parent, level) in levels(modules) {
        let reach: BTreeMap<_, _> = level.keys().map(|node| (node.as_str(), reachable(&level, node))).collect();
        for (node, uses) in &level {
            if !reach[node.as_str()].contains(node.as_str()) {
                continue;
            }
            let back = |other: &str| reach.get(other).is_some_and(|reached| reached.contains(node.as_str()));
            let closing: Vec<_> = uses.iter().filter(|(other, _)| back(other)).map(|(_, example)| example).collect();
            let closing: Vec<_> = closing.into_iter().map(|example| format!("\n    {example}")).collect();
            let name = match (parent.is_empty(), node == ITSELF) {
                (_, true) => {
                    format!("{} {ITSELF}", if parent.is_empty() { "lib".to_owned() } else { parent.join("/") })
                }
                (true, false) => node.clone(),
                (false, false) => format!("{}/{node}", parent.join("/")),
            };
            found.insert(name, format!("is part of a circle:{}", closing.concat()));
        }
    }
    found
}

#[test]
fn the_modules_of_a_crate_form_no_circle() {
    let mut offences = BTreeMap::new();
    for (library, modules) in libraries() {
        for (name, reason) in circles(&modules) {
            offences.insert((library.clone(), name), reason);
        }
    }
    standing::compare("circles", &offences);
}

fn found(text: &str) -> Vec<String> {
    circles(&modules_of(text)).into_keys().collect()
}

#[test]
fn a_planted_circle_is_found() {
    let circle = "mod a { use crate::b::B; pub struct A; } mod b { pub struct B(crate::c::C); }
                  mod c { use super::a; pub struct C(a::A); } mod d { use crate::a::A; }";
    assert_eq!(found(circle), ["a", "b", "c"]);
    let deep = "mod p { mod a { fn f() { super::b::g() } } mod b { mod inner { use crate::p::a::f; } pub fn g() {} } }";
    assert_eq!(found(deep), ["p/a", "p/b"]);
    let part = "mod p { use self::a::A; pub struct P(A); mod a { use super::P; pub struct A; fn f(p: P) {} } }";
    assert_eq!(found(part), ["p (itself)", "p/a"]);
}

#[test]
fn a_namespace_makes_no_circle() {
    let exported = "pub use a::A; mod a { pub struct A; } mod b { use crate::A; use super::a; }";
    assert_eq!(found(exported), Vec::<String>::new());
    assert_eq!(found("pub use a::A; mod a { use crate::B; pub struct A; } struct B(A);"), ["a", "lib (itself)"]);
    let tests =
        "mod a { pub struct A; #[cfg(test)] mod tests { use crate::b::B; } } mod b { use crate::a::A; struct B; }";
    assert_eq!(found(tests), Vec::<String>::new());
    let foreign = "mod a { use other::b::B; } mod b { use crate::a; // crate::b
                  pub struct B; fn text() -> &'static str { \"crate::b::B\" } }";
    assert_eq!(found(foreign), Vec::<String>::new());
}
