//! `insula exec`: a command beside an instance, as if it ran here.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use insula_api::client::{ExecEvent, ExecInput, ExecOutput};
use insula_api::{Client, ClientError, EXEC_INPUT_WINDOW, ExecEnd, ExecRequest};
use tokio::sync::mpsc;

use crate::cli::exec::{ExecArgs, Variable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

/// Bytes of input that are sent at once.
const PIECE: usize = 16 << 10;

/// The status of a command that was given no more time, as timeout(1) has it.
const OUT_OF_TIME: u8 = 124;
/// The status of a command that may not be executed, as a shell has it.
const NOT_EXECUTABLE: u8 = 126;
/// The status of a command that is not there, as a shell has it.
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of a signal.
const SIGNALLED: i32 = 128;

pub(super) async fn run(client: &Client, args: ExecArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let request = ExecRequest {
        command: args.command,
        env: environment(args.env)?,
        cwd: args.cwd,
        input: !args.no_stdin,
        timeout_ms: args.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        ..ExecRequest::default()
    };
    let (input, output) = match client.exec(&args.name, &request).await {
        Ok(streams) => streams,
        Err(error) => return told(error, printer),
    };
    let source = request.input.then(|| pump(io::stdin()));
    let mut out = |stderr: bool, bytes: &[u8]| match stderr {
        true => io::stderr().write_all(bytes),
        false => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
    };
    match carry((input, output), source, &mut out).await {
        Ok(ExecEnd::Exited(code)) => Ok(status(code)),
        Ok(ExecEnd::Signal(signal)) => Ok(status(SIGNALLED + signal)),
        Ok(ExecEnd::Problem(problem)) => told(ClientError::Problem(Box::new(problem)), printer),
        Err(error) => Err(error),
    }
}

fn status(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// Says why there is no status of the command's own, and ends with one that shells know where there is.
fn told(error: ClientError, printer: Printer) -> anyhow::Result<ExitCode> {
    let known = match &error {
        ClientError::Problem(problem) => match problem.code.as_ref() {
            "command_not_found" => Some(NOT_FOUND),
            "command_not_executable" => Some(NOT_EXECUTABLE),
            "command_timed_out" => Some(OUT_OF_TIME),
            _ => None,
        },
        _ => None,
    };
    let error = anyhow::Error::from(error);
    match known {
        Some(code) => {
            printer.error(&error);
            Ok(ExitCode::from(code))
        }
        None => Err(error),
    }
}

fn environment(variables: Vec<Variable>) -> Result<BTreeMap<String, String>, Failure> {
    let value = |Variable { name, value }| match value.map_or_else(|| std::env::var(&name), Ok) {
        Ok(value) => Ok((name, value)),
        Err(e) => {
            let message = format!("cannot pass `{name}` on: {e}");
            Err(Failure::new(Exit::Usage, message, format!("set it here, or write `--env {name}=VALUE`")))
        }
    };
    variables.into_iter().map(value).collect()
}

/// Reads on a thread of its own, which nobody waits for at the end: a read of a terminal cannot be called off.
pub(super) fn pump(mut from: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (to, read) = mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(piece)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let failed = read.is_err();
            if to.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    read
}

/// Carries input and output until the command ends.
pub(super) async fn carry(
    (mut input, mut output): (ExecInput, ExecOutput),
    mut source: Option<mpsc::Receiver<io::Result<Vec<u8>>>>,
    out: &mut impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> anyhow::Result<ExecEnd> {
    let mut room = EXEC_INPUT_WINDOW;
    loop {
        let more = async {
            match source.as_mut().filter(|_| room >= PIECE) {
                Some(source) => source.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = output.next() => match event? {
                ExecEvent::Stdout(bytes) => out(false, &bytes)?,
                ExecEvent::Stderr(bytes) => out(true, &bytes)?,
                ExecEvent::Taken(bytes) => room += bytes,
                ExecEvent::End(end) => return Ok(end),
            },
            piece = more => match piece.transpose()? {
                Some(bytes) => {
                    room -= bytes.len();
                    // One that has ended takes nothing; how it ended is read next.
                    if input.write(&bytes).await.is_err() {
                        source = None;
                    }
                }
                None => {
                    source = None;
                    if let Err(error) = input.end().await {
                        tracing::debug!(%error, "the command did not hear the end of its input");
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_set_here_is_named() {
        let variable = |name: &str, value: Option<&str>| Variable {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let path = std::env::var("PATH").unwrap();
        let found = environment(vec![variable("PATH", None), variable("B", Some("c"))]).unwrap();
        assert_eq!((found["PATH"].as_str(), found["B"].as_str()), (path.as_str(), "c"));
        let error = environment(vec![variable("INSULA_NOT_SET_HERE", None)]).unwrap_err();
        assert!(error.message.contains("INSULA_NOT_SET_HERE"), "{error}");
    }
}
