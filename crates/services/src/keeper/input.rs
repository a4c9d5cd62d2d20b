//! What a keeper waits for.

use std::future::Future;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Keeper;
use super::machine::Why;
use super::message::Message;
use super::ops::Done;
use crate::shared::Phase;

/// What a keeper woke up for.
pub(super) enum Input {
    Message(Message),
    Sandbox(insula_isolation::Event),
    Done(Done),
    Checked(Result<(), Why>),
    Quiet,
    Timer,
    Phase(Phase),
}

impl Keeper {
    /// Waits for the next input. Cancel-safe in all its parts: whatever is lost here comes again.
    pub(super) async fn input(&mut self) -> Input {
        let deadline = self.machine.deadline();
        let Self { inbox, phase, seen, sandbox, run, operation, check, journal, .. } = self;
        tokio::select! {
            biased;
            done = maybe(operation.as_mut()) => {
                *operation = None;
                Input::Done(done)
            }
            event = maybe(sandbox.as_mut().map(|s| s.event())) => Input::Sandbox(event),
            // The sender that lives in the directory is dropped by this task alone.
            message = maybe_some(inbox.recv()) => Input::Message(message),
            now = another(phase, *seen) => {
                *seen = now;
                Input::Phase(now)
            }
            result = maybe(check.as_mut()) => {
                *check = None;
                Input::Checked(result)
            }
            () = maybe(run.as_ref().map(|r| r.gate.quiet())) => Input::Quiet,
            () = maybe(deadline.map(due)) => Input::Timer,
            never = journal.drive() => match never {},
        }
    }
}

/// Waits until a time that may be over already: the timer, which counts in milliseconds, would take one for it.
async fn due(at: Instant) {
    if Instant::now() < at {
        tokio::time::sleep_until(at).await;
    }
}

/// The outcome of a future that is there; otherwise never.
async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The value that comes; never if none will.
async fn maybe_some<T>(future: impl Future<Output = Option<T>>) -> T {
    match future.await {
        Some(value) => value,
        None => std::future::pending().await,
    }
}

/// The phase, once it is another one.
async fn another(phase: &mut watch::Receiver<Phase>, seen: Phase) -> Phase {
    let changed = async { phase.wait_for(|phase| *phase != seen).await.ok().map(|phase| *phase) };
    maybe_some(changed).await
}
