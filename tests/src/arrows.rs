//! The layers of the house and the arrows that are allowed between them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Which layer a package is on, and which packages it may import, as DESIGN draws it.
const HOUSE: [(&str, &[&str]); 12] = [
    ("insula-spec", &[]),
    ("insula-frames", &[]),
    ("insula-api", &["insula-spec"]),
    ("insula-store", &["insula-spec"]),
    ("insula-linux", &["insula-spec"]),
    ("insula-images", &["insula-spec", "insula-linux"]),
    ("insula-egress", &["insula-spec", "insula-frames", "insula-linux"]),
    ("insula-isolation", &["insula-spec", "insula-frames", "insula-linux", "insula-images", "insula-egress"]),
    ("insula-services", &["insula-spec", "insula-store", "insula-isolation"]),
    ("insula-edge", &["insula-spec", "insula-api", "insula-store", "insula-services"]),
    ("insula-agent", &["insula-frames", "insula-linux"]),
    ("insula", ANY),
];
/// The binary wires everything together.
const ANY: &[&str] = &["*"];
/// Tests and benchmarks stand outside the house.
const OUTSIDE: [&str; 2] = ["insula-tests", "insula-bench"];

/// Packages of the workspace and what each imports outside of its tests.
pub type Graph = BTreeMap<String, Vec<String>>;

/// Reads the graph out of the answer of `cargo metadata`.
#[must_use]
pub fn graph(metadata: &Value) -> Graph {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    packages
        .filter(|package| name(package).starts_with("insula"))
        .map(|package| {
            let imports = package["dependencies"].as_array().into_iter().flatten();
            let imports = imports.filter(|d| d["kind"] != "dev" && name(d).starts_with("insula"));
            (name(package), imports.map(name).collect())
        })
        .collect()
}

/// Every arrow that the house does not allow, in words.
#[must_use]
pub fn wrong(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, imports) in graph.iter().filter(|(name, _)| !OUTSIDE.contains(&name.as_str())) {
        let Some((_, allowed)) = HOUSE.iter().find(|(name, _)| name == package) else {
            wrong.push(format!("`{package}` is not a room of the house: give it a layer first"));
            continue;
        };
        for import in imports.iter().filter(|i| *allowed != ANY && !allowed.contains(&i.as_str())) {
            wrong.push(format!("`{package}` may not import `{import}`"));
        }
    }
    wrong
}
