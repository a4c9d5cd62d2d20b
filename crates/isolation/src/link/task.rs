//! The task that owns the socket of a link.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_frames::{Decoder, FromAgent, Line, MAX_FDS, MAX_FROM_AGENT, ToAgent};
use insula_linux::scm;
use tokio::io::{Interest, Ready};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::exec::Execs;
use super::{Answer, News, OUTBOX, Outgoing, SocketsWanted, Wants};
use crate::logs::{LogBatch, LogGap};
use crate::sockets;

/// Where what the agent says goes.
pub(super) struct Targets {
    pub(super) answer: mpsc::Sender<Answer>,
    pub(super) tell: mpsc::Sender<News>,
    pub(super) line: mpsc::Sender<LogBatch>,
}

pub(super) struct Task {
    socket: UnixStream,
    decoder: Decoder,
    /// Descriptors that came and belong to a frame not read yet.
    fds: VecDeque<OwnedFd>,
    /// Answers that were asked for and did not come yet.
    awaited: usize,
    /// Who waits for sockets, in the order in which they asked.
    asked: VecDeque<SocketsWanted>,
    /// Who waits for the listeners of the network wall.
    wall: Option<oneshot::Sender<io::Result<Vec<OwnedFd>>>>,
    /// Commands beside the workload.
    execs: Execs,
    /// How far the present run has come.
    run: Run,
    to: Targets,
    out: VecDeque<Pending>,
    /// Whether the agent takes nothing more. What it said before may still wait to be read.
    deaf: bool,
}

/// How far a run of the workload has come: it listens at most once and ends at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Run {
    Starting,
    Listening,
    Ended,
}

/// A frame on its way out.
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
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
    pub(super) fn new(socket: UnixStream, to: Targets) -> Self {
        Self {
            socket,
            decoder: Decoder::new(MAX_FROM_AGENT),
            fds: VecDeque::new(),
            awaited: 0,
            asked: VecDeque::new(),
            wall: None,
            execs: Execs::default(),
            run: Run::Starting,
            to,
            out: VecDeque::new(),
            deaf: false,
        }
    }

    pub(super) async fn run(mut self, mut outbox: mpsc::Receiver<Outgoing>, mut acked: watch::Receiver<u64>) {
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
            // An agent that reads nothing must not make the queue grow: neither by requests nor by
            // acknowledgements of what it sends meanwhile.
            let room = self.out.len() < OUTBOX;
            tokio::select! {
                ready = self.socket.ready(interest(!self.out.is_empty())) => match ready {
                    Ok(ready) => {
                        if let Err(end) = self.ready(ready) {
                            return end;
                        }
                    }
                    Err(_) => return End::Closed,
                },
                out = outbox.recv(), if room => match out {
                    Some(out) => self.queue(out),
                    None => return End::Unused,
                },
                changed = acked.changed(), if acks && room => match changed {
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
            self.flush();
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

    /// Writes what the socket takes. An agent that takes nothing more may have said something before: that
    /// is read first, up to its end.
    fn flush(&mut self) {
        let Self { socket, out, .. } = self;
        match socket.try_io(Interest::WRITABLE, || flush(out, socket.as_fd())) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.deaf = true;
                self.out.clear();
            }
        }
    }

    fn queue(&mut self, out: Outgoing) {
        match out.wants {
            Wants::Nothing => {}
            Wants::Answer => self.awaited += 1,
            Wants::Sockets(wanted) => self.asked.push_back(wanted),
            Wants::Wall(to) => self.wall = Some(to),
            Wants::Exec(wanted) => {
                if !self.execs.admit(wanted) {
                    return;
                }
            }
        }
        self.push(out.bytes, out.fds);
    }

    /// Queues a frame and writes what the socket takes at once, without waiting for its turn.
    fn push(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        if !self.deaf {
            self.out.push_back(Pending { bytes, sent: 0, fds });
            self.flush();
        }
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
        match frame {
            FromAgent::Welcome { version, key, phase, .. } => {
                self.answer(Answer::Welcome { version, key, phase })
            }
            FromAgent::ShellReady { pid } => self.answer(Answer::ShellReady { pid }),
            FromAgent::Started => {
                tracing::trace!(target: "insula::wake", at = "started (link)");
                self.run = Run::Starting;
                self.answer(Answer::Started)
            }
            FromAgent::Committed => self.answer(Answer::Committed),
            FromAgent::Done => self.answer(Answer::Done),
            FromAgent::Failed { step, errno, detail } => {
                // It may come unasked, as the last word of an agent that cannot go on.
                self.awaited = self.awaited.saturating_sub(1);
                self.pass(Answer::Failed { step, errno, detail })
            }
            FromAgent::Listening { v6, unix, .. } => {
                tracing::trace!(target: "insula::wake", at = "listening (link)");
                let first = fds.pop();
                if first.as_ref().is_some_and(|fd| !sockets::is_connected_stream(fd.as_fd())) {
                    return Err("a descriptor is not a connection".to_owned());
                }
                self.tell(Run::Listening, News::Listening { v6, unix, first })
            }
            FromAgent::Exited { ended, next_line } => {
                self.execs.over();
                self.tell(Run::Ended, News::Exited { ended, next_line })
            }
            FromAgent::Exec(news) => self.execs.deliver(news),
            FromAgent::Sockets { .. } => self.pass_sockets(fds),
            FromAgent::Egress { errno, .. } => self.pass_wall(errno, fds),
            FromAgent::Log { gap, lines } => self.pass_lines(gap, lines),
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), String> {
        self.awaited = self.awaited.checked_sub(1).ok_or_else(|| format!("nobody asked for {answer:?}"))?;
        self.pass(answer)
    }

    fn pass(&self, answer: Answer) -> Result<(), String> {
        self.to.answer.try_send(answer).map_err(|_| "more answers than were asked for".to_owned())
    }

    /// Takes news of a run that has not come this far yet.
    fn tell(&mut self, now: Run, news: News) -> Result<(), String> {
        if self.run >= now {
            return Err(format!("told to be {now:?} when it was {:?}", self.run));
        }
        self.run = now;
        self.to.tell.try_send(news).map_err(|_| "more events than a life has".to_owned())
    }

    fn pass_sockets(&mut self, fds: Vec<OwnedFd>) -> Result<(), String> {
        let wanted = self.asked.pop_front().ok_or("nobody asked for sockets")?;
        let fresh = |fd: &OwnedFd| sockets::is_unconnected_tcp(fd.as_fd(), wanted.v6);
        if fds.len() > usize::from(wanted.count) || !fds.iter().all(fresh) {
            return Err("a descriptor is not a socket that was asked for".to_owned());
        }
        // Whoever asked may have given up waiting; the sockets are closed then.
        drop(wanted.to.send(fds));
        Ok(())
    }

    /// Listeners of the wall, each of which must be what it is said to be.
    fn pass_wall(&mut self, errno: i32, fds: Vec<OwnedFd>) -> Result<(), String> {
        let to = self.wall.take().ok_or("nobody asked for the listeners of the wall")?;
        if !sockets::are_listeners_of_wall(&fds) {
            return Err("a descriptor is not a listener of the wall".to_owned());
        }
        let passed = if fds.is_empty() { Err(io::Error::from_raw_os_error(errno)) } else { Ok(fds) };
        // Whoever asked may have given up waiting; they are closed then.
        drop(to.send(passed));
        Ok(())
    }

    fn pass_lines(&self, gap: Option<(u64, u64)>, lines: Vec<Line>) -> Result<(), String> {
        let batch = LogBatch {
            gap: gap.map(|(from, to)| LogGap { from, to }),
            lines: lines.into_iter().map(Into::into).collect(),
        };
        match self.to.line.try_send(batch) {
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

fn flush(out: &mut VecDeque<Pending>, socket: BorrowedFd<'_>) -> io::Result<()> {
    while let Some(Pending { bytes, sent, fds }) = out.front_mut() {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        *sent += scm::send(socket, &bytes[*sent..], &borrowed)?;
        fds.clear();
        if *sent == bytes.len() {
            out.pop_front();
        }
    }
    Ok(())
}
