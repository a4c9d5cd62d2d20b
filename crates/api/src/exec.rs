//! Commands beside a workload, on the wire.
//!
//! ```text
//! POST /v1/instances/{service:id}/exec     Connection: upgrade, Upgrade: insula-exec
//!  client ◄── 101 Switching Protocols ──── daemon
//!  client ──► Begin (an ExecRequest) ────► wakes the instance, starts the command
//!  client ◄── Started, or End with a problem
//!  client ──► Input … InputEnd             at most INPUT_WINDOW bytes that no Taken answered
//!  client ◄── Stdout, Stderr, Taken … End
//! ```
//! A frame is one byte that says what it is, a `u32` length (big-endian, of what follows), and its content. A client
//! that closes the connection, or its half of it, ends the command.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Problem;

/// The protocol that a connection is upgraded to.
pub const EXEC_PROTOCOL: &str = "insula-exec";

/// Longest content of a frame, in bytes.
pub const EXEC_FRAME_MAX: usize = 512 << 10;

/// Bytes of input that may be under way.
pub const EXEC_INPUT_WINDOW: usize = 64 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecFrame {
    /// From a client, first: an [`ExecRequest`] as JSON.
    Begin,
    /// From a client: input.
    Input,
    /// From a client: nothing more comes. Without content.
    InputEnd,
    /// From the daemon: the command runs. Without content.
    Started,
    /// From the daemon: written to standard output.
    Stdout,
    /// From the daemon: written to standard error.
    Stderr,
    /// From the daemon: so many bytes of input were taken, a big-endian `u32`.
    Taken,
    /// From the daemon: an [`ExecEnd`] as JSON. The last one.
    End,
    /// From the daemon, now and then: it is still there. Without content.
    Alive,
}

impl ExecFrame {
    const ALL: [(Self, u8); 9] = [
        (Self::Begin, 1),
        (Self::Input, 2),
        (Self::InputEnd, 3),
        (Self::Started, 16),
        (Self::Stdout, 17),
        (Self::Stderr, 18),
        (Self::Taken, 19),
        (Self::End, 20),
        (Self::Alive, 21),
    ];

    /// A whole frame of this kind. `None` when the content is too long.
    #[must_use]
    pub fn with(self, content: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= EXEC_FRAME_MAX)?;
        let (_, kind) = Self::ALL.into_iter().find(|(frame, _)| *frame == self)?;
        let mut bytes = Vec::with_capacity(5 + content.len());
        bytes.push(kind);
        bytes.extend(length.to_be_bytes());
        bytes.extend(content);
        Some(bytes)
    }

    fn of(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == kind).map(|(frame, _)| frame)
    }
}

/// Bytes that are no frames of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is not `insula-exec`")]
pub struct BadExecFrame;

/// Cuts a stream of bytes into frames. It holds at most one frame and what was read with it.
#[derive(Debug, Default)]
pub struct ExecFrames {
    bytes: Vec<u8>,
}

impl ExecFrames {
    /// Adds bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// When the bytes are no frame; the stream is then unusable.
    pub fn next_frame(&mut self) -> Result<Option<(ExecFrame, Vec<u8>)>, BadExecFrame> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<5>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let frame = ExecFrame::of(kind).ok_or(BadExecFrame)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| BadExecFrame)?;
        if length > EXEC_FRAME_MAX {
            return Err(BadExecFrame);
        }
        let Some(content) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.bytes.drain(..5 + length);
        Ok(Some((frame, content)))
    }
}

/// The first frame of a client. `Debug` shows the names of the environment and not its values.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// In the place of a command: the file whose content is the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_file: Option<String>,
    /// In the place of a command: the file that gets the input as its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_file: Option<String>,
    /// Permission bits of a file that is written; 0644 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Variables beside those of the workload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory inside; that of the workload if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether input follows; else it is empty.
    #[serde(default)]
    pub input: bool,
    /// How long it may run, in milliseconds; without an end if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl std::fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, read_file, write_file, mode, env, cwd, input, timeout_ms } = self;
        f.debug_struct("ExecRequest")
            .field("command", command)
            .field("read_file", read_file)
            .field("write_file", write_file)
            .field("mode", mode)
            .field("env", &env.keys().collect::<Vec<_>>())
            .field("cwd", cwd)
            .field("input", input)
            .field("timeout_ms", timeout_ms)
            .finish()
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecEnd {
    /// It returned this status.
    Exited(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was not run, or was ended, for this reason.
    Problem(Problem),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let all =
            [(ExecFrame::Begin, &b"{}"[..]), (ExecFrame::InputEnd, b""), (ExecFrame::Stdout, &[0; 300])];
        let stream: Vec<u8> = all.iter().flat_map(|(kind, content)| kind.with(content).unwrap()).collect();
        for size in [1, 2, 7, stream.len()] {
            let (mut frames, mut seen) = (ExecFrames::default(), Vec::new());
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            let expected: Vec<_> = all.iter().map(|(kind, content)| (*kind, content.to_vec())).collect();
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bad in [&[0, 0, 0, 0, 0][..], &[99, 0, 0, 0, 0], &[17, 0xff, 0xff, 0xff, 0xff]] {
            let mut frames = ExecFrames::default();
            frames.push(bad);
            assert_eq!(frames.next_frame(), Err(BadExecFrame), "{bad:?}");
        }
        assert_eq!(ExecFrame::Stdout.with(&vec![0; EXEC_FRAME_MAX + 1]), None);
    }

    #[test]
    fn a_request_shows_names_and_not_values_and_refuses_what_it_does_not_know() {
        let request =
            ExecRequest { env: [("TOKEN".into(), "hunter2".into())].into(), ..ExecRequest::default() };
        let shown = format!("{request:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
        assert!(serde_json::from_str::<ExecRequest>(r#"{"command": ["a"], "tty": true}"#).is_err());
        let end = serde_json::to_string(&ExecEnd::Exited(3)).unwrap();
        assert_eq!(end, r#"{"exited":3}"#);
    }
}
