//! Programs of others that a level drives: found, asked for their version, always under a deadline.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use insula_linux::child;
use insula_spec::Driver;
use insula_spec::config::ContainerSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a program may take to tell its version.
const ANSWER: Duration = Duration::from_secs(10);
/// Most of what it says that is read.
const MOST: u64 = 4096;

/// Where they are. Not looked up in `PATH`: whoever sets that shall not choose what runs.
const PLACES: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin"];

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// The first line of what it says about itself.
    pub(crate) version: String,
}

/// Where a program is: at the place that is named, else in the system directories.
pub(crate) fn locate(name: &str, named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => PLACES.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()),
    }
}

/// Why containers cannot be made by whom these settings name, as far as that is known without asking the program.
#[must_use]
pub fn missing_driver(settings: &ContainerSettings) -> Option<String> {
    let name = settings.driver.as_str();
    if settings.driver == Driver::Agent || locate(name, settings.path.as_deref()).is_some() {
        return None;
    }
    Some(absent(name, settings.path.as_deref()))
}

/// What to say of a program that is not there.
fn absent(name: &str, named: Option<&Path>) -> String {
    match named {
        Some(path) => format!("there is no program `{}`", path.display()),
        None => format!("`{name}` is not installed"),
    }
}

/// Finds a program and asks for its version; or tells why there is none that works.
pub(crate) fn find(name: &str, named: Option<&Path>) -> Result<Program, String> {
    let Some(path) = locate(name, named) else {
        return Err(absent(name, named));
    };
    let cannot = |e: std::io::Error| format!("cannot run `{}`: {e}", path.display());
    let version = said(&path, ANSWER).map_err(cannot)?;
    let version = version.lines().next().unwrap_or_default().trim().to_owned();
    Ok(Program { path, version })
}

/// What `--version` prints. A program that does not end within `limit` is killed.
fn said(path: &Path, limit: Duration) -> std::io::Result<String> {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // It may be asked in the background when the daemon ends.
    let mut child = child::ends_with_thread(&mut command).spawn()?;
    let ended = ends_in_time(child.id(), limit);
    if !matches!(ended, Ok(true)) {
        child.kill()?;
    }
    child.wait()?;
    let mut text = String::new();
    if let (Some(out), true) = (child.stdout.take(), ended?) {
        out.take(MOST).read_to_string(&mut text)?;
        return Ok(text);
    }
    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not answer `--version`"))
}

fn ends_in_time(pid: u32, limit: Duration) -> std::io::Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::NotFound)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit).map_err(std::io::Error::other)?;
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(find("no-such-program", None).unwrap_err(), "`no-such-program` is not installed");
        let error = find("x", Some(Path::new("/nowhere/x"))).unwrap_err();
        assert_eq!(error, "there is no program `/nowhere/x`");
    }

    #[test]
    fn a_driver_that_is_missing_is_named_and_the_agent_never_is() {
        let settings = |driver, path: Option<&str>| ContainerSettings { driver, path: path.map(Into::into) };
        assert_eq!(missing_driver(&settings(Driver::Agent, Some("/nowhere/crun"))), None);
        assert_eq!(missing_driver(&settings(Driver::Crun, Some("/bin/sh"))), None);
        let missing = missing_driver(&settings(Driver::Runc, Some("/nowhere/runc")));
        assert_eq!(missing.as_deref(), Some("there is no program `/nowhere/runc`"));
    }

    /// It takes no notice of any signal that can be ignored.
    #[test]
    fn a_program_that_hangs_is_killed_and_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (path, pid) = (dir.path().join("runsc"), dir.path().join("pid"));
        let script =
            format!("#!/bin/sh\ntrap '' TERM INT HUP\necho $$ >{}\nexec sleep 1000\n", pid.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = said(&path, Duration::from_secs(2)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "it does not answer `--version`");
        let pid: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let gone = insula_linux::identity::Identity::of(pid).unwrap();
        assert_eq!(gone, None, "it lives");
        // The control: one that answers in that time is not killed.
        assert!(said(Path::new("/bin/uname"), ANSWER).unwrap().contains("uname"));
    }

    #[test]
    fn a_version_is_the_first_line() {
        let program = find("uname", None).unwrap();
        assert!(program.version.contains("uname"), "{program:?}");
    }
}
