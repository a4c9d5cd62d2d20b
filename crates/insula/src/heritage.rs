//! What an old worker and the next one say to each other, over `run/heirs.sock`.
//!
//! Lines of JSON. The listener is the parent's, so that a connect waits while no worker lives. A connection
//! is a guard: when it ends, what was granted or held over it ends, too.
//!
//! ```text
//! the streams that go on       old ──Hello──► new,  old ──Hold──► new, …, old ──Settled──► new
//!   one ended                  old ──Ended──► new
//!
//! a request that came late     old ──Hello, Lease──► new,  old ◄─Leased─ new   (or Refused)
//!   a connection for it        old ──Socket──► new,  old ◄─Socket + descriptor─ new   (or Unreachable)
//!
//! a late request for the API    old ──Hello, Control──► new,  old ◄─Socket + descriptor─ new
//! ```
//! Late are requests on connections that the old worker had accepted. New connections are the new worker's.

use insula_services::LeaseError;
use insula_spec::InstanceName;
use serde::{Deserialize, Serialize};

/// Changes with every incompatible change of the messages.
pub(crate) const VERSION: u32 = 1;

/// Longest line, in bytes.
pub(crate) const LINE_MAX: usize = 4096;

/// Longest answer, in bytes: one may hold the reason of a failure.
pub(crate) const ANSWER_MAX: usize = 64 << 10;

/// From the old worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToHeir {
    /// First on every connection.
    Hello {
        /// [`VERSION`] of the old worker.
        version: u32,
    },
    /// Streams to this instance go on.
    Hold(InstanceName),
    /// All that go on were named.
    Settled,
    /// The last of the streams to this instance ended.
    Ended(InstanceName),
    /// A request wants a lease.
    Lease {
        /// On which instance.
        name: InstanceName,
        /// How long it may wait, in milliseconds.
        timeout_ms: u64,
    },
    /// A request wants a connection of its lease.
    Socket,
    /// A request for the control API wants a connection.
    Control,
}

/// From the new worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromHeir {
    /// The lease lives as long as this connection.
    Leased {
        /// Time until a request without an answer is given up, in milliseconds.
        request_timeout_ms: u64,
        /// Whether the workload speaks HTTP/2 alone.
        h2c: bool,
    },
    /// There is no lease.
    Refused(LeaseError),
    /// The connection is beside this.
    Socket,
    /// The workload does not accept.
    Unreachable(String),
}

/// One message as a line.
pub(crate) fn line<M: Serialize>(message: &M) -> std::io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits_a_line() {
        let name: InstanceName = format!("{}:{}", "s".repeat(40), "i".repeat(40)).parse().unwrap();
        for message in [ToHeir::Hold(name.clone()), ToHeir::Lease { name, timeout_ms: u64::MAX }] {
            let bytes = line(&message).unwrap();
            assert!(bytes.len() < LINE_MAX / 2 && bytes.ends_with(b"\n"));
            assert_eq!(serde_json::from_slice::<ToHeir>(&bytes).unwrap(), message);
        }
    }
}
