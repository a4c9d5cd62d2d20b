//! One connection to the host side.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use insula_frames::{Decoder, FromAgent, MAX_TO_AGENT, ToAgent};
use insula_linux::scm;

/// Bytes that may wait to be written before log lines are held back.
const BUSY: usize = 128 * 1024;

/// A frame on its way out.
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// A connection to a host: frames and descriptors in, frames and descriptors out, never blocking.
pub(crate) struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    out: VecDeque<Pending>,
    waiting: usize,
}

impl Connection {
    /// Takes over a connected socket and makes it non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::bounded(socket, MAX_TO_AGENT)
    }

    /// The same for frames of at most `max` bytes.
    pub(crate) fn bounded(socket: OwnedFd, max: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            decoder: Decoder::new(max),
            fds: VecDeque::new(),
            out: VecDeque::new(),
            waiting: 0,
        })
    }

    /// Queues a frame.
    pub(crate) fn send(&mut self, frame: &FromAgent) {
        self.send_with(frame, Vec::new());
    }

    /// Queues a frame with the descriptors it announces.
    pub(crate) fn send_with(&mut self, frame: &FromAgent, fds: Vec<OwnedFd>) {
        self.send_bytes(frame.encode(), fds);
    }

    /// Queues an encoded frame with the descriptors it announces.
    pub(crate) fn send_bytes(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.waiting += bytes.len();
        self.out.push_back(Pending { bytes, sent: 0, fds });
    }

    /// Whether something waits to be written.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether so much waits already that log lines should wait too.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting > BUSY
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.out.front_mut() {
            let fds: Vec<BorrowedFd<'_>> = frame.fds.iter().map(AsFd::as_fd).collect();
            let sent = match scm::send(&self.socket, &frame.bytes[frame.sent..], &fds) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            frame.fds.clear();
            frame.sent += sent;
            self.waiting -= sent;
            if frame.sent == frame.bytes.len() {
                self.out.pop_front();
            }
        }
        Ok(())
    }

    /// Reads what is there. `false` at the end of the connection.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0u8; 16 * 1024];
        let mut received = Vec::new();
        match scm::recv(&self.socket, &mut buffer, &mut received) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.decoder.push(&buffer[..n]);
                self.fds.extend(received);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// The next whole frame of somebody who has nothing to pass.
    pub(crate) fn next_from_agent(&mut self) -> io::Result<Option<FromAgent>> {
        let malformed = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        if !self.fds.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors came unasked"));
        }
        let Some((kind, fields)) = self.decoder.next_frame().map_err(malformed)? else {
            self.decoder.shrink();
            return Ok(None);
        };
        FromAgent::decode(kind, fields).map(Some).map_err(malformed)
    }

    /// The next whole frame with its descriptors.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<(ToAgent, Vec<OwnedFd>)>> {
        let malformed = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        let Some((kind, fields)) = self.decoder.next_frame().map_err(malformed)? else {
            self.decoder.shrink();
            return Ok(None);
        };
        let frame = ToAgent::decode(kind, fields).map_err(malformed)?;
        let wanted = frame.fds();
        if self.fds.len() < wanted {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame came without its descriptors"));
        }
        Ok(Some((frame, self.fds.drain(..wanted).collect())))
    }

    /// Waits for the next whole frame; `None` at the end of the connection. Only before the event loop.
    pub(crate) fn wait_frame(&mut self) -> io::Result<Option<(ToAgent, Vec<OwnedFd>)>> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(Some(frame));
            }
            let mut ready = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ready, None)?;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
