//! Dependencies between crates, and the owners of external libraries.

use crate::files::{files, root};

/// A crate may use only crates above it. Client, worker and command line are the first to use
/// several.
const ORDER: [&str; 13] = [
    "units",
    "protocol",
    "config",
    "telemetry",
    "topology",
    "broker",
    "admin",
    "results",
    "client",
    "worker",
    "macros",
    "cli",
    "celeriac",
];

#[test]
fn a_crate_uses_only_crates_above_it() {
    for (place, name) in ORDER.iter().enumerate() {
        let manifest = std::fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let own = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for below in &ORDER[place + 1..] {
            let package = if *below == "celeriac" { "celeriac".to_owned() } else { format!("celeriac-{below}") };
            let uses = own.lines().any(|line| line.split(['.', ' ']).next() == Some(&package));
            assert!(!uses, "{name} uses {below}");
        }
    }
    let crates = std::fs::read_dir(root().join("crates")).unwrap().count();
    assert_eq!(crates, ORDER.len(), "a crate more or less: say where it stands, and write a decision");
}

#[test]
fn foreign_types_stay_with_their_owners() {
    let owners = [
        ("lapin", &["broker"][..]),
        ("deadpool", &["broker"]),
        ("deadpool_lapin", &["broker"]),
        // Each of them makes connections, and selects the authorities that these trust.
        ("rustls", &["broker", "admin", "telemetry"]),
        // Telemetry makes the HTTP client of its exporters.
        ("reqwest", &["admin", "telemetry"]),
        ("sqlx", &["results"]),
        ("opentelemetry", &["telemetry"]),
        ("hyper", &["telemetry"]),
        ("prometheus", &["telemetry"]),
        ("clap", &["cli"]),
    ];
    for (library, owners) in owners {
        for name in ORDER.iter().filter(|name| !owners.contains(name)) {
            for path in files(&format!("crates/{name}/src"), ".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let uses = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let uses = uses.filter(|line| line.contains(&format!("{library}::"))).count();
                assert_eq!(uses, 0, "{} names {library}, which belongs to {owners:?}", path.display());
            }
        }
    }
}
