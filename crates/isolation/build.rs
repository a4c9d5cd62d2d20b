//! Builds the program that runs inside the walls, so that whoever starts walls can carry it.
//!
//! Only with the feature `agent-image`: who merely names the contract does not wait for it.
//!
//! The agent is a static executable: it must start where no library of the host can be seen. It is built by
//! a cargo of its own, with its own target directory, so that neither build waits for the other and no
//! flag of one reaches the other. See `docs/adr/0002-agent-inside-the-binary.md`.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the agent is made of, relative to the workspace.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates/agent",
    "crates/frames",
    "crates/linux",
    "crates/spec",
    "rust-toolchain.toml",
];

/// Flags that make a static executable at a fixed address: nothing is relocated when it starts.
const RUSTFLAGS: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];

/// What of the environment of the outer build the inner one may see, by the start of its name. Everything
/// else that steers cargo or rustc describes the outer package.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_MAKEFLAGS",
    "CARGO_TERM_",
    "CARGO_UNSTABLE_",
];

fn main() -> Result<(), Box<dyn Error>> {
    if env::var_os("CARGO_FEATURE_AGENT_IMAGE").is_none() {
        println!("cargo::rerun-if-changed=build.rs");
        return Ok(());
    }
    let workspace = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let out = PathBuf::from(var("OUT_DIR")?);
    let target = var("TARGET")?;
    if !target.ends_with("-linux-gnu") {
        return Err(format!("the agent is built for `*-linux-gnu`, not for `{target}`").into());
    }
    for source in SOURCES {
        let path = workspace.join(source);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let built = build(&workspace, &out.join("agent"), &target)?;
    // A new file, not new content: a copy of this directory made of links keeps its own.
    std::fs::copy(built, out.join("insula-agent.new"))?;
    std::fs::rename(out.join("insula-agent.new"), out.join("insula-agent"))?;
    Ok(())
}

/// Runs the inner build; gives back the executable.
fn build(workspace: &Path, target_dir: &Path, target: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(var("CARGO")?);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let steers = text.starts_with("CARGO") || text.starts_with("RUSTC") || text.starts_with("RUSTDOC");
        if (steers || text == "RUSTFLAGS") && !KEPT.iter().any(|kept| text.starts_with(kept)) {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(workspace)
        .args(["build", "--package", "insula-agent", "--profile", "agent", "--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the build of `insula-agent` failed: {status}").into());
    }
    Ok(target_dir.join(target).join("agent/insula-agent"))
}

fn var(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|e| format!("`{name}`: {e}; run this through cargo").into())
}
