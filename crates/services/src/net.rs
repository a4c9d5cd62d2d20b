//! What an instance may reach outside, changed while it runs.

use insula_spec::{InstanceName, NetPolicy};
use insula_store::{ChangeError, Event, EventKind};

use crate::keeper::Message;
use crate::services::Services;

/// What an instance may reach outside, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// The rules that hold.
    pub policy: NetPolicy,
    /// Whether the operator set them for this instance; else they are of the configuration.
    pub set: bool,
}

impl Services {
    /// What the instance may reach outside; `None` if it is not known.
    #[must_use]
    pub fn net(&self, name: &InstanceName) -> Option<Net> {
        let set = self.shared.directory.read().get(name)?.net.clone();
        match set {
            Some(policy) => Some(Net { policy, set: true }),
            None => Some(Net { policy: self.shared.spec(&name.service)?.net.clone(), set: false }),
        }
    }

    /// Sets what the instance may reach outside, from now on and until it is set again or forgotten; `None`
    /// gives it what the configuration says. Open connections that are not allowed any more end.
    ///
    /// # Errors
    /// When it is not known, or that cannot be recorded; then nothing has changed.
    pub async fn set_net(&self, name: &InstanceName, policy: Option<NetPolicy>) -> Result<(), ChangeError> {
        let cause = match &policy {
            Some(policy) => format!("`net` set to {}", serde_json::json!(policy)),
            None => "`net` is what the configuration says".to_owned(),
        };
        let event = Event::new(EventKind::NetPolicy, cause);
        self.shared.store.set_net_policy(name, policy.clone(), event).await?;
        let mut map = self.shared.directory.write();
        let Some(entry) = map.get_mut(name) else { return Ok(()) };
        entry.net = policy;
        if let Some(keeper) = &entry.keeper
            && keeper.try_send(Message::Net).is_err()
        {
            // Its next operation takes the policy over.
            tracing::warn!(instance = %name, "its keeper is too busy to take the network policy over at once");
        }
        Ok(())
    }
}
