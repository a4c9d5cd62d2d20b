//! Running `insula` as a user would.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::wait_until;

/// The program under test: `INSULA_BIN`, or what the workspace built.
#[must_use]
pub fn program() -> PathBuf {
    match std::env::var_os("INSULA_BIN") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/insula"),
    }
}

/// A command with this home and nothing of the caller's Insula settings.
pub(crate) fn command<S: AsRef<OsStr>>(home: &Path, arguments: &[S]) -> Command {
    command_of(&program(), home, arguments)
}

/// The same with another program.
pub(crate) fn command_of<S: AsRef<OsStr>>(program: &Path, home: &Path, arguments: &[S]) -> Command {
    assert!(
        program.exists(),
        "{} is not there; run `cargo build -p insula` or set INSULA_BIN",
        program.display()
    );
    let mut command = Command::new(program);
    command.args(arguments).env("INSULA_HOME", home).stdin(Stdio::null());
    let settings = ["INSULA_CONFIG", "INSULA_DATA_DIR", "INSULA_DOMAIN", "INSULA_PORT"];
    for name in ["INSULA_SERVER", "INSULA_TOKEN", "INSULA_LOG"].into_iter().chain(settings) {
        command.env_remove(name);
    }
    command
}

/// What a run of the CLI gave back.
#[derive(Debug)]
pub struct Answer {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Answer {
    /// Runs `insula` with these arguments.
    #[must_use]
    pub fn of(home: &Path, arguments: &[&str]) -> Self {
        command(home, arguments).output().unwrap().into()
    }

    /// The same with another program.
    #[must_use]
    pub fn of_program(program: &Path, home: &Path, arguments: &[&str]) -> Self {
        // A copy that was just made is open for writing as long as another test is between fork and execve.
        let output = wait_until("the program is no longer written to", || {
            match command_of(program, home, arguments).output() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
                output => Some(output),
            }
        });
        output.unwrap().into()
    }

    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {}\nstderr: {}", self.stdout, self.stderr),
        }
    }
}
