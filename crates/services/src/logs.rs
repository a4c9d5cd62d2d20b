//! Brings captured output from an agent to the store.
//!
//! ```text
//! agent ──batch──► pump ──append_logs──► store
//!   ▲                │ committed
//!   └──────ack───────┘
//! ```
//! Batches that came while the store was busy are stored as one, since a commit and the index of words cost
//! the same for few lines as for many. A line is acknowledged only after it is stored. While the store refuses, the pump tries again and takes
//! nothing new; the agent keeps the lines, in memory and then in its segment on disk.

use std::sync::Arc;
use std::time::Duration;

use insula_isolation::{LogBatch, LogStream, Output};
use insula_spec::InstanceName;
use insula_store::{AppendError, Store};

use crate::shared::Shared;

/// Delay before the first retry of a failed write; it doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Stores everything that comes, until the stream ends or `pumps_end` is cancelled.
pub(crate) async fn pump(shared: Arc<Shared>, name: InstanceName, key: String, mut logs: LogStream) {
    let (store, end) = (&shared.store, &shared.pumps_end);
    let counter = shared.counts.of(&name.service);
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(batch) => batch,
            None => match end.run_until_cancelled(logs.next()).await {
                Some(Some(batch)) => batch,
                Some(None) | None => return,
            },
        };
        let batch;
        (batch, held) = gather(first, &mut logs);
        let lost = batch.gap.map_or(0, |gap| gap.to.saturating_sub(gap.from));
        let lines = batch.lines.len() as u64;
        let Some(stored) = end.run_until_cancelled(append(store, &name, &key, batch)).await else { return };
        match stored {
            Some(next_seq) => {
                counter.logged(lines, lost);
                logs.ack(next_seq);
            }
            None => return,
        }
    }
}

/// Adds what is there already, up to the next gap; what begins with that gap is held back. It is never more
/// than may be under way: the agent sends nothing further before it is told what is stored.
fn gather(mut all: LogBatch, logs: &mut LogStream) -> (LogBatch, Option<LogBatch>) {
    while let Some(mut more) = logs.ready() {
        if more.gap.is_some() {
            return (all, Some(more));
        }
        all.lines.append(&mut more.lines);
    }
    (all, None)
}

/// Stores one batch, however long it takes. `None` when nobody wants it any more.
async fn append(store: &Store, name: &InstanceName, key: &str, batch: LogBatch) -> Option<u64> {
    let batch = Arc::new(translate(batch));
    let mut delay = RETRY;
    loop {
        match store.append_logs(name, key, Arc::clone(&batch)).await {
            Ok(next_seq) => return Some(next_seq),
            Err(error @ (AppendError::Unknown(_) | AppendError::Sequence { .. })) => {
                tracing::warn!(instance = %name, %error, "captured output is given up");
                return None;
            }
            Err(error) => {
                tracing::warn!(instance = %name, %error, "cannot store captured output, trying again")
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}

/// From the words of the walls to those of the store.
fn translate(batch: LogBatch) -> insula_store::LogBatch {
    let gap = batch.gap.map(|gap| insula_store::LogGap { from: gap.from, to: gap.to });
    let line = |line: insula_isolation::LogLine| insula_store::LogLine {
        seq: line.seq,
        time: line.time,
        output: match line.output {
            Output::Stdout => insula_store::Output::Stdout,
            Output::Stderr => insula_store::Output::Stderr,
        },
        bytes: line.bytes,
    };
    insula_store::LogBatch { gap, lines: batch.lines.into_iter().map(line).collect() }
}
