//! Instances that reach each other: both sides are asked, the one that is called is woken, and stays awake as long as
//! the stream is open.

use std::os::fd::AsFd;
use std::time::Duration;

use insula_egress::{Reason, Visit};
use insula_services::{LeaseError, NotReached, Services};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a call may wait for its instance at most; the `request_timeout` of its service is mostly shorter.
const PATIENCE: Duration = Duration::from_secs(300);

/// Serves calls until there are no more.
pub(crate) async fn serve(services: Services, mut visits: mpsc::Receiver<Visit>) {
    let tasks = TaskTracker::new();
    // There are never more at once than instances have connections.
    while let Some(visit) = visits.recv().await {
        let services = services.clone();
        tasks.spawn(async move { receive(&services, visit).await });
    }
}

async fn receive(services: &Services, mut visit: Visit) {
    let (from, to) = (visit.from.clone(), visit.to.clone());
    if let Err(why) = services.may_reach(&from, &to) {
        return visit.refuse(Some(reason(why)));
    }
    if visit.open {
        let lease = services.lease_running(&to).await;
        visit.over().await;
        return drop(lease);
    }
    let leased = tokio::select! {
        leased = services.lease_sibling(&to, Instant::now() + PATIENCE) => leased,
        () = visit.over() => return,
    };
    let lease = match leased {
        Ok(lease) => lease,
        // The next worker answers.
        Err(LeaseError::ShuttingDown) => return,
        Err(error) => {
            tracing::info!(%from, %to, %error, hint = error.hint(), "an instance cannot be reached");
            let unknown = matches!(error, LeaseError::UnknownInstance | LeaseError::UnknownService);
            return visit.refuse(unknown.then_some(Reason::NoInstance));
        }
    };
    let socket = match lease.connect().await {
        Ok(upstream) => upstream.into_stream().as_fd().try_clone_to_owned(),
        Err(error) => Err(error),
    };
    match socket {
        Ok(socket) => {
            visit.connect(socket);
            visit.over().await;
        }
        Err(error) => {
            tracing::info!(%from, %to, %error, "an instance does not take connections");
            visit.refuse(None);
        }
    }
}

fn reason(why: NotReached) -> Reason {
    match why {
        NotReached::NotListed => Reason::NotListed,
        NotReached::NotReachable => Reason::NotReachable,
        NotReached::Unknown => Reason::NoInstance,
    }
}
