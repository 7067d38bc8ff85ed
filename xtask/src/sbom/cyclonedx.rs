//! The bill of materials, in CycloneDX 1.6.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use super::checksums::Checksums;
use crate::packages::{Package, Part};

/// Returns the document. The same packages and time give the same bytes.
pub(super) fn document(root: &Part<'_>, parts: &[Part<'_>], checksums: &Checksums<'_>, time: &str) -> Result<String> {
    let others = parts.iter().filter(|part| part.package.name() != root.package.name());
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "tools": { "components": [{ "type": "application", "name": "cargo xtask sbom" }] },
            "component": component(root, "application", checksums),
        },
        "components": others.map(|part| component(part, "library", checksums)).collect::<Vec<_>>(),
        "dependencies": parts.iter().map(edges).collect::<Vec<_>>(),
    });
    let serial = Uuid::new_v5(&Uuid::NAMESPACE_URL, document.to_string().as_bytes());
    document["serialNumber"] = json!(serial.urn().to_string());
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(part: &Part<'_>, kind: &str, checksums: &Checksums<'_>) -> Value {
    let package = part.package;
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name(),
        "version": package.version(),
        "scope": if part.at_run_time { "required" } else { "excluded" },
        "purl": purl(package),
    });
    if let Some(licence) = package.licence() {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(checksum) = checksums.of(package.name(), package.version()) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = package.repository() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn edges(part: &Part<'_>) -> Value {
    let mut uses: Vec<_> = part.uses.iter().map(|package| purl(package)).collect();
    uses.sort();
    uses.dedup();
    json!({ "ref": purl(part.package), "dependsOn": uses })
}

fn purl(package: &Package) -> String {
    // `+` begins the build metadata of a version, and has to be escaped.
    format!("pkg:cargo/{}@{}", package.name(), package.version().replace('+', "%2B"))
}
