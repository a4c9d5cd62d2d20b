//! What others tell a keeper, and the inbox for it.

use insula_isolation::Usage;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::control::ControlError;
use crate::lease::{Lease, LeaseError};
use crate::status::Status;

/// Places in the inbox that leases leave to the operator.
const RESERVED: usize = 16;

/// What others tell a keeper.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request waits.
    Lease(oneshot::Sender<Result<Lease, LeaseError>>),
    /// The operator wants it up, and waits for that.
    Spawn(oneshot::Sender<Result<Status, ControlError>>),
    /// The operator wants it started anew, and waits for that.
    Restart(oneshot::Sender<Result<Status, ControlError>>),
    /// A deploy wants it started anew and healthy until then, and waits for that.
    Replace(oneshot::Sender<Result<Status, ControlError>>, Instant),
    /// The operator wants it stopped, and waits for that.
    Stop(oneshot::Sender<Status>),
    /// It takes no more requests of its service and need not stay up.
    Sleep,
    /// What it may reach outside has changed.
    Net,
    /// Somebody wants to know what it uses.
    Usage(oneshot::Sender<Option<Usage>>),
}

/// An inbox of the right size for this service.
pub(crate) fn inbox(hold_queue: usize) -> (mpsc::Sender<Message>, mpsc::Receiver<Message>) {
    mpsc::channel(hold_queue.saturating_add(RESERVED))
}

/// Whether one more lease may wait in this inbox.
pub(crate) fn has_room(inbox: &mpsc::Sender<Message>) -> bool {
    inbox.capacity() > RESERVED
}
