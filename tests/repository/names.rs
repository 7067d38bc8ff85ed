//! The name of a type has one meaning: it is declared once in `crates/*/src`.
//!
//! Structs, enums, traits and unions count, with any visibility. Exempt are test modules, each
//! crate's own public `Error` and `Result`, and `Options` and `Result` that are private to a file.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Declared, Modules, libraries, modules_of};
use crate::standing;

/// Returns each name that is declared more than once, with the places.
fn homonyms(libraries: &[(String, Modules)]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut places: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (name, modules) in libraries {
        let mut own = BTreeSet::new();
        for module in modules.values() {
            for declared in &module.types {
                if !is_exempt(declared, &mut own) {
                    let place = format!("{}:{}", module.file.display(), declared.line);
                    places.entry(declared.name.clone()).or_default().push((name.clone(), place));
                }
            }
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
}

/// Returns `true` for an exempt name. `own` has the crate's own names so far: a second declaration
/// is not exempt.
fn is_exempt(declared: &Declared, own: &mut BTreeSet<String>) -> bool {
    match declared.name.as_str() {
        "Error" | "Result" if declared.public => own.insert(declared.name.clone()),
        "Options" | "Result" => !declared.public,
        _ => false,
    }
}

#[test]
fn a_name_of_a_type_is_declared_once() {
    let homonyms = homonyms(&libraries());
    let mut offences = BTreeMap::new();
    for (name, places) in &homonyms {
        let all: Vec<_> = places.iter().map(|(_, place)| place.as_str()).collect();
        for (library, _) in places {
            offences.insert((library.clone(), name.clone()), format!("is declared in {}", all.join(", ")));
        }
    }
    standing::compare("names", &offences);
}

#[test]
fn a_planted_homonym_is_found() {
    let planted = |text: &str| modules_of(text);
    let first = "pub struct Slot; mod x { enum Kind {} } pub enum Error {} #[cfg(test)] mod tests { struct Only; }";
    let second = "fn f() { struct Slot; } // struct Only;\n struct Options; trait Only {} pub enum Error {}";
    let third = "union Kind { a: u8 } fn union() {} struct Options; fn f() { quote! { struct Slot; } }";
    let crates = [("a", first), ("b", second), ("c", third)].map(|(name, text)| (name.to_owned(), planted(text)));
    let found: Vec<_> = homonyms(&crates).into_keys().collect();
    assert_eq!(found, ["Kind", "Slot"]);
}
