//! Bytes in both directions, until both sides have said their last.
//!
//! ```text
//! client ═══ up ═══► workload        one side closes its half: the other half is told and goes on
//! client ◄══ down ══ workload        one side breaks: the tunnel is over
//! ```
//! A client that has closed its half may still be reading, or be gone: TCP does not tell. So the workload is
//! told, and as long as it sends, the tunnel goes on; once it has been silent for the linger, it is over. A
//! workload that never closes cannot stay awake for a client that left.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::public::body::{Body, Pipe, PipeError};
use crate::public::buffer::Buffer;
use crate::public::deadline::Deadline;

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

/// Carries bytes until both directions have ended or one broke, or until the client has ended its own and
/// the workload sends nothing for the `linger`; `greeting` goes to the client first.
pub(crate) async fn carry<C, U>(
    client: End<'_, C>,
    workload: End<'_, U>,
    greeting: Vec<u8>,
    linger: Duration,
) -> Carried
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (OneWay::new(Vec::new()), OneWay::new(greeting));
    let (mut client, mut workload) = (client, workload);
    let mut linger = Linger { time: linger, timer: None };
    let ended = poll_fn(|cx| {
        let sent = up.poll(cx, &mut client, workload.stream);
        let received = down.poll(cx, &mut workload, client.stream);
        match (sent, received) {
            (Poll::Ready(Err(e)), _) | (_, Poll::Ready(Err(e))) => Poll::Ready(Err(e)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Ready(Ok(())), Poll::Pending) => linger.poll(cx, &down.pipe).map(Ok),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a tunnel broke");
    }
    Carried { up: up.pipe.moved(), down: down.pipe.moved() }
}

/// How long a workload may be silent once its client has closed its half.
#[derive(Debug)]
struct Linger {
    time: Duration,
    /// Runs since the client's end; with how much the workload had sent when it was set last.
    timer: Option<(Deadline, u64)>,
}

impl Linger {
    /// Ready when the workload has been silent for too long.
    fn poll(&mut self, cx: &mut Context<'_>, down: &Pipe) -> Poll<()> {
        let (moved, time) = (down.moved(), self.time);
        let (timer, seen) = self.timer.get_or_insert_with(|| (Deadline::new(Instant::now() + time), moved));
        if !down.is_starved() {
            // Here it is the client that is waited for. What it takes sets the timer anew.
            return Poll::Pending;
        }
        if *seen != moved {
            *seen = moved;
            timer.set(Instant::now() + time);
        }
        ready!(timer.poll(cx));
        tracing::debug!(?time, "a tunnel ended: its client had closed, and the workload was silent");
        Poll::Ready(())
    }
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

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::public::buffer::Pool;

    const LINGER: Duration = Duration::from_secs(30);

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
            carry(client, End { stream: &mut workload, input: &mut b }, b"hi ".to_vec(), LINGER).await
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

    /// A tunnel between a user and an app, in a time that passes by itself when all wait.
    fn tunnel(room: usize) -> (DuplexStream, DuplexStream, JoinHandle<Carried>) {
        let pool = Arc::new(Pool::default());
        let (user, mut client) = tokio::io::duplex(room);
        let (app, mut workload) = tokio::io::duplex(64);
        let tunnel = tokio::spawn(async move {
            let (mut a, mut b) = (Buffer::new(&pool), Buffer::new(&pool));
            let client = End { stream: &mut client, input: &mut a };
            carry(client, End { stream: &mut workload, input: &mut b }, Vec::new(), LINGER).await
        });
        (user, app, tunnel)
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_clients_end_a_workload_may_be_silent_for_the_linger_and_no_longer() {
        let (mut user, mut app, tunnel) = tunnel(64);
        tokio::time::sleep(LINGER * 10).await;
        assert!(!tunnel.is_finished(), "the client is there");
        user.shutdown().await.unwrap();
        for _ in 0..5 {
            tokio::time::sleep(LINGER - Duration::from_secs(1)).await;
            app.write_all(b"x").await.unwrap();
            assert_eq!(user.read_u8().await.unwrap(), b'x');
        }
        let silent = Instant::now();
        assert_eq!(tunnel.await.unwrap(), Carried { up: 0, down: 5 });
        let silence = silent.elapsed();
        assert!(silence >= LINGER && silence < LINGER + Duration::from_secs(1), "{silence:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_not_the_workloads_silence() {
        let (mut user, mut app, tunnel) = tunnel(1);
        user.shutdown().await.unwrap();
        app.write_all(b"abc").await.unwrap();
        for expected in b"abc" {
            tokio::time::sleep(LINGER * 3).await;
            assert_eq!(user.read_u8().await.unwrap(), *expected);
        }
        assert_eq!(tunnel.await.unwrap(), Carried { up: 0, down: 3 });
    }
}
