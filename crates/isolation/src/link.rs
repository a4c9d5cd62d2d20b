//! The host's end of the connection to one agent.
//!
//! A task owns the socket. What the agent says is sorted: answers go to whoever asked, events and log lines
//! to their streams. Everything an agent sends is hostile input: a malformed frame, an unasked answer or a
//! descriptor that is not what it should be ends the connection, and the sandbox counts as lost.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use insula_frames::{Decoder, Ended, FromAgent, LOG_WINDOW, MAX_FDS, MAX_FROM_AGENT, Phase, Step, ToAgent};
use insula_linux::scm;
use tokio::io::{Interest, Ready};
use tokio::sync::{mpsc, oneshot, watch};

use crate::logs::{LogBatch, LogGap, LogStream};
use crate::sockets;

/// Frames that may wait to be written to one agent.
const OUTBOX: usize = 32;
/// Events that may wait for the owner of a sandbox: a life has at most a handful.
const EVENTS: usize = 8;

/// What an agent answers to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Welcome { version: u16, key: String, phase: Phase },
    ShellReady { pid: i32 },
    Started,
    Failed { step: Step, errno: i32, detail: String },
    Committed,
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
    sockets: Option<oneshot::Sender<Vec<OwnedFd>>>,
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
    /// Takes over a connected socket.
    pub(crate) fn open(socket: UnixStream) -> io::Result<(Self, Streams)> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(socket)?;
        let (out, outbox) = mpsc::channel(OUTBOX);
        let (answer, answers) = mpsc::channel(2);
        let (tell, news) = mpsc::channel(EVENTS);
        let (line, lines) = mpsc::channel(LOG_WINDOW);
        let (ack, acked) = watch::channel(0);
        let task = Task {
            socket,
            decoder: Decoder::new(MAX_FROM_AGENT),
            fds: VecDeque::new(),
            asked: VecDeque::new(),
            answer,
            tell,
            line,
            out: VecDeque::new(),
        };
        tokio::spawn(task.run(outbox, acked.clone()));
        Ok((Self { out }, Streams { answers, news, logs: Some(LogStream::new(lines, ack)), acked }))
    }

    /// Sends a frame to an agent that may be gone, where that makes no difference.
    pub(crate) async fn send_if_there(&self, frame: &ToAgent) {
        if self.send(frame, Vec::new()).await.is_err() {
            tracing::debug!("an agent was gone before it could be told");
        }
    }

    /// Sends a frame.
    pub(crate) async fn send(&self, frame: &ToAgent, fds: Vec<OwnedFd>) -> Result<(), LinkLost> {
        let out = Outgoing { bytes: frame.encode(), fds, sockets: None };
        self.out.send(out).await.map_err(|_| LinkLost)
    }

    /// Asks for unconnected TCP sockets in the network of the workload. Each was checked to be one.
    pub(crate) async fn sockets(&self, count: u8, v6: bool) -> Result<Vec<OwnedFd>, LinkLost> {
        let (tx, rx) = oneshot::channel();
        let frame = ToAgent::Sockets { count, v6 };
        let out = Outgoing { bytes: frame.encode(), fds: Vec::new(), sockets: Some(tx) };
        self.out.send(out).await.map_err(|_| LinkLost)?;
        let sockets = rx.await.map_err(|_| LinkLost)?;
        sockets
            .iter()
            .all(|fd| sockets::is_unconnected_tcp(fd.as_fd(), v6))
            .then_some(sockets)
            .ok_or(LinkLost)
    }
}

/// The task that owns the socket.
struct Task {
    socket: tokio::net::UnixStream,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    asked: VecDeque<oneshot::Sender<Vec<OwnedFd>>>,
    answer: mpsc::Sender<Answer>,
    tell: mpsc::Sender<News>,
    line: mpsc::Sender<LogBatch>,
    out: VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>,
}

/// Why a link ends.
enum End {
    /// Nobody holds a handle any more.
    Unused,
    /// The agent closed it.
    Closed,
    /// The agent broke the protocol, or the socket failed.
    Broken(String),
}

impl Task {
    async fn run(mut self, mut outbox: mpsc::Receiver<Outgoing>, mut acked: watch::Receiver<u64>) {
        match self.serve(&mut outbox, &mut acked).await {
            End::Unused | End::Closed => {}
            End::Broken(why) => tracing::warn!(why, "connection to an agent broken"),
        }
    }

    async fn serve(
        &mut self,
        outbox: &mut mpsc::Receiver<Outgoing>,
        acked: &mut watch::Receiver<u64>,
    ) -> End {
        let mut acks = true;
        loop {
            tokio::select! {
                ready = self.socket.ready(interest(!self.out.is_empty())) => match ready {
                    Ok(ready) => {
                        if let Err(end) = self.ready(ready) {
                            return end;
                        }
                    }
                    Err(_) => return End::Closed,
                },
                out = outbox.recv(), if self.out.len() < OUTBOX => match out {
                    Some(out) => self.queue(out),
                    None => return End::Unused,
                },
                changed = acked.changed(), if acks => match changed {
                    Ok(()) => {
                        let next = *acked.borrow_and_update();
                        self.push(ToAgent::LogAck { next }.encode(), Vec::new());
                    }
                    Err(_) => acks = false,
                },
            }
        }
    }

    fn ready(&mut self, ready: Ready) -> Result<(), End> {
        if ready.is_writable() {
            self.flush().map_err(|_| End::Closed)?;
        }
        if ready.is_readable() {
            let Self { socket, decoder, fds, .. } = self;
            match socket.try_io(Interest::READABLE, || receive(socket.as_fd(), decoder, fds)) {
                Ok(true) => {}
                Ok(false) => return Err(End::Closed),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(End::Broken(e.to_string())),
                Err(_) => return Err(End::Closed),
            }
            self.sort().map_err(End::Broken)?;
        }
        Ok(())
    }

    /// Writes what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        let Self { socket, out, .. } = self;
        match socket.try_io(Interest::WRITABLE, || flush(out, socket.as_fd())) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn queue(&mut self, out: Outgoing) {
        self.asked.extend(out.sockets);
        self.push(out.bytes, out.fds);
    }

    /// Queues a frame and writes what the socket takes at once, without waiting for its turn.
    fn push(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.out.push_back((bytes, 0, fds));
        // An error here is seen again, and acted on, when the socket is next ready.
        drop(self.flush());
    }

    /// Gives every whole frame to whom it is for.
    fn sort(&mut self) -> Result<(), String> {
        while let Some((kind, fields)) = self.decoder.next_frame().map_err(|e| e.to_string())? {
            let frame = FromAgent::decode(kind, fields).map_err(|e| e.to_string())?;
            let wanted = frame.fds();
            if self.fds.len() < wanted {
                return Err("a frame came without its descriptors".to_owned());
            }
            let fds = self.fds.drain(..wanted).collect();
            self.deliver(frame, fds)?;
        }
        if self.decoder.is_empty() && !self.fds.is_empty() {
            return Err("descriptors came without a frame".to_owned());
        }
        self.decoder.shrink();
        Ok(())
    }

    fn deliver(&mut self, frame: FromAgent, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let full = |what: &str| format!("more {what} than were asked for");
        let answer = |a| self.answer.try_send(a).map_err(|_| full("answers"));
        match frame {
            FromAgent::Welcome { version, key, phase, .. } => answer(Answer::Welcome { version, key, phase }),
            FromAgent::ShellReady { pid } => answer(Answer::ShellReady { pid }),
            FromAgent::Started => answer(Answer::Started),
            FromAgent::Failed { step, errno, detail } => answer(Answer::Failed { step, errno, detail }),
            FromAgent::Committed => answer(Answer::Committed),
            FromAgent::Listening { v6, unix, .. } => {
                let first = fds.pop().filter(|fd| sockets::is_connected_stream(fd.as_fd()));
                self.tell.try_send(News::Listening { v6, unix, first }).map_err(|_| full("events"))
            }
            FromAgent::Exited { ended, next_line } => {
                self.tell.try_send(News::Exited { ended, next_line }).map_err(|_| full("events"))
            }
            FromAgent::Sockets { .. } => {
                let asked = self.asked.pop_front().ok_or_else(|| full("sockets"))?;
                // Whoever asked may have given up waiting; the sockets are closed then.
                drop(asked.send(fds));
                Ok(())
            }
            FromAgent::Log { gap, lines } => self.pass_lines(gap, lines),
        }
    }

    fn pass_lines(&self, gap: Option<(u64, u64)>, lines: Vec<insula_frames::Line>) -> Result<(), String> {
        let batch = LogBatch {
            gap: gap.map(|(from, to)| LogGap { from, to }),
            lines: lines.into_iter().map(Into::into).collect(),
        };
        match self.line.try_send(batch) {
            // Nobody reads any more: the agent keeps what is not acknowledged.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err("more log frames than may be under way".to_owned())
            }
        }
    }
}

fn interest(writing: bool) -> Interest {
    if writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}

fn receive(socket: BorrowedFd<'_>, decoder: &mut Decoder, fds: &mut VecDeque<OwnedFd>) -> io::Result<bool> {
    let mut buffer = [0u8; 16 * 1024];
    let mut received = Vec::new();
    let n = scm::recv(socket, &mut buffer, &mut received)?;
    fds.extend(received);
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors"));
    }
    decoder.push(&buffer[..n]);
    Ok(n > 0)
}

fn flush(out: &mut VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>, socket: BorrowedFd<'_>) -> io::Result<()> {
    while let Some((bytes, sent, fds)) = out.front_mut() {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        *sent += scm::send(socket, &bytes[*sent..], &borrowed)?;
        fds.clear();
        if *sent == bytes.len() {
            out.pop_front();
        }
    }
    Ok(())
}
