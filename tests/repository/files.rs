//! Properties of every file, and names that no file has.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn files(under: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn sources() -> Vec<PathBuf> {
    let folders = ["crates", "tests", "benches", "examples", "xtask"];
    // Only the compiler reads fixtures of compile errors.
    folders
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .filter(|path| !path.to_string_lossy().contains("/refused/"))
        .collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
    }
}

#[test]
fn modules_have_names_that_say_something() {
    let empty = ["util.rs", "utils.rs", "common.rs", "helpers.rs", "types.rs", "manager.rs", "misc.rs"];
    for path in sources() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!empty.contains(&name.as_ref()), "{}", path.display());
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let pages =
        pages.into_iter().chain(["examples/celery/README.md", "examples/port/README.md"]).map(|page| root().join(page));
    for page in pages.chain(files("docs", ".md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            assert!(page.parent().unwrap().join(target).exists(), "{}: {target}", page.display());
        }
    }
}

#[test]
fn the_files_that_the_architecture_names_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(|name| name.starts_with("crates/")).collect();
    assert!(named.len() > 10);
    for name in named {
        assert!(root().join(name).exists(), "ARCHITECTURE.md names {name}");
    }
}
