//! The programs of e2fsprogs, and `cp`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every program that images need.
pub const ALL: [&str; 5] = ["mkfs.ext4", "e2fsck", "resize2fs", "tune2fs", "cp"];

/// Most of what a program said that goes into an error, in bytes.
const SAID_MAX: usize = 500;

/// Where a program is. Not looked up in `PATH`: whoever sets that shall not choose what runs.
///
/// # Errors
/// When it is in none of the usual places.
pub fn find(tool: &str) -> io::Result<PathBuf> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = places.iter().map(|dir| Path::new(dir).join(tool)).find(|path| path.exists());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("`{tool}` is not installed")))
}

/// Runs a program to its end. `well` tells which of its statuses are good.
///
/// # Errors
/// When it cannot be run, or ends otherwise; with the end of what it said.
pub fn run(tool: &str, args: &[&str], well: impl Fn(i32) -> bool) -> io::Result<()> {
    let program = find(tool)?;
    let out = Command::new(program)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()?;
    if out.status.code().is_some_and(well) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(if out.stderr.is_empty() { &out.stdout } else { &out.stderr });
    Err(io::Error::other(format!("{tool}: {}: {}", out.status, tail(said.trim()))))
}

/// The end of a text, from a whole character on.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(SAID_MAX);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_what_was_said() {
        let missing = run("cp", &["/nonexistent-a", "/nonexistent-b"], |code| code == 0).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent-a"), "{missing}");
        run("cp", &["/nonexistent-a", "/nonexistent-b"], |code| code == 1).unwrap();
        assert_eq!(find("no-such-tool-anywhere").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_the_end_of_a_long_text_is_kept() {
        let long = "é".repeat(SAID_MAX);
        assert!(tail(&long).len() <= SAID_MAX && tail(&long).starts_with('é'));
        assert_eq!(tail("short"), "short");
        assert_eq!(tail(""), "");
    }
}
