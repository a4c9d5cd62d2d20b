//! How far each receiver of alerts is.

use insula_api::{AlertFailure, AlertWebhook, Alerts};
use insula_spec::config::Webhook;
use insula_store::AlertCursor;

use super::Live;
use crate::control::error::ControlError;

impl Live {
    /// Joins what the configuration says with what the store knows.
    pub(super) async fn receivers(&self) -> Result<Alerts, ControlError> {
        let known = self.store.alert_cursors().await?;
        let of = |webhook: &Webhook| known.iter().find(|one| one.hook == webhook.name);
        let webhooks = self.config.alerts.iter().map(|webhook| joined(webhook, of(webhook)));
        Ok(Alerts { webhooks: webhooks.collect() })
    }
}

fn joined(webhook: &Webhook, known: Option<&AlertCursor>) -> AlertWebhook {
    let number = |of: fn(&AlertCursor) -> u64| known.map_or(0, of);
    AlertWebhook {
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        events: webhook.events.iter().map(ToString::to_string).collect(),
        services: webhook.services.iter().map(ToString::to_string).collect(),
        cursor: number(|k| k.cursor),
        delivered: number(|k| k.delivered),
        given_up: number(|k| k.given_up),
        failed: number(|k| k.failed),
        last_success: known.and_then(|k| k.last_success).map(Into::into),
        last_error: known
            .and_then(|k| k.last_error.clone())
            .map(|(time, cause)| AlertFailure { time: time.into(), cause }),
    }
}
