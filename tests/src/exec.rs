//! Commands beside an instance, as a user runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Output, Stdio};

use crate::{Server, cli};

/// A command that goes on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// `insula ARGUMENTS` with this input; output as bytes.
    #[must_use]
    #[track_caller]
    pub fn fed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let Running { mut child, stdin, mut stdout } = self.begin(arguments);
        let mut stdin = stdin.unwrap();
        std::thread::scope(|scope| {
            // Whoever takes none of it ends before all of it is written.
            scope.spawn(move || drop(stdin.write_all(input)));
            let mut stderr = child.stderr.take().unwrap();
            let errors = scope.spawn(move || {
                let mut all = Vec::new();
                stderr.read_to_end(&mut all).unwrap();
                all
            });
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).unwrap();
            Output { status: child.wait().unwrap(), stdout: all, stderr: errors.join().unwrap() }
        })
    }

    /// Begins `insula ARGUMENTS`, with pipes.
    #[must_use]
    #[track_caller]
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = cli::command(&self.place().home(), arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Running { child, stdin, stdout }
    }
}

impl Running {
    /// The next line that it writes.
    #[must_use]
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Gives it input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its input, and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn end(mut self) -> Output {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status: self.child.wait().unwrap(), stdout, stderr }
    }

    /// Kills the client.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
