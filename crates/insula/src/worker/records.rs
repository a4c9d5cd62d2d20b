//! The audit log of what was asked of the parent.

use insula_store::WriteError;

use super::rooms::Rooms;
use crate::deed::{Deed, Ending};

impl Rooms {
    /// Writes down what was asked of the parent and how it ended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) async fn record(&self, deed: Deed, ending: Ending) -> Result<(), WriteError> {
        let request = self.observe.ids().next().to_string();
        let id = self.store.audit_begin(deed.entry(request)).await?;
        self.store.audit_finish(id, ending.into()).await
    }

    /// The same for what has ended already: a log that cannot be written is told.
    pub(super) async fn record_late(&self, deed: Deed, ending: Ending) {
        if let Err(error) = self.record(deed.clone(), ending).await {
            tracing::warn!(?deed, %error, "a change that was asked for is not in the audit log");
        }
    }
}
