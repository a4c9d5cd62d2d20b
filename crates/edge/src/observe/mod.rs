//! What is kept of exchanges: access lines, counters, a ring of the last ones, and records of notable ones.
//!
//! ```text
//!                 ┌── lines ──(full, or a second old)──► writer thread ──► access.log
//! exchange ──► shard ── counters ──(asked)──► /metrics
//!     │           └── block ──(full)──► ring of the last 65,536 ──(asked)──► insula why ID
//!     └─ notable, not too many ──bounded queue──► store ──(asked)──► insula why ID
//! ```
//! Each thread has a shard of its own, as far as there are enough: one lock that nobody else holds, and no
//! allocation. What does not fit into a queue is dropped and counted; nobody waits.

pub mod access;
mod clock;
mod line;
pub(crate) mod metrics;

mod notable;
mod ring;
mod shard;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use insula_spec::ServiceName;
use insula_spec::config::{LineFormat, Observability};
use insula_store::RequestRecord;

use self::access::{AccessLog, OpenLogError};
use self::notable::Notable;
pub use self::notable::Recorder;
pub use self::ring::Held;
use self::shard::Shards;
use self::tally::Tally;
use crate::public::{Exchange, Observer, Origin, RequestId, RequestIds};

/// What is observed, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The access log, if there is one.
    pub access: Option<access::Settings>,
    /// A request that takes longer is notable.
    pub slow: Duration,
    /// Who names the exchanges; the proxy has the same.
    pub ids: Arc<RequestIds>,
}

impl Default for Settings {
    /// No access log.
    fn default() -> Self {
        Self { access: None, slow: Observability::DEFAULT_SLOW, ids: Arc::default() }
    }
}

/// Sees every exchange of the public side.
#[derive(Debug)]
pub struct Observe {
    shards: Arc<Shards>,
    notable: Notable,
    access: Option<AccessLog>,
    ids: Arc<RequestIds>,
}

/// Numbers about observing itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Access lines that could not be written, or not fast enough.
    pub lines: u64,
    /// Notable requests that were not recorded: too many of one instance, or a full queue.
    pub records: u64,
}

impl Observe {
    /// Opens the access log and starts its thread. The other half writes notable requests to the store.
    ///
    /// # Errors
    /// When the access log cannot be opened.
    pub fn start(settings: Settings) -> Result<(Arc<Self>, Recorder), OpenLogError> {
        let format =
            settings.access.as_ref().map(|access| line::Style { format: access.format, query: access.query });
        let shards = Arc::new(Shards::new(format));
        let access =
            settings.access.map(|access| AccessLog::open(access, Arc::clone(&shards))).transpose()?;
        let (notable, recorder) = Notable::new(settings.slow);
        Ok((Arc::new(Self { shards, notable, access, ids: settings.ids }), recorder))
    }

    /// Counts these services apart from now on, up to 200; all others are counted together.
    pub fn register<'a>(&self, services: impl IntoIterator<Item = &'a ServiceName>) {
        self.shards.register(services);
    }

    /// The exchange of this id, if it is still held.
    #[must_use]
    pub fn find(&self, id: RequestId) -> Option<RequestRecord> {
        self.shards.find(id)
    }

    /// How many exchanges are held, and since when.
    #[must_use]
    pub fn held(&self) -> Held {
        self.shards.held()
    }

    /// Who names the exchanges.
    #[must_use]
    pub fn ids(&self) -> Arc<RequestIds> {
        Arc::clone(&self.ids)
    }

    /// Where an id comes from.
    #[must_use]
    pub fn origin(&self, id: RequestId) -> Origin {
        self.ids.origin(id)
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses { lines: self.access.as_ref().map_or(0, AccessLog::lost), records: self.notable.lost() }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shards.tally()
    }

    /// Lets the recorder end when it has written what is queued. Later notable requests are not recorded.
    pub fn end_records(&self) {
        self.notable.close();
    }

    /// Writes what is left. Blocks until the access log is written; later exchanges are not logged.
    pub fn close(&self) {
        self.end_records();
        if let Some(access) = &self.access {
            access.close();
        }
    }
}

impl Observer for Observe {
    fn exchange(&self, exchange: &Exchange<'_>) {
        let full = self.shards.take(exchange);
        if let Some(access) = &self.access {
            access.lines_wait(full);
        }
        self.notable.consider(exchange);
    }
}

/// The path of a target in origin form.
fn path(target: &str) -> &str {
    memchr::memchr(b'?', target.as_bytes()).map_or(target, |at| &target[..at])
}

#[cfg(test)]
mod tests;
