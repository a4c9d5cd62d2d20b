//! The connection to a workload that one exchange uses.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use insula_services::{Lease, Upstream};
use insula_spec::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::public::http2::{Origin, Session};

/// A connection of its own, or a stream of a shared one; both are spoken to in HTTP/1.1.
#[derive(Debug)]
pub(crate) enum Link {
    /// The workload speaks HTTP/1.1, or whatever the client speaks.
    Direct(Upstream),
    /// The workload speaks HTTP/2.
    Stream(Box<Origin>),
}

impl Link {
    /// Connects in the protocol of the service.
    pub(crate) async fn open(lease: &Lease) -> io::Result<Self> {
        match lease.protocol() {
            Protocol::Http1 => lease.connect().await.map(Self::Direct),
            Protocol::H2c => {
                let origin = lease.companion::<Session>().open(lease).await?;
                Ok(Self::Stream(Box::new(origin)))
            }
        }
    }

    /// Whether it was used before, so that the workload may have closed it meanwhile.
    pub(crate) fn is_reused(&self) -> bool {
        matches!(self, Self::Stream(origin) if origin.is_reused())
    }

    /// What can take another request.
    pub(crate) fn into_upstream(self) -> Option<Upstream> {
        match self {
            Self::Direct(upstream) => Some(upstream),
            Self::Stream(_) => None,
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(upstream) => Pin::new(upstream).poll_read(cx, buf),
            Self::Stream(origin) => Pin::new(&mut **origin).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(upstream) => Pin::new(upstream).poll_write(cx, buf),
            Self::Stream(origin) => Pin::new(&mut **origin).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(upstream) => Pin::new(upstream).poll_write_vectored(cx, bufs),
            Self::Stream(origin) => Pin::new(&mut **origin).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Direct(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(upstream) => Pin::new(upstream).poll_flush(cx),
            Self::Stream(origin) => Pin::new(&mut **origin).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(upstream) => Pin::new(upstream).poll_shutdown(cx),
            Self::Stream(origin) => Pin::new(&mut **origin).poll_shutdown(cx),
        }
    }
}
