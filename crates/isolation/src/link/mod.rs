//! The host's end of the connection to one agent.
//!
//! A task owns the socket. What the agent says is sorted: answers go to whoever asked, events and log lines
//! to their streams. Everything an agent sends is hostile input: a malformed frame, an unasked answer or a
//! descriptor that is not what it should be ends the connection, and the sandbox counts as lost.
//!
//! ```text
//! Link ──ask──► outbox ──► Task ──► socket ──► agent
//!                           │
//! Streams ◄── answers, news, log lines ◄── checked, each in a bounded queue; a full one ends the link
//! ```

mod exec;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use insula_frames::{Ended, LOG_WINDOW, Phase, Step, ToAgent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

pub(crate) use exec::{Flow, Piece};

use crate::logs::LogStream;
use task::Task;

/// Frames that may wait to be written to one agent.
const OUTBOX: usize = 32;
/// Events that may wait for the owner of a sandbox: a life has at most a handful.
const EVENTS: usize = 8;
/// How long an agent may take to read a request, or to make sockets. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that may wait: one is asked for at a time, and a failure may follow it.
const ANSWERS: usize = 2;

/// What an agent answers to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Welcome { version: u16, key: String, phase: Phase },
    ShellReady { pid: i32 },
    Started,
    Failed { step: Step, errno: i32, detail: String },
    Committed,
    Done,
}

/// What an agent tells unasked.
#[derive(Debug)]
pub(crate) enum News {
    Listening { v6: bool, unix: bool, first: Option<OwnedFd> },
    Exited { ended: Ended, next_line: u64 },
}

/// A frame to send, with its descriptors.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    wants: Wants,
}

/// What the agent shall send back.
#[derive(Debug)]
enum Wants {
    Nothing,
    Answer,
    Sockets(SocketsWanted),
    /// The listeners of the network wall, or why there are none.
    Wall(oneshot::Sender<io::Result<Vec<OwnedFd>>>),
    /// A command that runs.
    Exec(exec::Wanted),
}

/// Sockets that somebody waits for.
#[derive(Debug)]
struct SocketsWanted {
    count: u8,
    v6: bool,
    to: oneshot::Sender<Vec<OwnedFd>>,
}

/// The agent went away, or broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is gone")]
pub(crate) struct LinkLost;

/// A handle to send requests with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    out: mpsc::Sender<Outgoing>,
}

/// The streams that come out of a link, one owner each.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) answers: mpsc::Receiver<Answer>,
    pub(crate) news: mpsc::Receiver<News>,
    logs: Option<LogStream>,
    pub(crate) acked: watch::Receiver<u64>,
}

impl Streams {
    /// The captured output, once.
    pub(crate) fn take_logs(&mut self) -> Option<LogStream> {
        self.logs.take()
    }
}

impl Link {
    /// Takes over a connected socket. All log lines before `logs_from` are stored already.
    pub(crate) fn open(socket: UnixStream, logs_from: u64) -> io::Result<(Self, Streams)> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(socket)?;
        let (out, outbox) = mpsc::channel(OUTBOX);
        let (answer, answers) = mpsc::channel(ANSWERS);
        let (tell, news) = mpsc::channel(EVENTS);
        let (line, lines) = mpsc::channel(LOG_WINDOW);
        let (ack, acked) = watch::channel(logs_from);
        let task = Task::new(socket, task::Targets { answer, tell, line });
        tokio::spawn(task.run(outbox, acked.clone()));
        Ok((Self { out }, Streams { answers, news, logs: Some(LogStream::new(lines, ack)), acked }))
    }

    /// Sends a frame to an agent that may be gone or deaf, where that makes no difference.
    pub(crate) fn send_if_there(&self, frame: &ToAgent) {
        let out = Outgoing { bytes: frame.encode(), fds: Vec::new(), wants: Wants::Nothing };
        if self.out.try_send(out).is_err() {
            tracing::debug!("an agent was gone before it could be told");
        }
    }

    /// Sends a frame. An agent that has stopped reading counts as lost.
    pub(crate) async fn send(&self, frame: &ToAgent, fds: Vec<OwnedFd>) -> Result<(), LinkLost> {
        let wants = match frame {
            ToAgent::Hello { .. }
            | ToAgent::Setup(_)
            | ToAgent::Launch(_)
            | ToAgent::Commit
            | ToAgent::Pause
            | ToAgent::Resume => Wants::Answer,
            _ => Wants::Nothing,
        };
        self.queue(Outgoing { bytes: frame.encode(), fds, wants }).await
    }

    /// Asks for unconnected TCP sockets in the network of the workload. Each was checked to be one.
    pub(crate) async fn sockets(&self, count: u8, v6: bool) -> Result<Vec<OwnedFd>, LinkLost> {
        let (to, asked) = oneshot::channel();
        let wants = Wants::Sockets(SocketsWanted { count, v6, to });
        let bytes = ToAgent::Sockets { count, v6 }.encode();
        self.queue(Outgoing { bytes, fds: Vec::new(), wants }).await?;
        timeout(PATIENCE, asked).await.map_err(|_| LinkLost)?.map_err(|_| LinkLost)
    }

    /// Asks for the listeners of the network wall: TCP and UDP for IPv4, then for IPv6 where the kernel has it.
    /// The inner error is the kernel's, where it could not build the wall.
    pub(crate) async fn wall(&self) -> Result<io::Result<Vec<OwnedFd>>, LinkLost> {
        let (to, asked) = oneshot::channel();
        let bytes = ToAgent::Egress.encode();
        self.queue(Outgoing { bytes, fds: Vec::new(), wants: Wants::Wall(to) }).await?;
        timeout(PATIENCE, asked).await.map_err(|_| LinkLost)?.map_err(|_| LinkLost)
    }

    async fn queue(&self, out: Outgoing) -> Result<(), LinkLost> {
        timeout(PATIENCE, self.out.send(out)).await.map_err(|_| LinkLost)?.map_err(|_| LinkLost)
    }
}
