//! Raw TCP: a port that names one instance.
//!
//! ```text
//! accept ──► lease (wakes) ──► connect ──► bytes both ways ──► both halves closed ──► lease ends
//! ```

use std::sync::Arc;
use std::time::Duration;

use insula_services::Lease;
use insula_spec::InstanceName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::public::buffer::Buffer;
use crate::public::conn::Shared;
use crate::public::observe::{Exchange, Protocol};
use crate::public::respond::Failure;
use crate::public::tenants::Tenants;
use crate::public::tunnel::{self, Carried, End};

/// Carries one connection to its instance and back. A client whose instance is not to be had is closed.
pub(crate) async fn forward<T: Tenants>(
    shared: Arc<Shared<T>>,
    mut stream: TcpStream,
    instance: Arc<InstanceName>,
) {
    let (id, started) = (shared.ids.next(), Instant::now());
    let mut input = Buffer::new(&shared.pool);
    let leased = lease(&shared, &instance, started).await;
    let waited = started.elapsed();
    let woke = leased.as_ref().is_ok_and(Lease::woke);
    let carried = match leased {
        Ok(lease) => carry(&lease, &mut stream, &mut input).await,
        Err(failure) => Err(failure),
    };
    let error = carried.as_ref().err().map(|failure| failure.answer().code);
    if let Err(failure) = &carried {
        tracing::debug!(request = %id, %instance, error = failure as &dyn std::error::Error, "a connection failed");
    }
    let carried = carried.unwrap_or_default();
    shared.observer.exchange(&Exchange {
        id,
        protocol: Protocol::Tcp,
        instance: Some(&instance),
        method: "",
        target: "",
        status: 0,
        bytes_in: carried.up,
        bytes_out: carried.down,
        waited,
        total: started.elapsed(),
        woke,
        error,
    });
}

/// Waits for the lease. A client that only closes its half has asked its question and still wants the
/// answer, so its bytes stay in the kernel meanwhile and nothing is concluded from their end.
async fn lease<T: Tenants>(
    shared: &Shared<T>,
    instance: &InstanceName,
    started: Instant,
) -> Result<Lease, Failure> {
    let until = started + shared.settings.wake_timeout;
    // The room that leases keeps its deadline itself and knows better what to say; this is the backstop.
    let leased = timeout_at(until + Duration::from_secs(1), shared.tenants.lease(instance, until)).await;
    Ok(leased.map_err(|_| Failure::TimedOut)??)
}

async fn carry(lease: &Lease, stream: &mut TcpStream, input: &mut Buffer) -> Result<Carried, Failure> {
    let mut upstream = timeout(lease.request_timeout(), lease.connect())
        .await
        .map_err(|_| Failure::TimedOut)?
        .map_err(Failure::Unreachable)?;
    let mut output = input.sibling();
    let client = End { stream, input };
    Ok(tunnel::carry(client, End { stream: &mut upstream, input: &mut output }, Vec::new()).await)
}
