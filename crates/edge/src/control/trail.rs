//! The audit log, written around a change.
//!
//! ```text
//! begin (stored) ──► the change ──► finish (stored)
//!                        └ the caller left: finished as 499 `client_gone`
//! ```

use insula_api::{Audit, AuditQuery, AuditRecord, Who};
use insula_store::{Actor, AuditEntry, AuditRow, Outcome, Store, WriteError};

use super::error::ControlError;
use super::sought;

/// A change that goes on. Dropped early it is finished as one whose caller left.
#[derive(Debug)]
pub(super) struct Trail {
    store: Store,
    id: Option<u64>,
}

impl Trail {
    /// Writes down what is about to be done. What cannot be written down is not done.
    pub(super) async fn begin(store: &Store, entry: AuditEntry) -> Result<Self, WriteError> {
        let id = store.audit_begin(entry).await?;
        Ok(Self { store: store.clone(), id: Some(id) })
    }

    /// Writes down how it ended.
    pub(super) async fn finish(mut self, status: u16, code: &str) {
        if let Some(id) = self.id.take() {
            note(&self.store, id, Outcome { status, code: code.to_owned() }).await;
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let store = self.store.clone();
            let left = Outcome { status: 499, code: "client_gone".to_owned() };
            runtime.spawn(async move { note(&store, id, left).await });
        }
    }
}

async fn note(store: &Store, id: u64, outcome: Outcome) {
    if let Err(error) = store.audit_finish(id, outcome).await {
        tracing::warn!(record = id, %error, "the outcome of a change is not in the audit log");
    }
}

/// Reads the log.
pub(super) async fn read(store: &Store, query: AuditQuery) -> Result<Audit, ControlError> {
    let rows = store.audit(sought::query(query)?).await?;
    Ok(Audit { records: rows.into_iter().map(record).collect() })
}

fn record(row: AuditRow) -> AuditRecord {
    let AuditEntry { actor, address, method, path, target, request } = row.entry;
    let (status, code) = row.outcome.map(|o| (o.status, o.code)).unzip();
    let who = match actor {
        Actor::Unix { uid } => Who::Unix { uid },
        Actor::Token { id, name } => Who::Token { id, name },
        Actor::Anonymous => Who::Anonymous,
        Actor::Signal => Who::Signal,
    };
    let time = row.time.into();
    AuditRecord { id: row.id, time, who, address, method, path, target, request_id: request, status, code }
}
