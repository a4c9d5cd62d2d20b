//! `insula version`: which one this is, and with `--features` what was built into it.

use insula_isolation::agent_image;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cli::VersionArgs;
use crate::doctor;
use crate::exit::Exit;
use crate::home::Home;
use crate::printer::Printer;

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    features: Option<Features>,
}

/// Facts of the build; nothing of it depends on the host.
#[derive(Debug, Serialize)]
struct Features {
    /// For which processor, system and C library it was compiled.
    target: &'static str,
    /// `static`: it brings its C library. `dynamic`: it needs that of the host.
    linkage: &'static str,
    /// Of which sources, if whoever built it said so.
    commit: Option<&'static str>,
    /// Every level that it has, weakest first; whether this host can run them is a matter of `insula doctor`.
    levels: Vec<String>,
    /// The program inside the walls, if it is carried here.
    agent: Option<Agent>,
}

#[derive(Debug, Serialize)]
struct Agent {
    bytes: usize,
    sha256: String,
}

pub(super) fn run(home: &Home, args: VersionArgs, printer: Printer) -> anyhow::Result<Exit> {
    let features = args.features.then(|| features(home)).transpose()?;
    printer.either(&Version { version: env!("CARGO_PKG_VERSION"), features }, text)?;
    Ok(Exit::Ok)
}

fn features(home: &Home) -> anyhow::Result<Features> {
    let image = agent_image();
    let hex = |image| Sha256::digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Features {
        target: env!("INSULA_TARGET"),
        linkage: if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" },
        commit: Some(env!("INSULA_COMMIT")).filter(|commit| !commit.is_empty()),
        levels: doctor::compiled(home)?,
        agent: (!image.is_empty()).then(|| Agent { bytes: image.len(), sha256: hex(image) }),
    })
}

fn text(version: &Version) -> String {
    let Version { version, features } = version;
    let Some(features) = features else { return format!("insula {version}") };
    let linkage = match features.linkage {
        "static" => "static: it brings its C library",
        _ => "dynamic: it needs the C library of the host",
    };
    let agent = features.agent.as_ref().map_or_else(
        || "not carried".to_owned(),
        |agent| format!("carried, {} bytes, sha256 {}", agent.bytes, agent.sha256),
    );
    format!(
        "insula {version}\ntarget   {}\nlinkage  {linkage}\ncommit   {}\nlevels   {}\nagent    {agent}",
        features.target,
        features.commit.unwrap_or("not known"),
        features.levels.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_a_line_for_people_and_a_field_for_programs() {
        let features = Features {
            target: "x86_64-unknown-linux-gnu",
            linkage: "dynamic",
            commit: None,
            levels: vec!["process".to_owned(), "namespace".to_owned()],
            agent: Some(Agent { bytes: 7, sha256: "00ff".to_owned() }),
        };
        let version = Version { version: "1.2.3", features: Some(features) };
        insta::assert_snapshot!(text(&version), @r"
        insula 1.2.3
        target   x86_64-unknown-linux-gnu
        linkage  dynamic: it needs the C library of the host
        commit   not known
        levels   process, namespace
        agent    carried, 7 bytes, sha256 00ff
        ");
        insta::assert_snapshot!(serde_json::to_string(&version).unwrap(), @r#"{"version":"1.2.3","target":"x86_64-unknown-linux-gnu","linkage":"dynamic","commit":null,"levels":["process","namespace"],"agent":{"bytes":7,"sha256":"00ff"}}"#);
        let bare = Version { version: "1.2.3", features: None };
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"version":"1.2.3"}"#);
    }
}
