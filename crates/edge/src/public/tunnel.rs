//! Bytes in both directions, until both sides have said their last.
//!
//! ```text
//! client ═══ up ═══► workload        one side closes its half: the other half is told and goes on
//! client ◄══ down ══ workload        one side breaks: the tunnel is over
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::public::body::{Body, Pipe, PipeError};
use crate::public::buffer::Buffer;

/// One end of a tunnel and what was already read from it.
#[derive(Debug)]
pub(crate) struct End<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) input: &'a mut Buffer,
}

/// How many bytes went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Carries bytes until both directions have ended or one broke; `greeting` goes to the client first.
pub(crate) async fn carry<C, U>(client: End<'_, C>, workload: End<'_, U>, greeting: Vec<u8>) -> Carried
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (OneWay::new(Vec::new()), OneWay::new(greeting));
    let (mut client, mut workload) = (client, workload);
    let ended = poll_fn(|cx| {
        let sent = up.poll(cx, &mut client, workload.stream);
        let received = down.poll(cx, &mut workload, client.stream);
        match (sent, received) {
            (Poll::Ready(Err(e)), _) | (_, Poll::Ready(Err(e))) => Poll::Ready(Err(e)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a tunnel broke");
    }
    Carried { up: up.pipe.moved(), down: down.pipe.moved() }
}

#[derive(Debug)]
struct OneWay {
    pipe: Pipe,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Closed,
}

impl OneWay {
    fn new(greeting: Vec<u8>) -> Self {
        Self { pipe: Pipe::new(greeting, Body::UntilClose), state: State::Open }
    }

    fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut End<'_, S>,
        to: &mut D,
    ) -> Poll<Result<(), PipeError>>
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        if self.state == State::Open {
            ready!(self.pipe.poll(cx, from.stream, from.input, to))?;
            self.state = State::Closing;
        }
        if self.state == State::Closing {
            let closed = ready!(Pin::new(to).poll_shutdown(cx));
            self.state = State::Closed;
            // The other side may be gone altogether already; then there is nothing to tell it.
            match closed {
                Err(e) if e.kind() != io::ErrorKind::NotConnected => {
                    return Poll::Ready(Err(PipeError::Sink(e)));
                }
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::public::buffer::Pool;

    #[tokio::test]
    async fn one_half_may_end_before_the_other() {
        let hung = std::time::Duration::from_secs(60);
        tokio::time::timeout(hung, halves_end_one_by_one()).await.expect("a half was not told");
    }

    async fn halves_end_one_by_one() {
        let pool = Arc::new(Pool::default());
        let (mut user, mut client) = tokio::io::duplex(8);
        let (mut app, mut workload) = tokio::io::duplex(8);
        let tunnel = tokio::spawn(async move {
            let (mut a, mut b) = (Buffer::new(&pool), Buffer::new(&pool));
            let client = End { stream: &mut client, input: &mut a };
            carry(client, End { stream: &mut workload, input: &mut b }, b"hi ".to_vec()).await
        });
        user.write_all(b"a question").await.unwrap();
        user.shutdown().await.unwrap();
        let mut asked = String::new();
        app.read_to_string(&mut asked).await.unwrap();
        app.write_all(b"a long answer").await.unwrap();
        drop(app);
        let mut answer = String::new();
        user.read_to_string(&mut answer).await.unwrap();
        assert_eq!((asked.as_str(), answer.as_str()), ("a question", "hi a long answer"));
        assert_eq!(tunnel.await.unwrap(), Carried { up: 10, down: 13 });
    }
}
