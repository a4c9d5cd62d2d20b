//! Counterparts in Python, for what the server does with the rest of the world.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use insula_tests::{Place, system_program};

/// A program that runs until this is dropped.
pub(crate) struct Helper(Child);

impl Helper {
    /// Starts it in this place, and waits until it says that it is `there`. It is to end with its standard input.
    pub(crate) fn start(place: &Place, program: &str, arguments: &[String]) -> Self {
        let mut child = Command::new(system_program("python3").unwrap())
            .args(["-c", program])
            .args(arguments)
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        Self(child)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}
