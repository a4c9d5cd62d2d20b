//! A connection to a workload.
//!
//! The agent may have made the socket, and whoever made it can clear its `O_NONBLOCK` at any time: the flag belongs
//! to the open file, which both hold. So every call here says `MSG_DONTWAIT`, and the thread of the worker waits for
//! nobody, whatever the flag says.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use insula_linux::dontwait;
use rustix::net::{AddressFamily, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream to a workload, whatever carries it.
#[derive(Debug)]
pub enum Stream {
    /// TCP, on the workload's own loopback or the host's.
    Tcp(TcpStream),
    /// A Unix socket that the workload made.
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Unix(s) => s.as_fd(),
        }
    }
}

impl Stream {
    /// A connection that another process made, registered with the runtime.
    ///
    /// # Errors
    /// When it is no socket of these kinds, or cannot be registered.
    pub fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        match sockopt::socket_domain(&socket)? {
            AddressFamily::UNIX => Ok(Self::Unix(UnixStream::from_std(socket.into())?)),
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Tcp(TcpStream::from_std(socket.into())?)),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?} is no kind of ours"))),
        }
    }

    /// Reads without waiting; `WouldBlock` when nothing is there. Tells whether an idle connection is
    /// still clean: `WouldBlock` means yes, anything else no.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        self.receive(&mut buf)?;
        Ok(buf.filled().len())
    }

    /// Receives once. What comes short of the room was all there was, so the socket is not asked again before the
    /// kernel says that there is more.
    fn receive(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let before = buf.filled().len();
        let received = self.try_io(Interest::READABLE, |fd| {
            dontwait::receive(fd, buf)?;
            let all = buf.filled().len() > before && buf.remaining() > 0;
            if all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        // The error was for the runtime alone, which forgets only what it knew before the call.
        if buf.filled().len() > before { Ok(()) } else { received }
    }

    /// Calls when the socket was last seen ready; `WouldBlock` from the call clears that.
    fn try_io<T>(
        &self,
        interest: Interest,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(s) => s.try_io(interest, || call(s.as_fd())),
            Self::Unix(s) => s.try_io(interest, || call(s.as_fd())),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => s.poll_read_ready(cx),
            Self::Unix(s) => s.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => s.poll_write_ready(cx),
            Self::Unix(s) => s.poll_write_ready(cx),
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let result = self.receive(buf);
            if !would_block(&result) {
                return Poll::Ready(result);
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let result = self.try_io(Interest::WRITABLE, |fd| dontwait::send(fd, bufs));
            if !would_block(&result) {
                return Poll::Ready(result);
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::io::ioctl_fionbio;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A peer that reads nothing until it is told to, by a task of the same runtime: a runtime whose one thread
    /// waits in a write never tells it.
    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_that_was_made_blocking_blocks_nobody() {
        const LEN: usize = 4 << 20;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let same_file = ours.try_clone().unwrap();
        let mut ours = Stream::Unix(UnixStream::from_std(ours).unwrap());
        ioctl_fionbio(&same_file, false).unwrap();
        let (tell, told) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let told = told.recv_timeout(Duration::from_secs(10)).is_ok();
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            (told, all.len())
        });
        // The socket is known to be ready from here on: the write below comes before the telling.
        ours.write_all(&[7]).await.unwrap();
        let write = async {
            ours.write_all(&vec![7; LEN - 1]).await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let ((), sent) = tokio::join!(write, async { tell.send(()) });
        sent.unwrap();
        assert_eq!(reader.join().unwrap(), (true, LEN), "the write held up the runtime's only thread");
    }

    #[tokio::test]
    async fn what_comes_after_a_short_read_is_not_missed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Stream::Unix(ours);
        let mut room = [0; 16];
        for text in [&b"one"[..], b"another", b"exactly sixteen!"] {
            theirs.write_all(text).await.unwrap();
            let n = ours.read(&mut room).await.unwrap();
            assert_eq!(&room[..n], text);
            assert!(would_block(&ours.try_read(&mut room)), "nothing is left of it");
        }
        theirs.write_all(b"last").await.unwrap();
        drop(theirs);
        assert_eq!(ours.read(&mut room).await.unwrap(), 4);
        assert_eq!(ours.read(&mut room).await.unwrap(), 0);
        assert_eq!(ours.try_read(&mut room).unwrap(), 0, "an end is never forgotten");
    }
}
