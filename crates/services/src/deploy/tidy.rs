//! What becomes of versions that nobody asks for any more.

use insula_spec::InstanceName;
use insula_store::{Event, EventKind, VersionRow};

use super::{DeployError, Deployed};
use crate::boot::is_declared;
use crate::keeper::Message;
use crate::services::Services;

impl Services {
    /// Of the versions without weight the newest `keep` go to sleep, and so do those that `[instances]`
    /// declares; the rest is forgotten. What cannot be forgotten now stays known, with a warning.
    pub(super) async fn tidy(&self, new: &InstanceName, keep: usize) -> Result<Deployed, DeployError> {
        let mut old = self.shared.store.versions().await?;
        old.retain(|row| row.name.service == new.service && row.name != *new && row.weight == 0);
        old.sort_by_key(|row| std::cmp::Reverse(row.deployed));
        let plan = self.shared.plan();
        let mut done = Deployed::default();
        for (age, VersionRow { name, .. }) in old.into_iter().enumerate() {
            if age < keep || is_declared(&plan.config, &name) {
                self.put_to_sleep(&name);
                done.slept.push(name);
                continue;
            }
            match self.forget(&name, "a newer version took its place").await {
                Ok(()) => done.forgotten.push(name),
                Err(error) => tracing::warn!(instance = %name, %error, "an old version is still known"),
            }
        }
        Ok(done)
    }

    /// Lets an instance sleep, after those inside were served. What does not run sleeps already.
    fn put_to_sleep(&self, name: &InstanceName) {
        let map = self.shared.directory.read();
        let keeper = map.get(name).and_then(|entry| entry.keeper.as_ref());
        if let Some(keeper) = keeper
            && keeper.try_send(Message::Sleep).is_err()
        {
            tracing::warn!(instance = %name, "an old version stays up: its keeper is too busy");
        }
    }

    /// Stops an instance and makes it unknown. Its directory stays, and so do its host ids.
    pub(super) async fn forget(&self, name: &InstanceName, why: &str) -> Result<(), DeployError> {
        self.stop(name).await?;
        let mut changes = self.changes();
        while !self.remove(name) {
            if changes.changed().await.is_err() {
                return Err(DeployError::ShuttingDown);
            }
        }
        self.shared.routing.forget(name).await;
        self.shared.store.forget(name, Event::new(EventKind::Forgotten, why)).await?;
        Ok(())
    }

    /// Takes the entry out, unless a keeper is still at it.
    fn remove(&self, name: &InstanceName) -> bool {
        let mut map = self.shared.directory.write();
        let free = map.get(name).is_none_or(|entry| entry.keeper.is_none());
        if free {
            map.remove(name);
        }
        free
    }
}
