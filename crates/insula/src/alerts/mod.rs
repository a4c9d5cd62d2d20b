//! Alerts: what goes wrong is sent to the receivers that `[[alerts.webhook]]` names.
//!
//! ```text
//! store ──(event log)──► classify ──► message ──► sign ──► post ──► 2xx: the cursor moves on
//!   ▲                                                       │  ├──► 408, 429, 5xx, no answer: wait, again
//!   └──────────────── cursor of the receiver ◄──────────────┘  └──► other 3xx, 4xx, a day old: given up
//! ```
//! One task for each receiver, so that a slow one holds up only itself. The event log is the queue and the
//! cursor of the receiver is in the store: whatever ends this process, the next one goes on where it was.
//! An alert can come twice, always under the same id.
//!
//! It is outbound and for the operator, who alone names addresses; `edge` is the inbound side. So it is a
//! part of the binary, where the `alerts` verbs use it, too.

mod classify;
mod hook;
mod message;
mod pace;
mod post;
mod secret;

pub(crate) use message::{Message, Origin};
use post::Answer;
pub(crate) use post::{PostError, Poster};
use secret::Secret;
pub(crate) use secret::SecretError;

use insula_spec::Config;
use insula_spec::config::Webhook;
use insula_store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use hook::Hook;

/// Whether the key of every receiver can be used, as a server needs it.
///
/// # Errors
/// When one cannot be read, is open to others, or is no key.
pub(crate) fn check_keys(config: &Config) -> Result<(), SecretError> {
    config.alerts.iter().try_for_each(|webhook| Secret::read(&webhook.secret_file).map(drop))
}

/// The tasks that tell the receivers.
#[derive(Debug)]
pub(crate) struct Alerts {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Alerts {
    /// Begins to tell every receiver what happened since it was last told something.
    pub(crate) fn start(webhooks: &[Webhook], store: &Store, origin: &Origin) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for webhook in webhooks {
            let hook = Hook::new(webhook.clone(), store.clone(), origin.clone());
            let stop = stop.clone();
            tasks.spawn(async move {
                // What it gives back is whether it ended by itself; it says so in the log.
                stop.run_until_cancelled(hook.run()).await;
            });
        }
        Self { stop, tasks }
    }

    /// Ends the tasks. What was under way is sent again by whoever comes next.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "telling a receiver of alerts broke off");
            }
        }
    }
}
