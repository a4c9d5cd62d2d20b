//! Raw TCP: a port that names one instance.
//!
//! ```text
//! accept ──► lease (wakes) ──► connect ──► bytes both ways ──► both halves closed ──► lease ends
//!              ▲                  │
//!              └── run has ended ─┘ refused
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use insula_spec::InstanceName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::public::buffer::Buffer;
use crate::public::conn::Shared;
use crate::public::observe::{Exchange, Protocol};
use crate::public::reach::{Aim, BACKSTOP, Found, Reach, Waits};
use crate::public::respond::Failure;
use crate::public::tenants::Tenants;
use crate::public::tunnel::{self, Carried, End};

/// Carries one connection to its instance and back. A client whose instance is not to be had is closed.
pub(crate) async fn forward<T: Tenants>(
    shared: Arc<Shared<T>>,
    mut stream: TcpStream,
    peer: IpAddr,
    instance: Arc<InstanceName>,
) {
    let (id, started) = (shared.ids.next(), Instant::now());
    let mut waits = Waits::default();
    let aim = Aim::Instance(&instance);
    let reach = Reach::new(&shared.tenants, &shared.settings, aim, &mut waits, started).raw();
    let carried = match reached(reach).await {
        Ok(found) => Ok(carry(found, &mut stream, &shared).await),
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
        peer,
        version: "",
        instance: Some(&instance),
        method: "",
        target: "",
        status: 0,
        bytes_in: carried.up,
        bytes_out: carried.down,
        waited: waits.waited,
        total: started.elapsed(),
        woke: waits.woke,
        retried: false,
        error,
    });
}

/// Waits for the lease and a connection. A client that only closes its half has asked its question and still
/// wants the answer, so its bytes stay in the kernel meanwhile and nothing is concluded from their end.
async fn reached<T: Tenants>(mut reach: Reach<'_, T>) -> Result<Found, Failure> {
    let leased = timeout_at(reach.until() + BACKSTOP, reach.lease()).await;
    let lease = leased.map_err(|_| Failure::TimedOut)??;
    reach.give_up_at(Instant::now() + lease.request_timeout());
    let found = timeout_at(reach.until() + BACKSTOP, reach.connect(lease)).await;
    found.map_err(|_| Failure::TimedOut)?
}

async fn carry<T>(found: Found, stream: &mut TcpStream, shared: &Shared<T>) -> Carried {
    let Found { lease: _lease, mut upstream, .. } = found;
    let (mut input, mut output) = (Buffer::new(&shared.pool), Buffer::new(&shared.pool));
    let client = End { stream, input: &mut input };
    let workload = End { stream: &mut upstream, input: &mut output };
    tunnel::carry(client, workload, Vec::new(), shared.settings.tunnel_linger).await
}
