//! Those who wait for an instance to run, or to stop.

use tokio::sync::oneshot;

use super::machine::Answer;
use crate::control::ControlError;
use crate::lease::{Lease, LeaseError, Run};
use crate::status::Status;
use std::sync::Arc;

/// Somebody who waits for the instance to run.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A request. `woke`: it found the instance not running.
    Lease { reply: oneshot::Sender<Result<Lease, LeaseError>>, woke: bool },
    /// The operator.
    Operator(oneshot::Sender<Result<Status, ControlError>>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    for_run: Vec<Waiter>,
    for_stop: Vec<oneshot::Sender<Status>>,
}

impl Waiters {
    /// How many wait for it to run.
    pub(super) fn len(&self) -> usize {
        self.for_run.len()
    }

    pub(super) fn add(&mut self, waiter: Waiter) {
        self.for_run.push(waiter);
    }

    pub(super) fn add_stopper(&mut self, reply: oneshot::Sender<Status>) {
        self.for_stop.push(reply);
    }

    /// Forgets those who went away, if there are `many`; tells how many that were.
    pub(super) fn forget_gone(&mut self, many: usize) -> usize {
        let before = self.for_run.len();
        if before >= many {
            self.for_run.retain(|waiter| match waiter {
                Waiter::Lease { reply, .. } => !reply.is_closed(),
                Waiter::Operator(reply) => !reply.is_closed(),
            });
        }
        before - self.for_run.len()
    }

    /// Answers all who wait for it to run. A lease that nobody takes any more is dropped, and counts as left.
    pub(super) fn answer(&mut self, answer: &Answer, run: Option<&Arc<Run>>, status: &Status) {
        for waiter in std::mem::take(&mut self.for_run) {
            match waiter {
                Waiter::Lease { reply, woke } => {
                    let lease = match answer {
                        Answer::Ready => run.and_then(|run| run.lease(woke)).ok_or(LeaseError::ShuttingDown),
                        Answer::Failed { why, retry_after } => {
                            Err(LeaseError::Failed { why: why.to_string(), retry_after: *retry_after })
                        }
                        Answer::Stopped => Err(LeaseError::Stopped),
                        Answer::Down => Err(LeaseError::ShuttingDown),
                    };
                    send(reply, lease);
                }
                Waiter::Operator(reply) => {
                    let result = match answer {
                        Answer::Ready => Ok(status.clone()),
                        Answer::Failed { why, .. } => {
                            Err(ControlError::Failed { why: why.to_string(), hint: why.hint() })
                        }
                        Answer::Stopped => Err(ControlError::Stopped),
                        Answer::Down => Err(ControlError::ShuttingDown),
                    };
                    send(reply, result);
                }
            }
        }
    }

    /// Answers all who wait for it to stop.
    pub(super) fn stopped(&mut self, status: &Status) {
        for reply in std::mem::take(&mut self.for_stop) {
            send(reply, status.clone());
        }
    }
}

/// Tells one of them that it cannot wait here.
pub(super) fn refuse<T, E>(reply: oneshot::Sender<Result<T, E>>, error: E) {
    send(reply, Err(error));
}

fn send<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("a waiter went away before its answer");
    }
}
